"""Giving dead letters another chance, once a person has removed the cause."""

from __future__ import annotations

from sqlalchemy import text

from inventory.engine import Database
from inventory.jobs import note


def retry_dead(database: Database, job: int, *, actor: str = "cli") -> int:
    """Make a job's dead files, directories and collections due again with fresh counts. Returns how many files."""
    with database.begin() as connection:
        # what was verified to be wrong is loaded again; so is whatever was never loaded
        files = connection.execute(
            text("""
                UPDATE inventory.file SET state = 'discovered', retry_at = NULL, load_attempts = 1, verify_attempts = 0,
                    reloads = 0, reaps = 0, verify_started_at = NULL, verify_finished_at = NULL
                WHERE shard IN (SELECT id FROM inventory.shard WHERE job_id = :job) AND state = 'dead'"""),
            {"job": job},
        ).rowcount
        connection.execute(
            text("""
                UPDATE inventory.directory SET state = 'pending', next_scan_at = now(), attempts = 0
                WHERE job_id = :job AND state = 'dead'"""),
            {"job": job},
        )
        connection.execute(
            text("""
                UPDATE inventory.directory SET collection_dead = false, collection_attempts = 0, collection_retry_at = NULL
                WHERE job_id = :job AND collection_dead"""),
            {"job": job},
        )
        connection.execute(
            text(
                "UPDATE inventory.job SET state = 'running', finished_at = NULL WHERE id = :job AND state = 'finished'"
            ),
            {"job": job},
        )
        note(connection, actor, "dead_retried", job, files=files)
        return files
