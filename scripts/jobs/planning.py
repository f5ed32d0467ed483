"""Telling what a job would do: lines for programs, a table for people, and what no plan can know."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from core.planned import ACTIONS
from core.settings import JobSettings, Settings
from scripts.frame import Invocation
from scripts.output import written

if TYPE_CHECKING:
    from core.sources.base import Source
    from inventory.engine import Database
    from inventory.jobs import Job
    from inventory.plan import Totals

Command = TypeVar("Command", bound=Callable[..., Any])


def plan_options(command: Command) -> Command:
    """Add the options of plans to a command."""
    command = click.option("--json", "as_json", is_flag=True, help="The summary of a plan as one JSON object.")(command)
    return click.option("--output", help="Write a plan as jsonl, a line a file, into this file; '-': standard output.")(
        command
    )


def foretell(
    settings: Settings,
    url: str,
    collection: str,
    output: str | None,
    as_json: bool,
    *,
    overrides: Sequence[str] = (),
    job: Job | None = None,
    database: Database | None = None,
) -> int:
    """Tell what a job of these settings would do, or a job that exists (`job`, with its inventory) at its next pass.

    `overrides` are the events in which the job's event handler has a say. The exit code: 1 where something cannot work.
    """
    from core.irods import Gateway
    from core.sources.selection import selected
    from core.sources.urls import open_source
    from inventory.plan import Plan, Planned, unfiltered

    elsewhere = 0
    if settings.job.manifest is not None:
        source, elsewhere = _named(settings, url, job, database)
    else:
        source = selected(open_source(url, settings.s3), unfiltered(settings.job))
    planned = Planned(source, url, collection, settings.job, job.id if job else None)
    with Gateway(settings.irods, as_user=settings.job.client) as gateway:
        foresight = gateway.foresight(settings.job.operation, settings.job.resource)
        plan = Plan(planned, gateway, foresight, database)
        with _lines(output) as write:
            for step in plan.steps():
                write(step._asdict())
            summary = _summary(plan.totals, settings.job, url, collection, overrides, job)
            summary |= {"elsewhere": elsewhere} if settings.job.manifest is not None else {}
            write({"summary": summary})
    if as_json and output != "-":
        click.echo(json.dumps(summary))
    elif output != "-":
        _show(summary)
    return 1 if {"refuse", "unreadable"} & plan.totals.actions.keys() else 0


def _named(settings: Settings, url: str, job: Job | None, database: Database | None) -> tuple[Source, int]:
    """The files that a manifest names, or those of a job, and how many lines are of another bucket or prefix.

    Raises UsageError and Unavailable.
    """
    from core.sources.selection import linked
    from core.sources.urls import open_source
    from inventory import manifested
    from scripts.jobs.add import manifested as read

    if job is not None and database is not None:
        return manifested.of_job(database, job.id, linked(open_source(url, settings.s3), settings.job)), 0
    return read(settings, url)


@contextmanager
def _lines(output: str | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """What writes one JSON object a line to where it was asked for."""
    if output is None:
        yield lambda line: None
        return
    with written(None if output == "-" else Path(output)) as file:
        yield lambda line: print(json.dumps(line), file=file)


def _summary(
    totals: Totals, settings: JobSettings, url: str, collection: str, overrides: Sequence[str], job: Job | None
) -> dict[str, Any]:
    allowed = totals.allowed_deletes(settings)
    return {
        "job": job.name if job else None,
        "source": url,
        "collection": collection,
        "operation": settings.operation,
        "actions": {
            action: {"files": n.files, "directories": n.directories, "bytes": n.bytes, "why": dict(n.why.most_common())}
            for action in ACTIONS
            if (n := totals.actions.get(action)) is not None
        },
        "sent_bytes": totals.sent_bytes,
        "directories": totals.directories,
        "new_collections": totals.new_collections,
        "escaped_names": totals.escaped_names,
        "only_in_irods": {
            "objects": totals.only_in_irods,
            "bytes": totals.only_in_irods_bytes,
            "other_collections": totals.other_collections,
        },
        "deletes_held": totals.deletes if totals.deletes > allowed else 0,
        "unknown": _unknown(totals, settings, overrides, job),
    }


def _unknown(totals: Totals, settings: JobSettings, overrides: Sequence[str], job: Job | None) -> list[str]:
    """What this plan does not know, in sentences."""
    said = ["what changes at the source or in iRODS from now on"]
    if settings.operation.startswith("put") and {"put_again", "append", "leave"} & totals.actions.keys():
        said.append("whether files of the same size have the same bytes: no byte is read for a plan")
    if settings.operation == "verify":
        said.append("whether bytes are the same: only sizes were compared")
    if settings.operation.startswith("register"):
        said.append("checksums, and whether the server can read a file where it lies")
    if settings.manifest is not None and job is not None:
        said.append("what other manifests will bring, and whether the files that are left to do are still there")
    elif settings.manifest is not None:
        said.append("whether files of which the manifest gives size and time are there, and are like that")
    elif job is None and settings.delete_mode != "do_not_delete":
        said.append(
            f"what delete_mode {settings.delete_mode} deletes: its first pass nothing, later what the job has brought "
            "itself and the source has lost by then; what only iRODS has stays"
        )
    if "skip" in totals.actions and totals.actions["skip"].directories:
        said.append("what is in directories that filters leave out: they are not listed")
    if "unreadable" in totals.actions:
        said.append("what is in directories that cannot be listed; nothing of theirs is deleted")
    if settings.settle_seconds:
        said.append(f"which files wait, for they are younger than {settings.settle_seconds:g} s")
    from core.handlers.api import ANSWERS, JOB_EVENTS

    if per_file := [event for event in overrides if event in ANSWERS or event not in JOB_EVENTS]:
        said.append(
            f"what the event handler says of single files ({', '.join(per_file)}): it was asked for the root only"
        )
    return said


def _show(summary: dict[str, Any]) -> None:
    click.echo(f"{summary['source']} → {summary['collection']}, {summary['operation']}; nothing was changed")
    for action, count in summary["actions"].items():
        places = f" and {count['directories']} directories" if count["directories"] else ""
        click.echo(f"{action:<15} {count['files']:>12} files{places}, {count['bytes']} bytes: {ACTIONS[action]}")
        for why, number in count["why"].items():
            click.echo(f"{'':<15} {number:>12} {why}")
    click.echo(
        f"{summary['sent_bytes']} bytes are sent, {summary['new_collections']} collections are made, "
        f"{summary['escaped_names']} names are escaped; {summary['directories']} directories were listed"
    )
    only = summary["only_in_irods"]
    if only["objects"] or only["other_collections"]:
        click.echo(
            f"only in iRODS, and left there: {only['objects']} objects, {only['bytes']} bytes"
            + (
                f", and {only['other_collections']} collections that were not looked into"
                * bool(only["other_collections"])
            )
        )
    if summary.get("elsewhere"):
        click.echo(f"{summary['elsewhere']} lines of the manifest are of another bucket or prefix")
    if summary["deletes_held"]:
        click.echo(f"the guard holds {summary['deletes_held']} deletions back until `ingest job confirm-deletes`")
    click.echo("a plan does not know " + "; ".join(summary["unknown"]))


def plan_job(invocation: Invocation, name: str, output: str | None, as_json: bool) -> int:
    """Tell what the next pass of a job that exists would do; the exit code. Raises UsageError and Unavailable."""
    from core.sources.selection import selected
    from core.sources.urls import open_source
    from scripts.jobs.group import named, opened

    settings = invocation.settings()
    with opened(settings.inventory) as database:
        job = named(database, name)
        settings = settings.model_copy(update={"job": job.settings})
        if job.settings.manifest is None:
            selected(open_source(job.source_url, settings.s3), job.settings).check()
        overrides = job.handler.overrides if job.handler else ()
        return foretell(
            settings, job.source_url, job.target_collection, output, as_json,
            overrides=overrides, job=job, database=database,
        )  # fmt: skip
