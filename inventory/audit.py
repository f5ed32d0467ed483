"""An audit of a job: source, inventory and iRODS compared file by file, in bounded memory, while pods work.

Directory by directory the inventory is dumped first, then source and iRODS are listed, and what disagrees is looked up in the
inventory once more. Only what the inventory says the same of before and after is a fault: what changed meanwhile is in flight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from core.compare import SEEN_BY_A_SCAN, Held, Kind, Row, Rules, Said, judge, merged
from core.errors import FileError, Outage, Unavailable, Vanished
from core.sorting import begun, sorted_stream
from core.sources.base import DIRECTORY, REGULAR, Entry, Source
from inventory import audit_rows
from inventory.audit_rows import Directory
from inventory.engine import Database
from inventory.jobs import Job

CHUNK = 1000
"""Disagreements looked up again at a time."""
NOT_OURS = ".ingest_staging"
"""A collection of the loaders' own, below a user's home."""


class Catalogue(Protocol):
    """What an audit asks iRODS."""

    def collections_below(self, collection: str) -> Iterator[str]: ...

    def objects_in(self, collection: str) -> Iterator[Held]: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """Something on which the three disagree; `path` is escaped and relative to the source, with a '/' at the end for a
    directory or collection."""

    kind: Kind
    path: str
    detail: str


@dataclass
class Totals:
    """What was seen: files and bytes at the source, of them those that the inventory knows, the inventory's rows by state, objects,
    replicas and bytes in iRODS."""

    source_files: int = 0
    source_bytes: int = 0
    known_files: int = 0
    known_bytes: int = 0
    inventory: Counter[str] = field(default_factory=Counter)
    objects: int = 0
    replicas: int = 0
    object_bytes: int = 0
    directories: int = 0
    found: Counter[Kind] = field(default_factory=Counter)

    @property
    def faults(self) -> int:
        """Findings that are not work in flight."""
        return sum(count for kind, count in self.found.items() if kind != "in_flight")


class Audit:
    """One pass over a job, or over what lies below `root`, an escaped path relative to its source.

    Without a catalogue, for jobs that load nothing, only source and inventory are compared. `names` says how a path relative
    to the source is called in iRODS, element by element; None: as it is.
    """

    def __init__(
        self,
        database: Database,
        job: Job,
        source: Source,
        catalogue: Catalogue | None,
        root: str = "",
        names: Callable[[str], str] | None = None,
    ) -> None:
        self._database = database
        self._job = job
        self._source = source
        self._catalogue = catalogue
        self._root = root
        self._names = names or str
        self._in_order_of_objects = names is None
        self._target = job.target_collection.rstrip("/")
        deletes, named = job.settings.delete_mode != "do_not_delete", job.settings.manifest is not None
        self._rules = Rules(loads=catalogue is not None, deletes=deletes, only_named=named)
        self.totals = Totals()

    def findings(self) -> Iterator[Finding]:
        """All disagreements, streamed. Raises Unavailable when source, iRODS or inventory do not answer."""
        try:
            for finding in self._findings():
                self.totals.found[finding.kind] += 1
                yield finding
        except FileError as problem:
            raise Unavailable(problem.message, problem.hint) from problem

    def _findings(self) -> Iterator[Finding]:
        collections = self._collections()
        ahead = next(collections, None)
        for directory in self._directories():
            named = self._names(directory.path)
            while ahead is not None and ahead < named:
                yield from self._dark(ahead)
                ahead = next(collections, None)
            if ahead == named:
                ahead = next(collections, None)
            self.totals.directories += 1
            yield from self._directory(directory)
        while ahead is not None:
            yield from self._dark(ahead)
            ahead = next(collections, None)

    def _directories(self) -> Iterator[Directory]:
        """The directories at and below the root, in the order of their collections."""
        known = audit_rows.directories(self._database, self._job.id, self._root)
        if self._in_order_of_objects:
            return known
        return sorted_stream(known, key=lambda directory: self._names(directory.path))

    def _collections(self) -> Iterator[str]:
        """Relative paths of the collections below the root, sorted."""
        if self._catalogue is None:
            return
        for path in self._catalogue.collections_below(self._logical(self._names(self._root))):
            relative = path.removeprefix(self._target).removeprefix("/")
            if relative.split("/")[0] != NOT_OURS:
                yield relative

    def _logical(self, relative: str) -> str:
        return f"{self._target}/{relative}" if relative else self._target

    def _dark(self, collection: str) -> Iterator[Finding]:
        yield Finding("dark", f"{collection}/", "a collection that the inventory does not know")
        for held in self._held(collection):
            yield Finding("dark", f"{collection}/{held.name}", "in a collection that the inventory does not know")

    def _held(self, collection: str) -> Iterator[Held]:
        if self._catalogue is None:
            return
        for held in self._catalogue.objects_in(self._logical(collection)):
            self.totals.objects += 1
            self.totals.replicas += held.replicas
            self.totals.object_bytes += held.sizes[0] if held.sizes else 0
            yield held

    def _directory(self, directory: Directory) -> Iterator[Finding]:
        rows = begun(self._rows(directory))  # before the listings: what is loaded by now is in them
        strangers: list[str] = []
        try:
            entries = begun(self._entries(directory.path, strangers))
        except Outage:
            raise
        except Vanished:
            entries = iter(())
        except FileError as problem:
            yield Finding("unreadable", f"{directory.path}/", f"{problem.error}: {problem.message}")
            return
        suspects = self._suspects(merged(rows, entries, self._held(self._names(directory.path)), self._names))
        while some := list(islice(suspects, CHUNK)):
            yield from self._looked_at_again(directory, some)
        if not self._rules.only_named:
            for child in strangers:
                yield from self._missed(child, directory.scan_due)

    def _rows(self, directory: Directory) -> Iterator[Row]:
        """The rows of a directory in the order of their objects' names."""

        def rows() -> Iterator[Row]:
            for row in audit_rows.files(self._database, directory):
                self.totals.inventory[row.state] += 1
                yield row

        return rows() if self._in_order_of_objects else sorted_stream(rows(), key=lambda row: self._names(row.name))

    def _entries(self, directory: str, strangers: list[str]) -> Iterator[Entry]:
        """The files of a directory in the order of their objects' names; directories the inventory does not know go elsewhere."""

        def files() -> Iterator[Entry]:
            children: list[str] = []
            for entry in self._source.scan(directory):
                if entry.kind != DIRECTORY:
                    if entry.kind == REGULAR:
                        self.totals.source_files += 1
                        self.totals.source_bytes += entry.size
                    yield entry
                    continue
                children.append(_join(directory, entry.name))
                if len(children) >= CHUNK:
                    strangers.extend(self._unknown(children))
                    children = []
            strangers.extend(self._unknown(children))

        return sorted_stream(files(), key=lambda entry: self._names(entry.name))

    def _unknown(self, paths: list[str]) -> list[str]:
        known = audit_rows.known_directories(self._database, self._job.id, paths) if paths else set()
        return [path for path in paths if path not in known]

    def _suspects(self, said: Iterable[Said[Held]]) -> Iterator[tuple[Said[Held], Kind, str]]:
        for one in said:
            if one.row is not None and one.entry is not None and one.entry.kind == REGULAR:
                self.totals.known_files += 1
                self.totals.known_bytes += one.entry.size
            judged = judge(one, self._rules)
            if judged is not None:
                yield one, *judged

    def _looked_at_again(self, directory: Directory, suspects: list[tuple[Said[Held], Kind, str]]) -> Iterator[Finding]:
        due, rows = audit_rows.again(self._database, directory, [said.at_source for said, _, _ in suspects])
        mapped = not self._in_order_of_objects
        strangers = {said.name for said, _, _ in suspects if mapped and _is_object_only(said)}
        rows_of_strangers = self._rows_of_objects(directory, strangers)
        for said, kind, detail in suspects:
            found = rows_of_strangers if mapped and _is_object_only(said) else rows
            now = found.get(said.at_source)
            if now != said.row:
                kind, detail = "in_flight", f"{detail}; meanwhile it is {now.state if now else 'gone'} in the inventory"
            elif due and kind in SEEN_BY_A_SCAN:
                kind, detail = "in_flight", f"{detail}; the next scan sees it"
            yield Finding(kind, _join(directory.path, said.at_source), detail)

    def _rows_of_objects(self, directory: Directory, names: Set[str]) -> dict[str, Row]:
        """The rows of objects by their mapped names, which do not say what they were mapped from."""
        rows = audit_rows.files(self._database, directory) if names else ()
        return {named: row for row in rows if (named := self._names(row.name)) in names}

    def _missed(self, directory: str, due: bool) -> Iterator[Finding]:
        """A directory of the source that the inventory does not know, with all below it."""
        kind: Kind = "in_flight" if due or not self._unknown([directory]) else "missed"
        below = [directory]
        while below:
            path = below.pop()
            yield Finding(kind, f"{path}/", "a directory that the inventory does not know")
            try:
                for entry in self._source.scan(path):
                    if entry.kind == DIRECTORY:
                        below.append(_join(path, entry.name))
                    else:
                        self.totals.source_files += entry.kind == REGULAR
                        self.totals.source_bytes += entry.size if entry.kind == REGULAR else 0
                        yield Finding(kind, _join(path, entry.name), "in a directory that the inventory does not know")
            except Outage:
                raise
            except FileError as problem:
                yield Finding("unreadable", f"{path}/", f"{problem.error}: {problem.message}")


def _is_object_only(said: Said[Held]) -> bool:
    return said.row is None and said.entry is None


def _join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name
