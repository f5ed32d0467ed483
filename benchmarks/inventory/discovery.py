"""Discovery: from memory, from a real tree, again, and of one huge directory."""

from __future__ import annotations

import gc
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.inventory.world import MODIFIED_AT, Made, World
from core.sources.base import Entry
from inventory import jobs
from inventory.jobs import Job
from watcher.loop import WatchLoop

Row = tuple[str, str, str]


def from_memory(world: World, files: int) -> list[Row]:
    """New files of a listing in memory: what the inventory and the making of rows cost, without any source."""
    job = world.job("memory://made", shards=4)
    before = world.wal()
    source = Made(files, 1000)
    made = [(directory, list(source.scan(directory))) for directory in ["", *(e.name for e in source.scan(""))]]
    kept = _Kept(dict(made), files)
    gc.freeze()
    seconds = world.scan(world.watcher(made=kept))
    wal = (world.wal() - before) / files
    tables, indexes = world.sizes(job)
    world.close_job(job)
    return [
        ("new files from a listing in memory, 1000 a directory", f"{files / seconds:,.0f} files/s", "aim 100,000"),
        ("  WAL", f"{wal:,.0f} bytes/file", ""),
        ("  bytes of a new row, with indexes", f"{(tables + indexes) / files:,.0f}", f"table {tables / files:,.0f}"),
    ]


def from_tree(world: World, shape: str, directories: int, each: int) -> list[Row]:
    """A real tree against a bare scandir and stat of it."""
    files = directories * each
    with tempfile.TemporaryDirectory(prefix="bench-tree-") as folder:
        _make_tree(Path(folder), directories, each)
        bare = min(_bare(folder) for _ in range(3))
        first, again, rows, wal, used, used_again = _first_and_again(world, folder)
        job = world.job(f"file://{folder}", shards=4)
        watcher = world.watcher()
        first = min(first, world.scan(watcher))
        jobs.rescan(world.database, job.id)
        compared = world.scan(watcher)
        world.close_job(job)
        trusted = _trusted(world, folder)
    return [
        (f"{shape}: bare scandir + stat", f"{files / bare:,.0f} files/s", "1.0"),
        (
            "  first scan, one watcher",
            f"{files / first:,.0f} files/s",
            f"{first / bare:.1f} times the bare scan; aim 5",
        ),
        ("  unchanged rescan", f"{files / again:,.0f} files/s", f"{first / again:.1f} times as fast; aim 2"),
        (
            "    in processor time of watcher and Postgres",
            f"{used_again / files * 1e6:.1f} µs a file",
            f"{used / used_again:.1f} times as fast as the first; aim 2",
        ),
        ("    rows of file written, WAL", f"{rows}, {wal / files:,.1f} bytes/file", "aim 0 rows"),
        (
            "  rescan that compares every name",
            f"{files / compared:,.0f} files/s",
            f"{first / compared:.1f} times as fast",
        ),
        (
            "  rescan by the directories' times",
            f"{files / trusted:,.0f} files/s",
            f"{first / trusted:.1f} times as fast",
        ),
    ]


def one_directory(world: World, entries: int) -> list[Row]:
    """The memory of a watcher that lists one huge directory, at first and again."""
    job = world.job("memory://flat")
    watcher = world.watcher(flat=_Flat(entries))
    before = _peak_bytes()
    first = world.scan(watcher)
    grown = _peak_bytes() - before
    world.run("UPDATE inventory.directory SET next_scan_at = now() WHERE job_id = :job", job=job.id)
    again = world.scan(watcher)
    grown_again = _peak_bytes() - before
    world.close_job(job)
    return [
        (f"one directory of {entries:,}", f"{entries / first:,.0f} files/s", f"{grown / 1e6:,.0f} MB more memory"),
        ("  again", f"{entries / again:,.0f} files/s", f"{grown_again / 1e6:,.0f} MB more memory"),
    ]


class _Kept(Made):
    """Listings made before the clock runs."""

    def __init__(self, listings: dict[str, list[Entry]], files: int) -> None:
        super().__init__(files, 1000)
        self._listings = listings

    def scan(self, directory: str) -> Iterator[Entry]:
        return iter(self._listings[directory])


class _Flat(Made):
    def __init__(self, files: int) -> None:
        super().__init__(files, files)

    def scan(self, directory: str) -> Iterator[Entry]:
        return (Entry(f"sample_{n:09}.dat", "f", n, MODIFIED_AT) for n in range(self._files))


def _first_and_again(world: World, folder: str) -> tuple[float, float, int, int, float, float]:
    """Seconds of a first scan and the best of three unchanged ones; rows and WAL bytes of the last of these.

    And the processor seconds of the first scan and the median of the others.
    """
    job = world.job(f"file://{folder}", shards=4)
    watcher = world.watcher()
    first, used = world.scan(watcher), world.used
    rescans, used_again = [], []
    for _ in range(3):
        rescans.append(_again(world, watcher, job))
        used_again.append(world.used)
    world.close_job(job)
    rows = sum(rows for _, rows, _ in rescans)
    return first, min(seconds for seconds, *_ in rescans), rows, rescans[-1][2], used, statistics.median(used_again)


def _again(world: World, watcher: WatchLoop, job: Job) -> tuple[float, int, int]:
    world.run("UPDATE inventory.directory SET next_scan_at = now() WHERE job_id = :job", job=job.id)
    rows, wal = world.written(job), world.wal()
    seconds = world.scan(watcher)
    return seconds, world.written(job) - rows, world.wal() - wal


def _trusted(world: World, folder: str) -> float:
    job = world.job(f"file://{folder}", shards=4, trust_directory_mtime=True)
    watcher = world.watcher()
    world.scan(watcher)
    for _ in range(2):
        seconds, *_ = _again(world, watcher, job)
    world.close_job(job)
    return seconds


def _make_tree(folder: Path, directories: int, each: int) -> None:
    for number in range(directories):
        below = folder / f"group-{number // 100:04}" / f"directory-{number:06}"
        below.mkdir(parents=True)
        for file in range(each):
            os.close(os.open(below / f"sample_{file:06}.dat", os.O_CREAT | os.O_WRONLY))


def _bare(folder: str) -> float:
    began = time.perf_counter()
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if status.st_mode & 0o170000 == 0o040000:
                    waiting.append(entry.path)
    return time.perf_counter() - began


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
