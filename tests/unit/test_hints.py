"""Every class of failure has a meaning and something to do."""

from __future__ import annotations

import re
from pathlib import Path

from core import hints

ROOT = Path(__file__).resolve().parents[2]
# a FileError's class is its first argument, an outcome's too
RAISED = re.compile(r'\b(?:Permanent|Transient|Mismatch|Mismatched|Locked|Dead|Retry)\(\s*"([a-z_]+)"')


def test_every_class_that_is_raised_by_name_is_explained() -> None:
    raised = set()
    for folder in ("core", "loader", "verifier", "watcher", "inventory", "k8s"):
        for module in (ROOT / folder).rglob("*.py"):
            raised |= set(RAISED.findall(module.read_text()))
    assert len(raised) > 15
    assert {name for name in raised if not hints.advice(name).meaning} == set()


def test_names_of_irods_codes_are_explained_by_their_table() -> None:
    meaning, hint = hints.advice("CAT_NO_ACCESS_PERMISSION")
    assert "iRODS" in meaning
    assert "ichmod" in hint


def test_an_unknown_class_says_where_to_look() -> None:
    assert "ingest explain" in hints.advice("IRODS_424242").hint
