"""The loop of loaders and verifiers: claim a batch, cut it into units, run them in threads, write down the outcomes.

The main thread does all SQL and worker threads do none. A unit is what one thread does at a time: one large file, or some small
ones of one collection, because iRODS has bulk calls. Every file has exactly one outcome.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

import structlog

from core.backoff import Breaker
from core.outcome import Done, Outcome, Released, Retry, failure_of, outcome_of

Item = TypeVar("Item")
log = structlog.get_logger()


class Reported(NamedTuple, Generic[Item]):
    """The outcome of one item; the times are of the monotonic clock, in seconds."""

    item: Item
    outcome: Outcome
    began: float
    ended: float


Unit = Sequence[Item]
Report = Callable[[Reported[Item]], None]


class Stage(Protocol[Item]):
    """What a kind of pod does with its items. Only `run` and `end_thread` are called in worker threads."""

    def claim(self, limit: int) -> Sequence[Unit[Item]]:
        """Claim up to `limit` items, cut into units."""
        ...

    def run(self, unit: Unit[Item], report: Report[Item], stopping: threading.Event) -> None:
        """Do a unit, reporting each item as it ends. When `stopping` is set what is not begun may be left unreported."""
        ...

    def finish(self, reported: Sequence[Reported[Item]]) -> int:
        """Write outcomes down. Returns how many were no longer this worker's."""
        ...

    def end_thread(self) -> None:
        """Close what the calling thread has open."""
        ...


def run_each(unit: Unit[Item], do: Callable[[Item], Outcome], report: Report[Item], stopping: threading.Event) -> None:
    """Do the items of a unit one after the other, turning what is raised into outcomes.

    Once a service is found to be away the rest of the unit is given back without being tried.
    """
    away: Released | None = None
    for item in unit:
        if stopping.is_set():
            return
        began = time.monotonic()
        outcome: Outcome = away or _outcome(do, item)
        if isinstance(outcome, Released):
            away = outcome
        report(Reported(item, outcome, began, time.monotonic()))


def run_together(
    unit: Sequence[Item], do: Callable[[Sequence[Item]], Sequence[Outcome]], report: Callable[[Reported[Item]], None]
) -> None:
    """Do the items of a unit by one call, which gives an outcome for each, in order; what it raises is every item's."""
    began = time.monotonic()
    try:
        outcomes = do(unit)
    except Exception as error:  # noqa: BLE001  # whatever is raised is the outcome of all
        outcomes = [outcome_of(error)] * len(unit)
    ended = time.monotonic()
    for item, outcome in zip(unit, outcomes, strict=True):
        report(Reported(item, outcome, began, ended))


def _outcome(do: Callable[[Item], Outcome], item: Item) -> Outcome:
    try:
        return do(item)
    except Exception as error:  # noqa: BLE001  # whatever is raised is this item's outcome
        return outcome_of(error)


