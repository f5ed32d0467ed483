"""Verifying again what was verified long ago: a slow walk over the rows of the jobs that want it.

No index knows when a row was verified; one of billions of rows would cost more than the walk. Each shard keeps the place where the
walk goes on. What is old enough becomes `loaded` again, in batches, and only while few of the shard's files wait for a verifier:
nearly all that was proven stays `verified`, and `verified_before_at` keeps when that was for the rest.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

AT_ONCE = 10_000
"""Rows of a shard that one step reads, and so may change."""
ROWS_A_ROUND = 50_000
"""Rows that one round reads over all shards."""
WAITING = 10_000
"""Files of a shard that may wait for verification; above that the walk pauses there."""
REST_SHARE = 0.02
"""After its end a walk rests for so much of reverify_days, and at least a second."""

_SHARDS = """
    SELECT s.id, s.job_id, s.reverify_directory, s.reverify_name, (j.settings ->> 'reverify_days')::float * 86400 AS age
    FROM inventory.shard s JOIN inventory.job j ON j.id = s.job_id
    WHERE j.settings ->> 'reverify_days' IS NOT NULL AND j.state IN ('running', 'finished') AND s.reverify_at <= now()
      AND (SELECT coalesce(sum(p.files), 0) FROM inventory.progress_now p
           WHERE p.shard = s.id AND p.state IN ('loaded', 'verifying')) < :waiting
    ORDER BY s.reverify_at, s.id LIMIT 64
"""
# The place is given as a value: from a join it would be no condition of the index, and all rows beyond it would be sorted.
# The row says again by itself that it is due: it may have changed since it was read, and pods lock rows in their own order.
_STEP = """
    WITH looked AS MATERIALIZED (
        SELECT f.directory_id, f.name, f.state = 'verified' AND f.verify_finished_at < now() - make_interval(secs => :age) AS due
        FROM inventory.file f
        WHERE f.shard = :shard AND (f.directory_id, f.name) > (:directory, :name)
        ORDER BY f.directory_id, f.name LIMIT :batch),
    wanted AS MATERIALIZED (
        SELECT f.directory_id, f.name FROM looked l JOIN LATERAL (
            SELECT f.directory_id, f.name FROM inventory.file f
            WHERE f.shard = :shard AND f.directory_id = l.directory_id AND f.name = l.name AND f.state = 'verified'
            FOR UPDATE SKIP LOCKED) f ON true
        WHERE l.due),
    again AS (
        UPDATE inventory.file f SET state = 'loaded', verified_before_at = f.verify_finished_at, verify_attempts = 0
        FROM wanted w WHERE f.shard = :shard AND f.directory_id = w.directory_id AND f.name = w.name AND f.state = 'verified'
        RETURNING f.name),
    last AS (SELECT directory_id, name FROM looked ORDER BY directory_id DESC, name DESC LIMIT 1),
    counted AS (SELECT (SELECT count(*) FROM looked)::int AS looked, (SELECT count(*) FROM again)::int AS due)
    UPDATE inventory.shard s SET
        reverify_directory = CASE WHEN c.looked = :batch THEN (SELECT directory_id FROM last) ELSE 0 END,
        reverify_name = CASE WHEN c.looked = :batch THEN (SELECT name FROM last) ELSE '' END,
        reverify_at = now() + CASE WHEN c.looked = :batch THEN interval '0' ELSE make_interval(secs => :rest) END
    FROM counted c WHERE s.id = :shard RETURNING c.looked, c.due
"""


def make_due(connection: Connection) -> int:
    """One round of the walk; how many files are to be verified again. A finished job that has some runs again."""
    looked = due = 0
    for shard, job, directory, name, age in connection.execute(text(_SHARDS), {"waiting": WAITING}).all():
        values = {
            "shard": shard,
            "directory": directory,
            "name": name,
            "age": age,
            "batch": AT_ONCE,
            "rest": max(1.0, age * REST_SHARE),
        }
        step = connection.execute(text(_STEP), values).one()
        if step.due:
            connection.execute(
                text(
                    "UPDATE inventory.job SET state = 'running', finished_at = NULL WHERE id = :job AND state = 'finished'"
                ),
                {"job": job},
            )
        looked, due = looked + step.looked, due + step.due
        if looked >= ROWS_A_ROUND:
            break
    return due
