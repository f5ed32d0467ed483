"""The queue: claims and finishes by batch, by size of the table, beside a long transaction, and over many rounds."""

from __future__ import annotations

import time
from contextlib import closing

from sqlalchemy import text

from benchmarks.inventory.world import Made, World
from inventory import housekeeping
from inventory.engine import Database
from inventory.jobs import Job
from inventory.rota import Rota

Row = tuple[str, str, str]


def by_batch(world: World, rows: int, seconds: float) -> list[Row]:
    """Claim and finish of one client by the size of its batch."""
    job = world.fill(rows)
    worker = world.worker()
    found = []
    for batch in (1, 50, 500, 2000):
        rate, used = world.rate(worker, "load", batch, seconds)
        aim = f"{used:.0f} µs of processor a file" + ("; aim 20,000 files/s" if batch == 500 else "")
        found.append((f"claim + finish, batches of {batch:,}", f"{rate:,.0f} files/s", aim))
    world.close_job(job)
    return found


def by_size(world: World, most: int, seconds: float) -> list[Row]:
    """Claim and finish at batch 500 right after the rows came in, never analysed; 10^4 rows to `most` in one shard."""
    found: list[Row] = []
    rows, base = 10_000, 0.0
    while rows <= most:
        job = world.fill(rows)
        rate, used = world.rate(world.worker(), "load", 500, seconds)
        base = base or used
        found.append(
            (
                f"claim + finish among {rows:,} rows",
                f"{rate:,.0f} files/s",
                f"{used:.0f} µs of processor a file, {used / base:.2f} of the first",
            )
        )
        world.close_job(job)
        rows *= 10
    return found


def beside_a_long_transaction(world: World, rows: int) -> list[Row]:
    """The same while a transaction as old as the job keeps the server from removing dead rows."""
    found: list[Row] = []
    rates = []
    for pinned in (False, True):
        job = world.fill(rows)
        worker = world.worker()
        rota = Rota(world.database, worker)
        pin = Database(world.url)
        with closing(pin), pin.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            if pinned:
                connection.execute(text("SET idle_in_transaction_session_timeout = 0"))
                connection.execute(text("SELECT count(*) FROM inventory.worker"))
            rates.append([_part(world, rota, worker, rows // 8) for _ in range(7)])
        world.close_job(job)
    free, held = rates
    found.append(
        ("claim + finish, first and last eighth", f"{free[0]:,.0f}, {free[-1]:,.0f} files/s", "nothing pinned")
    )
    found.append(
        (
            "  beside a long transaction",
            f"{held[0]:,.0f}, {held[-1]:,.0f} files/s",
            f"{sum(held) / sum(free):.2f} of it overall; aim 0.8",
        )
    )
    return found


def _part(world: World, rota: Rota, worker: int, files: int) -> float:
    began, done = time.perf_counter(), 0
    while done < files:
        done += world.turn(rota, worker, "load", 500)
    return done / (time.perf_counter() - began)


_RULE = """
    INSERT INTO inventory.compute_rule (name, kind, absolute, pattern, source, rule)
    VALUES ('benchmark', 'file', false, :pattern, 'benchmark', '{}')
"""


def beside_rules(world: World, rows: int, seconds: float) -> list[Row]:
    """Claim and finish of verification without rules of compute, and with one that matches no file, or every file."""
    found: list[Row] = []
    base = 0.0
    for what, pattern in (("without rules", None), ("with a rule that matches none", "x"), ("that matches all", ".*")):
        job, worker = world.fill(rows), world.worker()
        rota = Rota(world.database, worker)
        while world.turn(rota, worker, "load", 2000):
            pass
        if pattern:
            world.run(_RULE, pattern=pattern)
        rate, used = world.rate(worker, "verify", 500, seconds)
        world.run("DELETE FROM inventory.compute_rule")
        base = base or used
        found.append(
            (
                f"claim + finish of verification, {what}",
                f"{rate:,.0f} files/s",
                f"{used:.0f} µs of processor a file, {used / base:.2f} of the first",
            )
        )
        world.close_job(job)
    return found


POINTS = 12
"""Points of a curve over time."""


def churn(world: World, rows: int, turns: int, seconds: float | None = None) -> list[Row]:
    """Files that are loaded, verified and changed again and again, beside rescans and housekeeping: what that leaves behind.

    It ends after so many turns, or with `seconds` after so long, with autovacuum at its work.
    """
    job = world.fill(rows)
    worker, watcher = world.worker(), world.watcher(fill=Made(rows, 1000))
    found, began, turn, next_at = list[Row](), time.monotonic(), 0, 0.0
    while True:
        spent = time.monotonic() - began
        over = turn >= turns if seconds is None else spent >= seconds
        if over or turn in {0, 1, 2} or (spent >= next_at if seconds else turn in {turns // 4, turns // 2}):
            found.append(_left_behind(world, job, turn, rows, spent))
            next_at = spent + (seconds or 0) / POINTS
        if over:
            world.close_job(job)
            return found
        _load_and_verify(world, worker)
        world.run(
            "UPDATE inventory.file SET state = 'discovered', generation = generation + 1, load_finished_at = NULL,"
            " load_started_at = NULL, verify_started_at = NULL, verify_finished_at = NULL WHERE shard = :shard",
            shard=job.shards[0],
        )
        world.run("UPDATE inventory.directory SET next_scan_at = now() WHERE job_id = :job", job=job.id)
        world.scan(watcher)
        housekeeping.tidy(world.database, lease_seconds=3600, max_reaps=5)
        turn += 1


def _left_behind(world: World, job: Job, turn: int, rows: int, spent: float) -> Row:
    tables, indexes = world.sizes(job)
    dead = world.one("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = :name", name=f"file_{job.shards[0]}")
    others = float(
        world.one("""
        SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables
        WHERE schemaname = 'inventory' AND relname NOT LIKE 'file%'""")
    )
    return (
        f"churn: {spent / 60:.1f} min, {turn:,} turns, {turn * 5 * rows:,} changes of {rows:,} rows",
        f"table {tables / 1e6:,.1f} MB, indexes {indexes / 1e6:,.1f} MB",
        f"{dead:,} dead rows, all other tables {others / 1e6:,.1f} MB",
    )


def a_life(world: World, rows: int) -> list[Row]:
    """Bytes and WAL of a row through its whole life."""
    job = world.fill(rows)
    worker = world.worker()
    wal = world.wal()
    _load_and_verify(world, worker)
    spent = world.wal() - wal
    tables, indexes = world.sizes(job)
    world.close_job(job)
    return [
        ("a verified row, with indexes", f"{(tables + indexes) / rows:,.0f} bytes", f"table {tables / rows:,.0f}"),
        ("  WAL of loading and verifying it", f"{spent / rows:,.0f} bytes", ""),
    ]


def _load_and_verify(world: World, worker: int) -> None:
    rota = Rota(world.database, worker)
    while world.turn(rota, worker, "load", 500):
        pass
    while world.turn(rota, worker, "verify", 500):
        pass
