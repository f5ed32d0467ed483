"""Three streams side by side, and sorting what does not fit in memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.compare import Held, Row, Rules, Said, judge, merged
from core.sorting import sorted_stream
from core.sources.base import Entry

RULES = Rules(loads=True, deletes=False)
A, B = "sha2:" + "A" * 43 + "=", "sha2:" + "B" * 43 + "="


def row(state: str = "verified", **said: object) -> Row:
    return Row("f", state, "f", 3, 1_000_000, None, A, 1, 1)._replace(**said)


def entry(**said: object) -> Entry:
    return Entry("f", "f", 3, 1_000_000)._replace(**said)


def held(*sizes: int, checksum: str | None = A) -> Held:
    return Held("f", sizes, (checksum,) if checksum else (), max(len(sizes), 1))


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (Said("f", row(), entry(), held(3)), None),
        (Said("f", row(), entry(), held(3, 3)), None),
        (Said("f", row(), entry(), held(3, checksum=None)), None),
        (Said("f", row(), entry(), held(3, checksum="md5:x")), None),
        (Said("f", row(), entry(), None), "missing"),
        (Said("f", row("loaded"), entry(), None), "missing"),
        (Said("f", row(), entry(), held(3, 2)), "size_differs"),
        (Said("f", row(), entry(), held(3, checksum=B)), "checksum_differs"),
        (Said("f", row(), entry(), held()), "replica_not_good"),
        (Said("f", row(), entry(size=4), held(3)), "stale"),
        (Said("f", row(), entry(modified_at=1), held(3)), "stale"),
        (Said("f", row(), entry(kind="l"), held(3)), "stale"),
        (Said("f", row(), None, held(3)), "gone"),
        (Said("f", row("discovered"), None, None), "gone"),
        (Said("f", row("discovered"), entry(), None), "in_flight"),
        (Said("f", row("loading"), entry(), held(3)), "in_flight"),
        (Said("f", row("dead"), entry(), None), "failed"),
        (Said("f", row("vanished"), None, held(3)), None),
        (Said("f", row("vanished"), entry(), held(3)), "stale"),
        (Said("f", row("deleted"), None, held(3)), "undeleted"),
        (Said("f", row("deleted"), None, None), None),
        (Said("f", row("skipped"), entry(), held(9)), None),
        (Said("f", None, entry(), None), "missed"),
        (Said("f", None, entry(), held(3)), "unlisted"),
        (Said("f", None, None, held(3)), "dark"),
    ],
)
def test_what_three_say_is_judged(said: Said, kind: str | None) -> None:
    judged = judge(said, RULES)
    assert (judged[0] if judged else None) == kind


def test_what_a_job_does_counts() -> None:
    assert judge(Said("f", row(), entry(), None), Rules(loads=False, deletes=False)) is None
    waiting = judge(Said("f", row("vanished"), None, held(3)), Rules(loads=True, deletes=True))
    assert waiting is not None
    assert waiting[0] == "in_flight"


names = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), unique=True).map(sorted)


@given(names, names, names)
def test_a_merge_says_each_name_once_with_all_that_know_it(a: list[str], b: list[str], c: list[str]) -> None:
    told = list(
        merged(
            iter([row(name=name) for name in a]),
            iter([entry(name=name) for name in b]),
            iter([held(3)._replace(name=name) for name in c]),
        )
    )
    assert [one.name for one in told] == sorted({*a, *b, *c})
    for one in told:
        assert (one.row is not None, one.entry is not None, one.held is not None) == (
            one.name in a,
            one.name in b,
            one.name in c,
        )


@given(st.lists(st.text(max_size=5)), st.integers(min_value=1, max_value=7))
def test_sorting_in_runs_is_sorting(items: list[str], in_memory: int) -> None:
    assert list(sorted_stream(items, str, in_memory)) == sorted(items)
