"""Cutting the rest of a very large listing into parts that several watchers list at the same time.

S3 lists keys in order and can begin anywhere, but it does not say how many there are, nor which is the last. So a few keys are
asked for: first what all have in common, then what the next character can be, and cuts are made evenly between. Parts that come
out too large are cut again by whoever lists them.
"""

from __future__ import annotations

from collections.abc import Callable

from core.sources.base import Keys

PARTS = 8
FEW = 4
_TYPICAL = ("2", "5", "8", "C", "M", "c", "m")
"""Cuts the digits, the hexadecimal digits and the letters into a few parts each."""
_HIGHEST = "\U0010ffff"
First = Callable[[str], str | None]
"""The first name beyond a given one; None when there is none."""


def cut(first: First, after: str, until: str | None) -> list[Keys]:
    """Some parts that together hold every name beyond `after`, up to and with `until`; [] when that is no use."""

    def within(beyond: str) -> str | None:
        found = first(max(beyond, after))
        return found if found is not None and (until is None or found <= until) else None

    if not _can_be_stored(after) or (lowest := within(after)) is None:
        return []
    common = _common(within, lowest)
    if len(common) == len(lowest):
        lowest = within(lowest) or lowest  # the name that all others begin with
        if len(common) == len(lowest):
            return []
    cuts: list[str] = []
    for point in _points(common, lowest[len(common) :], _last_character(within, common, lowest[len(common)])):
        found = within(point)
        if found is not None and _can_be_stored(found) and found != until and found > (cuts[-1] if cuts else lowest):
            cuts.append(found)
    if not cuts:
        return []
    edges: list[str | None] = [*cuts, until]
    return [Keys(low, high) for low, high in zip([after, *cuts], edges, strict=True)]


def _common(within: First, lowest: str) -> str:
    """The longest beginning of `lowest` that every name from there on shares."""
    shared, length = 0, len(lowest)
    while shared < length:
        middle = (shared + length + 1) // 2
        if within(lowest[:middle] + _HIGHEST) is None:
            shared = middle
        else:
            length = middle - 1
    return lowest[:shared]


def _last_character(within: First, common: str, low: str) -> str:
    """The greatest character that follows `common` in any name."""
    below = ord(low)
    above = 0x7F if below < 0x7F and within(common + "\x7f") is None else 0x10FFFF
    while below < above:
        middle = (below + above + 1) // 2
        found = within(common + _character(middle))
        if found is not None and found.startswith(common) and len(found) > len(common):
            below = max(middle, ord(found[len(common)]))
        else:
            above = middle - 1
    return chr(below)


def _points(common: str, low: str, last: str) -> list[str]:
    """Where to cut: evenly between the lowest and the highest character after `common`, of few also at the one after them."""
    lowest, highest = ord(low[0]), ord(last)
    if highest - lowest < FEW:
        characters = [_character(number) for number in range(lowest, highest + 1)]
        return [common + one + two for one in characters for two in ("", *_TYPICAL)]
    step = max(1, (highest - lowest) // PARTS)
    return [common + _character(number) for number in range(lowest + step, highest + 1, step)]


def _character(number: int) -> str:
    return chr(0xE000) if 0xD800 <= number < 0xE000 else chr(number)  # surrogates are in no key


def _can_be_stored(name: str) -> bool:
    """Whether the inventory can hold a name as the edge of a part: NUL it cannot, and keys are compared by their edges."""
    return all(character >= " " for character in name)
