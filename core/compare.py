"""What source, inventory and iRODS say about the files of one directory, side by side.

Three streams in the order of names are merged; each name is judged by what all three say of it. Whether a disagreement is work in
flight is for the caller to find out, by asking the inventory once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

from core import checksums
from core.sources.base import EXCLUDED, PROMISE, REGULAR, Entry

Kind = Literal[
    "dark", "missing", "stale", "gone", "missed", "unlisted", "size_differs", "checksum_differs", "replica_not_good",
    "undeleted", "failed", "unreadable", "in_flight",
]  # fmt: skip
KINDS: dict[Kind, str] = {
    "dark": "iRODS has it, neither source nor inventory know it",
    "missing": "the inventory says loaded, iRODS does not have it",
    "stale": "the source has another size or time than the inventory",
    "gone": "the inventory has it, the source has it no more",
    "missed": "the source has it, the inventory does not",
    "unlisted": "source and iRODS have it, the inventory does not",
    "size_differs": "iRODS has another size than the inventory",
    "checksum_differs": "iRODS has another checksum stored than the inventory",
    "replica_not_good": "iRODS has no good replica of it",
    "undeleted": "the inventory says deleted, iRODS still has it",
    "failed": "the inventory has it as a dead letter",
    "unreadable": "the directory could not be listed at the source",
    "in_flight": "a disagreement that work under way, or the next scan, explains",
}
"""What an audit finds. in_flight is no fault."""
SEEN_BY_A_SCAN: frozenset[Kind] = frozenset({"stale", "gone", "missed", "unlisted"})
"""What the next scan of the directory puts right."""


class Row(NamedTuple):
    """A file as the inventory has it; `modified_at` in microseconds since 1970, sizes in bytes."""

    name: str
    state: str
    kind: str
    size: int
    modified_at: int
    tag: str | None
    checksum: str | None
    generation: int
    shard: int


class Held(NamedTuple):
    """A data object as the catalogue has it: of its good replicas each size and stored checksum, and all replicas' count."""

    name: str
    sizes: tuple[int, ...]
    checksums: tuple[str, ...]
    replicas: int


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Any_ = TypeVar("Any_", bound=_Named)
Object = TypeVar("Object", bound=_Named)


@dataclass(slots=True)
class Said(Generic[Object]):
    """What is said about one name, which is that of the object; None where it is not known."""

    name: str
    row: Row | None = None
    entry: Entry | None = None
    held: Object | None = None

    @property
    def at_source(self) -> str:
        """The name at the source; that of the object where nothing else is known."""
        known = self.row or self.entry
        return known.name if known is not None else self.name


class _Ahead(Generic[Any_]):
    """A stream of which the next name, as `names` has it, can be looked at."""

    def __init__(self, items: Iterator[Any_], names: Callable[[str], str]) -> None:
        self._items = items
        self._names = names
        self._step()

    def _step(self) -> None:
        self._next = next(self._items, None)
        self.name = None if self._next is None else self._names(self._next.name)

    def take(self, name: str) -> Any_ | None:
        """The item of that name, if it is the next one; of several the last."""
        taken = None
        while self.name == name:
            taken = self._next
            self._step()
        return taken


def merged(
    rows: Iterator[Row], entries: Iterator[Entry], held: Iterator[Object], names: Callable[[str], str] = str
) -> Iterator[Said[Object]]:
    """What the three say about each name, in order; `names` says how a name at the source is called in iRODS.

    Each stream is in the order of the names in iRODS.
    """
    row, entry, object_ = _Ahead(rows, names), _Ahead(entries, names), _Ahead(held, str)
    while heads := [head.name for head in (row, entry, object_) if head.name is not None]:
        name = min(heads)
        yield Said(name, row.take(name), entry.take(name), object_.take(name))


@dataclass(frozen=True, slots=True)
class Rules:
    """What is expected of a job: whether it loads anything at all, whether it deletes, and whether it brings only what a manifest
    named."""

    loads: bool
    deletes: bool
    only_named: bool = False


def judge(said: Said[Held], rules: Rules) -> tuple[Kind, str] | None:
    """What is wrong with a name, with a detail; None when all agree."""
    row, entry, held = said.row, said.entry, said.held
    if entry is not None and entry.kind == EXCLUDED:
        # it is there and nobody's business any more; what was loaded of it before stays
        return _object(row, held) if row is not None and row.state in ("loaded", "verified") and rules.loads else None
    if row is None:
        return None if rules.only_named and held is None else _unknown(entry, held)
    if row.state in ("loading", "verifying", "deleting", "discovered"):
        return _under_way(row, entry, held)
    if row.state == "dead":
        return "failed", "see `ingest explain`"
    if row.state in ("vanished", "deleted"):
        if entry is not None:
            return "stale", f"{row.state} in the inventory, {entry.size} bytes at the source"
        if held is not None and row.state == "deleted":
            return "undeleted", _sizes(held)
        waits = held is not None and rules.deletes
        return ("in_flight", "waits for its deletion") if waits else None
    if entry is None:
        return "gone", f"{row.state} in the inventory"
    if row.kind != entry.kind or (row.kind == REGULAR and changed(row, entry)):
        return "stale", f"{row.size} bytes in the inventory, {entry.size} at the source"
    if row.state == "skipped" or not rules.loads:
        return None
    return _object(row, held)


def changed(row: Row, entry: Entry) -> bool:
    """Whether the source has another file than the inventory knows."""
    promised = row.tag is not None and row.tag.startswith(PROMISE)  # a manifest's word, no mark of the source
    return row.size != entry.size or row.modified_at != entry.modified_at or (row.tag != entry.tag and not promised)


def _unknown(entry: Entry | None, held: Held | None) -> tuple[Kind, str] | None:
    if entry is not None:
        return ("unlisted" if held is not None else "missed"), f"{entry.size} bytes at the source"
    return ("dark", _sizes(held)) if held is not None else None


def _under_way(row: Row, entry: Entry | None, held: Held | None) -> tuple[Kind, str] | None:
    if entry is None and row.state != "deleting":
        return "gone", f"{row.state} in the inventory"
    return "in_flight", f"{row.state} in the inventory" + (", and iRODS has an object" if held is not None else "")


def _object(row: Row, held: Held | None) -> tuple[Kind, str] | None:
    if held is None:
        return "missing", f"{row.state} in the inventory"
    if not held.sizes:
        return "replica_not_good", f"{held.replicas} replicas, none good"
    if wrong := [size for size in held.sizes if size != row.size]:
        return "size_differs", f"{row.size} bytes in the inventory, {wrong[0]} in iRODS"
    for stored in held.checksums:
        if row.checksum and _differ(stored, row.checksum):
            return "checksum_differs", f"{row.checksum} in the inventory, {stored} in iRODS"
    return None


def _differ(stored: str, ours: str) -> bool:
    try:
        comparable = checksums.scheme_of(stored) == checksums.scheme_of(ours)
    except ValueError:
        return False
    return comparable and not checksums.same(stored, ours)


def _sizes(held: Held) -> str:
    return f"{held.sizes[0]} bytes in iRODS" if held.sizes else f"{held.replicas} replicas in iRODS, none good"
