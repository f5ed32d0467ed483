"""`ingest report`: a job's summary and every file of it, signed by counts against source and catalogue."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from scripts.dump import COLUMNS, one_line, row_of
from scripts.failures import group_json
from scripts.frame import Invocation
from scripts.jobs import named, opened
from scripts.output import written
from scripts.report_html import write_html
from scripts.sides import loads_anything, source_of

if TYPE_CHECKING:
    from core.settings import Settings
    from core.sources.base import Source
    from core.sources.totals import SourceTotals
    from inventory.engine import Database
    from inventory.jobs import Job
    from inventory.report import Report

CSV_COLUMNS = ("record", "files", *COLUMNS)


@dataclass
class Witnesses:
    """What source and catalogue say of a job; None where they were not asked, and then `unasked` says why not."""

    source: SourceTotals | None
    catalogue: dict[str, tuple[int, int]] | None
    unasked: dict[str, str]


@click.command("report", short_help="Write a job's summary and files, with totals that add up.")
@click.argument("job")
@click.option(
    "--format", "form", type=click.Choice(("html", "csv", "jsonl")), default="html", show_default=True, help="How."
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format jsonl: one JSON object a line.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Where to; standard output when left out."
)
@click.option("--source/--no-source", default=True, help="List the whole source and compare, or do not.")
@click.option("--catalogue/--no-catalogue", default=True, help="Ask iRODS for its counts and compare, or do not.")
@click.pass_obj
def report(
    invocation: Invocation, job: str, form: str, as_json: bool, output: Path | None, source: bool, catalogue: bool
) -> int:
    """Write the report of JOB: summary, failures with hints, and every file, all as of one instant.

    It is signed by counts: the rows written, the progress table, a listing of the source, and the good replicas that iRODS
    counts below the collection. What was not asked is named. Exit code 1: they do not agree, `ingest audit` says where. Written
    as a stream; a file has its name only once it is whole. A csv has records file, state, failure and check.
    """
    from inventory.report import snapshot

    settings, form = invocation.settings(), "jsonl" if as_json else form
    with opened(settings.inventory) as database:
        chosen = named(database, job)
        witnesses = _ask(database, chosen, settings, source, catalogue)
        with written(output) as out, snapshot(database, chosen) as made:
            {"html": write_html, "csv": _write_csv, "jsonl": _write_jsonl}[form](made, witnesses, out)
            checks = checks_of(made, witnesses)
    agree = all(check["agrees"] for check in checks)
    if output is not None:
        said = ["all counts agree" if agree else "the counts do not agree"]
        said += [f"{what} {why}" for what, why in witnesses.unasked.items()]
        click.echo(f"{output}: {made.total()[0]} files; {'; '.join(said)}")
    return 0 if agree else 1


def _ask(database: Database, job: Job, settings: Settings, source: bool, catalogue: bool) -> Witnesses:
    from core.irods import Gateway
    from core.sources.totals import totals

    counted = listed = None
    unasked = {}
    if not source:
        unasked["source"] = "not asked, by --no-source"
    else:
        of_job = source_of(job, settings)
        listed = totals(of_job) if job.settings.manifest is None else _named(database, job, of_job)
    if not catalogue:
        unasked["good replicas in iRODS"] = "not asked, by --no-catalogue"
    elif not loads_anything(job):
        unasked["good replicas in iRODS"] = "not asked: operation no_op brings nothing there"
    else:
        with Gateway(settings.irods) as gateway:
            counted = gateway.tally(job.target_collection)
    return Witnesses(listed, counted, unasked)


def _named(database: Database, job: Job, source: Source) -> SourceTotals:
    """What the source has of the files that a manifest named; what else is there is no business of the job."""
    from core.sources.totals import SourceTotals
    from inventory.audit import Audit

    audit = Audit(database, job, source, None)
    for _ in audit.findings():
        pass
    return SourceTotals(audit.totals.known_files, audit.totals.known_bytes, audit.totals.found["unreadable"])


def checks_of(report: Report, witnesses: Witnesses) -> list[dict[str, object]]:
    """Which counts were compared, and whether they agree; only to be asked once all files are written."""
    written = [sum(column) for column in zip(*report.written.values(), strict=True)] or [0, 0]
    checks = [_check("rows written", written, "progress", report.total(), report.adds_up)]
    if (listed := witnesses.source) is not None:
        agrees = [listed.files, listed.bytes] == report.present and not listed.unreadable
        known = "files at the source by the inventory"
        checks.append(_check("source", (listed.files, listed.bytes), known, report.present, agrees))
    if witnesses.catalogue is not None:
        from inventory.report import THERE

        held = [sum(column) for column in zip(*(witnesses.catalogue.values() or [(0, 0)]), strict=True)]
        agrees, known = report.agrees_with_catalogue(witnesses.catalogue), "files in iRODS by the inventory"
        checks.append(_check("good replicas in iRODS", held, known, report.total(THERE), agrees))
    return checks


def _check(one: str, counted: Sequence[int], other: str, against: Sequence[int], agrees: bool) -> dict[str, object]:
    return {
        "what": one,
        "files": counted[0],
        "bytes": counted[1],
        "against": other,
        "against_files": against[0],
        "against_bytes": against[1],
        "agrees": agrees,
    }


def head_of(report: Report) -> dict[str, object]:
    """What the report is about."""
    job = report.job
    return {
        "job": job.name,
        "state": job.state,
        "at": report.at.isoformat(),
        "source": job.source_url,
        "collection": job.target_collection,
        "operation": job.settings.operation,
        "verify_level": job.settings.verify_level,
        "started_at": job.started_at.isoformat(),
        "finished_at": job.finished_at.isoformat() if job.finished_at else None,
        "directories": report.directories,
    }


def _write_jsonl(report: Report, witnesses: Witnesses, out: TextIO) -> None:
    out.write(json.dumps({"report": head_of(report)}) + "\n")
    for line in report.files():
        out.write(json.dumps(row_of(line), default=str) + "\n")
    files, size = report.total()
    summary = {
        "states": {count.state: {"files": count.files, "bytes": count.bytes} for count in report.counts},
        "files": files,
        "bytes": size,
        "failures": [group_json(group) for group in report.groups],
        "replicas": {
            resource: {"replicas": count, "bytes": held}
            for resource, (count, held) in (witnesses.catalogue or {}).items()
        },
        "checks": checks_of(report, witnesses),
        "unchecked": witnesses.unasked,
    }
    out.write(json.dumps({"summary": summary}, default=str) + "\n")


def _write_csv(report: Report, witnesses: Witnesses, out: TextIO) -> None:
    table = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    table.writeheader()
    for line in report.files():
        row = row_of(line)
        texts = {key: one_line(str(row[key] or "")) for key in ("path", "message")}
        table.writerow({"record": "file", "files": 1} | row | texts)
    job = report.job.name
    for count in report.counts:
        table.writerow({"record": "state", "state": count.state, "files": count.files, "size": count.bytes, "job": job})
    for group in report.groups:
        files = group.dead + group.retrying + group.skipped + group.recovered
        row = {"record": "failure", "error": group.error, "files": files, "size": group.bytes, "job": job}
        table.writerow(row | {"message": str(group_json(group)["hint"])})
    for check in checks_of(report, witnesses):
        message = f"{check['against']}: {check['against_files']} files, {check['against_bytes']} bytes"
        agrees = "agrees" if check["agrees"] else "DISAGREES"
        table.writerow(
            {"record": "check", "state": agrees, "files": check["files"], "size": check["bytes"], "job": job,
             "path": check["what"], "message": message}
        )  # fmt: skip
    for what, why in witnesses.unasked.items():
        table.writerow({"record": "check", "state": "unchecked", "job": job, "path": what, "message": why})
