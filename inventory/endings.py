"""When a pass is over, and a job with it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

FINISH_LOCK = 0x1_0AD_0105
"""The advisory lock of whoever looks for passes and jobs that have ended."""
DELETES = "j.settings ->> 'delete_mode' <> 'do_not_delete'"
"""Of job j: whether it deletes at all."""
RELEASED_TO = """
    least(coalesce(j.deletes_cleared_at, '-infinity'),
          now() - make_interval(secs => coalesce((j.settings ->> 'delete_after_seconds')::float, 0)))
"""
"""Of job j: what vanished up to then may be deleted now."""
_FILES_VANISHED = """
    EXISTS (SELECT FROM inventory.progress_now n JOIN inventory.shard s ON s.id = n.shard
            WHERE s.job_id = j.id AND n.state = 'vanished' AND n.files > 0)
"""
NOTHING_OF_OURS = """
    NOT EXISTS (SELECT FROM inventory.directory c WHERE c.parent_id = d.id AND c.collection_made_at IS NOT NULL OFFSET 0)
    AND NOT EXISTS (SELECT FROM inventory.file f WHERE f.shard = d.shard AND f.directory_id = d.id
                    AND f.state <> 'deleted' OFFSET 0)
"""
"""Of a vanished directory d: whether its collection may go. What could not be deleted, or is not to be, keeps it for good."""
_COLLECTIONS_LEFT = f"""
    EXISTS (SELECT FROM inventory.directory d WHERE d.job_id = j.id AND d.collection_made_at IS NULL
            AND NOT d.collection_dead AND d.state <> 'vanished')
    OR EXISTS (SELECT FROM inventory.directory d WHERE d.job_id = j.id AND d.collection_changed AND NOT d.collection_dead)
    OR EXISTS (SELECT FROM inventory.directory d WHERE d.job_id = j.id AND d.state = 'vanished'
               AND d.collection_made_at IS NOT NULL AND NOT d.collection_dead AND {DELETES}
               AND d.scan_finished_at <= {RELEASED_TO} AND NOT {_FILES_VANISHED} AND {NOTHING_OF_OURS})
"""
# What vanishes with its parent is looked at once more, in the same pass: such directories are due since ever.
_SINGLE_SCAN_LEFT = """
    EXISTS (SELECT FROM inventory.directory d WHERE d.job_id = j.id AND d.state IN ('pending', 'scanned')
            AND d.next_scan_at IS NOT NULL)
    OR EXISTS (SELECT FROM inventory.directory d WHERE d.job_id = j.id AND d.claimed_by IS NOT NULL)
"""
# What was not looked at since the last pass ended is due no later than one interval after that.
_INTERVAL_SCAN_LEFT = """
    EXISTS (SELECT FROM inventory.directory d WHERE d.job_id = j.id AND d.state IN ('pending', 'scanned')
            AND d.next_scan_at < greatest(now(), p.since + make_interval(secs => (j.settings ->> 'rescan_seconds')::float))
            AND (d.scan_finished_at IS NULL OR d.scan_finished_at < p.since OR d.next_scan_at = 'epoch'))
    OR EXISTS (SELECT FROM inventory.directory d WHERE d.job_id = j.id AND d.claimed_by IS NOT NULL
               AND (d.scan_finished_at IS NULL OR d.scan_finished_at < p.since OR d.next_scan_at = 'epoch'))
"""
SCAN_LEFT = f"""
    CASE WHEN j.settings ->> 'rescan_seconds' IS NULL THEN ({_SINGLE_SCAN_LEFT}) ELSE ({_INTERVAL_SCAN_LEFT}) END
"""
"""A condition on job j and its open pass p: whether directories are still to be looked at in it."""
# What the guard holds back ends a pass all the same; of what it has cleared, grace time included, a single pass waits for the end.
_DELETES_LEFT = f"""
    {DELETES} AND (p.deletes_judged_at IS NULL OR {_FILES_VANISHED} AND EXISTS (
        SELECT FROM inventory.shard s, LATERAL (
            SELECT FROM inventory.file f WHERE f.shard = s.id AND f.state = 'vanished' AND f.retry_at IS NULL
            UNION ALL
            SELECT FROM inventory.file f WHERE f.shard = s.id AND f.state = 'vanished' AND f.retry_at = 'infinity'
                AND f.vanished_at <= {{until}}
            {{backing_off}} LIMIT 1) f
        WHERE s.job_id = j.id))
