"""A plan: what a job would do, file by file, in bounded memory; nothing is written anywhere.

Directory by directory source, iRODS and, for a job that exists, its inventory are listed and merged, as an audit does; each name
is then foreseen. A plan is as good as its moment: sources change, and only reading tells whether bytes are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import floor
from typing import Protocol

from core.compare import Row, Said, merged
from core.errors import FileError, Outage, Permanent, Unavailable, Vanished
from core.filters import filter_of
from core.irods import Foresight, Registration, Stored
from core.paths import check_logical
from core.planned import SENDING, Action, Forecast, Step, of_kind, of_row
from core.settings import JobSettings
from core.sorting import begun, sorted_stream
from core.sources.base import DIRECTORY, REGULAR, Entry, Source
from core.sources.urls import source_name
from inventory import audit_rows, guard
from inventory.audit import NOT_OURS
from inventory.audit_rows import Directory
from inventory.engine import Database
from inventory.frontier import Frontier, Place


class Catalogue(Protocol):
    """What a plan asks iRODS."""

    def collections_below(self, collection: str) -> Iterator[str]: ...

    def stored_in(self, collection: str) -> Iterator[Stored]: ...


@dataclass(frozen=True)
class Planned:
    """What is planned: the source without the job's filters, its URL, the target, and the job's id where it exists already."""

    source: Source
    url: str
    target: str
    settings: JobSettings
    job: int | None = None


@dataclass
class Count:
    """Files, directories and bytes of one action, and how many of each class of reason."""

    files: int = 0
    directories: int = 0
    bytes: int = 0
    why: Counter[str] = field(default_factory=Counter)


@dataclass
class Totals:
    """What was seen and what would be done."""

    actions: dict[Action, Count] = field(default_factory=dict)
    directories: int = 0
    """Directories listed at the source."""
    new_collections: int = 0
    escaped_names: int = 0
    """Names in the plan that iRODS cannot hold as they are; they go by their escaped ones."""
    only_in_irods: int = 0
    """Objects that neither source nor inventory know, in collections that the job goes to: they stay."""
    only_in_irods_bytes: int = 0
    other_collections: int = 0
    """Collections below the target that the job does not go to: they are not looked into."""
    rows: int = 0
    """Files of the job in the inventory, without deleted ones."""

    @property
    def sent_bytes(self) -> int:
        """Bytes that would be sent to iRODS."""
        return sum(count.bytes for action, count in self.actions.items() if action in SENDING)

    @property
    def deletes(self) -> int:
        """Objects that would be deleted."""
        return self.actions["delete"].files if "delete" in self.actions else 0

    def allowed_deletes(self, settings: JobSettings) -> int:
        """How many deletions the guard lets go without a person's word."""
        share = floor(settings.max_delete_percent / 100 * self.rows)
        return min(settings.max_deletes, max(guard.FEW, share))

    def add(self, step: Step) -> None:
        """Count a step."""
        count = self.actions.setdefault(step.action, Count())
        if step.path.endswith("/"):
            count.directories += 1
        else:
            count.files += 1
        self.escaped_names += step.escaped
        count.bytes += step.bytes
        count.why[step.why] += 1


