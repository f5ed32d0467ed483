"""The doctor's look at a cluster: the stand-in's API server over HTTP, with our own manifests in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from core.checkup import Check
from sandbox.kubernetes import KubernetesServer
from tests.manifests.kustomize import render

BASE = Path(__file__).parents[2] / "k8s" / "manifests" / "base"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KubernetesServer]:
    with KubernetesServer(tmp_path / "kubernetes") as running:
        yield running


def found(cluster: KubernetesServer | None) -> dict[str, Check]:
    environ = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"}
    if cluster is not None:
        environ["KUBECONFIG"] = str(cluster.kubeconfig)
    command = [sys.executable, "-m", "scripts.ingest", "doctor", "--only", "cluster", "--json"]
    told = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert told.stderr == ""
    answers = [Check(**json.loads(line)) for line in told.stdout.splitlines()]
    assert told.returncode == any(one.verdict == "FAIL" for one in answers)
    assert all(one.hint for one in answers if one.verdict != "OK")
    return {one.name: one for one in answers}


def deploy(cluster: KubernetesServer, *names: str, image: str = "") -> None:
    """Our own Deployments of these names."""
    configuration = client.Configuration()
    config.load_kube_config(str(cluster.kubeconfig), client_configuration=configuration)
    rendered: list[dict[str, Any]] = [one for one in render(BASE) if one["kind"] == "Deployment"]
    with client.ApiClient(configuration) as api:
        for one in rendered:
            if one["metadata"]["name"] in names:
                one["spec"]["replicas"] = 1
                if image:
                    one["spec"]["template"]["spec"]["containers"][0]["image"] = image
                client.AppsV1Api(api).create_namespaced_deployment("ingest", one)


def test_without_a_cluster_one_line_says_so() -> None:
    assert [(one.verdict, one.message) for one in found(None).values()] == [("OK", "no cluster: skipped")]


def test_what_is_missing_is_said_and_what_is_there_is_counted(cluster: KubernetesServer) -> None:
    deploy(cluster, "watcher", "loader")
    told = found(cluster)
    assert told["deployment verifier"].verdict == "FAIL"
    assert "kubectl apply" in told["deployment verifier"].hint
    assert told["deployment loader"].message.endswith("of 1 pods ready")
    assert told["image"].verdict == "OK"
    assert told["pod security"].verdict == "WARN"
    assert told["pods"].message == "namespace ingest, 2 pods of ours may be seen"
    deploy(cluster, "verifier", image="another:2")
    assert found(cluster)["image"].verdict == "WARN"


def test_who_may_not_look_is_told_what_to_allow(cluster: KubernetesServer) -> None:
    deploy(cluster, "loader")
    cluster.forbidden |= {("list", "deployments"), ("get", "namespaces")}
    told = found(cluster)
    assert told["deployments"].verdict == "WARN"
    assert "Role" in told["deployments"].hint
    assert set(told) == {"pods", "deployments"}
