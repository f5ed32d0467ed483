"""What a loader and its helper processes tell each other."""

from __future__ import annotations

from typing import NamedTuple

from core.outcome import Outcome
from inventory.claims import ClaimedFile
from inventory.collections import ClaimedCollection
from inventory.jobs import Job
from inventory.passes import ClaimedEvent
from loader.collections import Gone
from loader.delete import Deletion

Item = ClaimedFile | Deletion | ClaimedCollection | Gone | ClaimedEvent


class Rules(NamedTuple):
    """What a handler says of one attempt: its time, and what becomes of it when it fails.

    `max_retries` is None where the job's own rules are in force; `own_retries` is the same for what the handler itself raises,
    and for its time being up.
    """

    timeout_seconds: float
    max_retries: int | None = None
    own_retries: int | None = None
    delay_seconds: float = 0.0


class Work(NamedTuple):
    """Do these items of one job; more than one are loaded together. Bytes are read no faster than that, where it says so."""

    job: Job
    items: tuple[Item, ...]
    bytes_a_second: float | None = None


class Begun(NamedTuple):
    """An item is begun, or all of them together: from now on its time runs."""

    rules: Rules


class Ended(NamedTuple):
    """The outcomes, one an item."""

    outcomes: list[Outcome]


ALIVE = "alive"
"""Said to a helper again and again while it works: one whose loader is silent ends before it can do harm."""
