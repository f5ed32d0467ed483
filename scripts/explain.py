"""`ingest explain`: all that is known about one file, and what happens to it next."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urlsplit

import click

from core import hints, readable
from core.errors import UsageError
from core.paths import escape
from core.sources import keys
from core.sources.base import KINDS
from scripts.dump import one_line
from scripts.frame import Invocation
from scripts.jobs import opened
from scripts.sides import handlers_folder, logical_path_of, names_of

if TYPE_CHECKING:
    from core.handlers.folder import HandlersFolder
    from inventory.engine import Database
    from inventory.explain import Explained
    from inventory.jobs import Job

LEVELS = {"r": "rehash", "s": "stat", "c": "catalog"}


@click.command("explain", short_help="Tell all about one file, and what is next.")
@click.argument("path")
@click.option("--job", "name", help="The job; needed when several know the path.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a job that knows the path.")
@click.pass_obj
def explain(invocation: Invocation, path: str, name: str | None, as_json: bool) -> int:
    """Tell all about PATH: stamps, attempts, errors, checksums, pods, what happens next and when.

    PATH is a path or URL at the source, a logical path in iRODS, or a path relative to the source, as a person types it or as other
    commands show it. Exit code 1: no job knows it. Where the job's event handler maps names, a logical path is found with the
    handler on loader.handlers_folder.
    """
    from inventory.explain import explain as ask

    settings = invocation.settings()
    handlers = handlers_folder(settings)
    with opened(settings.inventory) as database:
        told = [
            [ask(database, job, relative) for relative in ways]
            for job, ways in _candidates(database, path, name, handlers)
        ]
        # of each job the file that is meant, else the directory, else the first of what may have been meant
        best = [next(filter(_is_file, ways), next(filter(_is_known, ways), ways[0])) for ways in told]
        known = [one for one in best if _is_known(one)]
        for one in [one for one in known if _is_file(one)] or known or best:
            logical_path, remark = logical_path_of(one, handlers)
            if as_json:
                click.echo(json.dumps(as_dict(one, logical_path, remark), default=_text))
            else:
                _show(one, logical_path, remark)
    return 0 if known else 1


def _is_file(told: Explained) -> bool:
    return told.file is not None


def _is_known(told: Explained) -> bool:
    return told.file is not None or (told.directory or {}).get("path") == told.path


def _candidates(
    database: Database, path: str, name: str | None, handlers: HandlersFolder
) -> list[tuple[Job, list[str]]]:
    """The jobs that the path may belong to, each with the escaped paths relative to its source that may be meant. Raises
    UsageError."""
    from inventory import jobs

    every = [job for job in jobs.listed(database) if name is None or job.name == name]
    if name is not None and not every:
        raise UsageError(f"there is no job {name!r}", "see `ingest job list`")
    found = [
        (job, list(dict.fromkeys([*_mapped_ways(database, job, path, handlers), *ways_of(job, path)]))) for job in every
    ]
    if not any(ways for _, ways in found):
        raise UsageError(f"{path} lies below no job's source or collection", "see `ingest job list`")
    return [(job, ways) for job, ways in found if ways]


def _mapped_ways(database: Database, job: Job, path: str, handlers: HandlersFolder) -> list[str]:
    """What a logical path stands for where the job's event handler maps names, and is at hand."""
    from inventory.mapped import original

    logical = _below(path.rstrip("/"), job.target_collection.rstrip("/"))
    if not logical:
        return []
    try:
        names = names_of(job, handlers)
    except UsageError:
        return []
    found = original(database, job, logical, names) if names is not None else None
    return [] if found is None else [found]


def ways_of(job: Job, path: str) -> list[str]:
    """The escaped paths relative to a job's source that a person may have meant, the likeliest first; none: it is not the job's."""
    ways = [_below(path.rstrip("/"), job.target_collection.rstrip("/"))]
    if job.source_url.startswith("s3://"):
        ways += _ways_of_key(job, path)
    elif path.startswith("file://"):
        ways.append(_inside(job, unquote_to_bytes(urlsplit(path).path)))
    elif "://" not in path:
        if not path.startswith("/"):
            ways += [_escaped(os.fsencode(path).strip(b"/")), path.strip("/")]
        ways.append(_inside(job, os.fsencode(os.path.abspath(path))))
    return [way for way in ways if way is not None and _is_text(way)]


