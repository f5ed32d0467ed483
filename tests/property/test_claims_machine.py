"""The queue of files as a state machine over a real Postgres: whatever happens in whatever order, what must hold holds.

PROPERTY_EXAMPLES (10) and PROPERTY_STEPS (30) make it longer.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import text

from core.outcome import Changed, Dead, Done, Mismatched, Outcome, Released, Retry, Skipped, Vanished
from core.sources.base import Entry
from inventory import custody, housekeeping, retries
from inventory.claims import ClaimedFile, Result, Stage
from inventory.workers import Lease
from tests.integration.inventory_world import World

NAMES = [f"f{number}" for number in range(6)]
TABLES = "file, directory, worker, failure, event, progress, progress_delta, shard, job"
STATES = {"load": ("discovered", "loading"), "verify": ("loaded", "verifying"), "delete": ("vanished", "deleting")}
FINAL = {"verified", "vanished", "deleted", "skipped", "dead"}
LOADED: list[Outcome] = [
    Done("sha2:x"), Retry("EIO", "try"), Dead("EACCES", "no"), Changed(7, 1_700_000_000_000_001), Vanished(), Skipped("there"),
    Released("away"),
]  # fmt: skip
VERIFIED: list[Outcome] = [Done(), Retry("EIO", "try"), Mismatched("checksum_mismatch", "a b"), Released("away")]

DELETED: list[Outcome] = [
    Done(), Changed(9, 1_700_000_000_000_002), Vanished(), Retry("EIO", "try"), Dead("EACCES", "no"), Released("away"),
]  # fmt: skip
OUTCOMES: dict[Stage, list[Outcome]] = {"load": LOADED, "verify": VERIFIED, "delete": DELETED}


class Claims(RuleBasedStateMachine):
    """Watchers, loaders, verifiers and housekeeping, against a model of who owns what."""

    url: str
    workers = Bundle("workers")

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.url, shards=2)
        self.tree: dict[str, tuple[int, int]] = {}
        self.clock = 1_700_000_000_000_000
        self.held: dict[int, dict[str, tuple[Stage, ClaimedFile]]] = {}
        self.past: list[tuple[int, Stage, ClaimedFile]] = []
        self.leases: dict[int, Lease] = {}
        self.generations: dict[str, int] = {}

    @initialize(names=st.sets(st.sampled_from(NAMES), min_size=2))
    def begin(self, names: set[str]) -> None:
        for name in sorted(names):
            self.write(name)
        self.scan()

    @rule(name=st.sampled_from(NAMES))
    def write(self, name: str) -> None:
        self.clock += 1
        self.tree[name] = (self.clock % 1000, self.clock)

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        self.tree.pop(name, None)

    @rule()
    def scan(self) -> None:
        self.world.scan([Entry(name, "f", *stat) for name, stat in sorted(self.tree.items())])

    @rule(target=workers, kind=st.sampled_from(["loader", "verifier"]))
    def start(self, kind: str) -> int:
        lease = Lease(self.world.database, kind, kind, "test")
        self.leases[lease.worker] = lease
        self.held[lease.worker] = {}
        return lease.worker

    @rule(
        worker=workers,
        stage=st.sampled_from(["load", "verify", "delete"]),
        limit=st.integers(1, 4),
        answered=st.booleans(),
    )
    def claim(self, worker: int, stage: Stage, limit: int, answered: bool) -> None:
        files = self.world.claim(worker, stage, limit)
        if worker not in self.held:
            assert files == []
        elif answered:
            for file in files:
                assert file.name not in self.held[worker]
                self.held[worker][file.name] = (stage, file)
        else:  # the connection broke in the commit: the worker gives back what it does not know of
            known = [file for its, file in self.held[worker].values() if its == stage]
            assert custody.keep(self.world.database, worker, stage, self.world.job.shards, known) == len(files)

    @rule(worker=workers, data=st.data())
    def finish(self, worker: int, data: st.DataObject) -> None:
        for name in sorted(self.held.get(worker, {})):
            if not data.draw(st.booleans()):
                continue
            stage, file = self.held[worker].pop(name)
            if file.suspect:
                assert custody.begin(self.world.database, worker, stage, file)
            outcome = data.draw(st.sampled_from(OUTCOMES[stage]))
            began = data.draw(st.floats(0, 100))
            assert self.world.finish(worker, [Result(file, outcome, began, began / 2)], stage, max_attempts=3) == 0
            self.past.append((worker, stage, file))

    @rule(data=st.data())
    def finish_too_late(self, data: st.DataObject) -> None:
        """What was finished already, or belongs to others by now, changes nothing."""
        if not self.past:
            return
        worker, stage, file = data.draw(st.sampled_from(self.past))
        now = self.held.get(worker, {}).get(file.name)
        if now is not None and (now[0], now[1].generation) == (stage, file.generation):
            return  # claimed again by the same worker: that is no late finish
        before = self.rows()
        outcome = data.draw(st.sampled_from(OUTCOMES[stage]))
        assert self.world.finish(worker, [Result(file, outcome)], stage) == 1
        assert not custody.begin(self.world.database, worker, stage, file)
        assert self.rows() == before

    @rule(worker=workers, together=st.booleans())
    def die(self, worker: int, together: bool) -> None:
        if worker in self.held:
            self.world.execute(
                "UPDATE inventory.worker SET heartbeat_at = now() - interval '1 h' WHERE id = :id", id=worker
            )
            assert housekeeping._expire(self.world.database, 60) == [worker]
            assert not self.leases[worker].beat()
            self.end(worker)
            if together:
                self.reap()

    @rule(worker=workers)
    def say_goodbye(self, worker: int) -> None:
        if worker in self.held:
            self.leases[worker].goodbye()
            self.end(worker)

    @rule()
    def reap(self) -> None:
        housekeeping._reap(self.world.database, 5)

    @rule()
    def tidy(self) -> None:
        housekeeping.tidy(self.world.database, lease_seconds=60, max_reaps=5)

    @rule()
    def wait_for_retries(self) -> None:
        self.world.execute("UPDATE inventory.file SET retry_at = now() WHERE retry_at < 'infinity'")
        housekeeping._promote(self.world.database)

    @rule()
    def retry_dead(self) -> None:
        retries.retry_dead(self.world.database, self.world.job.id)

    def end(self, worker: int) -> None:
        """What it held is taken from it; what it may still send of that is past."""
        for stage, file in self.held.pop(worker).values():
            housekeeping._reap(self.world.database, 5)
            self.past.append((worker, stage, file))

    def rows(self) -> list[Any]:
        with self.world.database.begin() as connection:
            return [row._asdict() for row in connection.execute(text("SELECT * FROM inventory.file ORDER BY name"))]

    @invariant()
    def each_claimed_row_has_one_live_owner_that_knows_of_it(self) -> None:
        claimed = {(row["claimed_by"], row["name"], row["state"]) for row in self.rows() if row["claimed_by"]}
        known = {(w, name, STATES[stage][1]) for w, held in self.held.items() for name, (stage, _) in held.items()}
        assert claimed == known

    @invariant()
    def rows_are_consistent(self) -> None:
        for row in self.rows():
            assert (row["claimed_by"] is not None) == (row["state"] in ("loading", "verifying", "deleting"))
            assert not (row["begun"] and row["claimed_by"] is None)
            for stage in ("load", "verify"):
                start, end = row[f"{stage}_started_at"], row[f"{stage}_finished_at"]
                assert end is None or (start is not None and start <= end)
            assert row["state"] not in ("loaded", "verifying", "verified") or row["load_finished_at"] is not None
            assert row["generation"] >= self.generations.get(row["name"], 0)
            self.generations[row["name"]] = row["generation"]

    @invariant()
    def progress_is_the_counts(self) -> None:
        with self.world.database.begin() as connection:
            counted = "SELECT shard, state::text, count(*), sum(size) FROM inventory.file GROUP BY 1, 2 ORDER BY 1, 2"
            folded = """
                SELECT shard, state::text, files, bytes FROM inventory.progress_now
                WHERE files <> 0 OR bytes <> 0 ORDER BY 1, 2"""
            assert connection.execute(text(counted)).all() == connection.execute(text(folded)).all()

    def teardown(self) -> None:
        try:
            self.drain()
        finally:
            self.world.execute(f"TRUNCATE {', '.join('inventory.' + table for table in TABLES.split(', '))} CASCADE")
            self.world.database.close()

    def drain(self) -> None:
        """Let everybody die and one pair of workers do the rest: everything ends, and is as it is at the source."""
        for worker in list(self.held):
            self.die(worker, True)
        self.scan()
        loader, verifier = self.start("loader"), self.start("verifier")
        for _ in range(4):
            self.wait_for_retries()
            self.world.finish(loader, [Result(f, Done("sha2:x")) for f in self.world.claim(loader)])
            self.world.finish(verifier, [Result(f, Done()) for f in self.world.claim(verifier, "verify")], "verify")
        states = {row["name"]: (row["state"], row["size"]) for row in self.rows()}
        assert {state for state, _ in states.values()} <= FINAL, states
        for name, (size, _) in self.tree.items():
            assert states[name][0] != "vanished"
            assert states[name][1] == size
        self.progress_is_the_counts()


def test_the_queue_holds_what_it_promises(inventory_url: str) -> None:
    machine = type("ClaimsHere", (Claims,), {"url": inventory_url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=int(os.environ.get("PROPERTY_EXAMPLES", "10")),
            stateful_step_count=int(os.environ.get("PROPERTY_STEPS", "30")),
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
