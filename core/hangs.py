"""Items to which a service never answers, and how they are told from an outage.

A call that gets no answer says nothing about its item: the service may be away. But an item whose calls got none several times in
one process is run by itself, and when it gets none once more, the service is asked whether it answers at all. If it does, the
attempt counts as a failure. What is remembered is lost with the process; what was counted stands in the item's row.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from core.outcome import Outcome, Released, Retry

HANGS = 2
"""After so many calls without an answer an item is run by itself, and the next one may be its own fault."""
KEPT = 10_000
"""So many items are remembered at most."""

Item = TypeVar("Item")


class Hangs(Generic[Item]):
    """The items of one process that got no answer lately. All but `judged` and `has` is called by one thread."""

    def __init__(self, answers: Callable[[], bool] | None, name: Callable[[Item], Hashable]) -> None:
        """`answers` asks the service whether it answers at all; without it no item is ever blamed.

        `name` tells an item from all others, also when it is claimed again.
        """
        self._answers = answers
        self._name = name
        self._times: dict[Hashable, int] = {}  # the longest ago first

    def has(self, item: Item) -> bool:
        """Whether an item is to be run by itself."""
        return bool(self._times) and self._times.get(self._name(item), 0) >= HANGS

    def note(self, item: Item, outcome: Outcome) -> None:
        """Remember that the service said nothing to an item, or forget it when it said anything."""
        match outcome:
            case Released(unanswered=True) if self._answers is not None:
                name = self._name(item)
                self._times[name] = self._times.pop(name, 0) + 1
                if len(self._times) > KEPT:
                    del self._times[next(iter(self._times))]
            case Released() | Retry(error="hangs"):
                pass
            case _ if self._times:
                self._times.pop(self._name(item), None)
            case _:
                pass

    def judged(self, outcome: Outcome) -> Outcome:
        """The outcome of an item that was run by itself because it has hung: its own failure, if others are answered."""
        if isinstance(outcome, Released) and outcome.unanswered and self._answers is not None and self._answers():
            return Retry("hangs", f"{outcome.reason}; so it was before, and others are answered")
        return outcome
