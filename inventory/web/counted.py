"""What fails in a job by class, for pages that are asked for again and again.

To count a million failures takes seconds. So each job is counted once for all who look, by a thread of its own, and the outcome
is kept for the longer the more it cost; who looks meanwhile gets the last one, and never waits for long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from inventory.web.bodies import FailureClass

FREE_SECONDS = 0.2
"""What takes no longer is counted each time."""
SHARE = 0.1
"""Of all time at most so much goes into counting one job."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The classes as they were `at` a time; `keep_until` is of the monotonic clock."""

    classes: list[FailureClass]
    at: datetime
    keep_until: float

    @property
    def is_old(self) -> bool:
        """Whether a person should be told of the time."""
        return (datetime.now(UTC) - self.at).total_seconds() > 5


class _Run:
    """One counting: who waits for it is told of its end, and of its error."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.error: Exception | None = None


class ClassCounts:
    """The last counts of each job. `count` gives the classes of a job by its name."""

    def __init__(self, count: Callable[[str], list[FailureClass]], patience_seconds: float = 1.5) -> None:
        self._count = count
        self._patience = patience_seconds
        self._lock = threading.Lock()
        self._one_at_a_time = threading.Lock()
        self._kept: dict[str, Counted] = {}
        self._runs: dict[str, _Run] = {}

    def of(self, job: str) -> Counted | None:
        """What fails, as it is or was a while ago; None while it is counted for the first time. Raises what `count` raises."""
        with self._lock:
            kept = self._kept.get(job)
            if kept is not None and time.monotonic() < kept.keep_until:
                return kept
            run = self._runs.get(job)
            if run is None:
                run = self._runs[job] = _Run()
                threading.Thread(target=self._do, args=(job, run), name="failures", daemon=True).start()
        if run.ended.wait(self._patience) and run.error is not None:
            raise run.error
        with self._lock:
            return self._kept.get(job)

    def _do(self, job: str, run: _Run) -> None:
        try:
            with self._one_at_a_time:
                at, began = datetime.now(UTC), time.monotonic()
                classes = self._count(job)
                took = time.monotonic() - began
            keep = took / SHARE if took > FREE_SECONDS else 0.0
            with self._lock:
                self._kept[job] = Counted(classes, at, time.monotonic() + keep)
        except Exception as error:  # noqa: BLE001  # it is raised where somebody waits for the counts
            run.error = error
        finally:
            with self._lock:
                del self._runs[job]
            run.ended.set()
