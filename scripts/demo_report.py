"""What the demo shows while it runs and when it ends."""

from __future__ import annotations

import sys
import time

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from core.errors import Unavailable
from inventory import jobs, queries
from inventory.engine import Database
from inventory.jobs import Job
from inventory.queries import Chosen
from scripts.dump import one_line

LINE_SECONDS = 3.0
FAILED_SHOWN = 200
GOOD_ENDS = ("verified", "skipped", "vanished", "deleted")
LOADED = ("loaded", "verifying", *GOOD_ENDS, "dead")


class Rate:
    """Files a second over the last few looks, and the time the rest will take."""

    def __init__(self) -> None:
        self._looks: list[tuple[float, int]] = []

    def note(self, done: int) -> float:
        now = time.monotonic()
        self._looks = [*(look for look in self._looks if now - look[0] < 10), (now, done)][-100:]
        (began, first), (ended, last) = self._looks[0], self._looks[-1]
        return (last - first) / (ended - began) if ended > began else 0.0


class Watch:
    """Live bars on a terminal, a plain line every few seconds elsewhere."""

    def __init__(self, database: Database, job: Job) -> None:
        self._database = database
        self._job = job
        self._console = Console(stderr=True)
        self._rates = {"load": Rate(), "verify": Rate()}
        self._shown_at = float("-inf")
        self._bars = self._console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._bars,
        )
        self._tasks: dict[str, TaskID] = {
            name: self._progress.add_task(name, total=None, note="") for name in ("load", "verify")
        }
        self.interval = 0.25
        self._progress.start()

    def finished(self) -> bool:
        """Whether every row is final. False while the inventory is away."""
        try:
            job = jobs.find(self._database, self._job.name)
        except Unavailable:
            return False
        return job is not None and job.state == "finished"

    def show(self) -> None:
        """Show how far it is."""
        if not self._bars and time.monotonic() - self._shown_at < LINE_SECONDS:
            return
        try:
            counts = {c.state: c.files for c in queries.summary(self._database, self._job.name)}
            left = queries.unfinished(self._database, self._job.name)
        except Unavailable:
            return
        self._shown_at = time.monotonic()
        total = sum(counts.values())
        done = {
            "load": sum(counts.get(state, 0) for state in LOADED),
            "verify": sum(counts.get(state, 0) for state in (*GOOD_ENDS, "dead")),
        }
        notes = {stage: _note(self._rates[stage].note(done[stage]), total - done[stage]) for stage in done}
        scanning = f", {left.directories_to_scan} directories to scan" if left.directories_to_scan else ""
        dead = f", {counts['dead']} failed" if counts.get("dead") else ""
        if self._bars:
            for stage, task in self._tasks.items():
                self._progress.update(task, completed=done[stage], total=total, note=notes[stage] + scanning + dead)
            return
        click.echo(
            f"{total} files found{scanning}; loaded {done['load']} ({notes['load']}); "
            f"verified {counts.get('verified', 0)} ({notes['verify']}){dead}",
            err=True,
        )

    def say(self, line: str) -> None:
        """Say something besides."""
        if self._bars:
            self._console.print(line, markup=False, highlight=False)
        else:
            click.echo(line, err=True)

    def close(self) -> None:
        if self._bars:
            self.show()
        self._progress.stop()


def _note(rate: float, left: int) -> str:
    if rate <= 0 or left <= 0:
        return f"{rate:.0f} files/s"
    seconds = round(left / rate)
    return f"{rate:.0f} files/s, {seconds // 60}:{seconds % 60:02} left"


def report(database: Database, job: Job) -> int:
    """Print the end of a job; returns 0 only when every file is verified, or was rightly left out."""
    counts = queries.summary(database, job.name)
    click.echo(f"\n{'state':<12} {'files':>12} {'bytes':>18}")
    for count in counts:
        click.echo(f"{count.state:<12} {count.files:>12} {count.bytes:>18}")
    click.echo(f"{'total':<12} {sum(c.files for c in counts):>12} {sum(c.bytes for c in counts):>18}\n")
    for rate in queries.stage_rates(database, job.name):
        per_second = f"{rate.files / rate.seconds:.0f} files/s" if rate.seconds > 0 else "at once"
        click.echo(f"{rate.stage:<9} {rate.files} files, {rate.bytes} bytes in {rate.seconds:.1f} s: {per_second}")
    click.echo("\nten slowest (load s, verify s, bytes, path):")
    for line in queries.slowest(database, job.name):
        click.echo(
            f"  {line.load_seconds or 0:8.3f} {line.verify_seconds or 0:8.3f} {line.size:>12}  {one_line(line.path)}"
        )
    failed = _failed(database, job)
    if failed == 0 and all(count.state in GOOD_ENDS for count in counts):
        click.echo(f"\nall verified: {job.source_url} is in {job.target_collection}")
        return 0
    click.echo(f"\n{failed} failed; see `ingest dump --job {job.name} --state dead`", err=True)
    sys.stdout.flush()
    return 1


def _failed(database: Database, job: Job) -> int:
    """Print what failed, all of it up to a limit, and return how many."""
    total = 0
    for line in queries.files(database, Chosen(job.name, states=("dead",))):
        total += 1
        if total == 1:
            click.echo("\nfailed files:")
        if total <= FAILED_SHOWN:
            click.echo(f"  {one_line(line.path)}: {line.error}: {one_line(line.message or '')}")
    if total > FAILED_SHOWN:
        click.echo(f"  … and {total - FAILED_SHOWN} more")
    directories = queries.failed_directories(database, job.name)
    for directory in directories:
        click.echo(
            f"  {one_line(directory.path)}/: {directory.stage}: {directory.error}: {one_line(directory.message)}"
        )
    return total + len(directories)
