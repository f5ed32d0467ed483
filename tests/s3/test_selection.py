"""Filters and the sentinel over a bucket: the same as over a tree of files."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import Outage, UsageError, Vanished
from core.settings import JobSettings
from core.sources.base import EXCLUDED, Divisible, Source
from core.sources.selection import selected
from tests.s3.service import Service

KEYS = (
    "a/one.txt",
    "a/two.tmp",
    "b//three.txt",
    "b/c/four.txt",
    ".git/five",
    "six.txt",
    "same",
    "same/below.txt",
    "ü.txt",
)


def over(s3: Service, bucket: str, **settings: Any) -> Source:
    return selected(s3.source(bucket, "in", list_page=2), JobSettings.model_validate(settings))


def taken(source: Source) -> set[str]:
    """The paths of all that is taken, directories that are descended into left out."""
    found, waiting = set(), [""]
    while waiting:
        directory = waiting.pop()
        for entry in source.scan(directory):
            path = f"{directory}/{entry.name}" if directory else entry.name
            if entry.kind == "d":
                waiting.append(path)
            elif entry.kind != EXCLUDED:
                found.add(path)
    return found


@pytest.mark.parametrize(
    ("settings", "out"),
    [
        ({"exclude": ["*.tmp"]}, {"a/two.tmp"}),
        ({"exclude": ["/b/"]}, {"b/%2F/three.txt", "b/c/four.txt"}),
        ({"exclude_regex": ["^ü"]}, {"ü.txt"}),
        ({"include": ["*.txt"]}, {"a/two.tmp", ".git/five", "same%2F"}),
        (
            {"include": ["/b/**"]},
            {"a/one.txt", "a/two.tmp", ".git/five", "six.txt", "same%2F", "same/below.txt", "ü.txt"},
        ),
        ({"hidden_files": False}, {".git/five"}),
        ({"min_bytes": 8}, {"six.txt", "same%2F", "ü.txt"}),
        (
            {"max_bytes": 8},
            {"a/one.txt", "a/two.tmp", "b/%2F/three.txt", "b/c/four.txt", ".git/five", "same/below.txt"},
        ),
        ({"max_age_seconds": 3600}, set()),
        ({"min_age_seconds": 3600}, {"*"}),
    ],
)
def test_filters_choose_objects(s3: Service, settings: dict[str, Any], out: set[str]) -> None:
    bucket = s3.bucket()
    for key in KEYS:
        s3.client.put_object(Bucket=bucket, Key=f"in/{key}", Body=b"x" * len(key))
    everything = taken(over(s3, bucket))
    assert len(everything) == len(KEYS)
    expected = set() if out == {"*"} else everything - out
    assert taken(over(s3, bucket, **settings)) == expected


def test_a_filtered_listing_is_cut_into_parts_too(s3: Service) -> None:
    bucket = s3.bucket("in/mounted", *(f"in/flat/{number:04}.{'tmp' if number % 3 else 'txt'}" for number in range(90)))
    scan = over(s3, bucket, exclude=["*.tmp"], sentinel="mounted").scan
    listing = scan("flat")
    found = [next(listing) for _ in range(4)]
    assert isinstance(listing, Divisible)
    parts = listing.divide()
    assert parts
    found += [entry for entries in (listing, *(scan("flat", part) for part in parts)) for entry in entries]
    assert sorted(entry.name for entry in found if entry.kind != EXCLUDED) == [f"{n:04}.txt" for n in range(0, 90, 3)]
    assert len(found) == len({entry.name for entry in found}) == 90


def test_nothing_of_a_bucket_vanishes_without_the_sentinel(s3: Service) -> None:
    bucket = s3.bucket("in/mounted", "in/a/b")
    source = over(s3, bucket, sentinel="mounted")
    source.check()
    assert taken(source) == {"mounted", "a/b"}
    with pytest.raises(Vanished):
        source.open("gone")
    with pytest.raises(Vanished):
        next(source.scan("nowhere"))
    source.open("a/b").close()
    s3.client.delete_object(Bucket=bucket, Key="in/mounted")
    for scan in ("", "a", "nowhere"):
        with pytest.raises(Outage, match="mounted"):
            list(source.scan(scan))
    with pytest.raises(Outage, match="mounted"):
        source.open("gone")
    with pytest.raises(UsageError, match="mounted"):
        source.check()


def test_a_sentinel_that_goes_during_a_scan_spoils_it(s3: Service) -> None:
    bucket = s3.bucket("in/mounted", *(f"in/a/{number}" for number in range(5)))
    scan = over(s3, bucket, sentinel="mounted").scan("a")
    next(scan)
    s3.client.delete_object(Bucket=bucket, Key="in/mounted")
    with pytest.raises(Outage, match="mounted"):
        list(scan)
