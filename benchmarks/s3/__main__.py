"""List a flat bucket: python -m benchmarks.s3 [--keys 1000000] [--shape flat] [--watchers 4] [--delay 0.1]"""

from __future__ import annotations

import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from benchmarks.s3.bucket import SHAPES
from core.settings import S3Settings
from core.sources.base import Keys
from core.sources.s3 import S3Source

MIB = 1024
BATCH = 20_000
"""Entries after which a watcher cuts the rest of a listing into parts, as watcher.rows has it."""


@click.command()
@click.option("--keys", default=1_000_000, show_default=True, help="Keys in the bucket.")
@click.option(
    "--shape", type=click.Choice(list(SHAPES)), default="flat", show_default=True, help="What keys look like."
)
@click.option("--watchers", default=4, show_default=True, help="Processes that list parts at the same time.")
@click.option("--delay", default=0.0, show_default=True, help="Seconds that each answer takes at least.")
def main(keys: int, shape: str, watchers: int, delay: float) -> None:
    """Print keys a second of one whole listing, its processor time and memory, and of one that is cut into parts."""
    words = [sys.executable, "-m", "benchmarks.s3.bucket", str(keys), shape, str(delay)]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(words, stdout=subprocess.PIPE) as server,
    ):
        try:
            assert server.stdout is not None
            pair = Path(folder) / "key_pair"
            pair.write_text("access\nsecret\n")
            settings = S3Settings(
                endpoint_url=f"http://127.0.0.1:{int(server.stdout.readline())}", key_pair_file=pair, addressing="path"
            )
            alone = whole(S3Source("s3://bucket", settings))
            together = in_parts(settings, watchers)
            print(f"{watchers} watchers are {alone / together:.2f} times as fast as one")
        finally:
            server.terminate()


def whole(source: S3Source) -> float:
    """The seconds of one listing from its beginning to its end."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.monotonic()
    found = sum(1 for _ in source.scan(""))
    seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{found:,} keys in {seconds:.1f} s: {found / seconds:,.0f} a second, {cpu:.1f} s of processor")
    print(f"peak memory {after.ru_maxrss / MIB:.0f} MiB, {before.ru_maxrss / MIB:.0f} MiB before the listing")
    return seconds


def in_parts(settings: S3Settings, watchers: int) -> float:
    """The seconds in which several processes list it, each cutting what is too much for it into parts for all."""
    work: multiprocessing.JoinableQueue[Keys] = multiprocessing.JoinableQueue()
    counts: multiprocessing.Queue[tuple[int, int, float]] = multiprocessing.Queue()
    processes = [multiprocessing.Process(target=watch, args=(settings, work, counts)) for _ in range(watchers)]
    began = time.monotonic()
    for process in processes:
        process.daemon = True
        process.start()
    work.put(Keys())
    work.join()
    seconds = time.monotonic() - began
    for _ in processes:
        work.put(Keys("", ""))
    found, cuts, cutting = map(sum, zip(*(counts.get() for _ in processes), strict=True))
    print(f"{found:,} keys in {seconds:.1f} s by {watchers} processes; {cuts} cuts took {cutting:.2f} s")
    return seconds


def watch(
    settings: S3Settings, work: multiprocessing.JoinableQueue[Keys], counts: multiprocessing.Queue[object]
) -> None:
    """List parts until there are no more; says how many keys, and how many cuts in how many seconds."""
    source = S3Source("s3://bucket", settings)
    found, cuts, cutting = 0, 0, 0.0
    while (part := work.get()) != Keys("", ""):
        listing, listed = source.scan("", part), 0
        for _ in listing:
            listed += 1
            if listed == BATCH:
                began = time.monotonic()
                parts = listing.divide()
                cutting, cuts = cutting + time.monotonic() - began, cuts + bool(parts)
                for one in parts:
                    work.put(one)
        found += listed
        work.task_done()
    counts.put((found, cuts, cutting))


if __name__ == "__main__":
    main()
