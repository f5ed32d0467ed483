"""`ingest job start`: check all that can be checked before the first file, and begin."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from core.errors import UsageError
from core.settings import DeleteMode, Operation, Settings, VerifyLevel
from scripts.frame import Invocation
from scripts.jobs.add import check, feed, placing
from scripts.jobs.filtering import filter_options, given
from scripts.jobs.group import group, opened
from scripts.jobs.handler import choose
from scripts.jobs.planning import foretell, plan_options
from scripts.jobs.watch import follow

if TYPE_CHECKING:
    from inventory.engine import Database
    from inventory.jobs import HandlerRecord, Job

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@group.command("start")
@click.argument("source")
@click.argument("collection")
@click.option("--name", help="What the job is called; the source's last part when left out.")
@click.option("--operation", type=click.Choice(get_args(Operation)), help="How files are brought in.")
@click.option(
    "--delete-mode", type=click.Choice(get_args(DeleteMode)), help="What becomes of objects whose file is gone."
)
@click.option("--reverify-days", type=float, help="Verify again what was verified so many days ago.")
@click.option("--reverify-level", type=click.Choice(get_args(VerifyLevel)), help="How thoroughly it is verified again.")
@click.option("--max-deletes", type=int, help="Hold back deletions when more files than that are gone after a pass.")
@click.option("--max-delete-percent", type=float, help="The same for per cent of the job's files.")
@click.option(
    "--delete-after", "delete_after_seconds", type=float, help="Delete only what has been gone for so many seconds."
)
@click.option("--sentinel", help="A path below SOURCE without which nothing vanishes: a file on the mounted volume.")
@filter_options
@click.option("--link-folder", help="Register what has a path that iRODS cannot hold by links in this directory.")
@click.option("--verify-level", type=click.Choice(get_args(VerifyLevel)), help="How thoroughly files are verified.")
@click.option("--as-user", help="The iRODS user, name or name#zone, to load and verify for.")
@click.option("--resource", help="The iRODS resource to put to or to register on.")
@click.option(
    "--rescan", "rescan_seconds", type=float, help="Scan again after so many seconds; single pass when left out."
)
@click.option("--settle", "settle_seconds", type=float, help="Hold back files younger than so many seconds.")
@click.option("--shards", type=int, help="Partitions of the job's rows.")
@click.option("--priority", type=int, help="Jobs of a higher priority go first.")
@click.option("--max-in-flight", type=int, help="So many files of the job are worked on at the same time, at most.")
@click.option("--bandwidth", help="Bytes a second, as 50M, or a timetable, as '08:00,50M 19:00,off'.")
@click.option("--notices-queue", help="The URL of an SQS queue with the bucket's notifications; goes with --rescan.")
@click.option(
    "--manifest", type=click.Path(path_type=Path), help="A list that names the files: nothing else is looked for."
)
@click.option("--if-new", is_flag=True, help="Leave a job of that name alone, instead of refusing.")
@click.option(
    "--event-handler", help="The file of an event handler; loaders have the same one on loader.handlers_folder."
)
@click.option("--extract-metadata", help="module:function that gives the metadata and access of each file.")
@click.option("--wait", is_flag=True, help="Return when the job is at its end, showing how far it is.")
@click.option("--dry-run", is_flag=True, help="Start nothing, and say what would be done: `ingest plan`.")
@plan_options
@click.pass_obj
def start(
    invocation: Invocation,
    /,
    source: str,
    collection: str,
    name: str | None,
    if_new: bool,
    wait: bool,
    dry_run: bool,
    output: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Bring SOURCE, a directory, file:// URL or s3://bucket/prefix, into COLLECTION.

    Returns at once; the pods do the work. What cannot work for any file is refused here: a source that is missing or
    unreadable, a collection in an unknown zone or without permission, a resource that does not take the operation, a name in
    use. With --wait the exit code says whether files failed, as that of `ingest job watch` does.
    """
    manifest: Path | None = options.pop("manifest")
    if manifest is not None:
        options["manifest"] = str(manifest.absolute())
    settings = invocation.settings(given(options))
    if dry_run:
        return plan(settings, source, collection, name, output, as_json)
    if output is not None or as_json:
        raise UsageError("--output and --json are for plans", "add --dry-run")
    with opened(settings.inventory, queue=settings.job.manifest is not None) as database:
        job = _existing(database, source, name) if if_new else None
        if job is not None:
            click.echo(f"job {job.name} exists already, {job.state}")
        else:
            job = begin(database, settings, source, collection, name, feeds=True)
            click.echo(f"started job {job.name}: {job.source_url} → {job.target_collection}, {job.settings.operation}")
            if job.settings.manifest is not None:
                click.echo(feed(database, job, Path(job.settings.manifest), settings.s3))
        return follow(database, job.name, until_idle=True) if wait else 0


