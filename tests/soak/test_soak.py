"""A short soak; `make soak` runs longer ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.soak.soak import Soak, seed_of


@pytest.mark.timeout(300)
def test_a_short_soak(tmp_path: Path) -> None:
    seed = seed_of(dict(os.environ))
    soak = Soak(tmp_path / "soak", seed)
    report = soak.run(float(os.environ.get("SOAK_SECONDS", "10")))
    assert not report.violations, f"{report.text()}\nlogs in {tmp_path / 'soak' / 'logs'}"
    soak.remove()
