"""A job's report: its summary and every file, in one snapshot, so that the totals add up while pods work on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, text

from core.sources.base import REGULAR
from inventory.engine import Database
from inventory.failures import FAILURE_STATES, FailureGroup, Wanted, groups_in
from inventory.jobs import Job
from inventory.queries import FileLine, StateCount, file_lines

THERE = ("loaded", "verifying", "verified")
"""States of a file that is in iRODS."""
MAYBE_THERE = ("discovered", "loading", "vanished", "deleting", "skipped", "dead")
"""States of a file of which iRODS may have an object: of an older generation, of an attempt, or of somebody else."""


@dataclass
class Report:
    """All of a job at one instant, `at`.

    `counts` are the folded counts by state. `written` are files and bytes by state of the rows that `files` has given so far,
    and `present` those of its regular files that are at the source by the inventory.
    """

    job: Job
    at: datetime
    counts: list[StateCount]
    groups: list[FailureGroup]
    directories: int
    _connection: Connection = field(repr=False)
    written: dict[str, list[int]] = field(default_factory=dict)
    present: list[int] = field(default_factory=lambda: [0, 0])

    def files(self) -> Iterator[FileLine]:
        """Every file of the job, streamed and counted."""
        for line in file_lines(self._connection, self.job.name):
            counted = [self.written.setdefault(line.state, [0, 0])]
            if line.kind == REGULAR and line.state not in ("vanished", "deleted"):
                counted.append(self.present)
            for count in counted:
                count[0] += 1
                count[1] += line.size
            yield line

    @property
    def adds_up(self) -> bool:
        """Whether the files that were written are those that the progress table counts, in number and bytes by state."""
        return {count.state: [count.files, count.bytes] for count in self.counts} == self.written

    def total(self, states: Sequence[str] = ()) -> tuple[int, int]:
        """Files and bytes in some states, or in all."""
        chosen = [count for count in self.counts if not states or count.state in states]
        return sum(count.files for count in chosen), sum(count.bytes for count in chosen)

    def agrees_with_catalogue(self, tally: Mapping[str, tuple[int, int]]) -> bool:
        """Whether good replicas by resource hierarchy, each with its bytes, can be the objects of the files that are there.

        All together are, or those of each hierarchy by itself where each holds a replica of every object. Of files that are not
        there iRODS may still have objects, so there may be as many more.
        """
        least, size = self.total(THERE)
        most = least + self.total(MAYBE_THERE)[0]
        together = (sum(count for count, _ in tally.values()), sum(held for _, held in tally.values()))
        return any(
            (count, held) == (least, size) if most == least else least <= count <= most
            for count, held in (together, *tally.values())
        )


_COUNTS = """
    SELECT j.name AS job, p.state::text AS state, sum(p.files)::bigint AS files, sum(p.bytes)::bigint AS bytes
    FROM inventory.progress_now p JOIN inventory.shard s ON s.id = p.shard JOIN inventory.job j ON j.id = s.job_id
    WHERE j.id = :job GROUP BY j.name, p.state HAVING sum(p.files) <> 0 ORDER BY p.state
"""


@contextmanager
def snapshot(database: Database, job: Job) -> Iterator[Report]:
    """A job as it is at this instant; nothing that pods do afterwards is seen within."""
    with database.snapshot() as connection:
        at = connection.execute(text("SELECT now()")).scalar_one()
        rows = connection.execute(text(_COUNTS), {"job": job.id})
        counts = [StateCount(row.job, row.state, row.files, row.bytes) for row in rows]
        directories = connection.execute(
            text("SELECT count(*) FROM inventory.directory WHERE job_id = :job AND state <> 'vanished'"),
            {"job": job.id},
        ).scalar_one()
        groups = groups_in(connection, Wanted(job=job.name, states=FAILURE_STATES))
        yield Report(job, at, counts, groups, directories, connection)
