"""What the image installs is pinned with hashes and is what pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DEPENDENCIES = PROJECT["project"]["dependencies"]
SANDBOX = PROJECT["project"]["optional-dependencies"]["sandbox"]


def pinned(name: str) -> dict[str, str]:
    """Package and version of each pin of a lock file."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    return {canonicalize_name(package): version for package, version in re.findall(r"^([\w.-]+)==([\w.]+)", text, re.M)}


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("pods", DEPENDENCIES),
        ("sandbox", [*DEPENDENCIES, *SANDBOX]),
        ("build", PROJECT["build-system"]["requires"]),
    ],
)
def test_a_lock_pins_what_the_project_asks_for(lock: str, wanted: list[str]) -> None:
    pins = pinned(lock)
    for requirement in map(Requirement, wanted):
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in requirements/{lock}.lock: run `make lock`"
        assert requirement.specifier.contains(version), f"{requirement} is pinned to {version}: run `make lock`"


@pytest.mark.parametrize("lock", ["pods", "sandbox", "build"])
def test_every_pin_has_a_hash_and_no_lock_names_a_host(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    for pin in re.split(r"^(?=[a-z0-9])", text, flags=re.M)[1:]:
        assert "--hash=sha256:" in pin, pin.splitlines()[0]
    assert "://" not in text
    assert "--index" not in text


def test_the_sandbox_has_the_pods_versions() -> None:
    sandbox = pinned("sandbox")
    assert {name: sandbox.get(name) for name in pinned("pods")} == pinned("pods")
