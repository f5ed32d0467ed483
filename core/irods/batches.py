"""Work on many files at once: one outcome for each, in order, whatever happens to the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from core.errors import FileError, Outage
from core.irods.errors import Exists
from core.outcome import Done, Outcome, Released, Skipped, outcome_of

Item = TypeVar("Item")
BATCH_FILES = 50
BATCH_BYTES = 256 * 1024 * 1024
"""Of files that the server reads in one round trip."""


def outcome(error: FileError) -> Outcome:
    """The outcome of a file that failed; one that is there already and is not to be overwritten was rightly skipped."""
    return Skipped(str(error)) if isinstance(error, Exists) else outcome_of(error)


def one_by_one(items: Sequence[Item], work: Callable[[Item], str | None]) -> list[Outcome]:
    """Do each item; after an outage the rest is given back untried. `work` returns the checksum for `Done`."""
    outcomes: list[Outcome] = []
    for item in items:
        try:
            outcomes.append(Done(work(item)))
        except Outage as problem:
            outcomes.append(outcome(problem))
            break
        except FileError as problem:
            outcomes.append(outcome(problem))
    last = outcomes[-1] if outcomes else Released()
    return outcomes + [last] * (len(items) - len(outcomes))


def all_at_once(items: Sequence[Item], work: Callable[[], list[Outcome]]) -> list[Outcome]:
    """The outcomes of `work`; when it cannot even begin, that is the outcome of every item."""
    try:
        return work()
    except FileError as problem:
        return [outcome(problem)] * len(items)


def gave_up(last: Outcome) -> bool:
    """Whether this outcome says that the service is away, so that nothing more need be tried."""
    return isinstance(last, Released)


def chunks(items: Sequence[Item], count: int) -> list[Sequence[Item]]:
    """The items, at most `count` at a time."""
    return [items[start : start + count] for start in range(0, len(items), count)]


def by_size(items: Sequence[Item], size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """The items in order, in batches of few enough files and bytes that one answer need not be waited for long."""
    batch: list[Item] = []
    room = BATCH_BYTES
    for item in items:
        if batch and (len(batch) == BATCH_FILES or size(item) > room):
            yield batch
            batch, room = [], BATCH_BYTES
        batch.append(item)
        room -= size(item)
    if batch:
        yield batch
