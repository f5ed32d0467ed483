"""The port on which a pod tells how it is."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from core import metrics
from core.errors import UsageError


@pytest.fixture
def probes() -> metrics.Probes:
    return metrics.Probes(patience_seconds=60)


@pytest.fixture
def port(probes: metrics.Probes) -> Iterator[int]:
    server = metrics.serve(0, probes)
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_metrics_are_told_in_prometheus_words(port: int) -> None:
    metrics.FILES.labels("load", "done").inc(3)
    status, text = ask(port, "/metrics")
    assert status == 200
    assert 'ingest_files_total{outcome="done",stage="load"}' in text


def test_a_pod_is_ready_once_all_it_needs_has_answered(port: int, probes: metrics.Probes) -> None:
    assert ask(port, "/readyz") == (503, "starting\n")
    probes.answered("inventory")
    assert ask(port, "/readyz") == (200, "ok\n")
    probes.failed("irods")
    assert ask(port, "/readyz") == (503, "irods away\n")
    probes.answered("irods")
    assert ask(port, "/readyz") == (200, "ok\n")


def test_a_pod_lives_while_its_loop_turns(port: int) -> None:
    assert ask(port, "/livez") == (200, "ok\n")
    assert metrics.Probes(patience_seconds=0).live() is not None


def test_a_port_in_use_is_told_in_one_line(port: int, probes: metrics.Probes) -> None:
    with pytest.raises(UsageError, match=r"metrics\.port"):
        metrics.serve(port, probes)
