"""The doctor's look at a cluster: the stand-in's API server over HTTP, with our own manifests in it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from core.checkup import Check
from core.errors import UsageError
from k8s.connection import configured
from sandbox.kubernetes import KubernetesServer
from sandbox.kubernetes.answers import DEPLOYMENTS
from tests.e2e import forked
from tests.e2e.world import PATIENCE, PROJECT
from tests.manifests.kustomize import render

BASE = Path(__file__).parents[2] / "k8s" / "manifests" / "base"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KubernetesServer]:
    with KubernetesServer(tmp_path / "kubernetes") as running:
        yield running


def found(kubeconfig: Path | None) -> dict[str, Check]:
    environ = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"} | {"PYTHONPATH": str(PROJECT)}
    if kubeconfig is not None:
        environ["KUBECONFIG"] = str(kubeconfig)
    told = forked.ended("scripts.ingest", ["doctor", "--only", "cluster", "--json"], environ, PROJECT, PATIENCE)
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
    told = found(cluster.kubeconfig)
    assert told["deployment verifier"].verdict == "FAIL"
    assert "kubectl apply" in told["deployment verifier"].hint
    assert told["deployment loader"].message.endswith("of 1 pods ready")
    assert told["image"].verdict == "OK"
    assert told["pod security"].verdict == "WARN"
    assert told["pods"].message == "namespace ingest, 2 pods of ours may be seen"
    deploy(cluster, "verifier", image="another:2")
    assert found(cluster.kubeconfig)["image"].verdict == "WARN"


def test_who_may_not_look_is_told_what_to_allow(cluster: KubernetesServer) -> None:
    deploy(cluster, "loader")
    cluster.forbidden |= {("list", "deployments"), ("get", "namespaces")}
    told = found(cluster.kubeconfig)
    assert told["deployments"].verdict == "WARN"
    assert "Role" in told["deployments"].hint
    assert set(told) == {"pods", "deployments"}
    cluster.forbidden.add(("list", "pods"))
    assert "Role" in found(cluster.kubeconfig)["answers"].hint


def test_what_waiting_pods_mount_and_nobody_made_is_named(cluster: KubernetesServer) -> None:
    deploy(cluster, "loader")
    # as a kubelet leaves them that cannot mount a volume
    cluster.store.change(DEPLOYMENTS, "ingest", "loader", lambda deployment: deployment["status"].pop("readyReplicas"))
    told = found(cluster.kubeconfig)
    for name, script in (
        ("Secret inventory", "make_secrets"),
        ("Secret irods", "make_secrets"),
        ("ConfigMap ", "make_configmap"),
    ):
        [one] = [check for what, check in told.items() if what.startswith(name)]
        assert (one.verdict, one.message) == ("FAIL", "does not exist in namespace ingest")
        assert script in one.hint
    assert "ConfigMap ingest-handlers" not in told  # which is optional
    cluster.forbidden |= {("get", "secrets"), ("get", "configmaps")}
    told = found(cluster.kubeconfig)
    assert told["Secret irods"].verdict == "WARN"
    assert "kubectl get secret irods -n ingest" in told["Secret irods"].hint


@pytest.mark.parametrize("text", ["{", "- a", "", "a", "clusters: 1\ncurrent-context: x\ncontexts: {}"])
def test_a_kubeconfig_that_is_none_is_told_in_a_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(UsageError, match="there is no cluster to ask") as told:
        configured(tmp_path / "config")
    assert "\n" not in str(told.value) and "KUBECONFIG" in str(told.value)


def test_a_cluster_that_does_not_answer_is_told_in_a_line(cluster: KubernetesServer, tmp_path: Path) -> None:
    whole = yaml.safe_load(cluster.kubeconfig.read_text())
    with socket.create_server(("127.0.0.1", 0)) as probe:
        whole["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{probe.getsockname()[1]}"}
    (tmp_path / "config").write_text(yaml.safe_dump(whole))
    [told] = found(tmp_path / "config").values()
    assert (told.name, told.verdict) == ("answers", "FAIL")
    assert "does not answer" in told.message and len(told.message) < 200
    assert "KUBECONFIG" in told.hint
