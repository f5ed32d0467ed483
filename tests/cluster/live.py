"""The sandbox overlay on a real cluster: `make test-cluster` with KUBECONFIG set. One node is enough; its namespace must be free.

IMAGE is the image that the nodes have or can pull, NEXT_IMAGE the same program by another name, which is rolled out in the middle
of a load (without it pods are only started anew), LOWPASS the image of k8s/examples/lowpass, FILES how many files are brought in.
"""

from __future__ import annotations

import json
import logging
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.kubectl import NAMESPACE, get, ingest, kubectl, patiently, pods, rendered, until

OVERLAY = Path(__file__).parents[2] / "k8s" / "manifests" / "overlays" / "sandbox"
IMAGE = os.environ.get("IMAGE", "localhost/irods-inventory-loader:latest")
NEXT_IMAGE = os.environ.get("NEXT_IMAGE", "")
FILES = int(os.environ.get("FILES", "20000"))
BYTES = 4096
SEED = int(os.environ.get("SEED", "1"))
PACED_SECONDS = 120
DEPLOYMENTS = ("watcher", "loader", "verifier", "compute", "web", "console")
log = logging.getLogger(__name__)
ONE_ATTEMPT = (1, 1, 0)
"""Attempts to load and to verify, and reloads, of a file of which nothing was counted but the one that succeeded."""


def states(job: str) -> Counter[str]:
    """Files of a job by state, by the inventory's folded counts."""
    lines = [json.loads(line) for line in ingest("job", "list", "--json").splitlines()]
    return Counter(next((line["files"] for line in lines if line["job"] == job), {}))


def attempts(job: str) -> Counter[tuple[int, int, int]]:
    """The rows of a job by what was counted for them; each must be verified."""
    lines = [json.loads(line) for line in ingest("dump", "--job", job, "--json").splitlines()]
    assert {(line["state"], line["verify_result"]) for line in lines} == {("verified", "PASSED")}
    return Counter((line["load_attempts"], line["verify_attempts"], line["reloads"]) for line in lines)


def held() -> list[tuple[str, int]]:
    """The pods that hold files or directories, by the inventory."""
    seen = json.loads(ingest("status", "--json"))["pods"]
    return [(pod["pod"], pod["files_held"]) for pod in seen if pod["files_held"] or pod["directories_held"]]


def ready(deployment: str, replicas: int) -> bool:
    status = get("deployment", deployment)["status"]
    return status.get("readyReplicas", 0) == replicas == status.get("replicas", 0)


def delete_some(chance: random.Random, count: int, *options: str) -> Counter[str]:
    """Delete pods of all kinds at random."""
    deleted: Counter[str] = Counter()
    while deleted.total() < count:
        kind = chance.choice(["loader", "loader", "loader", "verifier", "verifier", "watcher", "compute"])
        if found := pods(kind):
            kubectl("delete", "pod", chance.choice(found), *options)
            deleted[kind] += 1
            time.sleep(chance.uniform(0, 4))
    return deleted


@pytest.fixture(scope="module")
def manifests() -> Iterator[str]:
    assert os.environ.get("KUBECONFIG"), "set KUBECONFIG to the cluster to test on"
    assert NAMESPACE not in kubectl("get", "namespaces"), f"namespace {NAMESPACE} is in use: delete the overlay first"
    text = rendered(OVERLAY, IMAGE, FILES)
    kubectl("apply", "--filename=-", given=text)
    yield text
    kubectl("delete", "--filename=-", "--ignore-not-found", given=text, seconds=600)


def test_everything_comes_up_under_the_restricted_profile_and_ingests(manifests: str) -> None:
    labels = get("namespace", NAMESPACE)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for kind in ("statefulset/postgres", "statefulset/irods", *(f"deployment/{name}" for name in DEPLOYMENTS)):
        patiently(lambda kind=kind: kubectl("rollout", "status", kind, "--timeout=300s"), 30)
    until(lambda: states("demo") == {"verified": FILES}, 900, "the demo is verified")
    assert attempts("demo") == {ONE_ATTEMPT: FILES}


