"""Cutting batches into units."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inventory.claims import ClaimedFile
from loader.units import Together, cut


def file(directory: int, number: int, size: int) -> ClaimedFile:
    return ClaimedFile(1, 1, directory, f"d{directory}", f"f{number}", 1, size, 0, None, True, True)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 150))).map(sorted),
    st.integers(1, 5),
)
def test_units_hold_every_file_once_in_order_and_keep_their_limits(shape: list[tuple[int, int]], most: int) -> None:
    files = [file(directory, number, size) for number, (directory, size) in enumerate(shape)]

    def together(one: ClaimedFile) -> Together | None:
        return Together(one.directory_id, most, 200) if one.size <= 100 else None

    units = list(cut(files, together))
    small = [one for unit in units if len(unit) > 1 or unit[0].size <= 100 for one in unit]
    assert small == [one for one in files if one.size <= 100]
    assert sorted(one.name for unit in units for one in unit) == sorted(one.name for one in files)
    for unit in units:
        assert len(unit) <= most
        assert len({one.directory_id for one in unit}) == 1
        assert len(unit) == 1 or sum(one.size for one in unit) <= 200
