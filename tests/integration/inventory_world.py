"""A small world for tests of the inventory: a job, its root directory listed, workers by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from core.settings import JobSettings
from core.sources.base import Entry
from inventory import claims, jobs, listing
from inventory.claims import ClaimedFile, Result, Stage
from inventory.engine import Database
from inventory.listing import Merge
from inventory.workers import Lease


class World:
    """An inventory with one job, and shorthand for what pods do to it."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.url = url
        self.database = Database(url, queue=True)
        chosen = JobSettings.model_validate({"shards": 1} | settings)
        self.job = jobs.start(self.database, "job", "file:///source", "/tempZone/home/rods", chosen)
        self.watcher = self.worker("watcher")

    def worker(self, kind: str = "loader") -> int:
        return Lease(self.database, kind, f"{kind}-pod", "test").worker

    def scan(self, entries: Sequence[Entry], path: str = "", worker: int | None = None) -> None:
        """List one due directory completely."""
        self.execute("UPDATE inventory.directory SET next_scan_at = now() WHERE path = :path", path=path)
        watcher = worker or self.watcher
        claimed = listing.claim(self.database, watcher, [self.job.id], 100)
        for directory in claimed:
            if directory.path != path:
                listing.release(self.database, watcher, [directory.id])
                continue
            with self.database.begin() as connection:
                merge = Merge(connection, watcher, self.job.settings.settle_seconds)
                merge.add([(directory, entries)])
                merge.finish([directory], self.job.settings.rescan_seconds)

    def add(self, *names: str, size: int = 1) -> None:
        self.scan([Entry(name, "f", size, 1_700_000_000_000_000) for name in names])

    def claim(self, worker: int, stage: Stage = "load", limit: int = 100) -> list[ClaimedFile]:
        return [f for s in self.job.shards for f in claims.claim(self.database, worker, stage, s, limit)]

    def finish(self, worker: int, results: Sequence[Result], stage: Stage = "load", **limits: Any) -> int:
        return claims.finish(self.database, worker, stage, results, claims.Limits(**limits))

    def clear_deletes(self) -> None:
        """Make due for deletion what has vanished, as the guard does."""
        self.execute("UPDATE inventory.file SET retry_at = NULL WHERE state = 'vanished'")

    def execute(self, statement: str, **values: Any) -> None:
        with self.database.begin() as connection:
            connection.execute(text(statement), values)

    def rows(self, columns: str = "name, state") -> list[tuple[Any, ...]]:
        with self.database.begin() as connection:
            rows = connection.execute(text(f"SELECT {columns} FROM inventory.file ORDER BY directory_id, name"))
            return [tuple(row) for row in rows]

    def one(self, statement: str, **values: Any) -> Any:
        with self.database.begin() as connection:
            return connection.execute(text(statement), values).scalar()

    def progress(self) -> dict[str, int]:
        with self.database.begin() as connection:
            rows = connection.execute(text("SELECT state, sum(files)::int FROM inventory.progress_now GROUP BY state"))
            return {state: files for state, files in rows if files}

    def counts(self) -> dict[str, int]:
        with self.database.begin() as connection:
            rows = connection.execute(text("SELECT state, count(*)::int FROM inventory.file GROUP BY state"))
            return {row.state: row.count for row in rows}
