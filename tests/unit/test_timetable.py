"""Timetables of bandwidth, and the meter that keeps to one."""

from __future__ import annotations

import re
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.sources.filesystem import FilesystemSource
from core.sources.throttled import Meter, Throttled
from core.timetable import PATTERN, parse

MIB = 1024 * 1024


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """A time in a week that begins with a Monday."""
    return datetime(2026, 11, 16 + day, hour, minute)


def test_one_rate_holds_always() -> None:
    assert parse("50M").rate_at(at(0, 0)) == 50 * MIB
    assert parse("1.5k").rate_at(at(6, 23, 59)) == 1536
    assert parse("off").rate_at(at(3, 12)) is None


def test_the_last_entry_of_yesterday_holds_until_the_first_of_today() -> None:
    table = parse("08:00,50M 19:00,off")
    assert [table.rate_at(at(2, *hour)) for hour in ((7, 59), (8, 0), (18, 59), (19, 0), (0, 0))] == [
        None,
        50 * MIB,
        50 * MIB,
        None,
        None,
    ]


def test_a_day_of_its_own_goes_before_all_days_in_whatever_order() -> None:
    for text in ("08:00,50M 19:00,off Sat-08:00,off", "Sat-08:00,off 08:00,50M 19:00,off"):
        table = parse(text)
        assert table.rate_at(at(4, 12)) == 50 * MIB
        assert table.rate_at(at(5, 12)) is None
        assert table.rate_at(at(6, 12)) == 50 * MIB


@pytest.mark.parametrize(
    "text", ["", "fast", "0", "50X", "25:00,1M", "8:00,1M", "08:00", "08:00,", "08:00,1M 19:00", "-1M"]
)
def test_what_is_no_timetable_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)
    assert not re.fullmatch(PATTERN, text)


@given(st.from_regex(PATTERN, fullmatch=True), st.integers(0, 6), st.integers(0, 23))
def test_what_rest_describes_can_be_read_and_gives_a_rate_at_any_time(text: str, day: int, hour: int) -> None:
    rate = parse(text).rate_at(at(day, hour))
    assert rate is None or rate > 0


def test_threads_together_keep_to_the_rate(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 400_000)
    source = Throttled(FilesystemSource(str(tmp_path)), Meter(lambda: 1_000_000.0))
    read: list[bytes] = []

    def work() -> None:
        file = source.open("a")
        read.append(file.read_at(0, 500_000))
        file.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert read == [b"x" * 400_000] * 3
    # 1.2 MB at 1 MB/s, of which half a second's worth may have been saved up
    assert time.monotonic() - began >= 0.6


def test_a_limit_that_is_lifted_lets_go_who_waits() -> None:
    rate: list[float | None] = [1.0]
    meter = Meter(lambda: rate[0])
    waiting = threading.Thread(target=meter.wait, args=(10_000_000,), daemon=True)
    waiting.start()
    assert waiting.is_alive()
    rate[0] = None
    waiting.join(10)
    assert not waiting.is_alive()
