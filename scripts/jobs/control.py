"""`ingest job pause`, `resume`, `stop`, `cancel`, `set`, `rescan` and `retry`: each is one change in the inventory."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

import click

from core.errors import UsageError
from core.settings import VerifyLevel
from scripts.frame import Invocation
from scripts.jobs.filtering import filter_options, given
from scripts.jobs.group import group, named, opened

if TYPE_CHECKING:
    from core.settings import S3Settings
    from inventory.jobs import Job


def _change(invocation: Invocation, name: str, state: str) -> None:
    from inventory import jobs

    with opened(invocation.settings().inventory) as database:
        jobs.set_state(database, named(database, name).id, state)


@group.command("pause")
@click.argument("name")
@click.pass_obj
def pause(invocation: Invocation, name: str) -> None:
    """Hold a job for a while: nothing more of it is begun; who watches it waits."""
    _change(invocation, name, "paused")
    click.echo(f"paused job {name}; `ingest job resume {name}` goes on")


@group.command("resume")
@click.argument("name")
@click.pass_obj
def resume(invocation: Invocation, name: str) -> None:
    """Go on with a paused or stopped job."""
    _change(invocation, name, "running")
    click.echo(f"resumed job {name}")


@group.command("stop")
@click.argument("name")
@click.pass_obj
def stop(invocation: Invocation, name: str) -> None:
    """Stop a job: nothing more of it is begun; what is begun ends. It can be resumed."""
    _change(invocation, name, "stopped")
    click.echo(f"stopped job {name}; `ingest job resume {name}` goes on")


@group.command("cancel")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def cancel(invocation: Invocation, name: str, yes: bool) -> None:
    """Stop a job for good: it can never be resumed, only deleted. What is in iRODS stays there."""
    confirm(f"job {name} can never be resumed then; cancel it?", yes)
    _change(invocation, name, "cancelled")
    click.echo(f"cancelled job {name}; `ingest job delete {name}` removes its rows")


_LIFTED = {"job.max_in_flight": "0", "job.bandwidth": "off", "job.sentinel": "", "job.reverify_days": "0.0"}
"""What a person writes to have a setting no more."""


@group.command("set")
@click.argument("name")
@click.option("--priority", type=int, help="Jobs of a higher priority go first; 0 is usual.")
@click.option("--max-in-flight", type=int, help="So many files are worked on at the same time, at most; 0: no limit.")
@click.option("--bandwidth", help="Bytes a second, as 50M, or a timetable, as '08:00,50M 19:00,off'; off: no limit.")
@click.option("--max-deletes", type=int, help="Hold back deletions when more files than that are gone after a pass.")
@click.option("--max-delete-percent", type=float, help="The same for per cent of the job's files.")
@click.option(
    "--delete-after", "delete_after_seconds", type=float, help="Delete only what has been gone for so many seconds."
)
@click.option("--sentinel", help="A path below the source without which nothing vanishes; '' for none.")
@click.option("--reverify-days", type=float, help="Verify again what was verified so many days ago; 0: never again.")
@click.option("--reverify-level", type=click.Choice(get_args(VerifyLevel)), help="How thoroughly it is verified again.")
@click.option("--link-folder", help="Register what has a path that iRODS cannot hold by links in this directory.")
@filter_options
@click.pass_obj
def change(invocation: Invocation, /, name: str, **options: Any) -> None:
    """Change settings of a job, running or not. It returns when loaders and verifiers go by them in what they begin.

    A filter that is given takes the place of what the job has of its kind; an empty pattern ('') lifts it. Filters are for what
    is found from then on: `ingest job rescan` has the job look at everything anew. A sentinel must be at the source, here.
    """
    from core.filters import Filter
    from inventory import jobs, rota

    wanted = given(options)
    for key, none in _LIFTED.items():
        if str(wanted.get(key)).lower() == none:
            wanted[key] = None
    wanted = {
        key: [one for one in value if one] if isinstance(value, tuple) else value for key, value in wanted.items()
    }
    if not wanted:
        raise UsageError("nothing to set", "see `ingest job set --help`")
    checked = invocation.settings(wanted).job  # by the rules of config.yml
    Filter(checked)
    names = [key.removeprefix("job.") for key in wanted]
    changes: dict[str, object] = {key: getattr(checked, key) for key in names}
    settings = invocation.settings()
    with opened(settings.inventory) as database:
        job = named(database, name)
        _check_source(job, {key: changes[key] for key in ("sentinel", "link_folder") if changes.get(key)}, settings.s3)
        jobs.set_settings(database, job.id, changes)
        # an `ingest retry` right after it is not to be claimed by a loader that knows the settings of a second ago
        time.sleep(1.25 * rota.REFRESH_SECONDS)
    click.echo(f"job {name}: {', '.join(f'{key} {_told(value)}' for key, value in changes.items())}")


def _check_source(job: Job, changes: Mapping[str, object], s3: S3Settings) -> None:
    """A sentinel that is not there would hold the job for ever. Raises UsageError, as the start of a job does."""
    if not changes:
        return
    from core.sources.selection import selected
    from core.sources.urls import open_source

    if job.settings.manifest is not None and "sentinel" in changes:
        raise UsageError(
            f"job {job.name} takes its files from a manifest", "nothing of it vanishes: it needs no sentinel"
        )
    changed = job.settings.model_copy(update=changes)
    selected(open_source(job.source_url, s3), changed).check()


def _told(value: object) -> str:
    if value is None or value == ():
        return "none"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@group.command("rescan")
@click.argument("name")
@click.pass_obj
def rescan(invocation: Invocation, name: str) -> None:
    """Look at every directory of a job again, now."""
    from inventory import jobs

    with opened(invocation.settings().inventory) as database:
        jobs.rescan(database, named(database, name).id)
    click.echo(f"job {name} is scanned again")


@group.command("retry")
@click.argument("name")
@click.pass_obj
def retry(invocation: Invocation, name: str) -> None:
    """Make all dead letters of a job due again."""
    from inventory import retries

    with opened(invocation.settings().inventory) as database:
        files = retries.retry_dead(database, named(database, name).id)
    click.echo(f"{files} files of job {name} are tried again")


@group.command("confirm-deletes")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def confirm_deletes(invocation: Invocation, name: str, yes: bool) -> None:
    """Let go what the guard holds back: more files have vanished than the job may delete by itself."""
    from inventory import held

    with opened(invocation.settings().inventory) as database:
        job = named(database, name)
        seen = held.held(database, job.id)
        if not seen.held:
            raise UsageError(f"nothing of job {name} is held back", "see `ingest job show`")
        confirm(f"{seen.held} files of job {name} are gone from {job.source_url}: delete them from iRODS?", yes)
        held.confirm(database, job.id, seen)
    click.echo(f"{seen.held} files of job {name} are deleted from {job.target_collection}: {job.settings.delete_mode}")


def confirm(question: str, yes: bool) -> None:
    """Ask a person; `yes` is the answer given beforehand. Raises UsageError where nobody can be asked, Abort at a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"nobody to ask: {question}", "give --yes")
    click.confirm(question, abort=True)
