"""`ingest job list` and `ingest job show`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from core.errors import UsageError
from core.readable import size, span
from scripts.frame import Invocation
from scripts.jobs.group import group, opened

if TYPE_CHECKING:
    from inventory.standing import Standing


@group.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def listed(invocation: Invocation, as_json: bool) -> None:
    """List jobs: state, files, bytes, failures, rate and time left."""
    from inventory.standing import standings

    with opened(invocation.settings().inventory) as database:
        for standing in standings(database):
            click.echo(json.dumps(row(standing)) if as_json else line(standing))


@group.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@click.pass_obj
def show(invocation: Invocation, name: str, as_json: bool) -> None:
    """Show all that is known of one job."""
    from inventory.standing import standings

    with opened(invocation.settings().inventory) as database:
        found = standings(database, name)
    if not found:
        raise UsageError(f"there is no job {name!r}", "see `ingest job list`")
    if as_json:
        click.echo(json.dumps(row(found[0])))
        return
    for key, value in _facts(found[0]).items():
        click.echo(f"{key:<14} {value}")


def row(standing: Standing) -> dict[str, object]:
    """What is told of a job in JSON: times are ISO 8601, durations in seconds, rates in files and bytes a second."""
    job, total, done = standing.job, standing.total, standing.done
    load, verify = (standing.rates.get(stage) for stage in ("load", "verify"))
    left = standing.seconds_left
    return {
        "job": job.name,
        "state": job.state,
        "source": job.source_url,
        "collection": job.target_collection,
        "operation": job.settings.operation,
        "delete_mode": job.settings.delete_mode,
        "rescan_seconds": job.settings.rescan_seconds,
        "priority": job.settings.priority,
        "max_in_flight": job.settings.max_in_flight,
        "started_at": job.started_at.isoformat(),
        "finished_at": job.finished_at.isoformat() if job.finished_at else None,
        "scanning": standing.scanning,
        "files": {state: int(amount.files) for state, amount in standing.states.items()},
        "total_files": int(total.files),
        "total_bytes": int(total.bytes),
        "done_files": int(done.files),
        "done_bytes": int(done.bytes),
        "failed_files": standing.failed_files,
        "failed_directories": standing.failed_directories,
        "retries": standing.retries,
        "held_deletes": standing.held_deletes,
        "elapsed_seconds": round(standing.elapsed_seconds, 1),
        "load_files_per_second": round(load.files, 2) if load else 0.0,
        "load_bytes_per_second": round(load.bytes) if load else 0,
        "verify_files_per_second": round(verify.files, 2) if verify else 0.0,
        "verify_bytes_per_second": round(verify.bytes) if verify else 0,
        "seconds_left": None if left is None else round(left, 1),
    }


def line(standing: Standing) -> str:
    """A job in one line."""
    job, total, done = standing.job, standing.total, standing.done
    states = " ".join(f"{state}={amount.files:.0f}" for state, amount in standing.states.items()) or "nothing yet"
    return (
        f"{job.name}: {job.state}, {job.settings.operation}, {done.files:.0f} of {total.files:.0f} files,"
        f" {size(done.bytes)} of {size(total.bytes)}, {_failures(standing)}, {rate(standing)}, {left(standing)}: {states}"
        + (f"; {_held(standing)}" if standing.held_deletes else "")
    )


def _facts(standing: Standing) -> dict[str, str]:
    job, total, done = standing.job, standing.total, standing.done
    settings = job.settings
    often = f"every {settings.rescan_seconds:g} s" if settings.rescan_seconds else "one pass"
    return {
        "job": job.name,
        "state": job.state + (", scanning" if standing.scanning else ""),
        "source": job.source_url,
        "collection": job.target_collection,
        "operation": f"{settings.operation}, delete mode {settings.delete_mode}, {often}",
        "started": f"{job.started_at:%Y-%m-%d %H:%M:%S} UTC",
        "elapsed": span(standing.elapsed_seconds),
        "files": f"{done.files:.0f} of {total.files:.0f} done",
        "bytes": f"{size(done.bytes)} of {size(total.bytes)} done",
        "states": " ".join(f"{state}={amount.files:.0f}" for state, amount in standing.states.items()) or "nothing yet",
        "failures": _failures(standing),
        "deletions": _held(standing),
        "rate": rate(standing),
        "time left": left(standing),
        "priority": str(settings.priority),
        "max in flight": "no limit" if settings.max_in_flight is None else str(settings.max_in_flight),
    }


def _held(standing: Standing) -> str:
    if not standing.held_deletes:
        return "none held back"
    return f"{standing.held_deletes} held back, see `ingest job confirm-deletes {standing.job.name}`"


def _failures(standing: Standing) -> str:
    directories = f" and {standing.failed_directories} directories" if standing.failed_directories else ""
    return f"{standing.failed_files} failed{directories}, {standing.retries} retries"


def rate(standing: Standing) -> str:
    """How fast files are loaded and verified."""
    parts = []
    for stage, word in (("load", "loaded"), ("verify", "verified")):
        if (speed := standing.rates.get(stage)) is not None and speed.files:
            parts.append(f"{word} {speed.files:.1f} files/s {size(speed.bytes)}/s")
    return ", ".join(parts) or "0 files/s"


def left(standing: Standing) -> str:
    """How long it will take."""
    seconds = standing.seconds_left
    if seconds is None:
        return "time left unknown"
    if seconds == 0:
        return "scanning" if standing.scanning else "nothing left"
    return f"{'at least ' if standing.scanning else ''}{span(seconds)} left"
