"""What a chart's axis says, and how small rates are told."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from core import readable
from inventory.activity import Pace
from inventory.web import charts

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [
        (None, ["0", "0.5", "1"]),
        (0.04, ["0", "0.025", "0.05"]),
        (3, ["0", "2.5", "5"]),
        (1500, ["0", "1,000", "2,000"]),
    ],
)
def test_the_marks_of_an_axis_differ(highest: float | None, ticks: list[str]) -> None:
    paces = [] if highest is None else [Pace(NOW, "load", highest, highest, 0)]
    drawn = charts.rates(paces, NOW, 15, "Files a second", lambda pace: pace.files_per_second, readable.rate, 1000)
    assert re.findall(r'text-anchor="end">([\d.,]+)</text>', drawn)[:3] == ticks


def test_what_takes_long_is_not_nothing_a_second() -> None:
    assert [readable.rate(number) for number in (0, 0.04, 0.5, 3, 9.6, 12_345.6)] == [
        "0",
        "0.04",
        "0.5",
        "3",
        "10",
        "12,346",
    ]
    assert [readable.size(number) for number in (0, 0.5, 9, 700, 2048)] == ["0 B", "0.5 B", "9 B", "700 B", "2.0 KiB"]
