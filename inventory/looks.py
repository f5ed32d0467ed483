"""Directories that are looked at without being claimed.

Most of a rescan finds what the last scan has found. To claim such a directory and to end its scan are two writes of a row with
five indexes; a look writes it once, when it has ended, and only if the row is still as it was: not claimed, due since the same
instant, and with the digest of the same listing. What a look finds changed is claimed then, by the same guard, as if it had been
claimed when the look began; its listing is merged like any other one.

A look is a row that tells other watchers to pass over a stretch of due directories. That only saves work: two watchers that look
at one directory do no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, text

from inventory.directories import AS_IT_WAS, DUE, ClaimedDirectory
from inventory.engine import Database, array_of
from inventory.workers import ALIVE


class Seen(NamedTuple):
    """A directory whose listing is still the last one, and its own time where that was asked for."""

    directory: ClaimedDirectory
    modified_at: int | None


def unchanged(database: Database, worker: int, seen: Sequence[Seen], next_scan_seconds: float | None) -> int:
    """End looks that found nothing new, and return how many. Directories of which more is known by now stay due."""
    ordered = sorted(seen, key=lambda one: one.directory.id)
    with database.begin() as connection:
        done = connection.execute(
            text(f"""
                WITH alive AS MATERIALIZED ({ALIVE})
                UPDATE inventory.directory d SET state = 'scanned', attempts = 0, reaps = 0,
                    scan_started_at = CAST(:began AS timestamptz), scan_finished_at = now(),
                    steady = coalesce(d.modified_at = r.modified_at, false), modified_at = r.modified_at,
                    next_scan_at = now() + make_interval(secs => CAST(:next AS float))
                FROM unnest(CAST(:ids AS bigint[]), CAST(:digests AS bigint[]), CAST(:times AS bigint[]),
                    CAST(:dues AS timestamptz[])) AS r(id, digest, modified_at, due_at)
                WHERE d.id = r.id AND EXISTS (SELECT FROM alive) AND {AS_IT_WAS.format("r.due_at")}
                  AND d.listing_digest = r.digest"""),
            {
                "ids": array_of(one.directory.id for one in ordered),
                "digests": array_of(one.directory.digest for one in ordered),
                "times": array_of(one.modified_at for one in ordered),
                "dues": "{" + ",".join([f'"{one.directory.due_at}"' for one in ordered]) + "}",
                "began": _began(ordered[0].directory),
                "worker": worker,
                "next": next_scan_seconds,
            },
        )
        return done.rowcount


def take(database: Database, worker: int, directories: Sequence[ClaimedDirectory]) -> dict[int, ClaimedDirectory]:
    """Claim directories that were looked at, as of the beginning of the look: those that are still as they were, by id."""
    with database.begin() as connection:
        taken = _take(connection, worker, directories)
    return {one.id: one._replace(look=None, steady_at=None) for one in directories if one.id in taken}


def _take(connection: Connection, worker: int, directories: Sequence[ClaimedDirectory]) -> set[int]:
    done = connection.execute(
        text(f"""
            WITH alive AS MATERIALIZED ({ALIVE}), free AS MATERIALIZED (
                SELECT d.id FROM unnest(CAST(:ids AS bigint[]), CAST(:dues AS timestamptz[])) AS r(id, due_at)
                JOIN inventory.directory d ON d.id = r.id
                WHERE {AS_IT_WAS.format("r.due_at")} AND EXISTS (SELECT FROM alive)
                FOR UPDATE OF d SKIP LOCKED)
            UPDATE inventory.directory d
            SET state = 'scanning', claimed_by = :worker, scan_started_at = CAST(:began AS timestamptz)
            FROM free WHERE d.id = free.id RETURNING d.id"""),
        {
            "ids": array_of(one.id for one in directories),
            "dues": [one.due_at for one in directories],
            "began": _began(directories[0]),
            "worker": worker,
        },
    )
    return set(done.scalars())


def end(database: Database, looks: Sequence[int]) -> None:
    """Let others see again what is left of these looks."""
    with database.begin() as connection:
        connection.execute(text("DELETE FROM inventory.look WHERE id = ANY(:ids)"), {"ids": list(looks)})


def reap(connection: Connection, gone: Sequence[int]) -> None:
    """End the looks of the dead. What they looked at is claimed the next time, so that it is known who dies over it."""
    connection.execute(
        text(f"""
            WITH looks AS MATERIALIZED (
                DELETE FROM inventory.look WHERE worker_id = ANY(:gone) RETURNING *),
            died AS MATERIALIZED (
                SELECT d.id FROM looks l JOIN inventory.worker w ON w.id = l.worker_id, LATERAL (
                    SELECT d.id FROM inventory.directory d
                    WHERE d.job_id = l.job_id AND {DUE} AND d.listing_digest IS NOT NULL AND d.reaps = 0
                      AND (d.next_scan_at, d.id) >= (l.first_due_at, l.first_id)
                      AND (d.next_scan_at, d.id) <= (l.last_due_at, l.last_id) OFFSET 0) d
                WHERE w.expired_at IS NOT NULL)
            UPDATE inventory.directory d SET reaps = 1 FROM (
                SELECT d.id FROM died JOIN inventory.directory d ON d.id = died.id
                WHERE d.claimed_by IS NULL ORDER BY d.id FOR UPDATE OF d SKIP LOCKED) free
            WHERE d.id = free.id"""),
        {"gone": list(gone)},
    )


def _began(directory: ClaimedDirectory) -> str:
    assert directory.look is not None
    return directory.look.began_at
