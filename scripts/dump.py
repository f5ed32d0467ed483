"""`ingest dump`: one line a file, or the counts by state."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

import click

from core.paths import ways_of_prefix
from core.sources.base import KINDS
from scripts.frame import Invocation
from scripts.jobs import named, opened

if TYPE_CHECKING:
    from inventory.queries import FileLine, StateCount

COLUMNS = (
    "state",
    "load_start",
    "load_finish",
    "load_seconds",
    "load_attempts",
    "load_pod",
    "verify_start",
    "verify_finish",
    "verify_seconds",
    "verify_attempts",
    "verify_pod",
    "verify_result",
    "size",
    "modified",
    "generation",
    "reloads",
    "checksum",
    "retry_at",
    "error",
    "message",
    "job",
    "path",
)
"""The columns of csv and jsonl; times are ISO 8601 in UTC, durations in seconds, sizes in bytes."""

_TABLE = "{state:<10} {load_start:<19} {load_finish:<19} {load_seconds:>9} {load_attempts:>2} {load_pod:<24.24} "
_TABLE += "{verify_start:<19} {verify_finish:<19} {verify_seconds:>9} {verify_result:<18.18} {size:>13} {path}{why}"
STATES = (
    "discovered",
    "loading",
    "loaded",
    "verifying",
    "verified",
    "vanished",
    "deleting",
    "deleted",
    "skipped",
    "dead",
)


@click.command("dump", short_help="Show every file: state, start, finish, pods, error.")
@click.option("--job", help="Only this job.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), help="Only files in this state; may be repeated."
)
@click.option("--error", "errors", multiple=True, help="Only files whose last failure has this class; may be repeated.")
@click.option("--prefix", help="Only paths that begin so, as they are below the source or as we write them.")
@click.option(
    "--format", "form", type=click.Choice(("table", "csv", "jsonl")), default="table", show_default=True, help="How."
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format jsonl: one JSON object a line.")
@click.option("--summary", is_flag=True, help="Only the counts by job and state, from the progress table.")
@click.pass_obj
def dump(
    invocation: Invocation,
    job: str | None,
    states: tuple[str, ...],
    errors: tuple[str, ...],
    prefix: str | None,
    form: str,
    as_json: bool,
    summary: bool,
) -> None:
    """Show every file: state, start, finish and runtime of loading and verifying, pods, error.

    Output is streamed, so its length does not matter. In tables and csv a line break or tab in a name is shown as \\n or \\t;
    bytes that are no UTF-8, and control characters, as %XX.
    """
    from inventory import queries

    out, form = sys.stdout, "jsonl" if as_json else form
    with opened(invocation.settings().inventory) as database:
        if job is not None:
            named(database, job)
        if summary:
            write_summary(queries.summary(database, job), form, out)
            return
        chosen = queries.Chosen(job, states, errors, ways_of_prefix(prefix or ""))
        write_files(queries.files(database, chosen), form, out)


def write_files(lines: Iterable[FileLine], form: str, out: TextIO) -> None:
    """Write one line a file in one of the three formats."""
    if form == "jsonl":
        for line in lines:
            out.write(json.dumps(row_of(line), default=str) + "\n")
        return
    if form == "csv":
        table = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        table.writeheader()
        for line in lines:
            row = row_of(line)
            table.writerow(row | {key: one_line(str(row[key] or "")) for key in ("path", "message")})
        return
    out.write(_TABLE.format(**{key: key.upper() for key in COLUMNS}, why="").replace("LOAD_ATTEMPTS", "N") + "\n")
    for line in lines:
        out.write(table_line(line) + "\n")


def row_of(line: FileLine) -> dict[str, object]:
    """A file as the columns say it."""
    return {
        "state": line.state,
        "load_start": _iso(line.load_started_at),
        "load_finish": _iso(line.load_finished_at),
        "load_seconds": line.load_seconds,
        "load_attempts": line.load_attempts,
        "load_pod": line.load_pod,
        "verify_start": _iso(line.verify_started_at),
        "verify_finish": _iso(line.verify_finished_at),
        "verify_seconds": line.verify_seconds,
        "verify_attempts": line.verify_attempts,
        "verify_pod": line.verify_pod,
        "verify_result": result_of(line),
        "size": line.size,
        "modified": _iso(line.modified_at),
        "generation": line.generation,
        "reloads": line.reloads,
        "checksum": line.checksum,
        "retry_at": _iso(line.retry_at),
        "error": line.error or (KINDS.get(line.kind) if line.kind != "f" else None),
        "message": line.message,
        "job": line.job,
        "path": line.path,
    }


def result_of(line: FileLine) -> str | None:
    """PASSED, the class of a failed verification, or nothing where none has ended."""
    if line.state == "verified":
        return "PASSED"
    return line.error if line.verify_attempts and line.state in ("dead", "discovered", "loaded") else None


def table_line(line: FileLine) -> str:
    """A file as a line of the table."""
    row: dict[str, object] = {key: "-" if value is None else value for key, value in row_of(line).items()}
    for key in ("load_start", "load_finish", "verify_start", "verify_finish"):
        row[key] = str(row[key])[:19]
    for key in ("load_seconds", "verify_seconds"):
        row[key] = f"{row[key]:.3f}" if isinstance(row[key], float) else "-"
    row["path"] = one_line(line.path)
    why = f"  [{row['error']}: {one_line(line.message or '')}]" if row["error"] != "-" else ""
    return _TABLE.format(**row, why=why)


def write_summary(counts: Iterable[StateCount], form: str, out: TextIO) -> None:
    """Write files and bytes by job and state, and their sums."""
    if form == "jsonl":
        for count in counts:
            out.write(
                json.dumps({"job": count.job, "state": count.state, "files": count.files, "bytes": count.bytes}) + "\n"
            )
        return
    if form == "csv":
        table = csv.writer(out, lineterminator="\n")
        table.writerow(("job", "state", "files", "bytes"))
        table.writerows((count.job, count.state, count.files, count.bytes) for count in counts)
        return
    out.write(f"{'JOB':<32} {'STATE':<10} {'FILES':>15} {'BYTES':>20}\n")
    files = size = 0
    for count in counts:
        out.write(f"{count.job:<32} {count.state:<10} {count.files:>15} {count.bytes:>20}\n")
        files, size = files + count.files, size + count.bytes
    out.write(f"{'':<32} {'total':<10} {files:>15} {size:>20}\n")


def one_line(value: str) -> str:
    """Text that stays on its line."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")


def _iso(stamp: datetime | None) -> str | None:
    return stamp.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if stamp else None
