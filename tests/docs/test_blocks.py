"""Every command in the documentation is run by a test, or says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import DATA, DERIVED, NOT_RUN, PAGES, ROOT, RUN_IN_ORDER, blocks, is_run, unfenced

WRITTEN = [page for page in PAGES if page.name not in DERIVED]


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_says_what_it_is(page: Path) -> None:
    assert unfenced(page) == [], "code is fenced, with a word that says what it is"
    for block in blocks(page):
        kind, *marks = block.info or ("",)
        where = f"{block.page}:{block.line}"
        assert kind in {"sh", "python"} | DATA, f"{where}: ```sh, ```python, or ```text"
        if kind == "sh":
            assert len(marks) <= 1 and set(marks) <= NOT_RUN.keys(), f"{where}: nothing says why {marks} is not run"


def test_pages_with_commands_are_run() -> None:
    with_commands = {block.page for page in WRITTEN for block in blocks(page) if is_run(block)}
    assert with_commands == set(RUN_IN_ORDER)
