"""The loop of loaders and verifiers: claim a batch, cut it into units, run them in threads, write down the outcomes.

The main thread does all SQL and worker threads do none. A unit is what one thread does at a time: one large file, or some small
ones of one collection, because iRODS has bulk calls. Every file has exactly one outcome.

A suspect is an item over which workers have died. It is run by itself, with nothing else at work, and marked right before: if this
process dies as well, it is known over what.

So is an item whose calls got no answer again and again (`core.hangs`).
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import Generic, NamedTuple, Protocol, TypeVar

import structlog

from core import metrics
from core.backoff import Breaker
from core.errors import Unavailable
from core.hangs import Hangs
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

    def is_suspect(self, item: Item) -> bool:
        """Whether workers have died over this item."""
        ...

    def begin(self, item: Item) -> bool:
        """Write down that a suspect is about to be run. False when it is no longer this worker's."""
        ...

    def keep(self, items: Sequence[Item]) -> None:
        """Give back uncounted whatever this worker has claimed besides these: claims whose answer was lost."""
        ...

    def told(self, item: Item) -> dict[str, object]:
        """What the log line of a failure says of an item: at least which one it is, of which job, and in which attempt."""
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

    def __init__(
        self,
        stage: Stage[Item],
        *,
        threads: int,
        batch: int,
        flush_files: int,
        flush_seconds: float,
        is_sure: Callable[[], bool] = lambda: True,
        answers: Callable[[], bool] | None = None,
        tell: Callable[[str | None], None] = lambda reason: None,
    ) -> None:
        """`is_sure` says whether what was claimed is this worker's for certain: nothing is begun while it is not.

        `answers` asks the service in a worker thread whether it answers at all; without it no item is ever blamed for a hang.
        `tell` hears why work is held back, and None when it goes on.
        """
        self._stage = stage
        self._is_sure = is_sure
        self._tell = tell
        self._hangs: Hangs[Item] = Hangs(answers, self._name)
        self._batch = batch
        self._flush_files = flush_files
        self._flush_seconds = flush_seconds
        self._wanted = threads
        self._allowed = threads
        self._waiting: deque[Unit[Item]] = deque()
        self._suspects: deque[Item] = deque()
        self._running: list[Unit[Item]] = []
        self._open: set[int] = set()
        self._claim_unanswered = False
        self._change = threading.Condition()
        self._stopping = threading.Event()
        self._results: queue.SimpleQueue[Reported[Item]] = queue.SimpleQueue()
        self._unwritten: list[Reported[Item]] = []
        self._oldest = 0.0
        self._breaker = Breaker()
        self._away_since = 0.0
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

    @property
    def most_open(self) -> int:
        """How many threads have something open, or may have from one moment to the next: those that are allowed, and those
        that are not any more and are still at their last unit."""
        with self._change:
            return min(self._allowed, len(self._threads)) + sum(number >= self._allowed for number in self._open)

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
        while not (idle := self._idle()) and time.monotonic() < deadline:
            self._collect(wait=True)
            with suppress(Unavailable):  # kept, and written at the end
                self._flush(force=False)
        self._collect(wait=False)
        self._flush(force=True)
        return idle

    def _idle(self) -> bool:
        with self._change:
            return not self._waiting and not self._running and not self._suspects

    def _feed(self) -> bool:
        """Claim when the threads would run dry, a little ahead of them."""
        if self._breaker.is_open or self._stopping.is_set() or not self._allowed:
            return False
        if self._suspects:
            return self._run_suspect()
        with self._change:
            enough = len(self._waiting) >= self._wanted
        if enough:
            return False
        return self._claim()

    def _claim(self) -> bool:
        if self._claim_unanswered:
            # the inventory broke off during a claim: perhaps it was committed, and then nobody would ever run those rows
            self._stage.keep(self._in_hand())
        self._claim_unanswered = True
        units = self._stage.claim(self._wanted if self._breaker.is_suspicious else self._batch)
        self._claim_unanswered = False
        for unit in units:
            self._suspects.extend(item for item in unit if self._is_suspect(item))
        cleared = [[item for item in unit if not self._is_suspect(item)] for unit in units]
        with self._change:
            self._waiting.extend(unit for unit in cleared if unit)
            self._change.notify_all()
        return bool(units)

    def _is_suspect(self, item: Item) -> bool:
        return self._stage.is_suspect(item) or self._hangs.has(item)

    def _name(self, item: Item) -> Hashable:
        """What tells an item from all others, also when it is claimed again."""
        return tuple(sorted((key, str(value)) for key, value in self._stage.told(item).items() if key != "attempt"))

    def _run_suspect(self) -> bool:
        """Begin the next suspect when nothing else is at work."""
        with self._change:
            if not self._change.wait_for(lambda: not self._waiting and not self._running, timeout=0.05):
                return False
        # the one before must be written first: as long as it is marked it would be blamed for the next death
        self._collect(wait=False)
        self._flush(force=True)
        if not self._suspects or self._breaker.is_open:
            return False  # what was collected told of an outage
        mine = self._stage.begin(self._suspects[0])
        suspect = self._suspects.popleft()
        if not mine:
            log.warning("suspect_fenced", item=str(suspect))
            return True
        with self._change:
            self._waiting.append([suspect])
            self._change.notify_all()
        return True

    def _in_hand(self) -> list[Item]:
        """All that was claimed and is not written yet. What a unit reported before it ended is in the queue or taken over."""
        with self._change:
            units = [*self._running, *self._waiting]
        self._collect(wait=False)
        return [*(item for unit in units for item in unit), *self._suspects, *(one.item for one in self._unwritten)]

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
        self._hangs.note(one.item, one.outcome)
        match one.outcome:
            case Released(reason, overload, _) if reason and not self._stopping.is_set():
                self.overloads += overload
                if not self._breaker.is_suspicious:
                    self._away_since = time.monotonic()
                    log.warning("service_away", reason=reason)
                self._breaker.failed()
                self._tell(reason)
                metrics.BREAKER.set(1)
                self._give_back_waiting(reason)
            case Done():
                if self._breaker.is_suspicious:
                    log.warning("service_back", away_seconds=round(time.monotonic() - self._away_since, 1))
                    self._tell(None)
                self._breaker.succeeded()
                metrics.BREAKER.set(0)
            case _:
                pass

    def _give_back_waiting(self, reason: str) -> None:
        with self._change:
            units = [*self._waiting, list(self._suspects)]
            self._waiting.clear()
            self._suspects.clear()
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
                seconds = round(one.ended - one.began, 3)
                log.warning("failed", error=why[0], reason=why[1], seconds=seconds, **self._stage.told(one.item))

    def _work(self, number: int) -> None:
        """A worker thread: one unit after the other."""
        while (unit := self._next_unit(number)) is not None:
            self._run(unit)
            with self._change:
                self._running = [other for other in self._running if other is not unit]
                self._change.notify_all()
        self._stage.end_thread()

    def _next_unit(self, number: int) -> Unit[Item] | None:
        """The next unit for a thread; None when it is to end. A thread that may not work closes what it has open."""
        while True:
            with self._change:
                while not self._may_begin() and not self._stopping.is_set() and number < self._allowed:
                    self._change.wait(1.0)
                if self._may_begin() and number < self._allowed:
                    unit = self._waiting.popleft()
                    self._running.append(unit)
                    self._open.add(number)
                    return unit
                if self._stopping.is_set():
                    return None
            self._stage.end_thread()
            with self._change:
                self._open.discard(number)
                while number >= self._allowed and not self._stopping.is_set():
                    self._change.wait(1.0)

    def _may_begin(self) -> bool:
        return bool(self._waiting) and self._is_sure()

    def _run(self, unit: Unit[Item]) -> None:
        """Run a unit and see to it that every item has exactly one outcome, whatever the stage does."""
        began = time.monotonic()
        reported: set[int] = set()
        hangs = len(unit) == 1 and self._hangs.has(unit[0])

        def report(one: Reported[Item]) -> None:
            if id(one.item) not in reported:
                reported.add(id(one.item))
                self._results.put(one._replace(outcome=self._hangs.judged(one.outcome)) if hangs else one)

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
