"""`ingest job add`, and `start --manifest`: the lines of a manifest become rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from core.errors import FileError, Outage, Overload, Unavailable, UsageError, Vanished
from scripts.frame import Invocation
from scripts.jobs.group import group, named, opened
from scripts.jobs.watch import follow

if TYPE_CHECKING:
    from core.filters import Filter
    from core.settings import JobSettings, S3Settings, Settings
    from core.sources.base import Entry, Placing
    from core.sources.manifest import Line
    from inventory.engine import Database
    from inventory.jobs import Job
    from inventory.manifested import Manifested
    from inventory.named import Named

LINES = 20_000
"""Lines that are brought in by one transaction."""
LOOKS = 16
"""Files that are looked at at the same time, where the manifest does not say size and time."""


@group.command("add")
@click.argument("name")
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--wait", is_flag=True, help="Return when the job is at its end, showing how far it is.")
@click.pass_obj
def add(invocation: Invocation, name: str, manifest: Path, wait: bool) -> int:
    """Have a job that was started with --manifest take the files of MANIFEST too, or go on with one that broke off.

    Safe to repeat: a file whose size, time and checksum are those of its row is left as it is. A finished job runs again.
    """
    settings = invocation.settings()
    with opened(settings.inventory, queue=True) as database:
        job = named(database, name)
        if job.settings.manifest is None:
            raise UsageError(f"job {name!r} lists its source", "manifests are for jobs started with --manifest")
        check(placing(job.source_url, job.settings, settings.s3), manifest)
        click.echo(feed(database, job, manifest, settings.s3))
        return follow(database, name, until_idle=True) if wait else 0


def placing(url: str, job: JobSettings, s3: S3Settings) -> Placing:
    """The source of a job by manifest. Raises UsageError."""
    from core.sources.base import Placing
    from core.sources.selection import linked
    from core.sources.urls import open_source

    source = linked(open_source(url, s3), job)
    if not isinstance(source, Placing):
        raise UsageError(f"source {url} takes no manifest", "use a directory or a bucket")
    return source


def check(source: Placing, manifest: Path) -> None:
    """Read a manifest to its end, so that a bad line is told before the first file. Raises UsageError."""
    from core.sources.manifest import read

    if not manifest.is_file():
        raise UsageError(f"there is no manifest {manifest}", "name a file: it is read twice")
    for line in read(manifest):
        _placed(source, line)


class _Counted(NamedTuple):
    """What became of lines."""

    added: int = 0
    filtered: int = 0
    elsewhere: int = 0


def feed(database: Database, job: Job, manifest: Path, s3: S3Settings) -> str:
    """Bring the files of a manifest into the inventory; what was done, in words. Raises UsageError and Unavailable."""
    from core.filters import filter_of
    from core.sources.manifest import read
    from inventory import named as inventory_named

    source = placing(job.source_url, job.settings, s3)
    count = _Counted()
    try:
        for lines in _batches(read(manifest)):
            here = _files(source, lines)
            files = _taken(filter_of(job.settings), here)
            inventory_named.add_of_manifest(database, job.id, files, shared_suffix=source.shared_suffix)
            some = (len(files), len(here) - len(files), len(lines) - len(here))
            count = _Counted(*map(sum, zip(count, some, strict=True)))
        inventory_named.end_of_manifest(database, job.id)
    except (Unavailable, Outage, Overload) as error:
        words = f"{manifest} is not read to its end: {error.message}"
        raise Unavailable(words, f"`ingest job add {job.name} {manifest}` goes on") from error
    return (
        f"{count.added} files of {manifest} are in the inventory"
        + (f", {count.filtered} left out by the job's filters" if count.filtered else "")
        + (f", {count.elsewhere} of another bucket or prefix" if count.elsewhere else "")
    )


def _batches(lines: Iterator[Line]) -> Iterator[list[Line]]:
    while batch := list(islice(lines, LINES)):
        yield batch


def manifested(settings: Settings, url: str) -> tuple[Manifested, int]:
    """What a manifest names as a source to be listed, and how many lines are of another bucket or prefix. Raises UsageError."""
    from core.planned import MISSING
    from core.sources.manifest import read
    from core.sources.urls import open_source
    from inventory.manifested import Manifested

    assert settings.job.manifest is not None
    source = placing(url, settings.job, settings.s3)
    made = Manifested(open_source(url, settings.s3), source.shared_suffix)
    elsewhere = 0
    try:
        for lines in _batches(read(Path(settings.job.manifest))):
            files = _files(source, lines, missing=MISSING)
            made.add(files)
            elsewhere += len(lines) - len(files)
    except (Outage, Overload) as away:
        made.close()
        raise Unavailable(away.message, away.hint) from away
    except BaseException:
        made.close()
        raise
    return made, elsewhere


def _taken(wanted: Filter, files: Sequence[Named]) -> list[Named]:
    """The files that the filters take."""
    from core.sources.base import DIRECTORY

    taken = []
    for one in files:
        is_directory = one.entry.kind == DIRECTORY
        path = one.directory if is_directory else _below(one.directory, one.entry.name)
        if wanted.takes(path, one.entry) and not wanted.leaves_out_below(path.rpartition("/")[0]):
            taken.append(one)
    return taken


def _below(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name


def _files(source: Placing, lines: Sequence[Line], *, missing: str | None = None) -> list[Named]:
    """The files of some lines; those that the source is seen not to have are of the kind `missing`, if one is given."""
    from core.sources.base import DIRECTORY
    from inventory.named import Named

    placed = [(line, place) for line in lines if (place := _placed(source, line)) is not None]
    with ThreadPoolExecutor(LOOKS) as pool:
        entries = list(pool.map(lambda one: _entry(source, one[0], one[1][0], missing), placed))
    files: list[Named] = []
    for (_, (path, key)), entry in zip(placed, entries, strict=True):
        above = path.rpartition("/")[0]
        if entry.kind == DIRECTORY:
            files.append(Named(path, key, entry))
        elif not key and not entry.size:  # an object that stands for the directory
            files.append(Named(above, key, entry._replace(kind=DIRECTORY)))
        else:
            files.append(Named(above, key, entry))
    return files


def _placed(source: Placing, line: Line) -> tuple[str, str] | None:
    try:
        return source.place(line.path, line.bucket)
    except ValueError as error:
        raise UsageError(f"{line.where}: {error}", "name files below the source") from None


def _entry(source: Placing, line: Line, path: str, missing: str | None) -> Entry:
    """The file as the manifest has it, and as it is now where that does not say. Raises Outage and Overload."""
    from core.sources.base import REGULAR
    from core.sources.base import Entry as Made
    from core.sources.promised import promise_tag

    tag = promise_tag(line.checksum) if line.checksum else line.tag
    made = Made(path.rpartition("/")[2], REGULAR, line.size or 0, line.modified_at or 0, tag)
    if line.size is not None and line.modified_at is not None:
        return made
    try:
        now = source.entry(path)
    except (Outage, Overload):
        raise
    except Vanished:
        return made if missing is None else made._replace(kind=missing)
    except FileError:
        return made  # the loader meets it too, and tells of it as of any file
    size = now.size if line.size is None else line.size
    modified_at = now.modified_at if line.modified_at is None else line.modified_at
    return now._replace(size=size, modified_at=modified_at, tag=tag or now.tag)
