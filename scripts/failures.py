"""`ingest failures` and `ingest retry`: which files failed and why, and another chance for them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar, cast

import click

from core import hints
from core.errors import UsageError
from core.paths import ways_of_prefix
from scripts.dump import one_line
from scripts.frame import Invocation
from scripts.jobs import named, opened

if TYPE_CHECKING:
    from inventory.engine import Database
    from inventory.failures import Failure, FailureGroup, FailureState, Wanted

Command = TypeVar("Command", bound=Callable[..., object])
STATES = ("dead", "retrying", "skipped", "recovered")
COLORS = {"dead": "red", "retrying": "yellow", "skipped": "cyan", "recovered": "green"}


def chosen(states: Sequence[str]) -> Callable[[Command], Command]:
    """The options by which failures are chosen."""

    def add(command: Command) -> Command:
        for option in (
            click.option(
                "--path", "prefix", help="Only paths that begin so, as they are below the source or as we write them."
            ),
            click.option(
                "--state", "states", multiple=True, type=click.Choice(states), help="Only these; may be repeated."
            ),
            click.option("--error", "errors", multiple=True, help="Only this class of failure; may be repeated."),
            click.option("--job", help="Only this job."),
        ):
            command = option(command)
        return command

    return add


def _wanted(
    database: Database, job: str | None, states: Sequence[str], errors: Sequence[str], prefix: str | None
) -> Wanted:
    from inventory.failures import Wanted

    if job is not None:
        named(database, job)
    return Wanted(job, tuple(errors), cast("Sequence[FailureState]", tuple(states)), ways_of_prefix(prefix or ""))


@click.command("failures", short_help="Show what fails and why, by class or by file.")
@chosen(STATES)
@click.option("--files", "by_file", is_flag=True, help="One line a file instead of one a class.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def failures(
    invocation: Invocation,
    job: str | None,
    states: tuple[str, ...],
    errors: tuple[str, ...],
    prefix: str | None,
    by_file: bool,
    as_json: bool,
) -> None:
    """Show what fails and why: by class of failure with a hint, or file by file.

    Without --state: what is dead (waits for a person) and what is retrying (is tried again by itself). skipped was left alone
    by the job's rules; recovered failed once and is fine since. Output is streamed, so its length does not matter.
    """
    from inventory import failures as queries

    with opened(invocation.settings().inventory) as database:
        wanted = _wanted(database, job, states or queries.CURRENT, errors, prefix)
        if by_file:
            _show_files(queries.failures(database, wanted), as_json)
        elif as_json:
            for group in queries.groups(database, wanted):
                click.echo(json.dumps(group_json(group), default=str))
        else:
            _show_groups(queries.groups(database, wanted))


def group_json(group: FailureGroup) -> dict[str, object]:
    """A class of failure as JSON, with what it means and what to do."""
    meaning, hint = hints.advice(group.error)
    examples = [{"path": path, "message": message} for path, message in group.examples]
    return asdict(group) | {"examples": examples, "meaning": meaning, "hint": hint}


def _show_groups(groups: Sequence[FailureGroup]) -> None:
    for group in groups:
        counts = [
            click.style(f"{count} {state}", fg=COLORS[state]) for state in STATES if (count := getattr(group, state))
        ]
        counts += [f"{group.directories} directories"] if group.directories else []
        meaning, hint = hints.advice(group.error)
        click.echo(f"{click.style(group.error, bold=True)} ({group.stage}): {', '.join(counts)}, {group.bytes} bytes")
        if meaning:
            click.echo(f"  means   {meaning}")
        if hint:
            click.echo(f"  do      {hint}")
        click.echo(f"  when    {group.first_at:%Y-%m-%d %H:%M:%S} to {group.last_at:%Y-%m-%d %H:%M:%S} UTC")
        if group.next_retry_at is not None:
            click.echo(f"  again   from {group.next_retry_at:%Y-%m-%d %H:%M:%S} UTC on")
        for path, message in group.examples:
            click.echo(f"  e.g.    {one_line(path)}: {one_line(message)}")
    if not groups:
        click.echo("nothing fails")


def _show_files(found: Iterable[Failure], as_json: bool) -> None:
    any_shown = as_json
    for failure in found:
        any_shown = True
        if as_json:
            sys.stdout.write(
                json.dumps(asdict(failure) | {"hint": hints.advice(failure.error).hint}, default=str) + "\n"
            )
            continue
        state = click.style(f"{failure.state:<9}", fg=COLORS[failure.state])
        again = (
            f", again at {failure.retry_at:%Y-%m-%d %H:%M:%S}"
            if failure.state == "retrying" and failure.retry_at
            else ""
        )
        click.echo(
            f"{state} {failure.error:<28} {failure.stage:<10} attempt {failure.attempt}{again}  "
            f"{failure.job}: {one_line(failure.path)}  [{one_line(failure.message)}]"
        )
    if not any_shown:
        click.echo("nothing fails")


@click.command("retry", short_help="Make failures due again, after a count and a question.")
@chosen(STATES[:3])
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.option("--json", "as_json", is_flag=True, help="Counts as one JSON object; needs --yes or --dry-run.")
@click.pass_obj
def retry(
    invocation: Invocation,
    job: str | None,
    states: tuple[str, ...],
    errors: tuple[str, ...],
    prefix: str | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Try failures again: by job, class, state and path; shows their count and asks first.

    Without --state: what is dead. It begins anew with fresh counts. What is retrying is tried now instead of when its
    back-off is over; what was skipped is looked at again.
    """
    from inventory import failures as queries
    from inventory import retries

    if not yes and not dry_run and (as_json or not sys.stdin.isatty()):
        raise UsageError("`ingest retry` asks before it changes anything", "give --yes, or --dry-run to see the count")
    with opened(invocation.settings().inventory) as database:
        wanted = _wanted(database, job, states or ("dead",), errors, prefix)
        if not yes or dry_run:
            groups = queries.groups(database, wanted)
            files = sum(group.dead + group.retrying + group.skipped for group in groups)
            directories = sum(group.directories for group in groups)
            if dry_run or not files + directories:
                _tell(as_json, files, directories, "would be tried again")
                return
            for group in groups:
                click.echo(
                    f"  {group.dead + group.retrying + group.skipped + group.directories:>12} {group.error} ({group.stage})"
                )
            click.confirm(f"try {files} files and {directories} directories again?", abort=True)
        done = retries.retry(database, wanted)
    _tell(as_json, done.files, done.directories, "are tried again")


def _tell(as_json: bool, files: int, directories: int, what: str) -> None:
    if as_json:
        click.echo(json.dumps({"files": files, "directories": directories}))
    else:
        click.echo(f"{files} files and {directories} directories {what}")
