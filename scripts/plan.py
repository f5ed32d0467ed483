"""`ingest plan`: what a job would do, without doing it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from core.errors import UsageError
from scripts.frame import Invocation
from scripts.jobs.filtering import given
from scripts.jobs.planning import plan_job
from scripts.jobs.start import plan as plan_new
from scripts.jobs.start import start

_NOT_OF_A_PLAN = ("source", "collection", "if_new", "wait", "dry_run")
_OPTIONS = [parameter for parameter in start.params if parameter.name not in _NOT_OF_A_PLAN]


@click.command("plan", short_help="Say what a job would do, without doing it.", params=_OPTIONS)
@click.argument("source", required=False)
@click.argument("collection", required=False)
@click.option("--job", help="Instead of a new job: what the next pass of this one would do, by its own settings.")
@click.pass_obj
def plan(
    invocation: Invocation,
    /,
    source: str | None,
    collection: str | None,
    job: str | None,
    name: str | None,
    output: str | None,
    as_json: bool,
    manifest: Path | None,
    **options: Any,
) -> int:
    """Say what `ingest job start SOURCE COLLECTION` would do with these options, with files and bytes by kind of action.

    Source (or the files that --manifest names) and iRODS are listed and compared; no byte is read, nothing is written, not even
    to the inventory. What `start` refuses is refused. Exit code 1: for some files it cannot work, or directories cannot be
    listed. Memory stays bounded at any size.
    """
    wanted = given(options | {"manifest": str(manifest.absolute()) if manifest else None})
    if job is not None:
        if source is not None or name is not None or wanted:
            raise UsageError("--job is planned by its own source and settings", "give nothing else, or leave --job out")
        return plan_job(invocation, job, output, as_json)
    if source is None or collection is None:
        raise UsageError("nothing to plan", "give SOURCE and COLLECTION, or --job")
    return plan_new(invocation.settings(wanted), source, collection, name, output, as_json)
