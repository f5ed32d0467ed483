"""Answers that cost much, for pages that are asked for again and again.

To count a million failures takes seconds, and to find the few of a rare class among them as long. So each question is asked once
for all who look, by a thread of its own, and the answer is kept for the longer the more it cost; who looks meanwhile gets the last
one, and never waits for long.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")

FREE_SECONDS = 0.2
"""What takes no longer is asked each time."""
SHARE = 0.1
"""Of all time at most so much goes into one question."""
KEPT = 50
"""So many answers are kept; the one that nobody asked for longest goes first."""


@dataclass(frozen=True, slots=True)
class Kept(Generic[Answer]):
    """The answer as it was `at` a time; `keep_until` is of the monotonic clock."""

    value: Answer
    at: datetime
    keep_until: float

    @property
    def is_old(self) -> bool:
        """Whether a person should be told of the time."""
        return (datetime.now(UTC) - self.at).total_seconds() > 5


class _Run:
    """One asking: who waits for it is told of its end, and of its error."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.error: Exception | None = None


class Shared(Generic[Question, Answer]):
    """The last answers to each question. `ask` gives them; `at_once` of them may be on their way together."""

    def __init__(self, ask: Callable[[Question], Answer], *, at_once: int = 1, patience_seconds: float = 1.5) -> None:
        self._ask = ask
        self._patience = patience_seconds
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(at_once)
        self._kept: OrderedDict[Question, Kept[Answer]] = OrderedDict()
        self._runs: dict[Question, _Run] = {}

    def of(self, question: Question) -> Kept[Answer] | None:
        """The answer as it is or was a while ago; None while it is asked for the first time. Raises what `ask` raises."""
        with self._lock:
            kept = self._last(question)
            if kept is not None and time.monotonic() < kept.keep_until:
                return kept
            run = self._runs.get(question)
            if run is None:
                run = self._runs[question] = _Run()
                threading.Thread(target=self._do, args=(question, run), name="shared answer", daemon=True).start()
        if run.ended.wait(self._patience) and run.error is not None:
            raise run.error
        with self._lock:
            return self._last(question)

    def _last(self, question: Question) -> Kept[Answer] | None:
        if question in self._kept:
            self._kept.move_to_end(question)
        return self._kept.get(question)

    def _do(self, question: Question, run: _Run) -> None:
        try:
            with self._places:
                at, began = datetime.now(UTC), time.monotonic()
                value = self._ask(question)
                took = time.monotonic() - began
            keep = took / SHARE if took > FREE_SECONDS else 0.0
            with self._lock:
                self._kept[question] = Kept(value, at, time.monotonic() + keep)
                self._kept.move_to_end(question)
                if len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
        except Exception as error:  # noqa: BLE001  # it is raised where somebody waits for the answer
            run.error = error
        finally:
            with self._lock:
                del self._runs[question]
            run.ended.set()
