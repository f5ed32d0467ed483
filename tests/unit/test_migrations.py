"""Revisions of the schema follow each other in one line, and their files are named by them."""

from __future__ import annotations

import re
from pathlib import Path

import inventory.migrations.versions

FOLDER = Path(inventory.migrations.versions.__file__).parent


def test_revisions_follow_each_other_in_one_line() -> None:
    files = sorted(FOLDER.glob("v*.py"))
    found = []
    for file in files:
        revision = re.search(r'^revision = "(\d{4})"$', file.read_text(), re.MULTILINE)
        before = re.search(r'^down_revision = (?:"(\d{4})"|None)$', file.read_text(), re.MULTILINE)
        assert revision is not None and before is not None, file.name
        found.append((file.name[1:5], revision[1], before[1]))
    numbers = [f"{number:04}" for number in range(1, len(files) + 1)]
    assert found == list(zip(numbers, numbers, [None, *numbers[:-1]], strict=True))
