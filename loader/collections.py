"""Directories as collections: made for those that are at the source, removed for those that are gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from core.handlers.api import CHANGE_EVENTS
from core.outcome import Dead, Done, Outcome, Retry, failure_of
from core.worker import Reported
from inventory import collections
from inventory.collections import ClaimedCollection, Unmade
from inventory.pod import Member
from loader.connection import Connections

AT_A_TIME = 100
"""Directories claimed at a time."""
UNIT = 10
"""Directories one thread does at a time."""


class Gone(NamedTuple):
    """A collection whose directory is gone from the source, and in which nothing of ours is left."""

    collection: ClaimedCollection

    def __str__(self) -> str:
        return f"{self.collection.path}/"


Item = ClaimedCollection | Gone


def collection_of(item: Item) -> ClaimedCollection:
    """The directory that an item is about."""
    return item.collection if isinstance(item, Gone) else item


class CollectionWork:
    """Claims, does and writes down the making and removing of collections."""

    def __init__(self, member: Member, connections: Connections) -> None:
        self._member = member
        self._connections = connections

    def claim(self) -> list[list[Item]]:
        """Units of directories to be made into collections, and of collections to be removed."""
        member, jobs = self._member, self._member.rota.running()
        wanted: list[Item] = list(collections.claim(member.database, member.worker, list(jobs), AT_A_TIME))
        deleting = [job.id for job in jobs.values() if job.settings.delete_mode != "do_not_delete"]
        wanted += map(Gone, collections.claim_gone(member.database, member.worker, deleting, AT_A_TIME))
        told = member.rota.hearing(*CHANGE_EVENTS)
        wanted += collections.claim_changed(member.database, member.worker, told, AT_A_TIME)
        by_job: dict[int, list[Item]] = {}
        for item in wanted:
            by_job.setdefault(collection_of(item).job_id, []).append(item)
        return [of_job[n : n + UNIT] for of_job in by_job.values() for n in range(0, len(of_job), UNIT)]

    def do(self, item: Item) -> Outcome:
        """Make or remove one. Raises FileError."""
        if isinstance(item, ClaimedCollection):
            return self._connections.make_collection(self._member.rota.job(item.job_id), item.path)
        job = self._member.rota.job(item.collection.job_id)
        path = self._connections.path(job, item.collection.path)
        if item.collection.path:
            # what others have put there keeps the collection; it is not ours any more
            self._connections.gateway(job).remove_empty_collection(path)
            self._connections.forget_collection(path)
        return Done()

    def finish(self, reported: Sequence[Reported[Item]], made: set[int]) -> None:
        """Write down what became of them; `made` are further directories whose collection was found to exist."""
        member = self._member
        removed: list[int] = []
        told: list[int] = []
        existed: list[int] = []
        unmade: dict[int, list[Unmade]] = {}
        for one in reported:
            collection = collection_of(one.item)
            if not isinstance(one.outcome, Done):
                unmade.setdefault(collection.job_id, []).append(_unmade(collection, one.outcome))
            elif isinstance(one.item, Gone):
                removed.append(collection.directory_id)
            elif collection.changed:
                told.append(collection.directory_id)
            else:
                made.add(collection.directory_id)
                # that one is told of as a change, with attempts of its own
                if one.outcome.existed and member.rota.job(collection.job_id).hears(*CHANGE_EVENTS):
                    existed.append(collection.directory_id)
        collections.made(member.database, member.worker, sorted(made), existed)
        collections.removed(member.database, member.worker, removed)
        collections.told(member.database, member.worker, told)
        for job, failures in unmade.items():
            counted = [one for one in failures if one.error]
            collections.failed(member.database, member.worker, counted, member.limits(member.rota.job(job)))
            given_back = [one.collection.directory_id for one in failures if not one.error]
            collections.release(member.database, member.worker, given_back)

    def keep(self, items: Sequence[Item]) -> None:
        """Give back whatever this worker has claimed besides these."""
        claimed = [collection_of(item) for item in items]
        collections.keep(self._member.database, self._member.worker, [one.directory_id for one in claimed])


def _unmade(collection: ClaimedCollection, outcome: Outcome) -> Unmade:
    """A failure to be counted, or one without an error for a claim that is only given back."""
    why = failure_of(outcome) if isinstance(outcome, Retry | Dead) else None
    error, message = why or ("", "")
    wait = outcome.wait_seconds if isinstance(outcome, Retry) else None
    return Unmade(collection, error, message, isinstance(outcome, Dead), wait)
