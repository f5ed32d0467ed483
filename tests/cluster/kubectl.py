"""kubectl as a person uses it, against the cluster of KUBECONFIG."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

NAMESPACE = "ingest"
Answer = TypeVar("Answer")


def kubectl(*arguments: str, given: str | None = None, seconds: float = 300) -> str:
    """What kubectl prints; raises CalledProcessError, whose stderr says why."""
    done = subprocess.run(
        ["kubectl", "--namespace", NAMESPACE, *arguments],
        input=given, capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr.strip()}"
    return done.stdout


def ingest(*arguments: str) -> str:
    """`ingest` in the console; tried again while the console is on its way."""
    return patiently(lambda: kubectl("exec", "deployment/console", "--", "ingest", *arguments), 120)


def get(*what: str) -> Any:
    """Objects as the API has them."""
    return json.loads(kubectl("get", *what, "--output=json"))


def pods(component: str) -> list[str]:
    """The names of the pods of a kind that are not on their way out."""
    items = get("pods", "--selector", f"app.kubernetes.io/component={component}")["items"]
    return [pod["metadata"]["name"] for pod in items if "deletionTimestamp" not in pod["metadata"]]


def rendered(overlay: Path, image: str, files: int) -> str:
    """An overlay with another image and another number of files."""
    text = kubectl("kustomize", str(overlay))
    return text.replace("localhost/irods-inventory-loader:latest", image).replace('files: "20000"', f'files: "{files}"')


def patiently(ask: Callable[[], Answer], seconds: float) -> Answer:
    """What `ask` returns once it does not fail."""
    until = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except AssertionError:
            if time.monotonic() > until:
                raise
            time.sleep(1)


def until(question: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(1)
