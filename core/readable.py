"""Sizes, counts, durations and times as people read them: the same words on a terminal, in a report and on a page."""

from __future__ import annotations

from datetime import datetime

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def size(number: float) -> str:
    """Bytes with a unit of 1,024."""
    for unit in _UNITS[:-1]:
        if abs(number) < 1024:
            return f"{rate(number)} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} {_UNITS[-1]}"


def count(number: float) -> str:
    """A number with its thousands apart."""
    return f"{number:,.0f}"


def printable(text: str) -> str:
    r"""A text that is UTF-8: bytes that are no UTF-8, lone surrogates in Python, as \xNN."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def rate(number: float) -> str:
    """As `count`, and small ones with two digits: what takes long is not nothing a second."""
    return f"{number:.2g}" if abs(number) < 9.5 else count(number)


def span(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return "unknown"
    for whole, part, names in ((86_400, 3600, ("d", "h")), (3600, 60, ("h", "min")), (60, 1, ("min", "s"))):
        if seconds >= whole:
            rest = int(seconds % whole // part)
            return f"{int(seconds // whole)} {names[0]}" + (f" {rest} {names[1]}" if rest else "")
    return f"{seconds:.0f} s"


def moment(at: datetime | None) -> str:
    """A time, UTC, to the second."""
    return at.strftime("%Y-%m-%d %H:%M:%S") if at else "—"
