"""The guard of deletions: whether what has vanished from a source may be removed from iRODS.

A file that a complete scan did not find rests as `vanished` with `retry_at` at infinity, where no claim sees it. Once all
directories of a pass were looked at, one statement counts what has vanished and not been cleared: within the job's limits it is
cleared, else all of it is held until a person confirms it, or the files are back. What is cleared becomes due when the job's
grace time is over.

The statement clears nothing that it cannot have counted: a merge that is not committed yet holds its directory, and what it marks
bears a later time than the claim of that directory. What has vanished since the transaction of the statement began is later than
all it clears: then nothing is judged, for the pass would end without it, and the next round does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from core.settings import JobSettings
from inventory import endings

FEW = 10
"""So many may go whatever per cent of the job they are."""
COUNTED = 1_000_000
"""What is held is counted up to that."""
BATCH = 10_000

_VANISHED_FILES = """
    SELECT FROM inventory.shard s, LATERAL (
        SELECT FROM inventory.file f WHERE f.shard = s.id AND f.state = 'vanished' AND f.retry_at = 'infinity'
        AND f.vanished_at > due.cleared_to AND f.vanished_at <= due.until) f
    WHERE s.job_id = due.job_id LIMIT greatest(due.allowed, :counted) + 1
"""
_VANISHED_COLLECTIONS = """
    SELECT FROM inventory.directory d WHERE d.job_id = due.job_id AND d.state = 'vanished' AND d.collection_made_at IS NOT NULL
    AND d.scan_finished_at > due.cleared_to AND d.scan_finished_at <= due.until LIMIT greatest(due.allowed, :counted) + 1
"""
# of job j, though the statement sees it already
_VANISHED_SINCE = """
    EXISTS (SELECT FROM inventory.shard s, LATERAL (
                SELECT FROM inventory.file f WHERE f.shard = s.id AND f.state = 'vanished' AND f.retry_at = 'infinity'
                AND f.vanished_at > now() LIMIT 1) f WHERE s.job_id = j.id)
    OR EXISTS (SELECT FROM inventory.directory d WHERE d.job_id = j.id AND d.state = 'vanished'
               AND d.collection_made_at IS NOT NULL AND d.scan_finished_at > now())
"""
_JUDGE = f"""
    WITH due AS MATERIALIZED (
        SELECT p.id AS pass_id, j.id AS job_id, j.deletes_held AS held_before,
            coalesce(j.deletes_cleared_at, '-infinity') AS cleared_to,
            least(now(), (SELECT min(d.scan_started_at) FROM inventory.directory d
                          WHERE d.job_id = j.id AND d.claimed_by IS NOT NULL)) AS until,
            least(coalesce((j.settings ->> 'max_deletes')::bigint, :files), greatest(:few, floor(
                coalesce((j.settings ->> 'max_delete_percent')::float, :percent) / 100 * (
                    SELECT coalesce(sum(n.files), 0) FROM inventory.progress_now n JOIN inventory.shard s ON s.id = n.shard
                    WHERE s.job_id = j.id AND n.state <> 'deleted')::float))::bigint) AS allowed
        FROM inventory.pass p JOIN inventory.job j ON j.id = p.job_id
        WHERE j.state = 'running' AND p.started_at IS NOT NULL AND p.pre_done_at IS NOT NULL AND p.finished_at IS NULL
          AND p.deletes_judged_at IS NULL AND {endings.DELETES} AND NOT ({endings.SCAN_LEFT})
          AND NOT ({_VANISHED_SINCE})
        FOR UPDATE OF p, j),
    counted AS MATERIALIZED (
        SELECT due.*, (SELECT count(*) FROM ({_VANISHED_FILES}) f) AS files,
            (SELECT count(*) FROM ({_VANISHED_COLLECTIONS}) d) AS collections
        FROM due),
    verdict AS MATERIALIZED (
        SELECT *, CASE WHEN greatest(files, collections) > allowed THEN greatest(files, collections) ELSE 0 END AS held
        FROM counted),
    judged AS (UPDATE inventory.pass p SET deletes_judged_at = now() FROM verdict v WHERE p.id = v.pass_id),
    decided AS (
        UPDATE inventory.job j SET deletes_held = v.held, deletes_judged_to = v.until,
            deletes_cleared_at = CASE WHEN v.held = 0 THEN v.until ELSE j.deletes_cleared_at END
        FROM verdict v WHERE j.id = v.job_id),
    noted AS (
        INSERT INTO inventory.event (actor, kind, job_id, detail)
        SELECT 'guard', CASE WHEN held > 0 THEN 'deletes_held' ELSE 'deletes_cleared' END, job_id,
               jsonb_build_object('files', files, 'collections', collections, 'allowed', allowed)
        FROM verdict WHERE held <> held_before OR held = 0 AND files > 0)
    SELECT job_id, held, allowed FROM verdict WHERE held <> held_before
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the guard found anew of one job: so many are held, where so many are allowed; 0 where none is held any more."""

    job: int
    held: int
    allowed: int


def judge(connection: Connection) -> list[Verdict]:
    """Decide for every pass that was looked at completely; the jobs for which the answer is another one than before."""
    usual = JobSettings()  # for jobs that were started before there were limits
    rows = connection.execute(
        text(_JUDGE),
        {"few": FEW, "counted": COUNTED, "files": usual.max_deletes, "percent": usual.max_delete_percent},
    )
    return [Verdict(*row) for row in rows]


def release(connection: Connection) -> int:
    """Make due what is cleared and whose grace time is over, some of it; returns how many files."""
    shards = connection.execute(
        text(f"""
            SELECT s.id, {endings.RELEASED_TO} AS until FROM inventory.job j JOIN inventory.shard s ON s.job_id = j.id
            WHERE j.state = 'running' AND {endings.DELETES} AND j.deletes_cleared_at IS NOT NULL AND EXISTS (
                SELECT FROM inventory.progress_now n WHERE n.shard = s.id AND n.state = 'vanished' AND n.files > 0)""")
    ).all()
    return sum(_release_shard(connection, row.id, row.until) for row in shards)


def _release_shard(connection: Connection, shard: int, until: datetime) -> int:
    # by key alone, for the rows are locked: with their state repeated, the index of all that is held was read whole for each
    return connection.execute(
        text("""
            WITH due AS MATERIALIZED (
                SELECT directory_id, name FROM inventory.file
                WHERE shard = :shard AND state = 'vanished' AND retry_at = 'infinity' AND vanished_at <= :until
                ORDER BY vanished_at LIMIT :batch FOR UPDATE SKIP LOCKED)
            UPDATE inventory.file f SET retry_at = NULL FROM due
            WHERE f.shard = :shard AND f.directory_id = due.directory_id AND f.name = due.name"""),
        {"shard": shard, "until": until, "batch": BATCH},
    ).rowcount
