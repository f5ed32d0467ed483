"""`ingest job delete`: remove a job's rows from the inventory."""

from __future__ import annotations

from pathlib import Path

import click

from scripts.frame import Invocation
from scripts.jobs.control import confirm
from scripts.jobs.group import group, named, opened


@group.command("delete")
@click.argument("name")
@click.option(
    "--archive",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder that gets the job's rows first, as compressed CSV, below job-NUMBER.  [default: inventory.archive]",
)
@click.option("--no-archive", is_flag=True, help="Keep nothing, whatever inventory.archive says.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(invocation: Invocation, name: str, archive: Path | None, no_archive: bool, yes: bool) -> None:
    """Remove a job that is finished, stopped or cancelled from the inventory, with all its rows.

    What is in iRODS stays there. A delete that was cut short is begun again with the same command.
    """
    from inventory import partitions
    from inventory.standing import standings

    settings = invocation.settings().inventory
    archive = None if no_archive else archive or settings.archive
    with opened(settings) as database:
        job = named(database, name)
        [standing] = standings(database, name)
        kept = f"kept in {archive}/job-{job.id}" if archive else "not kept"
        confirm(f"the rows of {standing.total.files:.0f} files of job {name} are removed, {kept}; go on?", yes)
        shards = partitions.drop_job(database, job.id, archive)
    click.echo(f"deleted job {name}: {shards} shards" + (f", archived in {archive}/job-{job.id}" if archive else ""))
