"""What a pod tells Prometheus of the inventory as a whole; cheap at any size."""

from __future__ import annotations

from sqlalchemy import Connection, text

from core.metrics import Snapshot
from inventory.engine import Database

HEADS = 32
"""Of so many shards at most the head of the queue is looked at."""
_WAITING = {"load": ("discovered", "discovered_at"), "verify": ("loaded", "load_finished_at")}


def read(database: Database) -> Snapshot:
    """Counts, ages, workers and bloat in one snapshot. Raises Unavailable."""
    with database.begin() as connection:
        counts = connection.execute(
            text("""
                SELECT j.name, p.state, sum(p.files)::bigint AS files, sum(p.bytes)::bigint AS bytes
                FROM inventory.progress_now p JOIN inventory.shard s ON s.id = p.shard
                JOIN inventory.job j ON j.id = s.job_id GROUP BY j.name, p.state""")
        )
        files = {(row.name, row.state): (row.files, row.bytes) for row in counts}
        workers = connection.execute(
            text("""
                SELECT kind::text, count(*) AS workers FROM inventory.worker
                WHERE stopped_at IS NULL AND expired_at IS NULL GROUP BY kind""")
        )
        alive = {row.kind: row.workers for row in workers}
        # the partitions have the rows; the table itself has none
        size = connection.execute(
            text("""
                SELECT coalesce(sum(n_live_tup), 0)::bigint AS rows, coalesce(sum(n_dead_tup), 0)::bigint AS dead
                FROM pg_stat_user_tables WHERE schemaname = 'inventory' AND relname LIKE 'file\\_%'""")
        ).one()
        ages = {key: age for stage in _WAITING for key, age in _ages(connection, stage).items()}
        return Snapshot(files, ages, alive, size.rows, size.dead)


def _ages(connection: Connection, stage: str) -> dict[tuple[str, str], float]:
    """By job, for how many seconds the files have waited that a claim would take first."""
    state, since = _WAITING[stage]
    rows = connection.execute(
        text(f"""
            SELECT j.name, extract(epoch FROM now() - min(head.since))::float AS seconds
            FROM (SELECT shard FROM inventory.progress_now WHERE state = '{state}' AND files > 0
                  ORDER BY shard LIMIT :heads) stocked
            JOIN inventory.shard s ON s.id = stocked.shard JOIN inventory.job j ON j.id = s.job_id
            CROSS JOIN LATERAL (
                SELECT f.{since} AS since FROM inventory.file f
                WHERE f.shard = stocked.shard AND f.state = '{state}' AND f.retry_at IS NULL
                ORDER BY f.directory_id, f.name LIMIT 1) head
            GROUP BY j.name"""),
        {"heads": HEADS},
    )
    return {(row.name, stage): max(0.0, row.seconds) for row in rows if row.seconds is not None}
