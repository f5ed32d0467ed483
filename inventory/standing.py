"""How far jobs are, how fast they go and how long they will take; from folded counts and activity, never by counting files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, text

from inventory import jobs
from inventory.engine import Database
from inventory.jobs import Job

RECENT_SECONDS = 60.0
"""The window over which a running job's rates are taken."""
TO_LOAD = ("discovered", "loading")
TO_VERIFY = (*TO_LOAD, "loaded", "verifying")


@dataclass(frozen=True, slots=True)
class Amount:
    """Files and their bytes; of a rate, each a second."""

    files: float = 0
    bytes: float = 0


@dataclass(frozen=True)
class Standing:
    """Where one job stands, in one snapshot.

    `states` are the files by state. `failed_directories` could not be scanned or made into a collection. `retries` are failed
    attempts that were or will be tried again, `scanning` says that directories are due or being scanned, so that more files may
    be found. `rates` are of loading and verifying: over the last minute while the job runs, over its whole life after that.
    """

    job: Job
    at: datetime
    states: dict[str, Amount]
    failed_directories: int
    retries: int
    scanning: bool
    rates: dict[str, Amount] = field(default_factory=dict)
    held_deletes: int = 0
    """What the guard of deletions holds back until a person confirms it."""

    @property
    def total(self) -> Amount:
        """All files that are known."""
        return self._sum(self.states)

    @property
    def to_load(self) -> Amount:
        """Files that are not loaded yet."""
        return self._sum(TO_LOAD)

    @property
    def to_verify(self) -> Amount:
        """Files that are not verified yet, those that are not loaded among them."""
        return self._sum(TO_VERIFY)

    @property
    def done(self) -> Amount:
        """Files of which nothing more is to come."""
        total, left = self.total, self.to_verify
        return Amount(total.files - left.files, total.bytes - left.bytes)

    @property
    def failed_files(self) -> int:
        """Dead letters."""
        return int(self.states["dead"].files) if "dead" in self.states else 0

    @property
    def has_failures(self) -> bool:
        """Whether a person is needed."""
        return bool(self.failed_files or self.failed_directories)

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to do at this moment."""
        busy = (*TO_VERIFY, "deleting")
        return not self.scanning and not self._sum(busy).files

    @property
    def elapsed_seconds(self) -> float:
        """From the start to the end, or until now."""
        return max(0.0, ((self.job.finished_at or self.at) - self.job.started_at).total_seconds())

    @property
    def seconds_left(self) -> float | None:
        """How long what is known will take at the rates of now; None where nobody can say, 0 when all is done.

        The slower of loading and verifying decides, by files or by bytes. What is not found yet is not counted.
        """
        if not self.to_verify.files:
            return 0.0
        if self.job.state != "running":
            return None
        waits = []
        for stage, left in (("load", self.to_load), ("verify", self.to_verify)):
            rate = self.rates.get(stage, Amount())
            waits += [amount / speed for amount, speed in ((left.files, rate.files), (left.bytes, rate.bytes)) if speed]
        return max(waits, default=None)

    def _sum(self, states: Sequence[str] | dict[str, Amount]) -> Amount:
        amounts = [self.states[state] for state in states if state in self.states]
        return Amount(sum(one.files for one in amounts), sum(one.bytes for one in amounts))


def standings(database: Database, name: str | None = None) -> list[Standing]:
    """Where all jobs stand, or the one of that name, oldest first."""
    if name is None:
        chosen = jobs.listed(database)
    else:
        chosen = [job] if (job := jobs.find(database, name)) is not None else []
    with database.begin() as connection:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        return [_standing(connection, job) for job in chosen]


def _standing(connection: Connection, job: Job) -> Standing:
    states = {
        row.state: Amount(row.files, row.bytes)
        for row in connection.execute(
            text("""
                SELECT state, sum(files)::bigint AS files, sum(bytes)::bigint AS bytes FROM inventory.progress_now
                WHERE shard = ANY(:shards) GROUP BY state HAVING sum(files) <> 0 ORDER BY state"""),
            {"shards": list(job.shards)},
        )
    }
    row = connection.execute(
        text("""
            SELECT now() AS at,
                (SELECT count(*) FROM inventory.failure
                 WHERE shard = ANY(:shards) AND NOT permanent AND error <> 'skipped') AS retries,
                (SELECT count(*) FROM inventory.directory
                 WHERE job_id = :job AND (state = 'dead' OR collection_dead)) AS dead,
                EXISTS (SELECT FROM inventory.directory WHERE job_id = :job AND state IN ('pending', 'scanned')
                        AND next_scan_at <= now())
                OR EXISTS (SELECT FROM inventory.directory WHERE job_id = :job AND claimed_by IS NOT NULL) AS scanning,
                (SELECT deletes_held FROM inventory.job WHERE id = :job) AS held"""),
        {"job": job.id, "shards": list(job.shards)},
    ).one()
    standing = Standing(job, row.at, states, row.dead, row.retries, row.scanning)
    rates = _recent(connection, job) if job.state == "running" else _overall(standing)
    return Standing(job, row.at, states, row.dead, row.retries, row.scanning, rates, row.held or 0)


def _recent(connection: Connection, job: Job) -> dict[str, Amount]:
    """Rates over the last minute, or since the job's first result when that was later."""
    rows = connection.execute(
        text("""
            SELECT stage, sum(files - failed)::float AS files, sum(bytes)::float AS bytes,
                greatest(1, extract(epoch FROM now() - min(greatest(began_at, now() - make_interval(secs => :recent)))))::float
                    AS seconds
            FROM inventory.activity
            WHERE job_id = :job AND tick_at > now() - make_interval(secs => :recent) GROUP BY stage"""),
        {"job": job.id, "recent": RECENT_SECONDS},
    )
    return {row.stage: Amount(row.files / row.seconds, row.bytes / row.seconds) for row in rows}


def _overall(standing: Standing) -> dict[str, Amount]:
    seconds = max(1.0, standing.elapsed_seconds)
    total = standing.total
    rates = {}
    for stage, left in (("load", standing.to_load), ("verify", standing.to_verify)):
        rates[stage] = Amount((total.files - left.files) / seconds, (total.bytes - left.bytes) / seconds)
    return rates
