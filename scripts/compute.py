"""`ingest compute`: rules and tasks of compute to data."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from core.errors import UsageError
from core.texts import read_text
from scripts.frame import Invocation
from scripts.jobs import opened

if TYPE_CHECKING:
    from core.rules import Rule
    from inventory.compute_queries import TaskLine

STATES = ("waiting", "requested", "submitted", "running", "succeeded", "dead")


@click.group("compute")
def group() -> None:
    """Look after Kubernetes Jobs over what was loaded."""


@group.command("list")
@click.option("--rule", help="Only tasks of this rule.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), help="Only tasks in this state; repeatable."
)
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="How many, the newest first.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def show_all(invocation: Invocation, rule: str | None, states: tuple[str, ...], limit: int, as_json: bool) -> None:
    """List tasks: what is run on what, how far it is, and why not further."""
    from inventory import compute_queries

    with opened(invocation.settings().inventory) as database:
        for line in compute_queries.tasks(database, rule=rule, states=states, limit=limit):
            click.echo(_as_json(line) if as_json else _as_line(line))


def _as_json(line: TaskLine) -> str:
    return json.dumps(asdict(line), default=str)


def _as_line(line: TaskLine) -> str:
    words = [f"{line.id}: {line.rule} of {line.input}: {line.state}"]
    if line.attempts:
        words.append(f"{line.attempts} failed attempts" if line.attempts > 1 else "1 failed attempt")
    if line.state == "succeeded" and line.output:
        words.append(f"→ {line.output}")
    elif line.message:
        words.append(line.message)
    return ", ".join(words)


@group.command("show")
@click.argument("task", type=int)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def show(invocation: Invocation, task: int, as_json: bool) -> None:
    """Show all that is known of one task, by its number in `ingest compute list`, with the last lines of a failed container."""
    from inventory import compute_queries

    with opened(invocation.settings().inventory) as database:
        line = compute_queries.task(database, task)
    if line is None:
        raise UsageError(f"there is no task {task}", "see `ingest compute list`")
    if as_json:
        click.echo(json.dumps(asdict(line), default=str))
        return
    for key, value in asdict(line).items():
        if value is not None and key != "log":
            click.echo(f"{key}: {value}")
    if line.log:
        click.echo("log:")
        click.echo("".join(f"    {text}\n" for text in line.log.splitlines()), nl=False)


@group.command("retry")
@click.argument("tasks", type=int, nargs=-1)
@click.option("--rule", help="All dead tasks of this rule.")
@click.pass_obj
def retry(invocation: Invocation, tasks: tuple[int, ...], rule: str | None) -> None:
    """Give dead TASKS all their attempts again, by number; or all dead ones of a rule."""
    from inventory import compute

    if not tasks and rule is None:
        raise UsageError("name tasks or a rule", "see `ingest compute list --state dead`")
    with opened(invocation.settings().inventory) as database:
        count = compute.retry(database, tasks, rule)
    click.echo("1 task is tried again" if count == 1 else f"{count} tasks are tried again")


@group.command("request")
@click.option("--rule", required=True, help="A rule in force, on files or on collections.")
@click.option("--job", "names", multiple=True, help="Only what this ingest job brought in; repeatable.")
@click.pass_obj
def request(invocation: Invocation, rule: str, names: tuple[str, ...]) -> None:
    """Ask for tasks of a rule for what was verified before it was in force.

    What has a task of the rule already keeps it, so this may be cut short and given again. Every row of the jobs is read.
    """
    from inventory import jobs
    from inventory.compute_requests import request_older
    from scripts.jobs.group import named

    with opened(invocation.settings().inventory) as database:
        chosen = [named(database, name) for name in names] or jobs.listed(database)
        count = sum(request_older(database, rule, chosen))
    click.echo("1 task is new" if count == 1 else f"{count} tasks are new")


@group.group("rules")
def rules() -> None:
    """See and check rules."""


@rules.command("check")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--path", help="Also say which rules a logical path, or a path below a job's collection, would match.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a rule.")
@click.pass_obj
def check(invocation: Invocation, file: Path | None, path: str | None, as_json: bool) -> None:
    """Check rules: those of FILE, else those of config.yml and of the data object that compute.rules_object names.

    Nothing is changed. A wrong rule is refused in one line, with exit code 2.
    """
    found = _from_file(file) if file else _configured(invocation)
    for rule, source in found:
        if path is not None and not _fits(rule, path):
            continue
        if as_json:
            click.echo(json.dumps(rule.model_dump(mode="json") | {"source": source}))
        else:
            click.echo(f"{rule.name}: each {rule.trigger} of {rule.match} → {rule.image} → {rule.output} ({source})")
    if not found and not as_json:
        click.echo("there are no rules")


@rules.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a rule.")
@click.pass_obj
def show_rules(invocation: Invocation, as_json: bool) -> None:
    """List the rules in force, as the compute pods have written them down, with their tasks by state."""
    from inventory import compute_queries

    with opened(invocation.settings().inventory) as database:
        for line in compute_queries.rules(database):
            if as_json:
                rule = line.rule.model_dump(mode="json") | {"source": line.source, "tasks": dict(line.tasks)}
                click.echo(json.dumps(rule))
                continue
            counts = " ".join(f"{state}={count}" for state, count in line.tasks.items()) or "no tasks yet"
            click.echo(f"{line.rule.name}: each {line.rule.trigger} of {line.rule.match}, from {line.source}: {counts}")


def _from_file(file: Path) -> list[tuple[Rule, str]]:
    from core.rules import parse_rules

    return [(rule, str(file)) for rule in parse_rules(read_text(file, "name a file with rules"), str(file))]


def _configured(invocation: Invocation) -> list[tuple[Rule, str]]:
    from core.errors import FileError, Unavailable
    from core.irods import ComputeGateway
    from k8s.intake import read_rules

    settings = invocation.settings()
    with ComputeGateway(settings.irods) as gateway:
        try:
            return read_rules(settings, gateway)
        except FileError as problem:
            raise Unavailable(problem.message, problem.hint) from problem


def _fits(rule: Rule, path: str) -> bool:
    from core import globs

    return rule.match.startswith("/") == path.startswith("/") and globs.matches(rule.pattern, path)