class Pipeline(Generic[Item]):
    """Threads that run a stage's units, fed and emptied by `step` in the main thread."""

    def __init__(self, stage: Stage[Item], *, threads: int, batch: int, flush_files: int, flush_seconds: float) -> None:
        self._stage = stage
        self._batch = batch
        self._flush_files = flush_files
        self._flush_seconds = flush_seconds
        self._wanted = threads
        self._allowed = threads
        self._waiting: deque[Unit[Item]] = deque()
        self._running = 0
        self._change = threading.Condition()
        self._stopping = threading.Event()
        self._results: queue.SimpleQueue[Reported[Item]] = queue.SimpleQueue()
        self._unwritten: list[Reported[Item]] = []
        self._oldest = 0.0
        self._breaker = Breaker()
        self.overloads = 0
        """How often a service said that it has too much to do."""
        self._threads = [
            threading.Thread(target=self._work, args=(n,), name=f"unit-{n}", daemon=True) for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def allow(self, threads: int) -> None:
        """Let only so many threads work from now on; the others end their unit, close what they have open, and wait."""
        with self._change:
            self._allowed = threads
            self._wanted = max(1, min(threads, len(self._threads)))
            self._change.notify_all()

    def step(self) -> bool:
        """Feed the threads and write down what they have done. False when there is nothing to do."""
        claimed = self._feed()
        self._collect(wait=not claimed)
        self._flush(force=self._idle())
        return claimed or not self._idle() or bool(self._unwritten) or not self._results.empty()

    def drain(self, seconds: float) -> bool:
        """Stop: give back what was not begun, wait for what was, write all down. False when the time ran out."""
        deadline = time.monotonic() + seconds
        self._stopping.set()
        self._give_back_waiting("stopping")
        with self._change:
            self._change.notify_all()
        while not self._idle() and time.monotonic() < deadline:
            self._collect(wait=True)
            self._flush(force=False)
        self._collect(wait=False)
        self._flush(force=True)
        return self._idle()

    def _idle(self) -> bool:
        with self._change:
            return not self._waiting and not self._running

    def _feed(self) -> bool:
        """Claim when the threads would run dry, a little ahead of them."""
        if self._breaker.is_open or self._stopping.is_set() or not self._allowed:
            return False
        with self._change:
            enough = len(self._waiting) >= self._wanted
        if enough:
            return False
        units = self._stage.claim(self._wanted if self._breaker.is_suspicious else self._batch)
        with self._change:
            self._waiting.extend(units)
            self._change.notify_all()
        return bool(units)

    def _collect(self, *, wait: bool) -> None:
        """Take over what the threads have reported, waiting a moment for the first."""
        try:
            if wait and not self._idle():
                self._take(self._results.get(timeout=0.1))
            while True:
                self._take(self._results.get_nowait())
        except queue.Empty:
            pass

    def _take(self, one: Reported[Item]) -> None:
        if not self._unwritten:
            self._oldest = time.monotonic()
        self._unwritten.append(one)
        match one.outcome:
            case Released(reason, overload) if reason and not self._stopping.is_set():
                self.overloads += overload
                if not self._breaker.is_open:
                    log.warning("service_away", reason=reason, wait_seconds=round(self._breaker.failed(), 1))
                self._give_back_waiting(reason)
            case Done():
                self._breaker.succeeded()
            case _:
                pass

    def _give_back_waiting(self, reason: str) -> None:
        with self._change:
            units = list(self._waiting)
            self._waiting.clear()
        now = time.monotonic()
        for unit in units:
            self._unwritten.extend(Reported(item, Released(reason), now, now) for item in unit)

    def _flush(self, *, force: bool) -> None:
        old = time.monotonic() - self._oldest >= self._flush_seconds
        if self._unwritten and (force or old or len(self._unwritten) >= self._flush_files):
            # kept until written: a lost connection leaves them here for the next try
            fenced = self._stage.finish(self._unwritten)
            self._log(self._unwritten, fenced)
            self._unwritten = []

    def _log(self, written: Sequence[Reported[Item]], fenced: int) -> None:
        """A line for what was written, and one for each failure."""
        kinds = Counter(type(one.outcome).__name__.lower() for one in written)
        log.info("written", fenced=fenced, **kinds)
        for one in written:
            if (why := failure_of(one.outcome)) is not None:
                log.warning(
                    "failed", item=str(one.item), error=why[0], reason=why[1], seconds=round(one.ended - one.began, 3)
                )

    def _work(self, number: int) -> None:
        """A worker thread: one unit after the other."""
        while (unit := self._next_unit(number)) is not None:
            self._run(unit)
            with self._change:
                self._running -= 1
        self._stage.end_thread()

    def _next_unit(self, number: int) -> Unit[Item] | None:
        """The next unit for a thread; None when it is to end. A thread that may not work closes what it has open."""
        while True:
            with self._change:
                while not self._waiting and not self._stopping.is_set() and number < self._allowed:
                    self._change.wait(1.0)
                if self._waiting and number < self._allowed:
                    self._running += 1
                    return self._waiting.popleft()
                if self._stopping.is_set():
                    return None
            self._stage.end_thread()
            with self._change:
                while number >= self._allowed and not self._stopping.is_set():
                    self._change.wait(1.0)

    def _run(self, unit: Unit[Item]) -> None:
        """Run a unit and see to it that every item has exactly one outcome, whatever the stage does."""
        began = time.monotonic()
        reported: set[int] = set()

        def report(one: Reported[Item]) -> None:
            if id(one.item) not in reported:
                reported.add(id(one.item))
                self._results.put(one)

        left: Outcome | None = None
        try:
            self._stage.run(unit, report, self._stopping)
        except Exception as error:  # noqa: BLE001  # whatever is raised is the outcome of what is left
            left = outcome_of(error)
        if left is None:
            left = (
                Released()
                if self._stopping.is_set()
                else Retry("not_reported", "the stage did not say what became of it")
            )
        for item in unit:
            if id(item) not in reported:
                report(Reported(item, left, began, time.monotonic()))
