"""A plan over generated sources and catalogues: what it says, in which order, and in how much memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Outage, Permanent, Unavailable
from core.irods import Foresight, Replica, Stored
from core.settings import JobSettings
from core.sources.base import Entry, SourceFile, Stat
from inventory.frontier import Frontier, Place
from inventory.plan import Plan, Planned

TARGET = "/zone/home/x"
FORESIGHT = Foresight("put_sync", None, None, {}, None)


def test_what_is_forgotten_is_a_directory_and_what_is_below_it() -> None:
    frontier = Frontier()
    paths = ["a", "a-", "a/b", "a/b/c", "a0", "b"]
    frontier.add(Place(path, in_irods=True) for path in paths)
    frontier.forget("a")
    taken = [place for _ in paths if (place := frontier.take())]
    assert [place.path for place in taken] == paths
    assert [place.path for place in taken if place.unknown] == ["a", "a/b", "a/b/c"]


class Tree:
    """A source of files by their paths; a directory is there because something is below it."""

    def __init__(self, files: set[str]) -> None:
        self.files = files
        self.directories = {"/".join(p.split("/")[:n]) for p in files for n in range(p.count("/") + 1)} | {""}

    def check(self) -> None: ...

    def scan(self, directory: str) -> Iterator[Entry]:
        for kind, paths in (("f", self.files), ("d", self.directories - {""})):
            for path in paths:
                if path.rpartition("/")[0] == directory:
                    yield Entry(path.rpartition("/")[2], kind, 3 if kind == "f" else 0, 0)

    def open(self, path: str, seen: Stat | None = None) -> SourceFile:
        raise AssertionError("no byte is read for a plan")

    def physical_path(self, path: str) -> str:
        return f"/{path}"


class Objects(Tree):
    """A catalogue of objects by their paths below the target."""

    def collections_below(self, collection: str) -> Iterator[str]:
        yield from sorted(f"{TARGET}/{path}".rstrip("/") for path in self.directories)

    def stored_in(self, collection: str) -> Iterator[Stored]:
        inside = collection.removeprefix(TARGET).removeprefix("/")
        for name in sorted(entry.name for entry in self.scan(inside) if entry.kind == "f"):
            yield Stored(name, [Replica(0, 3, 1, None, "r", 1, "r", f"/v/{name}", 0)])


def plan_of(source: object, catalogue: object) -> Plan:
    planned = Planned(source, "file:///s", TARGET, JobSettings())  # type: ignore[arg-type]
    return Plan(planned, catalogue, FORESIGHT)  # type: ignore[arg-type]


def without_clashes(paths: set[str]) -> set[str]:
    """The paths of which none is a directory of another."""
    return {path for path in paths if not any(other.startswith(f"{path}/") for other in paths)}


names = st.sampled_from(["a", "a-", "a0", "b", "ü", "%"])
trees = st.sets(st.lists(names, min_size=1, max_size=4).map("/".join), max_size=12).map(without_clashes)


@settings(max_examples=200, deadline=None)
@given(trees, trees)
def test_each_file_is_planned_once_by_what_irods_has(files: set[str], objects: set[str]) -> None:
    source, catalogue = Tree(files), Objects(objects)
    plan = plan_of(source, catalogue)
    steps = list(plan.steps())
    above = {path: {path.rsplit("/", n)[0] for n in range(1, path.count("/") + 1)} for path in files}
    expected = {
        path: "refuse" if path in catalogue.directories or above[path] & objects
        else "put_again" if path in objects else "put"
        for path in files
    }  # fmt: skip
    assert {step.path: step.action for step in steps if not step.path.endswith("/")} == expected
    assert len({step.path for step in steps}) == len(steps)
    assert {step.path for step in steps if step.path.endswith("/")} == {f"{d}/" for d in source.directories & objects}
    reached = {path for path in objects - files if path.rpartition("/")[0] in source.directories}
    assert plan.totals.only_in_irods == len(reached - source.directories)
    assert plan.totals.other_collections == len(catalogue.directories - source.directories)
    assert plan.totals.sent_bytes == 3 * sum(action != "refuse" for action in expected.values())


@given(st.sets(st.lists(names, max_size=4).map("/".join), max_size=30))
def test_a_frontier_gives_all_that_is_added_on_the_way_in_order(paths: set[str]) -> None:
    paths |= {"/".join(path.split("/")[:n]) for path in paths for n in range(path.count("/") + 2)}
    frontier = Frontier()
    frontier.add([Place("")])
    taken = []
    while place := frontier.take():
        taken.append(place.path)
        frontier.add(Place(path) for path in paths if path and path.rpartition("/")[0] == place.path)
    assert taken == sorted(paths | {""})


class Shut(Tree):
    """A tree of which one directory cannot be listed."""

    def scan(self, directory: str) -> Iterator[Entry]:
        if directory == "shut":
            raise Permanent("EACCES", "shut: Permission denied")
        return super().scan(directory)


def test_what_is_below_a_directory_that_cannot_be_listed_is_unknown() -> None:
    plan = plan_of(Shut({"a", "shut/b"}), Objects({"shut/c/d", "shut/e", "shut-not/f"}))
    told = {step.path: (step.action, step.why) for step in plan.steps()}
    assert told == {"a": ("put", "new"), "shut/": ("unreadable", "EACCES")}
    assert (plan.totals.only_in_irods, plan.totals.other_collections, plan.totals.directories) == (0, 2, 1)


def test_a_source_that_goes_away_ends_the_plan() -> None:
    class Away(Tree):
        def scan(self, directory: str) -> Iterator[Entry]:
            yield Entry("a", "f", 1, 0)
            raise Outage("source_away", "the source is missing or empty")

    with pytest.raises(Unavailable, match="missing or empty"):
        list(plan_of(Away(set()), Objects(set())).steps())


class Many(Tree):
    """Directories side by side with 1,000 files in each, made as they are asked for."""

    def __init__(self, directories: int) -> None:
        self.count = directories

    def scan(self, directory: str) -> Iterator[Entry]:
        kind, many = ("f", 1000) if directory else ("d", self.count)
        return (Entry(f"name-{number:07}", kind, 3, 0) for number in range(many))


def test_memory_does_not_grow_with_the_number_of_files() -> None:
    def peak(directories: int) -> int:
        plan = plan_of(Many(directories), Objects(set()))
        tracemalloc.start()
        try:
            assert sum(1 for _ in plan.steps()) == 1000 * directories == plan.totals.actions["put"].files
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(2)  # what is imported and compiled at first is not counted
    assert peak(40) < 1.5 * peak(2)
