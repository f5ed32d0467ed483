"""Every metric is in docs/metrics.md and every alert in docs/operations.md, and nothing else is."""

from __future__ import annotations

import re
from pathlib import Path

from core.metrics import REGISTRY

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics.md"


def test_every_metric_is_documented_and_every_documented_metric_exists() -> None:
    known = {f"{family.name}_total" if family.type == "counter" else family.name for family in REGISTRY.collect()}
    told = set(re.findall(r"^\| `(\w+)`", PAGE.read_text(), re.M))
    assert told == known


def test_every_alert_is_explained() -> None:
    rules = (ROOT / "k8s" / "manifests" / "overlays" / "monitoring" / "alerts.yaml").read_text()
    told = re.findall(r"^\| (Ingest\w+) \|", (ROOT / "docs" / "operations.md").read_text(), re.M)
    assert told == re.findall(r"- alert: (\w+)", rules)
