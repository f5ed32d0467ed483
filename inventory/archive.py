"""What is kept of a job that is removed: its rows as compressed CSV, streamed, so that any size fits in memory."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import IO, cast

from sqlalchemy import text

from inventory.engine import Database, copy

_FILES = """
    SELECT d.job_id, f.shard, d.path AS directory, f.name, f.kind, f.state, f.size, f.modified_at, f.generation, f.checksum,
        f.source_tag, f.discovered_at, f.load_started_at, f.load_finished_at, f.load_attempts, f.loaded_by,
        f.verify_started_at, f.verify_finished_at, f.verify_attempts, f.verified_by, f.deleted_at, f.reloads, f.reaps
    FROM inventory.file_{shard:d} f JOIN inventory.directory d ON d.id = f.directory_id
"""
_FAILURES = """
    SELECT x.failed_at, d.path AS directory, x.name, x.stage, x.generation, x.attempt, x.permanent, x.error, x.message, x.worker_id
    FROM inventory.failure x JOIN inventory.directory d ON d.id = x.directory_id WHERE d.job_id = {job:d}
"""
_DIRECTORIES = """
    SELECT d.job_id, d.id, d.parent_id, d.shard, d.path, d.state, d.scan_finished_at, d.collection_made_at, d.attempts, d.reaps
    FROM inventory.directory d WHERE d.job_id = {job:d}
"""
_JOB = "SELECT * FROM inventory.job WHERE id = {job:d}"
_LEVEL = 3  # a third of the time of the default for a tenth more bytes


def shard(database: Database, number: int, folder: Path) -> Path:
    """Write a shard's files with their directories to `shard-NUMBER.csv.gz`; the file has its name only once it is whole."""
    return _write(database, _FILES.format(shard=number), folder / f"shard-{number}.csv.gz")


def job(database: Database, number: int, folder: Path) -> None:
    """Write a job itself, its directories and its failed attempts, each unless a removal that was cut short did so already."""
    for name, query in (("job", _JOB), ("directories", _DIRECTORIES), ("failures", _FAILURES)):
        path = folder / f"{name}.csv.gz"
        if not path.exists():
            _write(database, query.format(job=number), path)


def _write(database: Database, query: str, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as raw:
        with gzip.open(raw, "wb", compresslevel=_LEVEL) as packed, database.begin() as connection:
            # a report, whatever the connection is for: all rows in one pass
            connection.execute(text("SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on"))
            copy(connection, f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)", cast(IO[bytes], packed))
        raw.flush()
        os.fsync(raw.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return path
