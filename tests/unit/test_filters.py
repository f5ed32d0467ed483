"""Which entries a job takes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from core.filters import Filter, excluded
from core.settings import JobSettings
from core.sources.base import EXCLUDED, Entry

NOW = 1_000_000_000.0


def entry(path: str, kind: str = "f", size: int = 10, age: float = 0) -> Entry:
    return Entry(path.rpartition("/")[2], kind, size, int((NOW - age) * 1e6))


def taken(settings: dict[str, Any], *paths: str) -> list[str]:
    filter_ = Filter(JobSettings.model_validate(settings))
    return [
        path for path in paths
        if filter_.takes(path.rstrip("/"), entry(path.rstrip("/"), "d" if path.endswith("/") else "f"), NOW)
    ]  # fmt: skip


PATHS = ("a.txt", "a.tmp", "d/", "d/a.tmp", "d/b.txt", "d/sub/", "d/sub/c.txt", ".git/", ".git/x", "d/.hidden")


@pytest.mark.parametrize(
    ("settings", "out"),
    [
        ({}, set()),
        ({"exclude": ["*.tmp"]}, {"a.tmp", "d/a.tmp"}),
        ({"exclude": ["/a.*"]}, {"a.txt", "a.tmp"}),
        ({"exclude": ["d/"]}, {"d/", "d/a.tmp", "d/b.txt", "d/sub/", "d/sub/c.txt", "d/.hidden"}),
        ({"exclude": ["d/**/c.txt"]}, {"d/sub/c.txt"}),
        ({"exclude": ["*.tmp", "!d/a.tmp"]}, {"a.tmp"}),
        ({"exclude_regex": [r"\.tmp$"]}, {"a.tmp", "d/a.tmp"}),
        ({"exclude_regex": ["^d/s"]}, {"d/sub/", "d/sub/c.txt"}),
        ({"include": ["*.txt"]}, {"a.tmp", "d/a.tmp", ".git/x", "d/.hidden"}),
        ({"include": ["/d/"]}, {"a.txt", "a.tmp", ".git/x"}),
        ({"include": ["*.tmp"], "include_regex": ["^a"]}, {"d/b.txt", "d/sub/c.txt", ".git/x", "d/.hidden"}),
        (
            {"include": ["*.txt"], "exclude": ["sub/"]},
            {"a.tmp", "d/a.tmp", "d/sub/", "d/sub/c.txt", ".git/x", "d/.hidden"},
        ),
        ({"hidden_files": False}, {".git/", "d/.hidden"}),
        ({"exclude_types": ["directory"]}, {"d/", "d/sub/", ".git/"}),
    ],
)
def test_names(settings: dict[str, Any], out: set[str]) -> None:
    assert set(PATHS) - set(taken(settings, *PATHS)) == out


def test_sizes_are_of_regular_files() -> None:
    filter_ = Filter(JobSettings(min_bytes=5, max_bytes=10))
    assert [size for size in (4, 5, 10, 11) if filter_.takes("a", entry("a", size=size), NOW)] == [5, 10]
    assert filter_.takes("l", entry("l", "l", size=1), NOW)


def test_ages() -> None:
    filter_ = Filter(JobSettings(min_age_seconds=10, max_age_seconds=100))
    assert [age for age in (9, 10, 100, 101) if filter_.takes("a", entry("a", age=age), NOW)] == [10, 100]
    assert filter_.takes("d", entry("d", "d", age=1), NOW)
    assert filter_.by_age


@pytest.mark.parametrize(("kind", "name"), [("f", "regular"), ("l", "link"), ("s", "socket"), ("p", "pipe")])
def test_kinds(kind: str, name: str) -> None:
    settings = JobSettings.model_validate({"exclude_types": [name]})
    assert [k for k in "flspd" if not Filter(settings).takes("a", entry("a", k), NOW)] == [kind]


def test_links_may_be_left_out() -> None:
    assert not Filter(JobSettings(symlinks="skip")).takes("l", entry("l", "l"), NOW)
    assert Filter(JobSettings()).takes("l", entry("l", "l"), NOW)


def test_a_left_out_directory_takes_all_below_it_along() -> None:
    filter_ = Filter(JobSettings(exclude=("tmp/",), hidden_files=False))
    assert [filter_.leaves_out_below(path) for path in ("", "a", "a/tmp", "a/tmp/b/c", ".x/y", "a/tmpx")] == [
        False, False, True, True, True, False,
    ]  # fmt: skip
    assert filter_.protects("a/tmp/b/c", False)
    assert not filter_.protects("a/b/c", False)


def test_what_is_left_out_for_its_size_alone_is_not_protected_by_its_name() -> None:
    assert not Filter(JobSettings(max_bytes=1)).protects("a", False)


def test_what_is_left_out_is_only_a_name() -> None:
    assert excluded(entry("a", size=7)) == Entry("a", EXCLUDED, 0, 0, None)


@pytest.mark.parametrize("settings", [{"exclude_regex": ["("]}, {"include_regex": ["*"]}])
def test_a_bad_pattern_is_named(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="regular expression"):
        Filter(JobSettings.model_validate(settings))


@given(st.text(alphabet="ab/.*", min_size=1).filter(lambda path: "//" not in path and not path.startswith("/")))
def test_without_filters_all_is_taken(path: str) -> None:
    filter_ = Filter(JobSettings())
    assert filter_.takes_all
    assert filter_.takes(path, entry(path), NOW)
    assert not filter_.protects(path, False)