class Plan:
    """One pass over a source, and over what iRODS and the inventory have of it. A database is needed for a job that exists."""

    def __init__(
        self, planned: Planned, catalogue: Catalogue, foresight: Foresight, database: Database | None = None
    ) -> None:
        self._source = planned.source
        self._url = planned.url
        self._settings = planned.settings
        self._filter = filter_of(planned.settings)
        self._target = planned.target.rstrip("/")
        self._job = planned.job
        self._catalogue = catalogue
        self._foresight = foresight
        self._database = database
        self._frontier = Frontier()
        self.totals = Totals()

    def steps(self) -> Iterator[Step]:
        """What would be done, directory by directory. Raises Unavailable when source, iRODS or inventory do not answer."""
        try:
            self._frontier.add([Place("", at_source=True)])
            self._frontier.add(self._collections())
            self._frontier.add(self._directories())
            while place := self._frontier.take():
                for step in self._place(place):
                    self.totals.add(step)
                    yield step
        except FileError as problem:
            raise Unavailable(problem.message, problem.hint) from problem
        finally:
            self._frontier.close()

    def _collections(self) -> Iterator[Place]:
        for path in self._catalogue.collections_below(self._target):
            relative = path.removeprefix(self._target).removeprefix("/")
            if relative.split("/")[0] != NOT_OURS:
                yield Place(relative, in_irods=True)

    def _directories(self) -> Iterator[Place]:
        if self._database is not None and self._job is not None:
            for directory in audit_rows.directories(self._database, self._job):
                yield Place(directory.path, directory=directory.id, shard=directory.shard)

    def _place(self, place: Place) -> Iterator[Step]:
        entries: Iterator[Entry] = iter(())
        if place.at_source:
            try:
                entries = begun(sorted_stream(self._source.scan(place.path), key=lambda entry: entry.name))
                self.totals.directories += 1
            except Outage:
                raise
            except Vanished:
                place = place._replace(at_source=False)
            except FileError as problem:
                self._frontier.forget(place.path)
                yield self._step(f"{place.path}/", Forecast("unreadable", problem.error, 0, str(problem)))
                return
        if place.unknown or not (place.at_source or place.directory is not None):
            self.totals.other_collections += place.in_irods
            return
        if place.at_source and not place.in_irods and not place.blocked:
            self.totals.new_collections += self._is_possible(place.path)
        held = self._catalogue.stored_in(self._logical(place.path)) if place.in_irods else iter(())
        for said in merged(self._rows(place), entries, held):
            yield from self._name(place, said)

    def _rows(self, place: Place) -> Iterator[Row]:
        if self._database is None or place.directory is None or place.shard is None:
            return
        directory = Directory(place.directory, place.shard, place.path, "", False)
        for row in audit_rows.files(self._database, directory):
            self.totals.rows += row.state != "deleted"
            yield row

    def _name(self, place: Place, said: Said[Stored]) -> Iterator[Step]:
        path = f"{place.path}/{said.name}" if place.path else said.name
        entry = said.entry
        if entry is not None and not self._filter.takes(path, entry):
            is_directory = entry.kind == DIRECTORY
            if is_directory:
                self._frontier.forget(path)
            why = f"excluded_by_{self._filter.why_not(path, entry)}"
            shown = f"{path}/" if is_directory else path
            yield self._step(
                shown, Forecast("skip", why, entry.size * (not is_directory), "the job's filters leave it out")
            )
        elif entry is not None and entry.kind == DIRECTORY:
            yield from self._directory(place, path, said)
        elif entry is not None and entry.kind != REGULAR:
            yield self._step(path, of_kind(entry))
        elif entry is not None:
            yield self._step(path, of_row(said.row, entry) or self._file(place, path, entry, said))
        else:
            yield from self._gone(path, said.row, said.held)

    def _directory(self, place: Place, path: str, said: Said[Stored]) -> Iterator[Step]:
        blocked = place.blocked
        if said.held is not None and self._is_ours(said.row) and self._settings.delete_mode != "do_not_delete":
            yield from self._gone(path, said.row, said.held)  # it was a file, and makes room
        elif said.held is not None:
            blocked = self._logical(path)
            yield self._step(
                f"{path}/", Forecast("refuse", "is_object", 0, "a data object has the name of its collection")
            )
        elif (problem := self._problem(path)) is not None:
            yield self._step(f"{path}/", problem)
        self._frontier.add([Place(path, at_source=True, blocked=blocked)])

    @staticmethod
    def _is_ours(row: Row | None) -> bool:
        """Whether the job may have loaded the object of a row."""
        return row is not None and row.state not in ("deleted", "discovered", "skipped")

    def _file(self, place: Place, path: str, entry: Entry, said: Said[Stored]) -> Forecast:
        """What becomes of a regular file that is to be loaded."""
        if self._settings.operation == "no_op":
            return self._foresight.of(Registration(path, "", entry.size, entry.modified_at), ())
        if (problem := self._problem(path)) is not None:
            return problem._replace(bytes=entry.size)
        if place.blocked:
            return Forecast(
                "refuse", "below_object", entry.size, f"{place.blocked} is a data object, and no collection"
            )
        if said.held is None and place.in_irods and self._frontier.is_collection(path):
            return Forecast("refuse", "is_collection", entry.size, "a collection has the name of its object")
        physical = ""
        if self._settings.operation.startswith("register"):
            try:
                physical = self._source.physical_path(path)
            except Permanent as refused:
                return Forecast("refuse", refused.error, entry.size, str(refused))
        file = Registration(self._logical(path), physical, entry.size, entry.modified_at)
        return self._foresight.of(file, said.held.replicas if said.held else ())

    def _gone(self, path: str, row: Row | None, held: Stored | None) -> Iterator[Step]:
        """What becomes of an object that the source does not have."""
        if held is None:
            return
        size = next((replica.size for replica in held.replicas if replica.good), 0)
        if not self._is_ours(row):
            self.totals.only_in_irods += 1
            self.totals.only_in_irods_bytes += size
        elif self._filter.protects(path, False):
            yield self._step(
                path, Forecast("leave", "excluded", size, "gone from the source, but the job's filters leave it out")
            )
        elif self._settings.manifest is not None:
            yield self._step(path, Forecast("leave", "gone", size, "gone from the source; a manifest deletes nothing"))
        elif self._settings.delete_mode == "do_not_delete":
            yield self._step(path, Forecast("leave", "gone", size, "gone from the source; delete_mode do_not_delete"))
        else:
            yield self._step(path, Forecast("delete", self._settings.delete_mode, size, "gone from the source"))

    def _problem(self, path: str) -> Forecast | None:
        try:
            check_logical(self._logical(path))
        except Permanent as refused:
            return Forecast("refuse", refused.error, 0, str(refused))
        return None

    def _is_possible(self, path: str) -> bool:
        return self._settings.operation not in ("verify", "no_op") and self._problem(path) is None

    def _logical(self, relative: str) -> str:
        return f"{self._target}/{relative}" if relative else self._target

    def _step(self, path: str, forecast: Forecast) -> Step:
        action, why, size, detail = forecast
        name = path.rstrip("/").rpartition("/")[2]
        escaped = "%" in name and source_name(self._url, name) != name.encode()
        return Step(action, why, path, self._logical(path.rstrip("/")), size, detail, escaped)


def unfiltered(settings: JobSettings) -> JobSettings:
    """The settings of a job of which only links and sentinel count: a plan says itself what filters leave out."""
    kept = {"sentinel": settings.sentinel, "link_folder": settings.link_folder}
    return JobSettings.model_validate(kept | ({"symlinks": "follow"} if settings.symlinks == "follow" else {}))
