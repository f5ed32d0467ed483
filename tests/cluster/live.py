"""The sandbox overlay on a real cluster: `make test-cluster` with KUBECONFIG set. One node is enough; its namespace must be free.

IMAGE is the image that the nodes have or can pull, FILES how many files are brought in.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.kubectl import NAMESPACE, get, ingest, kubectl, patiently, pods, rendered, until

OVERLAY = Path(__file__).parents[2] / "k8s" / "manifests" / "overlays" / "sandbox"
IMAGE = os.environ.get("IMAGE", "localhost/irods-inventory-loader:latest")
FILES = int(os.environ.get("FILES", "20000"))
SEED = int(os.environ.get("SEED", "1"))


def states() -> Counter[str]:
    """Files of the demo by state, by the inventory's folded counts."""
    job = next((json.loads(line) for line in ingest("job", "list", "--json").splitlines()), {"files": {}})
    return Counter(job["files"])


def done() -> int:
    return states()["verified"]


def ready(deployment: str, replicas: int) -> bool:
    status = get("deployment", deployment)["status"]
    return status.get("readyReplicas", 0) == replicas == status.get("replicas", 0)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[None]:
    assert os.environ.get("KUBECONFIG"), "set KUBECONFIG to the cluster to test on"
    assert NAMESPACE not in kubectl("get", "namespaces"), f"namespace {NAMESPACE} is in use: delete the overlay first"
    manifests = rendered(OVERLAY, IMAGE, FILES)
    kubectl("apply", "--filename=-", given=manifests)
    yield
    kubectl("delete", "--filename=-", "--ignore-not-found", given=manifests, seconds=600)


def test_everything_comes_up_under_the_restricted_profile(sandbox: None) -> None:
    labels = get("namespace", NAMESPACE)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for kind in (
        "statefulset/postgres",
        "statefulset/irods",
        "deployment/watcher",
        "deployment/loader",
        "deployment/verifier",
    ):
        patiently(lambda kind=kind: kubectl("rollout", "status", kind, "--timeout=300s"), 30)
    until(lambda: states().total() > 0, 300, "files are found")


def test_scaling_deleting_and_rolling_out_in_the_middle_of_a_load(sandbox: None) -> None:
    chance = random.Random(SEED)
    kubectl("scale", "deployment/loader", "--replicas=4")
    until(lambda: ready("loader", 4), 180, "four loaders")
    for _ in range(3):
        kubectl("delete", "pod", chance.choice(pods("loader")), "--wait=false")
        kubectl("delete", "pod", chance.choice(pods("verifier")), "--wait=false")
    kubectl("rollout", "restart", "deployment/loader", "deployment/watcher")
    kubectl("delete", "pod", "postgres-0", "--wait=false")
    kubectl("rollout", "status", "deployment/loader", "--timeout=300s")
    kubectl("scale", "deployment/loader", "--replicas=1")
    until(lambda: ready("loader", 1), 180, "one loader")
    until(lambda: done() == FILES, 900, "every file verified")
    assert states() == {"verified": FILES}
    # whoever went was asked to go and gave back what it had not done: each file took one attempt, the one that succeeded
    lines = [json.loads(line) for line in ingest("dump", "--format", "jsonl").splitlines()]
    assert len(lines) == FILES
    assert Counter((line["load_attempts"], line["verify_attempts"], line["reloads"]) for line in lines) == {
        (1, 1, 0): FILES
    }


def test_a_pod_that_is_killed_costs_no_file(sandbox: None) -> None:
    kubectl("exec", "irods-0", "--", "true")
    ingest("job", "rescan", "demo")
    kubectl("delete", "pod", pods("loader")[0], "--grace-period=0", "--force")
    kubectl("delete", "pod", "irods-0", "--grace-period=0", "--force")
    until(lambda: ready("loader", 1), 300, "a loader again")
    until(lambda: states() == {"verified": FILES}, 300, "every file still verified")


def test_the_status_shows_the_pods_and_their_leases(sandbox: None) -> None:
    seen = json.loads(ingest("status", "--json"))
    kinds = {pod["kind"] for pod in seen["pods"]}
    assert {"watcher", "loader", "verifier"} <= kinds
    loader = next(pod for pod in seen["pods"] if pod["kind"] == "loader" and pod["lease"] == "alive")
    assert loader["phase"] == "Running"
    assert loader["pod"] in pods("loader")


def test_a_drain_takes_one_loader_at_a_time(sandbox: None) -> None:
    (node,) = [node["metadata"]["name"] for node in get("nodes")["items"]]
    before = set(pods("loader"))
    try:
        kubectl(
            "drain",
            node,
            "--pod-selector=app.kubernetes.io/component=loader",
            "--delete-emptydir-data",
            "--timeout=120s",
        )
        assert not before & set(pods("loader"))
    finally:
        kubectl("uncordon", node)
    until(lambda: ready("loader", 1), 180, "a loader again")


def test_the_accounts_may_do_no_more_than_they_need(sandbox: None) -> None:
    def may(account: str, *what: str) -> bool:
        who = f"system:serviceaccount:{NAMESPACE}:{account}"
        answer = kubectl("auth", "can-i", "--list", f"--as={who}")
        return any(line.split()[0] == what[0] and what[1] in line for line in answer.splitlines() if line.strip())

    assert may("console", "pods", "list")
    assert not may("console", "pods", "delete")
    for account in ("watcher", "loader", "verifier", "schema"):
        assert not may(account, "pods", "list"), account
        assert not may(account, "secrets", "get")
