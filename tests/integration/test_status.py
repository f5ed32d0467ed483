"""`ingest status` with a cluster (the stand-in, over HTTP) and without one."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from inventory.workers import Lease
from sandbox.kubernetes import KubernetesServer
from sandbox.kubernetes.answers import PODS
from tests.e2e import forked
from tests.e2e.world import PATIENCE, PROJECT
from tests.integration.inventory_world import World
from tests.manifests.kustomize import render

BASE = Path(__file__).parents[2] / "k8s" / "manifests" / "base"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KubernetesServer]:
    with KubernetesServer(tmp_path / "kubernetes") as running:
        yield running


@pytest.fixture
def world(inventory_url: str) -> Iterator[World]:
    made = World(inventory_url)
    yield made
    made.database.close()


def status(url: str, kubeconfig: Path | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"}
    environ |= {"INVENTORY_URL": url, "PYTHONPATH": str(PROJECT)}
    if kubeconfig:
        environ["KUBECONFIG"] = str(kubeconfig)
    return forked.ended("scripts.ingest", ["status", *arguments], environ, PROJECT, PATIENCE)


def told(url: str, kubeconfig: Path | None) -> list[dict[str, Any]]:
    answer = status(url, kubeconfig, "--json")
    assert answer.returncode == 0, answer.stderr
    lines: list[dict[str, Any]] = json.loads(answer.stdout)["pods"]
    return lines


def deploy(cluster: KubernetesServer, name: str, replicas: int) -> list[str]:
    """Pods of one of our own Deployments; their names."""
    (deployment,) = [one for one in render(BASE) if (one["kind"], one["metadata"]["name"]) == ("Deployment", name)]
    deployment["spec"]["replicas"] = replicas
    configuration = client.Configuration()
    config.load_kube_config(str(cluster.kubeconfig), client_configuration=configuration)
    with client.ApiClient(configuration) as api:
        client.AppsV1Api(api).create_namespaced_deployment("ingest", deployment)
    return sorted(pod["metadata"]["name"] for pod in cluster.store.list(PODS, "ingest"))


def test_pods_are_joined_to_their_workers(cluster: KubernetesServer, world: World, inventory_url: str) -> None:
    first, second = deploy(cluster, "loader", 2)
    loader = Lease(world.database, "loader", first, "1.2.3").worker
    world.add("a", "b", "c")
    assert len(world.claim(loader, limit=2)) == 2
    lines = {line["pod"]: line for line in told(inventory_url, cluster.kubeconfig) if line["kind"] == "loader"}
    assert set(lines) == {first, second}
    seen = lines[first]
    assert (seen["phase"], seen["ready"], seen["lease"], seen["files_held"]) == ("Running", True, "alive", 2)
    assert (seen["worker"], seen["version"]) == (loader, "1.2.3")
    assert lines[second]["lease"] is None  # a pod that has no worker yet, or no more
    assert lines[second]["phase"] == "Running"


def test_the_life_before_a_restart_is_shown_without_the_pod(
    cluster: KubernetesServer, world: World, inventory_url: str
) -> None:
    (name,) = deploy(cluster, "loader", 1)
    Lease(world.database, "loader", name, "1").goodbye()
    Lease(world.database, "loader", name, "1")
    old, new = [line for line in told(inventory_url, cluster.kubeconfig) if line["kind"] == "loader"]
    assert (old["lease"], old["phase"]) == ("stopped", None)
    assert (new["lease"], new["phase"]) == ("alive", "Running")


def test_without_a_cluster_the_workers_are_shown(world: World, inventory_url: str) -> None:
    world.execute("UPDATE inventory.worker SET heartbeat_at = now() - interval '40 seconds'")
    (line,) = told(inventory_url, None)
    assert (line["kind"], line["pod"], line["lease"], line["phase"]) == ("watcher", "watcher-pod", "silent", None)
    assert 39 < line["heard_seconds"] < 60
    text = status(inventory_url, None)
    assert text.stdout.splitlines()[0].startswith("KIND     POD          PHASE")
    assert "watcher-pod" in text.stdout
    assert text.stderr == ""


@pytest.mark.parametrize("trouble", ["refused", "away"])
def test_a_cluster_that_does_not_tell_is_no_reason_to_show_nothing(
    cluster: KubernetesServer, world: World, inventory_url: str, trouble: str
) -> None:
    if trouble == "refused":
        cluster.forbidden.add(("list", "pods"))
    else:
        cluster.stop()
    answer = status(inventory_url, cluster.kubeconfig)
    assert answer.returncode == 0
    assert "watcher-pod" in answer.stdout
    assert answer.stderr.startswith("without the cluster: ")
    assert "Role `status`" in answer.stderr or "does not answer" in answer.stderr
