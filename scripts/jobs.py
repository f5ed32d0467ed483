"""`ingest job`: start, list, stop and resume ingest jobs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, get_args
from urllib.parse import unquote, urlsplit

import click

from core.errors import UsageError
from core.settings import DeleteMode, InventorySettings, Operation, Settings, VerifyLevel
from scripts.frame import Invocation

if TYPE_CHECKING:
    from inventory.engine import Database
    from inventory.jobs import Job

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@click.group("job")
def group() -> None:
    """Start and look after ingest jobs."""


@contextmanager
def opened(settings: InventorySettings) -> Iterator[Database]:
    """The inventory, its schema checked. Raises Unavailable and SchemaError."""
    from inventory import schema
    from inventory.engine import Database

    database = Database(settings.connection_url(), connect_timeout_seconds=settings.connect_timeout_seconds)
    try:
        schema.check(database)
        yield database
    finally:
        database.close()


@group.command("start")
@click.argument("source")
@click.argument("collection")
@click.option("--name", help="What the job is called; the source's last part when left out.")
@click.option("--operation", type=click.Choice(get_args(Operation)), help="How files are brought in.")
@click.option(
    "--delete-mode", type=click.Choice(get_args(DeleteMode)), help="What becomes of objects whose file is gone."
)
@click.option("--verify-level", type=click.Choice(get_args(VerifyLevel)), help="How thoroughly files are verified.")
@click.option("--as-user", help="The iRODS user, name or name#zone, to load and verify for.")
@click.option("--resource", help="The iRODS resource to put to or to register on.")
@click.option(
    "--rescan", "rescan_seconds", type=float, help="Scan again after so many seconds; single pass when left out."
)
@click.option("--settle", "settle_seconds", type=float, help="Hold back files younger than so many seconds.")
@click.option("--shards", type=int, help="Partitions of the job's rows.")
@click.pass_obj
def start(
    invocation: Invocation, /, source: str, collection: str, name: str | None, **options: str | float | None
) -> None:
    """Bring SOURCE, a directory or file:// URL, into COLLECTION.

    Returns at once; the pods do the work. What cannot work for any file is refused here: a source that is missing or
    unreadable, a collection in an unknown zone or without permission, a resource that does not take the operation, a name in
    use.
    """
    settings = invocation.settings({f"job.{key}": value for key, value in options.items() if value is not None})
    with opened(settings.inventory) as database:
        job = begin(database, settings, source, collection, name)
    click.echo(f"started job {job.name}: {job.source_url} → {job.target_collection}, {job.settings.operation}")


def begin(database: Database, settings: Settings, source: str, collection: str, name: str | None) -> Job:
    """Check all that can be checked before the first file, and start a job. Raises UsageError and Unavailable."""
    from core.irods import Gateway
    from core.sources.urls import open_source, source_url
    from inventory import jobs

    url = source_url(source)
    chosen = checked_name(name or PurePath(unquote(urlsplit(url).path)).name or "job")
    if jobs.find(database, chosen) is not None:
        raise UsageError(f"job {chosen!r} exists already", "choose another --name, or see `ingest job list`")
    open_source(url).check()
    gateway = Gateway(settings.irods, as_user=settings.job.client)
    try:
        if settings.job.client is not None:
            gateway.check_user()
        gateway.check_target(collection)
        if settings.job.resource is not None:
            gateway.check_resource(settings.job.resource, settings.job.operation)
    finally:
        gateway.close()
    return jobs.start(database, chosen, url, collection, settings.job)


def checked_name(name: str) -> str:
    """A name that a shell, a metric label and a Kubernetes annotation take as it is. Raises UsageError."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"job name {name!r} is not usable",
            "--name takes letters, digits, '.', '_' and '-', at most 63, a letter or digit first",
        )
    return name


@group.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def show(invocation: Invocation, as_json: bool) -> None:
    """List jobs with their files by state."""
    from inventory import jobs, queries

    with opened(invocation.settings().inventory) as database:
        counts = queries.summary(database)
        for job in jobs.listed(database):
            files = {count.state: count.files for count in counts if count.job == job.name}
            size = sum(count.bytes for count in counts if count.job == job.name)
            click.echo(_as_json(job, files, size) if as_json else _as_line(job, files, size))


def _as_json(job: Job, files: dict[str, int], size: int) -> str:
    row = {
        "job": job.name,
        "state": job.state,
        "source": job.source_url,
        "collection": job.target_collection,
        "operation": job.settings.operation,
        "started_at": job.started_at.isoformat(),
        "finished_at": job.finished_at.isoformat() if job.finished_at else None,
        "files": files,
        "total_files": sum(files.values()),
        "total_bytes": size,
    }
    return json.dumps(row)


def _as_line(job: Job, files: dict[str, int], size: int) -> str:
    states = " ".join(f"{state}={count}" for state, count in files.items()) or "nothing yet"
    return f"{job.name}: {job.state}, {job.settings.operation}, {sum(files.values())} files, {size} bytes: {states}"


def named(database: Database, name: str) -> Job:
    from inventory import jobs

    job = jobs.find(database, name)
    if job is None:
        raise UsageError(f"there is no job {name!r}", "see `ingest job list`")
    return job


@group.command("stop")
@click.argument("name")
@click.pass_obj
def stop(invocation: Invocation, name: str) -> None:
    """Stop a job: nothing more of it is claimed; what is begun ends."""
    from inventory import jobs

    with opened(invocation.settings().inventory) as database:
        jobs.set_state(database, named(database, name).id, "stopped")
    click.echo(f"stopped job {name}; `ingest job resume {name}` goes on")


@group.command("resume")
@click.argument("name")
@click.pass_obj
def resume(invocation: Invocation, name: str) -> None:
    """Go on with a stopped job."""
    from inventory import jobs

    with opened(invocation.settings().inventory) as database:
        jobs.set_state(database, named(database, name).id, "running")
    click.echo(f"resumed job {name}")


@group.command("rescan")
@click.argument("name")
@click.pass_obj
def rescan(invocation: Invocation, name: str) -> None:
    """Look at every directory of a job again, now."""
    from inventory import jobs

    with opened(invocation.settings().inventory) as database:
        jobs.rescan(database, named(database, name).id)
    click.echo(f"job {name} is scanned again")


@group.command("retry")
@click.argument("name")
@click.pass_obj
def retry(invocation: Invocation, name: str) -> None:
    """Make all dead letters of a job due again."""
    from inventory import retries

    with opened(invocation.settings().inventory) as database:
        files = retries.retry_dead(database, named(database, name).id)
    click.echo(f"{files} files of job {name} are tried again")