def _is_text(path: str) -> bool:
    """Whether it can be a path in the inventory: what a person types may be bytes that are no UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in path)


def _ways_of_key(job: Job, path: str) -> list[str | None]:
    """A key is written as it is, without quoting; an object that shares its key with a prefix has a mark of its own at the end."""
    if path.startswith("s3://"):
        key = _below(path, job.source_url.rstrip("/"))
    else:
        key = None if "://" in path or path.startswith("/") else path
    if not key:
        return [key]
    name, directory = keys.path_of(key), keys.path_of(key.rstrip("/"))
    return [f"{name}{keys.SLASH}", name, directory, path.strip("/") if key == path else None]


def _inside(job: Job, path: bytes) -> str | None:
    inside = _below_bytes(path, unquote_to_bytes(urlsplit(job.source_url).path))
    return None if inside is None else _escaped(inside)


def _escaped(path: bytes) -> str:
    return "/".join(escape(part) for part in path.split(b"/"))


def _below(path: str, root: str) -> str | None:
    if path == root:
        return ""
    return path.removeprefix(root + "/") if path.startswith(root + "/") else None


def _below_bytes(path: bytes, root: bytes) -> bytes | None:
    path, root = path.rstrip(b"/"), root.rstrip(b"/")
    if path == root:
        return b""
    return path.removeprefix(root + b"/") if path.startswith(root + b"/") else None


def as_dict(told: Explained, logical_path: str | None, remark: str | None) -> dict[str, object]:
    """What is known as JSON: times ISO 8601 in UTC, sizes bytes, paths escaped."""
    job = told.job
    return {
        "job": job.name,
        "job_state": job.state,
        "path": told.path,
        "source": told.place,
        "logical_path": logical_path,
        "logical_path_remark": remark,
        "operation": job.settings.operation,
        "file": told.file,
        "directory": told.directory,
        "attempts": [asdict(attempt) | {"hint": hints.advice(attempt.error).hint} for attempt in told.attempts],
        "next": told.next,
        "next_at": told.next_at,
    }


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _show(told: Explained, logical_path: str | None, remark: str | None) -> None:
    click.echo(click.style(one_line(told.path or "(the source's root)"), bold=True))
    rows = [("job", f"{told.job.name}, {told.job.state}, {told.job.settings.operation}")]
    rows += [("source", told.place), ("iRODS", "; ".join(filter(None, (logical_path, remark))))]
    rows += _file_rows(told.file) if told.file is not None else []
    rows += _directory_rows(told.directory) if told.directory is not None else []
    for key, value in rows:
        click.echo(f"  {key:<10} {readable.printable(one_line(value))}")
    for attempt in told.attempts:
        which = (
            f"attempt {attempt.attempt}{', the last' if attempt.permanent else ''} of generation {attempt.generation}"
        )
        failed = click.style("failed    ", fg="red")
        click.echo(f"  {failed} {_when(attempt.failed_at)} {attempt.stage}, {which} by {attempt.pod}: {attempt.error}")
        click.echo(f"             {one_line(attempt.message)}")
    if told.attempts and (hint := hints.advice(told.attempts[0].error).hint):
        click.echo(f"  {'do':<10} {hint}")
    at = f" (at {_when(told.next_at)})" if told.next_at is not None else ""
    click.echo(f"  {'next':<10} {told.next}{at}")


def _file_rows(file: dict[str, object]) -> list[tuple[str, str]]:
    kind = KINDS.get(str(file["kind"]), "file")
    counters = [f"{file[key]} {key}" for key in ("reloads", "reaps") if file[key]]
    rows = [
        ("state", ", ".join([str(file["state"]), *counters])),
        (
            "file",
            f"{kind}, {file['size']} bytes, modified {_when(file['modified_at'])}, generation {file['generation']}",
        ),
        ("found", _when(file["discovered_at"])),
    ]
    if file["checksum"] or file["source_tag"]:
        tag = f", source tag {file['source_tag']}" if file["source_tag"] else ""
        rows.append(("checksum", f"{file['checksum'] or 'none yet'}{tag}"))
    for stage, by in (("load", "loaded_by"), ("verify", "verified_by")):
        if file[f"{stage}_started_at"] or file[f"{stage}_attempts"]:
            level = LEVELS.get(str(file["verify_level"])) if stage == "verify" else None
            span = f"{_when(file[f'{stage}_started_at'])} to {_when(file[f'{stage}_finished_at'])}"
            who = f"{file[f'{stage}_attempts']} attempts, by {file[by] or file['held_by'] or '-'}"
            rows.append((stage, ", ".join(filter(None, (span, who, level)))))
    if file["deleted_at"]:
        rows.append(("deleted", _when(file["deleted_at"])))
    if file["held_by"]:
        rows.append(
            (
                "held by",
                f"{file['held_by']} (worker {file['claimed_by']}), last heard of {_when(file['held_heartbeat_at'])}",
            )
        )
    return rows


def _directory_rows(directory: dict[str, object]) -> list[tuple[str, str]]:
    scanned = f"scanned {_when(directory['scan_finished_at'])}, next {_when(directory['next_scan_at'])}"
    made = f"made {_when(directory['collection_made_at'])}" if directory["collection_made_at"] else "not made yet"
    if directory["collection_dead"]:
        made = f"could not be made ({directory['collection_attempts']} attempts)"
    return [
        ("directory", f"{directory['path'] or '/'} is {directory['state']}, {scanned}"),
        ("collection", made),
    ]


def _when(stamp: object) -> str:
    return f"{stamp:%Y-%m-%d %H:%M:%S} UTC" if isinstance(stamp, datetime) else "-"