def begin_paced(job: str) -> None:
    """A job that takes a while, and its first files."""
    pace = str(FILES * BYTES // PACED_SECONDS)
    target = f"/tempZone/home/rods/{job}"
    ingest("job", "start", "/source", target, "--name", job, "--operation", "put_sync", "--bandwidth", pace, "--if-new")
    until(lambda: states(job)["verified"] > 0, 300, f"{job} is on its way")


def test_scaling_deleting_and_rolling_out_in_the_middle_of_a_load(manifests: str) -> None:
    chance = random.Random(SEED)
    begin_paced("paced")
    kubectl("scale", "deployment/loader", "--replicas=4")
    until(lambda: ready("loader", 4), 180, "four loaders")
    deleted = delete_some(chance, 6, "--wait=false")
    for name in DEPLOYMENTS:
        if NEXT_IMAGE:
            kubectl("set", "image", f"deployment/{name}", f"*={NEXT_IMAGE}")
        else:
            kubectl("rollout", "restart", f"deployment/{name}")
    deleted += delete_some(chance, 3, "--wait=false")
    kubectl("delete", "pod", "postgres-0", "--wait=false")
    deleted += delete_some(chance, 3, "--wait=false")
    kubectl("delete", "pod", "irods-0", "--wait=false")
    in_the_middle = states("paced")
    kubectl("scale", "deployment/loader", "--replicas=1")
    until(lambda: ready("loader", 1), 180, "one loader")
    log.warning("deleted %s while %s", dict(deleted), dict(in_the_middle))
    assert in_the_middle["verified"] < FILES, "it was over before it was disturbed"
    ingest("job", "set", "paced", "--bandwidth", "off")
    until(lambda: states("paced") == {"verified": FILES}, 900, "every file verified")
    # whoever went was asked to go and gave back what it had not done
    assert attempts("paced") == {ONE_ATTEMPT: FILES}
    until(lambda: held() == [], 60, "nobody holds anything")
    for name in DEPLOYMENTS:
        kubectl("rollout", "status", f"deployment/{name}", "--timeout=300s")
        image = get("deployment", name)["spec"]["template"]["spec"]["containers"][0]["image"]
        assert image == (NEXT_IMAGE or IMAGE)


def test_pods_that_are_killed_cost_no_file(manifests: str) -> None:
    begin_paced("killed")
    kubectl("scale", "deployment/loader", "--replicas=3")
    until(lambda: ready("loader", 3), 180, "three loaders")
    deleted = delete_some(random.Random(SEED), 6, "--grace-period=0", "--force")
    kubectl("delete", "pod", "postgres-0", "--grace-period=0", "--force")
    kubectl("delete", "pod", "irods-0", "--grace-period=0", "--force")
    kubectl("scale", "deployment/loader", "--replicas=1")
    log.warning("killed %s while %s", dict(deleted), dict(states("killed")))
    ingest("job", "set", "killed", "--bandwidth", "off")
    until(lambda: states("killed") == {"verified": FILES}, 900, "every file verified")
    assert attempts("killed") == {ONE_ATTEMPT: FILES}
    until(lambda: held() == [], 60, "nobody holds anything")


def test_the_status_shows_the_pods_and_their_leases(manifests: str) -> None:
    until(lambda: ready("loader", 1), 180, "one loader")
    seen = json.loads(ingest("status", "--json"))
    assert seen["cluster"] == "asked"
    kinds = {pod["kind"] for pod in seen["pods"]}
    assert {"watcher", "loader", "verifier", "compute", "web"} <= kinds
    alive = {pod["pod"]: pod for pod in seen["pods"] if pod["kind"] == "loader" and pod["lease"] == "alive"}
    assert {name: pod["phase"] for name, pod in alive.items()} == dict.fromkeys(pods("loader"), "Running")


def test_the_status_page_answers_and_is_read_only_without_a_secret(manifests: str) -> None:
    page = f"/api/v1/namespaces/{NAMESPACE}/services/web:http/proxy"
    shown = json.loads(patiently(lambda: kubectl("get", "--raw", f"{page}/job"), 60))
    assert {job["job"]: job["state"] for job in shown["jobs"]} == {
        "demo": "finished", "paced": "finished", "killed": "finished",
    }  # fmt: skip
    assert "<html" in kubectl("get", "--raw", f"{page}/")
    with pytest.raises(AssertionError):
        kubectl("delete", "--raw", f"{page}/job/demo")


SIGNAL = (
    "import math, pathlib; folder = pathlib.Path('/source/signals'); folder.mkdir(exist_ok=True); "
    "rows = [f'{n/100},{math.sin(n/16)+math.sin(n*2)/2}' for n in range(1000)]; "
    "(folder / NAME).write_text(chr(10).join(['seconds,value', *rows]))"
)


def write_signal(name: str) -> None:
    """A measured signal in the source, by a pod that may write there."""
    spec = get("statefulset", "irods")["spec"]["template"]["spec"]
    container = spec["containers"][0]
    keep = ("image", "imagePullPolicy", "securityContext", "resources")
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"signal-{name.partition('.')[0]}"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": spec["securityContext"],
            "volumes": [{"name": "sandbox", "persistentVolumeClaim": {"claimName": "sandbox"}}],
            "containers": [
                {
                    **{key: container[key] for key in keep},
                    "name": "write",
                    "command": ["python", "-c", SIGNAL.replace("NAME", repr(name))],
                    "volumeMounts": [{"name": "sandbox", "mountPath": "/source", "subPath": "source"}],
                }
            ],
        },
    }
    kubectl("apply", "--filename=-", given=json.dumps(body))
    kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{body['metadata']['name']}", "--timeout=120s")


