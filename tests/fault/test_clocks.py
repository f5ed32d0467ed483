"""Pods whose clocks are wrong by hours and years: only the database's clock gets into the inventory."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import text

from sandbox.irods import SandboxServer
from tests.e2e.world import PROJECT, World, eventually, hashes_of

# the child's own environment: Python runs this before anything else in it
SHIFTED = """
import datetime, os, time

shift = float(os.environ.get("CLOCK_SHIFT", "0"))
real, real_ns, real_datetime = time.time, time.time_ns, datetime.datetime
time.time = lambda: real() + shift
time.time_ns = lambda: real_ns() + int(shift * 1e9)


class Shifted(real_datetime):
    @classmethod
    def now(cls, tz=None):
        return real_datetime.now(tz) + datetime.timedelta(seconds=shift)

    @classmethod
    def utcnow(cls):
        return real_datetime.utcnow() + datetime.timedelta(seconds=shift)


datetime.datetime = Shifted
"""
YEAR = 365 * 86_400
STAMPS = ("discovered_at", "load_started_at", "load_finished_at", "verify_started_at", "verify_finished_at")


def test_no_clock_but_the_databases_counts(
    sandbox_world: World, sandbox: SandboxServer, source: Path, tmp_path: Path
) -> None:
    for number in range(40):
        (source / f"f{number}").write_bytes(os.urandom(number))
    world = sandbox_world
    (tmp_path / "sitecustomize.py").write_text(SHIFTED)
    world.start_job(source)
    sandbox.faults.add("error", api=606, code=-806000, count=2)  # a retry, so that a back-off is reckoned too
    world.environment |= {"PYTHONPATH": f"{tmp_path}:{PROJECT}", "INGEST_BUNDLE__MAX_FILE_BYTES": "0"}
    with world.database.begin() as connection:
        before = connection.execute(text("SELECT now()")).scalar_one()
    shifts = {"watcher": 3 * YEAR, "loader": -3 * YEAR, "verifier": 3600}
    names = {}
    for kind, shift in shifts.items():
        world.environment["CLOCK_SHIFT"] = str(shift)
        [names[kind]] = world.start(kind)
    eventually("some are loaded", lambda: world.counts().get("loaded") or world.counts().get("verified"))
    world.kill(names["loader"])  # a lease runs out
    world.environment["CLOCK_SHIFT"] = str(-YEAR)
    world.start("loader")
    world.wait_finished()
    assert str(before.year + 3) in (world.logs / f"{names['watcher']}.log").read_text()  # its clock was wrong indeed
    with world.database.begin() as connection:
        rows = connection.execute(text(f"SELECT {', '.join(STAMPS)} FROM inventory.file")).all()
        others = connection.execute(
            text("""
            SELECT started_at AS at FROM inventory.worker UNION ALL SELECT heartbeat_at FROM inventory.worker
            UNION ALL SELECT expired_at FROM inventory.worker WHERE expired_at IS NOT NULL
            UNION ALL SELECT failed_at FROM inventory.failure UNION ALL SELECT scan_finished_at FROM inventory.directory""")
        ).all()
        # the pods go on: what they stamp between two of these statements is seen by the second one
        after = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    assert len(rows) == 40
    for row in rows:
        assert all(before <= stamp <= after for stamp in row), row
        assert list(row) == sorted(row)
    assert [row.at for row in others if not before <= row.at <= after] == []
    assert world.held_by_irods() == hashes_of(source)
    world.stop()
