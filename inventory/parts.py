"""Cutting a very large directory into parts, each of which any watcher may list."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from core.sources.base import Keys
from inventory.directories import ClaimedDirectory


def divide(connection: Connection, worker: int, directory: ClaimedDirectory, parts: Sequence[Keys]) -> bool:
    """Leave to a directory what comes before these parts, and insert them as due. False when it is no longer this worker's.

    Only for a directory that has no files in the inventory yet, for none is ever moved to another row. The parts follow each
    other without a gap, from where the directory's own listing has ended to its end.
    """
    left = connection.execute(
        text("""
            UPDATE inventory.directory SET keys_until = :until
            WHERE id = :id AND claimed_by = :worker
              AND keys_after = :after AND keys_until IS NOT DISTINCT FROM CAST(:end AS text)"""),
        {
            "id": directory.id,
            "worker": worker,
            "after": directory.part.after,
            "end": directory.part.until,
            "until": parts[0].after,
        },
    )
    if left.rowcount != 1:
        return False
    connection.execute(
        text("""
            WITH shards AS MATERIALIZED (
                SELECT array_agg(id ORDER BY id) AS ids FROM inventory.shard WHERE job_id = :job AND accepting)
            INSERT INTO inventory.directory (job_id, parent_id, shard, path, keys_after, keys_until, collection_made_at)
            SELECT d.job_id, d.parent_id,
                s.ids[1 + (hashtext(d.path || '/' || p.after)::bigint & 2147483647) % cardinality(s.ids)],
                d.path, p.after, p.until, d.collection_made_at
            FROM inventory.directory d, shards s, unnest(CAST(:afters AS text[]), CAST(:untils AS text[])) AS p(after, until)
            WHERE d.id = :id"""),
        {
            "id": directory.id,
            "job": directory.job_id,
            "afters": [part.after for part in parts],
            "untils": [part.until for part in parts],
        },
    )
    return True
