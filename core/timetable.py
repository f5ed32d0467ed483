"""How fast a job may go at which time of day: `50M`, or a timetable such as `08:00,50M 19:00,off`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WEEK = 7 * 24 * 60
_UNITS = {"": 1, "B": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_RATE = re.compile(r"(\d+(?:\.\d+)?)([BKMGT]?)", re.I)
_PLAIN_RATE = r"(off|([0-9]*[1-9][0-9]*(\.[0-9]+)?|0\.[0-9]*[1-9][0-9]*)[BKMGT]?)"
_FROM = rf"((Mon|Tue|Wed|Thu|Fri|Sat|Sun)-)?([01][0-9]|2[0-3]):[0-5][0-9],{_PLAIN_RATE}"
PATTERN = rf"^({_PLAIN_RATE}|{_FROM}( {_FROM})*)$"
"""For who describes an interface: texts that `parse` takes, but for upper and lower case and white space."""
_ENTRY = re.compile(r"(?:(Mon|Tue|Wed|Thu|Fri|Sat|Sun)-)?([01]\d|2[0-3]):([0-5]\d),(\S+)", re.I)


@dataclass(frozen=True)
class Timetable:
    """Rates in bytes a second from certain minutes of the week on, in their order; None is without a limit."""

    entries: tuple[tuple[int, float | None], ...]

    def rate_at(self, at: datetime) -> float | None:
        """The rate at a local time; the last entry of the week holds until the first one of the next."""
        minute = at.weekday() * 24 * 60 + at.hour * 60 + at.minute
        current = self.entries[-1][1]
        for begins, rate in self.entries:
            if begins > minute:
                break
            current = rate
        return current


@lru_cache(maxsize=256)
def parse(text: str) -> Timetable:
    """Read `RATE`, or `[DAY-]HH:MM,RATE …`, where RATE is `off` or bytes a second with B, K, M, G or T (of 1,024).

    Raises ValueError that says what is wrong.
    """
    words = text.split()
    if not words:
        raise ValueError("say a rate such as 50M, or a timetable such as 08:00,50M 19:00,off")
    if len(words) == 1 and "," not in words[0]:
        return Timetable(((0, _rate(words[0])),))
    entries: dict[int, float | None] = {}
    for word in words:
        found = _ENTRY.fullmatch(word)
        if found is None:
            raise ValueError(f"{word} is not HH:MM,RATE, as in 08:00,50M or Sat-08:00,off")
        day, hour, minute, rate = found.groups()
        days = [DAYS.index(day.capitalize())] if day else range(7)
        for number in days:
            begins = number * 24 * 60 + int(hour) * 60 + int(minute)
            if begins in entries and day is None:
                continue  # a day's own entry goes before one for all days
            entries[begins] = _rate(rate)
    return Timetable(tuple(sorted(entries.items())))


def _rate(text: str) -> float | None:
    if text.lower() == "off":
        return None
    found = _RATE.fullmatch(text)
    if found is None or not float(found[1]):
        raise ValueError(f"{text} is not a rate, as in 50M or off")
    return float(found[1]) * _UNITS[found[2].upper()]
