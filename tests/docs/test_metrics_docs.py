"""Every metric is in docs/metrics.md, and nothing else is."""

from __future__ import annotations

import re
from pathlib import Path

from core.metrics import REGISTRY

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_every_metric_is_documented_and_every_documented_metric_exists() -> None:
    known = {f"{family.name}_total" if family.type == "counter" else family.name for family in REGISTRY.collect()}
    told = set(re.findall(r"^\| `(\w+)`", PAGE.read_text(), re.M))
    assert told == known
