"""One finding of `ingest doctor`: what was looked at, whether it is well, and what to change."""

from __future__ import annotations

from typing import Literal, NamedTuple

Verdict = Literal["OK", "WARN", "FAIL"]
"""OK: as it should be. WARN: works, but slower or less safely than it could. FAIL: something cannot work."""


class Check(NamedTuple):
    """One line of the doctor; `hint` says what to change and is empty where nothing is to be."""

    part: str
    name: str
    verdict: Verdict
    message: str
    hint: str = ""
