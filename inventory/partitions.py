"""Shards: the partitions of `file`. Each belongs to one job, is filled by it alone and is dropped with it."""

from __future__ import annotations

from sqlalchemy import Connection, text

# Claimed rows are rewritten three times in their life; room on the page keeps them on it, and vacuum must come before
# dead tuples make a claim read through them.
_STORAGE = (
    "fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,"
    " autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.1"
)


def add_shards(connection: Connection, job: int, count: int) -> list[int]:
    """Add `count` shards with their partitions to a job and return their ids."""
    ids = [
        row.id
        for row in connection.execute(
            text("INSERT INTO inventory.shard (job_id) SELECT :job FROM generate_series(1, :count) RETURNING id"),
            {"job": job, "count": count},
        )
    ]
    for shard in ids:
        connection.execute(
            text(
                f"CREATE TABLE inventory.file_{shard:d} PARTITION OF inventory.file"
                f" FOR VALUES IN ({shard:d}) WITH ({_STORAGE})"
            )
        )
    return ids


def shards_of(connection: Connection, job: int) -> list[int]:
    """The ids of a job's shards, ascending."""
    return list(
        connection.execute(
            text("SELECT id FROM inventory.shard WHERE job_id = :job ORDER BY id"), {"job": job}
        ).scalars()
    )