"""
_BACKING_OFF = """
    UNION ALL SELECT FROM inventory.file f WHERE f.shard = s.id AND f.state = 'vanished' AND f.retry_at < 'infinity'
"""
_SINGLE_PASS_LEFT = f"""
    {_SINGLE_SCAN_LEFT}
    OR {_COLLECTIONS_LEFT}
    OR EXISTS (SELECT FROM inventory.progress_now p JOIN inventory.shard s ON s.id = p.shard
               WHERE s.job_id = j.id AND p.files > 0
                 AND p.state IN ('discovered', 'loading', 'loaded', 'verifying', 'deleting'))
    OR {_DELETES_LEFT.format(until="j.deletes_cleared_at", backing_off=_BACKING_OFF)}
"""
_INTERVAL_LEFT = f"""
    {_INTERVAL_SCAN_LEFT}
    OR {_COLLECTIONS_LEFT}
    OR EXISTS (SELECT FROM inventory.shard s, LATERAL (
                   SELECT FROM inventory.file f WHERE f.shard = s.id AND (
                       f.state = 'discovered' AND f.retry_at IS NULL OR f.state = 'loaded' AND f.retry_at IS NULL
                       OR f.claimed_by IS NOT NULL) LIMIT 1) f
               WHERE s.job_id = j.id)
    OR {_DELETES_LEFT.format(until=RELEASED_TO, backing_off="")}
"""
_FINISH = """
    UPDATE inventory.pass p SET finished_at = now(),
        post_done_at = CASE WHEN NOT coalesce(j.handler -> 'overrides' ? 'post_job', false) THEN now() END
    FROM inventory.job j
    WHERE j.id = p.job_id AND j.state = 'running' AND p.finished_at IS NULL AND p.started_at IS NOT NULL
      AND p.pre_done_at IS NOT NULL AND (j.settings ->> 'rescan_seconds' IS NULL) = :single AND NOT ({left})
    RETURNING p.id, p.job_id
"""
_COUNT = """
    UPDATE inventory.pass p SET
        counts = (SELECT jsonb_object_agg(c.state, jsonb_build_array(c.files, c.bytes)) FROM (
            SELECT n.state, sum(n.files) AS files, sum(n.bytes) AS bytes FROM inventory.progress_now n
            JOIN inventory.shard s ON s.id = n.shard WHERE s.job_id = p.job_id
            GROUP BY n.state HAVING sum(n.files) <> 0) c),
        failed = f.failed, retried = f.retried
    FROM (SELECT o.id, count(x.id) FILTER (WHERE x.permanent) AS failed,
                 count(x.id) FILTER (WHERE NOT x.permanent AND x.error <> 'skipped') AS retried
          FROM inventory.pass o JOIN inventory.shard s ON s.job_id = o.job_id
          LEFT JOIN inventory.failure x ON x.shard = s.id AND x.failed_at >= o.started_at
          WHERE o.id = ANY(:passes) GROUP BY o.id) f
    WHERE f.id = p.id
"""


def hold_off(connection: Connection) -> None:
    """Let nobody look for ended jobs from now to the end of this transaction, which gives a job something to do.

    Else a look that has not seen it could end the job right after. To be called before any row is changed.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": FINISH_LOCK})


def finish_passes(connection: Connection) -> list[int]:
    """End the passes in which nothing is left to look at, to make, to load or to verify; the ids of their jobs."""
    ended: dict[int, int] = {}
    for single, left in ((True, _SINGLE_PASS_LEFT), (False, _INTERVAL_LEFT)):
        rows = connection.execute(text(_FINISH.format(left=left)), {"single": single})
        ended |= {row.id: row.job_id for row in rows}
    if ended:
        connection.execute(text(_COUNT), {"passes": list(ended)})
    return list(ended.values())


def finish_jobs(connection: Connection, jobs: Sequence[int]) -> list[int]:
    """End those of these jobs that have a single pass, when it is over with its post_job; their ids."""
    if not jobs:
        return []
    done = connection.execute(
        text("""
            UPDATE inventory.job j SET state = 'finished', finished_at = now()
            WHERE j.id = ANY(:jobs) AND state = 'running' AND settings ->> 'rescan_seconds' IS NULL AND (
                SELECT p.post_done_at IS NOT NULL FROM inventory.pass p WHERE p.job_id = j.id ORDER BY number DESC LIMIT 1)
            RETURNING id"""),
        {"jobs": list(jobs)},
    )
    return list(done.scalars())
