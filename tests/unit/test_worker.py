"""The pipeline: every item has exactly one outcome, whatever a stage does; stopping gives back what was not begun."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.backoff import Breaker
from core.errors import Outage, Permanent, Unanswered, Unavailable
from core.outcome import Dead, Done, Outcome, Released, Retry
from core.worker import Pipeline, Report, Reported, Unit, run_each

DEADLINE = 20.0


class Numbers:
    """A stage over numbers: gives out units, does each number by a function, keeps what was finished."""

    def __init__(self, units: Sequence[Sequence[int]], do: Callable[[int], Outcome]) -> None:
        self.units = list(units)
        self.do = do
        self.finished: list[Reported[int]] = []
        self.ended_threads = 0
        self.claims: list[int] = []
        self.away = 0
        self.suspects: set[int] = set()
        self.begun: list[int] = []
        self.kept: list[list[int]] = []

    def claim(self, limit: int) -> Sequence[Unit[int]]:
        self.claims.append(limit)
        return [self.units.pop(0)] if self.units else []

    def run(self, unit: Unit[int], report: Report[int], stopping: threading.Event) -> None:
        run_each(unit, self.do, report, stopping)

    def finish(self, reported: Sequence[Reported[int]]) -> int:
        if self.away:
            self.away -= 1
            raise Unavailable("the inventory is away")
        self.finished += reported
        return 0

    def is_suspect(self, item: int) -> bool:
        return item in self.suspects

    def begin(self, item: int) -> bool:
        self.begun.append(item)
        return True

    def keep(self, items: Sequence[int]) -> None:
        self.kept.append(sorted(items))

    def told(self, item: int) -> dict[str, object]:
        return {"file": str(item), "job": "numbers", "attempt": 1}

    def end_thread(self) -> None:
        self.ended_threads += 1

    def outcomes(self) -> dict[int, Outcome]:
        return {one.item: one.outcome for one in self.finished}


def pipeline(stage: Numbers, threads: int = 2) -> Pipeline[int]:
    return Pipeline(stage, threads=threads, batch=10, flush_files=5, flush_seconds=0.01)


def turn(line: Pipeline[int], until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not until():
        assert time.monotonic() < deadline, "the pipeline does not get on"
        line.step()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["done", "raise", "dead", "defect"]), min_size=1, max_size=5), max_size=8))
def test_every_item_has_exactly_one_outcome(plan: list[list[str]]) -> None:
    kinds = dict(enumerate(kind for unit in plan for kind in unit))
    numbers = iter(kinds)
    units = [[next(numbers) for _ in unit] for unit in plan]

    def do(number: int) -> Outcome:
        match kinds[number]:
            case "raise":
                raise Permanent("EACCES", "no")
            case "defect":
                raise KeyError("a defect")
            case "dead":
                return Dead("x", "y")
            case _:
                return Done()

    stage = Numbers(units, do)
    line = pipeline(stage)
    turn(line, lambda: len(stage.finished) >= len(kinds))
    assert line.drain(DEADLINE)
    assert sorted(one.item for one in stage.finished) == sorted(kinds)
    expected = {"done": Done, "raise": Dead, "dead": Dead, "defect": Retry}
    assert {n: type(o) for n, o in stage.outcomes().items()} == {n: expected[k] for n, k in kinds.items()}


def test_a_stage_that_forgets_an_item_is_found_out() -> None:
    class Forgetful(Numbers):
        def run(self, unit: Unit[int], report: Report[int], stopping: threading.Event) -> None:
            super().run(unit[:1], report, stopping)

    stage = Forgetful([[1, 2]], lambda _: Done())
    line = pipeline(stage)
    turn(line, lambda: len(stage.finished) == 2)
    assert stage.outcomes()[2] == Retry("not_reported", "the stage did not say what became of it")
    assert line.drain(DEADLINE)


def test_stopping_finishes_what_is_begun_and_gives_the_rest_back() -> None:
    began, go_on = threading.Event(), threading.Event()

    def do(number: int) -> Outcome:
        began.set()
        assert go_on.wait(DEADLINE)
        return Done()

    stage = Numbers([[1, 2], [3], [4]], do)
    line = pipeline(stage, threads=1)
    turn(line, began.is_set)
    line.step()
    threading.Timer(0.05, go_on.set).start()
    assert line.drain(DEADLINE)
    outcomes = stage.outcomes()
    assert outcomes.pop(1) == Done()
    assert outcomes
    assert all(isinstance(outcome, Released) for outcome in outcomes.values())
    assert stage.ended_threads <= 1


def test_a_drain_does_not_outlast_its_time() -> None:
    began, go_on = threading.Event(), threading.Event()

    def do(_: int) -> Outcome:
        began.set()
        go_on.wait(DEADLINE)
        return Done()

    stage = Numbers([[1]], do)
    line = pipeline(stage, threads=1)
    turn(line, began.is_set)
    start = time.monotonic()
    assert not line.drain(0.2)
    assert time.monotonic() - start < 5
    go_on.set()


def test_an_outage_gives_back_the_unit_and_all_that_waits_and_holds_claims_back() -> None:
    tried: list[int] = []

    def do(number: int) -> Outcome:
        tried.append(number)
        raise Outage("unreachable", "iRODS is away")

    stage = Numbers([[1, 2, 3], [4], [5]], do)
    line = pipeline(stage, threads=1)
    turn(line, lambda: len(stage.finished) >= 3)
    claims = len(stage.claims)
    for _ in range(5):
        line.step()
    assert len(stage.claims) == claims
    assert tried == [1] or len(tried) <= 3  # of a unit only the first is tried
    assert all(outcome == Released("iRODS is away") for outcome in stage.outcomes().values())
    line.drain(DEADLINE)


def test_results_are_kept_while_the_inventory_is_away() -> None:
    stage = Numbers([[1, 2]], lambda _: Done())
    stage.away = 3
    line = pipeline(stage)
    failures = 0
    deadline = time.monotonic() + DEADLINE
    while len(stage.finished) < 2:
        assert time.monotonic() < deadline
        try:
            line.step()
        except Unavailable:
            failures += 1
    assert failures == 3
    assert sorted(stage.outcomes()) == [1, 2]
    line.drain(DEADLINE)


def test_threads_that_may_not_work_close_what_they_have_open_and_come_back() -> None:
    working: set[str] = set()
    together = threading.Barrier(2, timeout=DEADLINE)

    def pair(_: int) -> Outcome:
        together.wait()
        return Done()

    def single(_: int) -> Outcome:
        working.add(threading.current_thread().name)
        return Done()

    stage = Numbers([[1], [2]], pair)
    line = pipeline(stage)
    turn(line, lambda: len(stage.finished) == 2)  # both threads are needed to pass the barrier
    line.allow(1)
    turn(line, lambda: stage.ended_threads == 1)
    stage.do, stage.units = single, [[n] for n in range(3, 23)]
    turn(line, lambda: len(stage.finished) == 22)
    assert len(working) == 1
    line.allow(0)
    stage.units = [[23]]
    turn(line, lambda: stage.ended_threads == 2)
    assert not line.step()
    assert stage.units == [[23]]
    line.allow(2)
    stage.do, stage.units = pair, [[23], [24]]
    turn(line, lambda: len(stage.finished) == 24)
    assert line.drain(DEADLINE)


def test_a_thread_that_is_still_at_a_unit_counts_after_it_is_not_allowed_any_more() -> None:
    begun, go_on = threading.Barrier(3, timeout=DEADLINE), threading.Event()

    def do(number: int) -> Outcome:
        if number < 3:
            begun.wait()
            go_on.wait(DEADLINE)
        return Done()

    stage = Numbers([[1], [2]], do)
    line = pipeline(stage)
    line.allow(0)
    assert line.most_open == 0
    line.allow(2)
    assert line.most_open == 2
    turn(line, lambda: begun.n_waiting == 2)
    begun.wait()
    line.allow(1)
    assert line.most_open == 2
    go_on.set()
    turn(line, lambda: line.most_open == 1)
    line.allow(0)
    turn(line, lambda: line.most_open == 0)
    assert stage.ended_threads == 2
    assert line.drain(DEADLINE)


def test_suspects_run_one_by_one_with_nothing_else_at_work_and_are_marked_before() -> None:
    running: list[int] = []
    together: list[tuple[int, list[int], list[int]]] = []

    def do(number: int) -> Outcome:
        running.append(number)
        together.append((number, list(running), list(stage.begun)))
        running.remove(number)
        return Done()

    stage = Numbers([[1, 2, 3], [4, 5], [6]], do)
    stage.suspects = {2, 5}
    line = pipeline(stage)
    turn(line, lambda: len(stage.finished) == 6)
    assert sorted(stage.outcomes()) == [1, 2, 3, 4, 5, 6]
    assert stage.begun == [2, 5]
    for number, beside, begun in together:
        if number in stage.suspects:
            assert beside == [number]
            assert begun[-1] == number
    assert line.drain(DEADLINE)


def test_a_suspect_is_written_down_before_the_next_one_is_begun() -> None:
    unwritten_at_begin: list[int] = []

    class Watched(Numbers):
        def begin(self, item: int) -> bool:
            unwritten_at_begin.append(len(self.begun) - len(self.finished))
            return super().begin(item)

    stage = Watched([[1, 2, 3]], lambda _: Done())
    stage.suspects = {1, 2, 3}
    line = Pipeline(stage, threads=2, batch=10, flush_files=100, flush_seconds=100)
    turn(line, lambda: len(stage.finished) == 3)
    assert unwritten_at_begin == [0, 0, 0]
    assert line.drain(DEADLINE)


def test_an_outage_during_a_suspect_gives_the_others_back() -> None:
    def do(number: int) -> Outcome:
        raise Outage("unreachable", "iRODS is away")

    stage = Numbers([[1, 2, 3]], do)
    stage.suspects = {1, 2, 3}
    line = pipeline(stage)
    turn(line, lambda: len(stage.finished) == 3)
    assert stage.begun == [1]
    assert set(stage.outcomes().values()) == {Released("iRODS is away")}
    assert line.drain(DEADLINE)


def test_suspects_that_were_not_begun_are_given_back_and_not_marked() -> None:
    stage = Numbers([[1], [2]], lambda _: Done())
    stage.suspects = {1, 2}
    line = pipeline(stage, threads=1)
    line._claim()  # as far as a claim goes
    assert line.drain(DEADLINE)
    assert stage.begun == []
    assert stage.outcomes() == {1: Released("stopping")}


def test_a_claim_whose_answer_was_lost_is_given_back_before_the_next_one() -> None:
    go_on = threading.Event()

    class BreaksOff(Numbers):
        def claim(self, limit: int) -> Sequence[Unit[int]]:
            units = super().claim(limit)
            if len(self.claims) == 2:
                raise Unavailable("the inventory broke off")
            return units

    def do(_: int) -> Outcome:
        assert go_on.wait(DEADLINE)
        return Done()

    stage = BreaksOff([[1, 2], [3], [4]], do)
    line = pipeline(stage)
    line.step()
    with pytest.raises(Unavailable):
        turn(line, lambda: False)
    turn(line, lambda: bool(stage.kept))
    assert stage.kept == [[1, 2]]  # [3] was claimed and is not known
    go_on.set()
    turn(line, lambda: len(stage.finished) == 3)
    assert sorted(stage.outcomes()) == [1, 2, 4]
    assert line.drain(DEADLINE)


def test_nothing_is_begun_while_the_lease_is_not_sure() -> None:
    sure = threading.Event()
    stage = Numbers([[1], [2]], lambda _: Done())
    line = Pipeline(stage, threads=1, batch=10, flush_files=5, flush_seconds=0.01, is_sure=sure.is_set)
    for _ in range(5):
        line.step()
    assert stage.finished == []
    sure.set()
    turn(line, lambda: len(stage.finished) == 2)
    assert line.drain(DEADLINE)


def test_a_drain_keeps_its_results_until_the_inventory_is_back() -> None:
    stage = Numbers([[1]], lambda _: Done())
    line = pipeline(stage)
    line.step()
    stage.away = 2
    for _ in range(2):
        with pytest.raises(Unavailable):
            line.drain(DEADLINE)
    assert line.drain(DEADLINE)
    assert stage.outcomes()[1] in (Done(), Released("stopping"))


def hanging(stage: Numbers, answers: Callable[[], bool]) -> Pipeline[int]:
    return Pipeline(stage, threads=2, batch=10, flush_files=1, flush_seconds=0.01, answers=answers)


def hang_at_seven(number: int) -> Outcome:
    if number == 7:
        raise Unanswered("timeout", "no answer")
    return Done()


@pytest.mark.parametrize("answers", [True, False])
def test_an_item_that_always_hangs_is_blamed_only_while_others_are_answered(
    answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.worker.Breaker", lambda: Breaker(longest_seconds=0.001))
    stage = Numbers([], hang_at_seven)
    line = hanging(stage, lambda: answers)
    found: list[Outcome] = []
    for _ in range(5):
        stage.finished.clear()
        stage.units = [[1, 7]] if not found else [[7]]
        turn(line, lambda: 7 in stage.outcomes())
        found.append(stage.outcomes()[7])
    line.drain(DEADLINE)
    kinds = [type(outcome) for outcome in found]
    assert kinds == ([Released, Released, Retry, Retry, Retry] if answers else [Released] * 5)
    assert stage.begun == [7, 7, 7]  # by itself, from the third time on
    if answers:
        assert found[-1] == Retry("hangs", "no answer; so it was before, and others are answered")


def test_an_item_that_was_answered_is_no_longer_suspected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.worker.Breaker", lambda: Breaker(longest_seconds=0.001))
    answers = iter([False, True, False, False, True])
    stage = Numbers([], lambda _: Done() if next(answers) else hang_at_seven(7))
    line = hanging(stage, lambda: True)
    found: list[type] = []
    for _ in range(5):
        stage.finished.clear()
        stage.units = [[7]]
        turn(line, lambda: 7 in stage.outcomes())
        found.append(type(stage.outcomes()[7]))
    line.drain(DEADLINE)
    assert found == [Released, Done, Released, Released, Done]