def tasks(state: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ingest("compute", "list", "--json", "--state", state).splitlines()]


LOOK = (
    "import sys; from core.irods import ComputeGateway; from core.settings_file import load_settings; "
    "g = ComputeGateway(load_settings().irods); c = sys.argv[1]; import json; "
    "print(json.dumps([sorted(g.objects_below(c)), [[m.attribute, m.value] for m in g.collection_metadata(c)]]))"
)


def test_a_job_beside_the_data_filters_what_was_loaded(manifests: str) -> None:
    lowpass = os.environ.get("LOWPASS", "localhost/lowpass:1")
    write_signal("before.signal.csv")
    folder = "/tempZone/home/rods/signals"
    ingest("job", "start", "/source/signals", folder, "--name", "before")
    until(lambda: states("before") == {"verified": 1}, 120, "the first signal")
    rule = (
        (OVERLAY.parents[2] / "examples" / "lowpass" / "rule.yml").read_text().replace("localhost/lowpass:1", lowpass)
    )
    indented = "\n".join(f"  {line}" for line in rule.splitlines() if not line.startswith("#"))
    config = get("configmap", "ingest-config")["data"]["config.yml"]
    body = {"data": {"config.yml": f"{config}\ncompute:\n{indented}\n"}}
    kubectl("patch", "configmap", "ingest-config", "--patch", json.dumps(body))
    kubectl("rollout", "restart", "deployment/compute")
    kubectl("rollout", "status", "deployment/compute", "--timeout=300s")
    until(lambda: "lowpass" in ingest("compute", "rules", "list"), 60, "the rule is in force")
    write_signal("later.signal.csv")
    ingest("job", "start", "/source/signals", folder, "--name", "later", "--include", "later*")
    until(lambda: len(tasks("succeeded")) == 1, 300, f"the later signal is filtered; is {lowpass} in the node?")
    assert ingest("compute", "request", "--rule", "lowpass", "--job", "before").strip() == "1 task is new"
    until(lambda: len(tasks("succeeded")) == 2, 300, "the earlier signal is filtered")
    (digest,) = {task["image_digest"] for task in tasks("succeeded")}
    for name in ("before", "later"):
        output = f"{folder}/{name}.signal.lowpass"
        objects, avus = json.loads(kubectl("exec", "deployment/console", "--", "python", "-c", LOOK, output))
        assert objects == [f"{output}/{name}.signal.filtered.csv", f"{output}/report.html"]
        told = dict(avus)
        assert told["compute::input"] == f"{folder}/{name}.signal.csv"
        assert (told["compute::rule"], told["compute::exit_code"]) == ("lowpass", "0")
        assert (told["compute::image"], told["compute::image_digest"]) == (lowpass, digest)
        assert told["compute::task"].startswith("ic-lowpass-")
    for job in get("jobs", "--selector", "app.kubernetes.io/managed-by=ingest-compute")["items"]:
        pod = job["spec"]["template"]["spec"]
        assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("compute-job", False)
        # staging runs what the compute pod runs
        assert pod["containers"][0]["image"] == (NEXT_IMAGE or IMAGE)
    for pod in get("pods", "--selector", "app.kubernetes.io/managed-by=ingest-compute")["items"]:
        assert not any("kube-api-access" in volume["name"] for volume in pod["spec"]["volumes"])


def test_a_drain_takes_one_loader_at_a_time(manifests: str) -> None:
    (node,) = [node["metadata"]["name"] for node in get("nodes")["items"]]
    before = set(pods("loader"))
    loaders = "--pod-selector=app.kubernetes.io/component=loader"
    try:
        kubectl("drain", node, loaders, "--delete-emptydir-data", "--timeout=120s")
        assert not before & set(pods("loader"))
    finally:
        kubectl("uncordon", node)
    until(lambda: ready("loader", 1), 180, "a loader again")


def test_the_accounts_may_do_no_more_than_they_need(manifests: str) -> None:
    def may(account: str, verb: str, what: str) -> bool:
        who = f"system:serviceaccount:{NAMESPACE}:{account}"
        rules = kubectl("auth", "can-i", "--list", f"--as={who}")
        lines = [line.split() for line in rules.splitlines() if line.strip()]
        return any(line[0].split(".")[0] == what and verb in " ".join(line) for line in lines)

    assert may("console", "list", "pods")
    assert not may("console", "delete", "pods")
    assert may("compute", "create", "jobs")
    assert not may("compute", "get", "secrets")
    for account in ("watcher", "loader", "verifier", "schema", "web", "compute-job", "default"):
        for what in ("pods", "jobs", "secrets", "configmaps", "deployments"):
            assert not may(account, "", what), (account, what)
