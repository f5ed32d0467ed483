"""`ingest doctor`: is everything as it should be, and what is to be changed?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import click

from core.checkup import Check
from core.errors import IngestError
from core.settings import JobSettings, Settings
from scripts.frame import Invocation
from scripts.jobs import named, opened

COLORS = {"OK": "green", "WARN": "yellow", "FAIL": "red"}


@dataclass(frozen=True)
class Patient:
    """What is looked at: settings, those of the job, a source's URL and a target collection where they are known."""

    settings: Settings
    job: JobSettings
    source: str | None
    target: str | None


def _inventory(patient: Patient) -> Iterator[Check]:
    from inventory.checkup import check

    return check(patient.settings.inventory)


def _irods(patient: Patient) -> Iterator[Check]:
    from core.irods.checkup import check

    job = patient.job
    return check(patient.settings.irods, resource=job.resource, operation=job.operation, target=patient.target)


def _source(patient: Patient) -> Iterator[Check]:
    from core.sources.checkup import check
    from core.sources.selection import selected
    from core.sources.urls import open_source

    if patient.source is not None:
        yield from check(
            patient.source,
            selected(open_source(patient.source, patient.settings.s3), patient.job),
            trust_directory_mtime=patient.job.trust_directory_mtime,
        )


def _cluster(_patient: Patient) -> Iterator[Check]:
    from k8s.checks import check

    return check()


PARTS: dict[str, Callable[[Patient], Iterator[Check]]] = {
    "inventory": _inventory,
    "irods": _irods,
    "source": _source,
    "cluster": _cluster,
}
"""What can be looked at, in order. A part that raises an IngestError has failed; one that does not apply says nothing."""


@click.command("doctor", short_help="Check Postgres, iRODS, source, cluster; say what to change.")
@click.argument("source", required=False)
@click.option("--job", help="Take source, collection and settings from this job.")
@click.option("--only", "only", multiple=True, type=click.Choice(list(PARTS)), help="Only this part; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a check.")
@click.pass_obj
def doctor(invocation: Invocation, source: str | None, job: str | None, only: tuple[str, ...], as_json: bool) -> int:
    """Check Postgres, iRODS, SOURCE and the cluster: one line each, OK, WARN or FAIL, with what to change.

    iRODS is tried by putting, verifying and removing a small file in a scratch collection of the user's home; nothing is
    written to the source or to the cluster, which is that of KUBECONFIG or of the pod this runs in. Exit code 1: something has
    failed. Warnings alone give 0.
    """
    patient = _patient(invocation.settings(), source, job)
    counts = {"OK": 0, "WARN": 0, "FAIL": 0}
    for check in _checks(patient, only or tuple(PARTS)):
        counts[check.verdict] += 1
        if as_json:
            click.echo(json.dumps(check._asdict()))
            continue
        hint = f"; {check.hint}" if check.hint else ""
        verdict = click.style(f"{check.verdict:<4}", fg=COLORS[check.verdict])
        click.echo(f"{verdict} {check.part:<9} {check.name}: {' '.join(check.message.split())}{hint}")
    if not as_json:
        click.echo(f"{counts['OK']} OK, {counts['WARN']} warnings, {counts['FAIL']} failures")
    return 1 if counts["FAIL"] else 0


def _patient(settings: Settings, source: str | None, job: str | None) -> Patient:
    from core.sources.urls import source_url

    if job is None:
        return Patient(settings, settings.job, source_url(source) if source else None, None)
    with opened(settings.inventory) as database:
        chosen = named(database, job)
    url = source_url(source) if source else chosen.source_url
    return Patient(settings, chosen.settings, url, chosen.target_collection)


def _checks(patient: Patient, parts: tuple[str, ...]) -> Iterator[Check]:
    for part in parts:
        try:
            yield from PARTS[part](patient)
        except IngestError as problem:
            yield Check(part, "answers", "FAIL", problem.message, problem.hint)
