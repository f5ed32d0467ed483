"""Making items ahead of their use, in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from core.irods.ahead import ahead


def test_all_items_come_in_order() -> None:
    assert list(ahead(iter(range(100)), 2)) == list(range(100))
    assert list(ahead(iter(()), 1)) == []


def test_no_more_are_made_than_asked_for() -> None:
    made: list[int] = []
    third = threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            if number == 3:
                third.set()
            yield number

    with closing(ahead(numbers(), 2)) as items:
        assert next(items) == 0
        assert third.wait(10)
        assert made == [0, 1, 2, 3]


def test_what_stops_the_iterator_is_raised_after_the_items_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    items = ahead(broken(), 5)
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken"):
        next(items)


def test_closing_ends_the_thread() -> None:
    before = threading.active_count()
    with closing(ahead(iter(range(1000)), 2)) as items:
        assert next(items) == 0
    assert threading.active_count() == before
