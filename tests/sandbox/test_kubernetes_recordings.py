"""What a real Kubernetes 1.32 answered to requests about Jobs, pods, scales and watches, asked of the stand-in."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

import pytest

from sandbox.kubernetes import KubernetesServer
from sandbox.kubernetes.server import TOKEN

RECORDINGS = Path(__file__).parents[1] / "data" / "kubernetes_recordings"
NAMESPACE = "ingest-rec"
# what differs from one run, machine or cluster to the next
VOLATILE = {
    "uid", "resourceVersion", "creationTimestamp", "startTime", "completionTime", "startedAt", "finishedAt", "lastProbeTime",
    "lastTransitionTime", "lastUpdateTime", "containerID", "imageID", "hostIP", "hostIPs", "podIP", "podIPs", "volumeMounts",
    "annotations", "nodeName", "volumes", "tolerations", "priority", "enableServiceLinks", "preemptionPolicy", "continue",
    "finalizers", "qosClass", "pod-template-hash",
}  # fmt: skip
UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SUFFIX = re.compile(r"^(c-[a-z]+|loader(-[0-9a-f]{9,10})?)-[a-z0-9]{5}$|^loader-[0-9a-f]{9,10}-?$")


def settled(value: Any) -> Any:
    """An answer without what may differ."""
    if isinstance(value, dict):
        return {
            key: settled(inner) for key, inner in value.items() if key not in VOLATILE and not is_pod_detail(key, inner)
        }
    if isinstance(value, list):
        return sorted((settled(inner) for inner in value), key=lambda inner: json.dumps(inner, sort_keys=True))
    if isinstance(value, str):
        return SUFFIX.sub("NAME", re.sub(r"1 \(\d+\)", "1 (N)", UID.sub("UID", value)))
    return value


def is_pod_detail(key: str, value: Any) -> bool:
    """The conditions of pods and of a rollout, which take their time in a real cluster; those of Jobs are compared."""
    return key == "conditions" and any(one["type"] in ("Initialized", "PodScheduled", "Available") for one in value)


def recorded(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORDINGS / f"{name}.jsonl").read_text().splitlines()]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KubernetesServer]:
    with KubernetesServer(tmp_path / "kubernetes", namespaces=(NAMESPACE,)) as running:
        yield running


def ask(cluster: KubernetesServer, entry: dict[str, Any], path: str) -> tuple[int, Any]:
    query = f"?{urlencode(entry['params'])}" if entry.get("params") else ""
    request = urllib.request.Request(
        f"{cluster.url}{path}{query}",
        method=entry["method"],
        data=json.dumps(entry["request"]).encode() if entry.get("request") else None,
        headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": entry.get("content_type") or "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            status, raw = answer.status, answer.read()
            kind = answer.headers["Content-Type"]
    except HTTPError as refused:
        with refused:
            status, raw, kind = refused.code, refused.read(), refused.headers["Content-Type"]
    if kind.startswith("text/plain"):
        return status, raw.decode()
    lines = [json.loads(line) for line in raw.splitlines() if line]
    return status, lines if "watch" in entry.get("params", {}) and len(lines) != 1 else lines[0]


def replay(cluster: KubernetesServer, name: str, before: dict[str, Callable[[], None]]) -> int:
    """Ask what was recorded, doing what `before` says ahead of a step, and compare every answer."""
    pods: dict[str, str] = {}
    for entry in recorded(name):
        before.get(entry["name"], lambda: None)()
        path = entry["path"]
        for old, new in pods.items():
            path = path.replace(old, new)
        status, answer = ask(cluster, entry, path)
        wanted = entry["response"]
        assert (status, settled(answer)) == (entry["status"], settled(wanted)), entry["name"]
        if isinstance(wanted, dict) and wanted.get("kind") == "PodList":
            pods |= {
                w["metadata"]["name"]: a["metadata"]["name"]
                for w, a in zip(wanted["items"], answer["items"], strict=True)
            }
    return len(recorded(name))


def test_a_job_that_succeeds(cluster: KubernetesServer) -> None:
    end = {"get job that succeeded": lambda: cluster.jobs.finish(NAMESPACE, "c-ok", log="hello\ndone\n")}
    assert replay(cluster, "job_success", end) == 6


def test_a_job_that_fails(cluster: KubernetesServer) -> None:
    # the real one tried twice (backoffLimit 1); here a pod that fails is the Job's last
    entries = {entry["name"]: entry for entry in recorded("job_failure")}
    created = entries["create failing job"]
    ask(cluster, created, created["path"])
    cluster.jobs.finish(NAMESPACE, "c-bad", 3, log="oops\n")
    _, job = ask(cluster, entries["get job that failed"], entries["get job that failed"]["path"])
    wanted = entries["get job that failed"]["response"]
    assert settled(job["status"]) == settled({**wanted["status"], "failed": 1})
    _, pods = ask(cluster, entries["list its pods"], entries["list its pods"]["path"])
    assert settled(pods["items"][0]) == settled(entries["list its pods"]["response"]["items"][0])
    log = f"/api/v1/namespaces/{NAMESPACE}/pods/{pods['items'][0]['metadata']['name']}/log"
    assert ask(cluster, {"method": "GET"}, log) == (200, entries["log"]["response"])


def test_a_job_past_its_deadline_and_deleted(cluster: KubernetesServer) -> None:
    created, past, *rest = recorded("job_delete")
    created["request"]["spec"]["activeDeadlineSeconds"] = 1
    assert ask(cluster, created, created["path"])[0] == 201
    _, events = ask(cluster, watch(cluster, 2), created["path"])
    conditions = settled(past["response"]["status"]["conditions"])
    assert conditions in [settled(event["object"]["status"].get("conditions", [])) for event in events]
    _, pods = ask(cluster, {"method": "GET"}, f"/api/v1/namespaces/{NAMESPACE}/pods")
    assert pods["items"] == []
    for entry in rest:
        status, answer = ask(cluster, entry, entry["path"])
        assert (status, settled(answer)) == (entry["status"], settled(entry["response"])), entry["name"]


def watch(cluster: KubernetesServer, seconds: float, since: int = 1) -> dict[str, Any]:
    return {
        "method": "GET",
        "params": {"watch": "1", "resourceVersion": str(since), "timeoutSeconds": str(seconds)},
    }


def test_a_deployment_is_scaled(cluster: KubernetesServer) -> None:
    assert replay(cluster, "deployment_scale", {}) == 8


def test_jobs_that_are_refused(tmp_path: Path) -> None:
    with KubernetesServer(tmp_path / "kubernetes", namespaces=(NAMESPACE,), images={}) as cluster:

        def pod_waits() -> None:
            ask(cluster, watch(cluster, 0.5), f"/api/v1/namespaces/{NAMESPACE}/pods")

        assert replay(cluster, "job_errors", {"pods of unknown image": pod_waits}) == 5


def test_watches(cluster: KubernetesServer) -> None:
    watched, old, _ = recorded("watch")
    job = watched["response"][0]["object"]
    begun = cluster.store.version
    bare = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "c-watch", "labels": job["metadata"]["labels"]},
    }
    template = {"metadata": {"labels": {"rule": "lowpass"}}, "spec": job["spec"]["template"]["spec"]}
    create = {"method": "POST", "request": {**bare, "spec": {"backoffLimit": 0, "template": template}}}
    assert ask(cluster, create, watched["path"])[0] == 201
    cluster.jobs.finish(NAMESPACE, "c-watch")
    _, events = ask(cluster, watch(cluster, 0.1, begun), watched["path"])
    assert [settled(event) for event in events] == [settled(event) for event in watched["response"]]
    cluster.store.forget()
    _, refused = ask(cluster, watch(cluster, 1), old["path"])
    assert settled(refused) == settled(old["response"])


def test_pages_and_bookmarks(cluster: KubernetesServer) -> None:
    created = recorded("job_delete")[0]
    for number in range(4):
        request = json.loads(json.dumps(created["request"]).replace("c-slow", f"c-{number}"))
        ask(cluster, {**created, "request": request}, created["path"])
    first = ask(cluster, {"method": "GET", "params": {"limit": "2"}}, created["path"])[1]
    assert [job["metadata"]["name"] for job in first["items"]] == ["c-0", "c-1"]
    assert first["metadata"]["remainingItemCount"] == 2
    more = {"method": "GET", "params": {"limit": "2", "continue": first["metadata"]["continue"]}}
    second = ask(cluster, more, created["path"])[1]
    assert [job["metadata"]["name"] for job in second["items"]] == ["c-2", "c-3"]
    assert "continue" not in second["metadata"]
    marked = watch(cluster, 0, cluster.store.version)
    marked["params"]["allowWatchBookmarks"] = "true"
    event = ask(cluster, marked, created["path"])[1]
    assert (event["type"], event["object"]["kind"]) == ("BOOKMARK", "Job")


def test_who_has_no_token_or_no_right_is_refused(cluster: KubernetesServer) -> None:
    path = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
    with pytest.raises(HTTPError) as refused:
        urllib.request.urlopen(f"{cluster.url}{path}")
    with refused.value as answer:
        assert (answer.code, json.loads(answer.read())["reason"]) == (401, "Unauthorized")
    cluster.forbidden.add(("list", "jobs"))
    status, said = ask(cluster, {"method": "GET"}, path)
    assert (status, said["message"]) == (
        403,
        'jobs.batch is forbidden: User "system:serviceaccount:default:ingest" cannot list resource "jobs" in API group "batch"'
        ' in the namespace "ingest-rec"',
    )
