"""A soak: real pods over a changing tree while chaos reigns, and at the end everything is right or it is said what is not."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from irods.column import Like
from irods.exception import iRODSException
from irods.models import Collection, DataObject
from irods.session import iRODSSession
from sqlalchemy import text

from core.errors import IngestError
from inventory import schema
from sandbox.chaos import Chaos
from sandbox.postgres import EmbeddedPostgres
from sandbox.processes import Crew, Process
from tests.e2e.world import PROJECT, QUICK, World, environment_of, eventually, hashes_of
from tests.soak.tree import Tree

LEASE_SECONDS = 3.0
DRAIN_SECONDS = 180.0
TREE_FILES = 300
"""Files at the beginning."""
PODS = ("watcher", "loader", "loader", "verifier", "watcher", "loader", "verifier")
SETTINGS = QUICK | {
    "INGEST_WORKER__LEASE_SECONDS": str(LEASE_SECONDS),
    "INGEST_WORKER__DRAIN_SECONDS": "4",
    "INGEST_WORKER__RETRY_MAX_SECONDS": "3",
    "INGEST_IRODS__TIMEOUT_SECONDS": "4",
    "INGEST_IRODS__SINGLE_BUFFER_BYTES": "3000000",
    "INGEST_BUNDLE__MAX_FILES": "20",
    # what a fault made fail is counted, and there are many of them
    "INGEST_JOB__MAX_ATTEMPTS": "1000",
    "INGEST_JOB__MAX_RELOADS": "1000",
}
PATIENT = {"INGEST_IRODS__TIMEOUT_SECONDS": "30"}
FINAL = {"verified", "vanished", "skipped", "deleted"}


@dataclass
class Report:
    """What a soak did, and what was wrong at its end."""

    seed: int
    seconds: float = 0.0
    drained_seconds: float = 0.0
    blows: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    restarts: int = 0
    changes: int = 0
    files: int = 0
    rows: int = 0
    generations: int = 0
    reaps: int = 0
    violations: list[str] = field(default_factory=list)

    def text(self) -> str:
        blows = ", ".join(f"{count} {name}" for name, count in sorted(self.blows.items()))
        lines = [
            f"soak: seed {self.seed}, {self.seconds:.0f} s of chaos, drained in {self.drained_seconds:.0f} s",
            f"  blows: {blows}",
            f"  {self.kills} kills, freezes and outages, {self.restarts} restarts of processes",
            f"  {self.changes} changes of the tree; at its end {self.files} files, {self.rows} rows,"
            f" {self.generations} generations, {self.reaps} rows taken from the dead",
            *(f"  VIOLATION: {violation}" for violation in self.violations),
            "  all is right" if not self.violations else f"  run again with SEED={self.seed}",
        ]
        return "\n".join(lines)


class Soak:
    """One run in a folder of its own."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._random = random.Random(seed)
        self._report = Report(seed)
        self._source = folder / "source"
        self._logs = folder / "logs"
        for made in (self._source, self._logs):
            made.mkdir(parents=True)
        self._tree = Tree(self._source, self._random)
        self._postgres = EmbeddedPostgres(folder / "postgres", fast=True)
        self._irods, self._pods = Crew(), Crew()
        self._real = "IRODS_ENVIRONMENT_FILE" in os.environ

    def run(self, seconds: float) -> Report:
        """Chaos for so long, then rest; the processes are gone and the folder is left to look at."""
        world: World | None = None
        try:
            world = self._install()
            chaos = Chaos(
                self._pods,
                self._irods,
                self._postgres,
                None if self._real else self._folder / "irods" / "faults.json",
                LEASE_SECONDS,
                self._random,
            )
            began = time.monotonic()
            while time.monotonic() - began < seconds:
                self._tree.change(self._random.randrange(4))
                chaos.step()
                time.sleep(0.05)
            self._report.seconds = time.monotonic() - began
            self._report.blows, self._report.kills = chaos.done, chaos.kills
            self._rest(world, chaos)
        finally:
            self._pods.stop(10)
            self._irods.stop(10)
            if world is not None and self._real and not self._report.violations:
                world.close()
            elif world is not None:
                world.database.close()
            self._postgres.stop()
        return self._report

    def remove(self) -> None:
        """Delete all of it, wherever Postgres keeps its data."""
        self._postgres.remove()
        shutil.rmtree(self._folder)

    def _install(self) -> World:
        self._postgres.start()
        url = self._postgres.create_database("soak")
        schema.init(url)
        # a real server is others' too: it is neither killed nor made to fail, and has its own time to answer
        world = World(url, SETTINGS | (PATIENT if self._real else self._start_irods()), self._logs)
        self._tree.change(TREE_FILES)
        world.start_job(self._source, "--rescan", "0.5")
        for number, kind in enumerate(PODS):
            name = f"{kind}-{number}"
            self._pods.start(
                Process(
                    name,
                    [sys.executable, "-m", kind],
                    {**world.environment, "POD_NAME": name},
                    self._logs / f"{name}.log",
                )
            )
        return world

    def _start_irods(self) -> dict[str, str]:
        """Start the sandbox iRODS, and return what pods are told of it."""
        state = self._folder / "irods"
        port = _free_port()
        server = [sys.executable, "-m", "sandbox.irods", "--state", str(state), "--port", str(port)]
        plain = {**os.environ, "PYTHONPATH": str(PROJECT)}
        self._irods.start(Process("irods", server, plain, self._logs / "irods.log"))
        eventually("the sandbox iRODS is there", (state / "irods_environment.json").exists, 30)
        environment = {
            "irods_host": "127.0.0.1",
            "irods_port": port,
            "irods_user_name": "rods",
            "irods_zone_name": "tempZone",
        }
        return environment_of(self._folder, environment, "rods")

    def _rest(self, world: World, chaos: Chaos) -> None:
        began = time.monotonic()
        chaos.rest()
        self._tree.change(30)  # changes after the last blow are seen as well
        report = self._report
        try:
            eventually(
                "the tree is verified and nothing else is left to do", lambda: self._settled(world), DRAIN_SECONDS
            )
        except AssertionError:
            report.violations += self._unsettled(world)
        report.drained_seconds = time.monotonic() - began
        for pod in [*self._pods.processes]:
            report.restarts += pod.restarts
            if pod.alive and pod.running is not None:
                pod.running.send_signal(signal.SIGTERM)
        codes = {pod.name: pod.running.wait(30) for pod in self._pods.processes if pod.running is not None}
        # one that was started a moment ago does not listen yet, and holds nothing
        fine = {0, -signal.SIGTERM}
        report.violations += [
            f"{name} ended with {code} when asked to" for name, code in codes.items() if code not in fine
        ]
        report.restarts += sum(process.restarts for process in self._irods.processes)
        self._check_rows(world)
        self._check_irods(world)
        report.changes = sum(self._tree.done.values())

    def _settled(self, world: World) -> bool:
        self._pods.mend()
        self._irods.mend()
        try:
            return not self._unsettled(world)
        except IngestError:
            return False

    def _unsettled(self, world: World) -> list[str]:
        """What keeps the end from being reached: files without a verified row of their size, rows that are not final."""
        sizes = {path.relative_to(self._source).as_posix(): path.stat().st_size for path in self._tree.files()}
        lines = world.lines()
        wrong = [
            f"{path}: {size} bytes, row {lines.get(path)}"
            for path, size in sizes.items()
            if path not in lines or (lines[path].state, lines[path].size) != ("verified", size)
        ]
        return wrong + [
            f"{path} is gone, row {line}"
            for path, line in lines.items()
            if line.state not in FINAL or (line.state == "verified" and path not in sizes)
        ]

    def _check_rows(self, world: World) -> None:
        report = self._report
        busy = self._query(world, "SELECT name, state FROM inventory.file WHERE claimed_by IS NOT NULL")
        # watchers go on scanning to the end; what they held is given back when they are reaped
        report.violations += [f"row {row} is busy" for row in busy]
        counted = self._query(
            world, "SELECT shard, state::text, count(*), sum(size) FROM inventory.file GROUP BY 1, 2 ORDER BY 1, 2"
        )
        progress = self._query(
            world,
            "SELECT shard, state::text, files, bytes FROM inventory.progress_now WHERE files <> 0 OR bytes <> 0 ORDER BY 1, 2",
        )
        if counted != progress:
            report.violations.append(f"counts {counted} are not the progress {progress}")
        resets = self._query(world, "SELECT kind FROM inventory.event WHERE kind <> 'job_started'")
        report.violations += [f"somebody had to help: {row}" for row in resets]
        [(report.rows, report.generations, report.reaps)] = self._query(
            world, "SELECT count(*), sum(generation), coalesce(sum(reaps), 0) FROM inventory.file"
        )
        doubled = self._query(
            world, "SELECT directory_id, name FROM inventory.file GROUP BY 1, 2 HAVING count(*) > 1"
        ) + self._query(world, "SELECT job_id, path FROM inventory.directory GROUP BY 1, 2 HAVING count(*) > 1")
        report.violations += [f"{row} is there twice" for row in doubled]

    def _check_irods(self, world: World) -> None:
        report = self._report
        wanted = hashes_of(self._source)
        report.files = len(wanted)
        # what is left of a file that vanished in the middle of its put is not asked for
        with world.irods() as session:
            for path in wanted:
                if (held := _held(session, f"{world.target}/{path}")) != wanted[path]:
                    report.violations.append(f"{path} has wrong bytes in iRODS: {held}")
        seen: Counter[str] = Counter()
        with world.irods() as session:
            for row in session.query(
                Collection.name, DataObject.name, DataObject.replica_number, DataObject.replica_status
            ).filter(Like(Collection.name, f"{world.target}%")):
                path = f"{row[Collection.name]}/{row[DataObject.name]}".removeprefix(f"{world.target}/")
                if path in wanted:
                    seen[path] += 1
                    if row[DataObject.replica_status] != "1":
                        report.violations.append(f"{path} has a replica of status {row[DataObject.replica_status]}")
        report.violations += [f"{path} is in iRODS {seen[path]} times" for path in wanted if seen[path] != 1]

    @staticmethod
    def _query(world: World, statement: str) -> list[Any]:
        with world.database.begin() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]


def _held(session: iRODSSession, path: str) -> str:
    """SHA-256 of the bytes that iRODS delivers, or why it does not."""
    digest = hashlib.sha256()
    try:
        with session.data_objects.open(path, "r") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except iRODSException as error:
        return type(error).__name__
    return digest.hexdigest()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def seed_of(environ: dict[str, str], draw: Callable[[], int] = lambda: random.SystemRandom().randrange(1 << 32)) -> int:
    """The seed that was asked for, or a new one."""
    return int(environ["SEED"]) if environ.get("SEED") else draw()
