"""`ingest audit`: source, inventory and iRODS compared file by file."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import asdict

import click

from core.compare import KINDS
from core.paths import escape
from scripts.dump import one_line
from scripts.frame import Invocation
from scripts.jobs import named, opened
from scripts.sides import handlers_folder, loads_anything, names_of, source_of


@click.command("audit", short_help="Compare source, inventory and iRODS, file by file.")
@click.argument("job")
@click.option("--path", "root", help="Only this directory and what is below it, relative to the source.")
@click.option("--in-flight", is_flag=True, help="Show what is in flight too, not only its number.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a finding, and one at the end with all counts.")
@click.pass_obj
def audit(invocation: Invocation, job: str, root: str | None, in_flight: bool, as_json: bool) -> int:
    """Compare source, inventory and iRODS of JOB, file by file, while pods may work on.

    Sizes and stored checksums are compared, no bytes are read. What the inventory says otherwise of afterwards than before, or
    the next scan will see, is in flight and no fault. Exit code 1: something is wrong. Memory stays bounded at any size.

    A character map is applied as the event handler of JOB on loader.handlers_folder has it.
    """
    from core.irods import Gateway
    from inventory.audit import Audit

    settings = invocation.settings()
    with opened(settings.inventory) as database, ExitStack() as stack:
        chosen = named(database, job)
        source = source_of(chosen, settings)
        catalogue = stack.enter_context(Gateway(settings.irods)) if loads_anything(chosen) else None
        folder = "/".join(escape(part) for part in os.fsencode(root or "").strip(b"/").split(b"/"))
        run = Audit(database, chosen, source, catalogue, folder, names_of(chosen, handlers_folder(settings)))
        for finding in run.findings():
            if finding.kind == "in_flight" and not in_flight:
                continue
            if as_json:
                click.echo(json.dumps(asdict(finding)))
            else:
                kind = click.style(f"{finding.kind:<16}", fg="cyan" if finding.kind == "in_flight" else "red")
                click.echo(f"{kind} {one_line(finding.path)}  [{one_line(finding.detail)}]")
        # dataclasses.asdict takes a Counter for pairs
        plain = {"inventory": dict(run.totals.inventory), "found": dict(run.totals.found)}
        totals = (
            vars(run.totals)
            | plain
            | {"job": job, "faults": run.totals.faults, "irods_compared": catalogue is not None}
        )
        if as_json:
            click.echo(json.dumps({"summary": totals}))
        else:
            _show(totals)
        return 1 if run.totals.faults else 0


def _show(totals: dict[str, object]) -> None:
    states = totals["inventory"]
    assert isinstance(states, dict)
    found = totals["found"]
    assert isinstance(found, dict)
    inventory = " ".join(f"{state}={count}" for state, count in sorted(states.items())) or "nothing"
    click.echo(
        f"source     {totals['source_files']} files, {totals['source_bytes']} bytes, {totals['directories']} directories"
    )
    click.echo(f"inventory  {sum(states.values())} files: {inventory}")
    held = f"{totals['objects']} objects, {totals['replicas']} replicas, {totals['object_bytes']} bytes"
    click.echo(
        f"iRODS      {held if totals['irods_compared'] else 'not compared: operation no_op brings nothing there'}"
    )
    for kind, meaning in KINDS.items():
        if count := found.get(kind):
            click.echo(f"{kind:<16} {count:>12}  {meaning}")
    click.echo(click.style("nothing is wrong", fg="green") if not totals["faults"] else f"{totals['faults']} faults")
