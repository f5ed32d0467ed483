"""Who looks at what fails never waits for long, and costs no more than one who looks alone."""

from __future__ import annotations

import threading

import pytest

from core.errors import Unavailable
from inventory.web import shared
from inventory.web.bodies import FailureClass
from inventory.web.shared import Kept, Shared


def a_class(dead: int) -> FailureClass:
    return FailureClass(
        error="EIO", stage="load", meaning="", hint="", dead=dead, retrying=0, skipped=0, directories=0, bytes=0,
        first_at="2026-01-01T00:00:00+00:00", last_at="2026-01-01T00:00:00+00:00", next_retry_at=None,
    )  # fmt: skip


class Inventory:
    """Counts slowly: each count waits until it may go on."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_go_on = threading.Semaphore(0)

    def count(self, job: str) -> list[FailureClass]:
        self.asked += 1
        number = self.asked
        assert self.may_go_on.acquire(timeout=30)
        return [a_class(number)]


def dead(found: Kept[list[FailureClass]] | None) -> int | None:
    return None if found is None else found.value[0].dead


def test_a_quick_count_is_made_for_each_look() -> None:
    inventory = Inventory()
    inventory.may_go_on.release(2)
    counts = Shared(inventory.count, patience_seconds=30)
    assert [dead(counts.of("job")), dead(counts.of("job"))] == [1, 2]


def test_many_who_look_at_a_slow_count_cause_one_and_get_the_last_one_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared, "FREE_SECONDS", -1.0)  # whatever it takes it is kept, if only for ten times as long
    inventory = Inventory()
    counts = Shared(inventory.count, patience_seconds=0.01)
    assert [dead(counts.of("job")) for _ in range(5)] == [None] * 5
    assert inventory.asked == 1
    inventory.may_go_on.release()
    while dead(counts.of("job")) is None:
        assert inventory.asked == 1
    assert dead(counts.of("job")) == 1


def test_an_error_is_told_to_who_waits_and_the_next_look_tries_again() -> None:
    answers: list[list[FailureClass] | Exception] = [Unavailable("away", "wait"), [a_class(7)]]

    def count(job: str) -> list[FailureClass]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    counts = Shared(count, patience_seconds=30)
    with pytest.raises(Unavailable):
        counts.of("job")
    assert dead(counts.of("job")) == 7


def test_only_so_many_answers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "FREE_SECONDS", -1.0)
    monkeypatch.setattr(shared, "SHARE", 1e-9)  # kept for ever
    monkeypatch.setattr(shared, "KEPT", 2)
    asked: list[str] = []
    answers: Shared[str, None] = Shared(asked.append, patience_seconds=30)
    for question in ("a", "b", "a", "c", "a", "b"):
        assert answers.of(question) is not None
    assert asked == ["a", "b", "c", "b"]