def begin(
    database: Database, settings: Settings, source: str, collection: str, name: str | None, *, feeds: bool = False
) -> Job:
    """Check all that can be checked before the first file, and start a job. Raises UsageError and Unavailable.

    `feeds` says that the caller brings in the files of the job's manifest.
    """
    from inventory import jobs

    settings, chosen, url, handler = check_start(database, settings, source, collection, name, feeds=feeds)
    return jobs.start(database, chosen, url, collection, settings.job, handler=handler)


def check_start(
    database: Database, settings: Settings, source: str, collection: str, name: str | None, *, feeds: bool
) -> tuple[Settings, str, str, HandlerRecord | None]:
    """Check all that can be checked before the first file: the settings as the event handler wants them, the job's name, the
    source's URL, and the record of the handler. Raises UsageError and Unavailable."""
    from core.sources.selection import selected
    from core.sources.urls import open_source, source_url
    from inventory import jobs

    url = source_url(source)
    chosen = _name(url, name)
    if jobs.find(database, chosen) is not None:
        raise UsageError(f"job {chosen!r} exists already", "choose another --name, or see `ingest job list`")
    selected(open_source(url, settings.s3), settings.job).check()
    if settings.job.manifest is not None:
        _check_manifest(url, settings, feeds=feeds)
    if settings.job.notices_queue is not None:
        _check_queue(url, settings)
    settings, handler = choose(settings, chosen, url, collection)
    check_irods(settings, collection)
    return settings, chosen, url, handler


def check_irods(settings: Settings, collection: str) -> None:
    """Check what iRODS has to say of a job. Raises UsageError and Unavailable."""
    from core.irods import Gateway

    with Gateway(settings.irods, as_user=settings.job.client) as gateway:
        if settings.job.client is not None:
            gateway.check_user()
        if settings.job.operation == "verify":
            gateway.check_readable(collection)
        else:
            gateway.check_target(collection)
        if settings.job.resource is not None:
            gateway.check_resource(settings.job.resource, settings.job.operation)


def plan(settings: Settings, source: str, collection: str, name: str | None, output: str | None, as_json: bool) -> int:
    """Check all that `start` checks, and tell what it would do instead of doing it; the exit code. Raises as `begin` does."""
    with opened(settings.inventory) as database:
        settings, _, url, handler = check_start(database, settings, source, collection, name, feeds=True)
    return foretell(settings, url, collection, output, as_json, overrides=handler.overrides if handler else ())


def _check_manifest(url: str, settings: Settings, *, feeds: bool) -> None:
    if not feeds:
        raise UsageError("a manifest is read where the command is run", "use `ingest job start --manifest`")
    if settings.job.rescan_seconds is not None:
        raise UsageError(
            "a job by manifest does not look again", "leave out --rescan; `ingest job add` reads one again"
        )
    assert settings.job.manifest is not None
    check(placing(url, settings.job, settings.s3), Path(settings.job.manifest))


def _check_queue(url: str, settings: Settings) -> None:
    from core.sources.s3_queue import Queue

    if not url.startswith("s3://") or settings.job.rescan_seconds is None:
        words = "notices_queue is for a bucket that is also listed now and then: no notice is certain to come"
        raise UsageError(words, "name an s3:// source, and give --rescan, 86400 for once a day")
    assert settings.job.notices_queue is not None
    queue = Queue(settings.job.notices_queue, settings.s3)
    try:
        queue.check()
    finally:
        queue.close()


def _name(url: str, name: str | None) -> str:
    from core.sources.urls import source_basename

    return checked_name(name or source_basename(url) or "job")


def _existing(database: Database, source: str, name: str | None) -> Job | None:
    from core.sources.urls import source_url
    from inventory import jobs

    return jobs.find(database, _name(source_url(source), name))


def checked_name(name: str) -> str:
    """A name that a shell, a metric label and a Kubernetes annotation take as it is. Raises UsageError."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"job name {name!r} is not usable",
            "--name takes letters, digits, '.', '_' and '-', at most 63, a letter or digit first",
        )
    return name
