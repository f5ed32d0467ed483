"""A Postgres of the benchmark's own with durable settings, jobs in it, and what is needed to measure them."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text

from core.outcome import Done
from core.settings import JobSettings, Settings
from core.sources.base import Entry, Source
from inventory import claims, jobs, schema
from inventory.claims import ClaimedFile, Limits, Result, Stage
from inventory.engine import Database
from inventory.jobs import Job
from inventory.pod import Member
from inventory.rota import Rota
from inventory.workers import Lease
from sandbox.postgres import EmbeddedPostgres
from watcher.loop import WatchLoop

# Durable: fsync, full_page_writes and synchronous_commit stay on. What is set is what any server of this use would have.
_SERVER = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "autovacuum_naptime": "1s",
}
MODIFIED_AT = 1_700_000_000_000_000


class World:
    """One database with the schema, on a server of its own."""

    def __init__(self, server: EmbeddedPostgres, name: str) -> None:
        self.url = server.create_database(name)
        schema.init(self.url)
        self.database = Database(self.url, queue=True)
        self._names = itertools.count(1)
        self.used = 0.0

    def job(self, source: str = "file:///nowhere", **settings: Any) -> Job:
        name = f"job-{next(self._names)}"
        chosen = JobSettings.model_validate({"shards": 1} | settings)
        return jobs.start(self.database, name, source, "/tempZone/home/rods", chosen)

    def worker(self, kind: str = "loader") -> int:
        return Lease(self.database, kind, "benchmark", "benchmark").worker

    def watcher(self, **sources: Source) -> WatchLoop:
        """A watcher; `sources` are by the host of a URL such as memory://host, others are of the filesystem."""
        lease = Lease(self.database, "watcher", "benchmark", "benchmark")
        member = Member(Settings(), self.database, lease, Rota(self.database, lease.worker))
        if not sources:
            return WatchLoop(member)
        return WatchLoop(member, lambda url: sources[url.partition("://")[2]])

    def scan(self, watcher: WatchLoop) -> float:
        """Turn a watcher until nothing is left to scan, and return the seconds.

        `used` is then the processor time of it, of the watcher and of its backend.
        """
        backend = int(self.one("SELECT pg_backend_pid()"))
        used = _processor_seconds(backend) + time.process_time()
        began = time.perf_counter()
        idle = 0
        while idle < 2:
            idle = 0 if watcher.step() else idle + 1
        spent = time.perf_counter() - began
        self.used = _processor_seconds(backend) + time.process_time() - used
        return spent

    def fill(self, rows: int, a_directory: int = 1000) -> Job:
        """A job with so many files that wait to be loaded."""
        job = self.job("memory://fill")
        self.scan(self.watcher(fill=Made(rows, a_directory)))
        return job

    def close_job(self, job: Job) -> None:
        jobs.set_state(self.database, job.id, "stopped")

    def one(self, statement: str, **values: Any) -> Any:
        with self.database.begin() as connection:
            return connection.execute(text(statement), values).scalar()

    def run(self, statement: str, **values: Any) -> None:
        with self.database.begin() as connection:
            connection.execute(text(statement), values)

    def wal(self) -> int:
        return int(self.one("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    def written(self, job: Job) -> int:
        """Rows of `file` inserted, updated or deleted for a job since the server began."""
        with self.database.begin() as connection:
            connection.execute(text("SELECT pg_stat_force_next_flush()"))
        total = 0
        for shard in job.shards:
            total += int(
                self.one(
                    "SELECT n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables WHERE relname = :name",
                    name=f"file_{shard}",
                )
            )
        return total

    def sizes(self, job: Job) -> tuple[int, int]:
        """Bytes of a job's tables and of their indexes."""
        with self.database.begin() as connection:
            tables, indexes = 0, 0
            for shard in job.shards:
                name = f"inventory.file_{shard}"
                row = connection.execute(
                    text(
                        "SELECT pg_relation_size(CAST(:n AS regclass)) AS heap, pg_indexes_size(CAST(:n AS regclass)) AS indexed"
                    ),
                    {"n": name},
                ).one()
                tables, indexes = tables + row.heap, indexes + row.indexed
        return tables, indexes

    def turn(self, rota: Rota, worker: int, stage: Stage, batch: int) -> int:
        """Claim and finish one batch; returns how many files."""
        files = rota.claim_files(stage, batch)
        self.finish(worker, stage, files)
        return len(files)

    def finish(self, worker: int, stage: Stage, files: Sequence[ClaimedFile]) -> None:
        fenced = claims.finish(self.database, worker, stage, [Result(file, DONE, 0.1, 0.0) for file in files], Limits())
        assert not fenced, f"{fenced} of {len(files)} were fenced"

    def rate(self, worker: int, stage: Stage, batch: int, seconds: float) -> tuple[float, float]:
        """Files a second that one client claims and finishes, for so long or until none are left.

        And the microseconds of processor time a file, of the client and of its backend: what other work on the machine
        does not change.
        """
        rota = Rota(self.database, worker)
        self.turn(rota, worker, stage, batch)
        backend = int(self.one("SELECT pg_backend_pid()"))
        used = _processor_seconds(backend) + time.process_time()
        done, began = 0, time.perf_counter()
        while (spent := time.perf_counter() - began) < seconds:
            files = self.turn(rota, worker, stage, batch)
            if not files:
                break
            done += files
        used = _processor_seconds(backend) + time.process_time() - used
        return done / spent, used / done * 1e6


DONE = Done("sha2:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=")


class Made:
    """A source in memory: `files` files, so many in a directory, all below the root."""

    def __init__(self, files: int, a_directory: int) -> None:
        self._files = files
        self._each = a_directory

    def check(self) -> None:
        return

    def scan(self, directory: str) -> Iterator[Entry]:
        if not directory:
            for number in range(-(-self._files // self._each)):
                yield Entry(f"directory-{number:08}", "d", 4096, MODIFIED_AT)
            return
        first = int(directory.rpartition("-")[2]) * self._each
        for number in range(first, min(first + self._each, self._files)):
            yield Entry(f"sample_{number:09}.dat", "f", 4096 + number, MODIFIED_AT)

    def open(self, path: str) -> Any:
        raise NotImplementedError("nothing is read by these benchmarks")

    def physical_path(self, path: str) -> str:
        raise NotImplementedError("nothing is registered by these benchmarks")


@contextmanager
def server() -> Iterator[EmbeddedPostgres]:
    """A durable Postgres that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="bench-inventory-") as folder:
        postgres = EmbeddedPostgres(Path(folder) / "postgres")
        try:
            postgres.start()
            _configure(postgres)
            yield postgres
        finally:
            postgres.remove()


def _processor_seconds(process: int) -> float:
    """What a process has used so far; 0 where the system does not tell."""
    try:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _configure(postgres: EmbeddedPostgres) -> None:
    database = Database(postgres.url())
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for name, value in _SERVER.items():
            connection.execute(text(f"ALTER SYSTEM SET {name} = '{value}'"))
    database.close()
    postgres.stop()
    postgres.start()
