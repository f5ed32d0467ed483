"""`ingest job watch`, and the waiting of `ingest job start --wait`: progress until the end, and an exit code that tells."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import click

from core.errors import UsageError
from core.readable import size, span
from scripts.frame import Invocation
from scripts.jobs.group import group, opened
from scripts.jobs.show import left, line, rate, row

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from inventory.engine import Database
    from inventory.standing import Standing

LOOK_SECONDS = 1.0
"""How often the inventory is asked."""
LINE_SECONDS = 10.0
"""Where nobody looks on, a line is written so often, and whenever the job's state changes."""
FAILED, NOT_FINISHED = 1, 6
"""Exit codes: files failed; the job was stopped or cancelled before its end."""


@group.command("watch")
@click.argument("name")
@click.option(
    "--json", "as_json", is_flag=True, help="A JSON object instead of each line, as that of `ingest job show`."
)
@click.pass_obj
def watch(invocation: Invocation, name: str, as_json: bool) -> int:
    """Show how far a job is until it ends; Ctrl-C leaves, and the job goes on.

    A job with --rescan has no end: it is watched until it is stopped. Exit codes: 0 all is done, 1 files or directories failed,
    6 it was stopped or cancelled before its end.
    """
    with opened(invocation.settings().inventory) as database:
        return follow(database, name, as_json=as_json)


def follow(database: Database, name: str, *, until_idle: bool = False, as_json: bool = False) -> int:
    """Show progress until the job ends and return the exit code; `until_idle` also ends when a rescanned job has nothing to do.

    A bar on a terminal, else plain lines, or JSON. Raises UsageError when there is no such job, or it was deleted meanwhile.
    """
    shown = _Bar() if sys.stdout.isatty() and not as_json else _Lines(as_json)
    try:
        while True:
            standing = _standing(database, name)
            shown.show(standing)
            if _ended(standing, until_idle):
                break
            time.sleep(LOOK_SECONDS)
    finally:
        shown.close()
    click.echo(json.dumps(row(standing)) if as_json else _summary(standing))
    if standing.job.state in ("stopped", "cancelled"):
        return NOT_FINISHED
    return FAILED if standing.has_failures else 0


def _standing(database: Database, name: str) -> Standing:
    from inventory.standing import standings

    found = standings(database, name)
    if not found:
        raise UsageError(f"there is no job {name!r}", "see `ingest job list`")
    return found[0]


def _ended(standing: Standing, until_idle: bool) -> bool:
    if standing.job.state in ("finished", "stopped", "cancelled"):
        return True
    return until_idle and standing.job.settings.rescan_seconds is not None and standing.at_rest


def _summary(standing: Standing) -> str:
    job, total, done = standing.job, standing.total, standing.done
    state = "at rest" if job.state == "running" else job.state
    failed = f"{standing.failed_files} files and {standing.failed_directories} directories failed"
    hint = f"; see `ingest dump --state dead --job {job.name}`" if standing.has_failures else ""
    return (
        f"job {job.name} is {state}: {done.files:.0f} of {total.files:.0f} files, {size(done.bytes)}"
        f" in {span(standing.elapsed_seconds)}; {failed}, {standing.retries} retries{hint}"
    )


class _Lines:
    """Plain lines, for logs and pipes."""

    def __init__(self, as_json: bool = False) -> None:
        self._as_json = as_json
        self._told_at = float("-inf")
        self._state = ""

    def show(self, standing: Standing) -> None:
        if time.monotonic() - self._told_at >= LINE_SECONDS or standing.job.state != self._state:
            click.echo(json.dumps(row(standing)) if self._as_json else line(standing))
            sys.stdout.flush()
            self._told_at, self._state = time.monotonic(), standing.job.state

    def close(self) -> None:
        pass


class _Bar:
    """One bar with what matters beside it."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress: Progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[files]}  {task.fields[rate]}  {task.fields[left]}  {task.fields[failed]}"),
            transient=True,
        )
        self._task: TaskID = self._progress.add_task("", total=None, files="", rate="", left="", failed="")
        self._progress.start()

    def show(self, standing: Standing) -> None:
        total, done = standing.total, standing.done
        # a loaded file is half done
        steps = 2 * total.files - standing.to_load.files - standing.to_verify.files
        self._progress.update(
            self._task,
            description=f"{standing.job.name} {standing.job.state}",
            completed=steps,
            total=2 * total.files or None,
            files=f"{done.files:.0f}/{total.files:.0f} files {size(done.bytes)}",
            rate=rate(standing),
            left=left(standing),
            failed=f"{standing.failed_files + standing.failed_directories} failed",
        )

    def close(self) -> None:
        self._progress.stop()
