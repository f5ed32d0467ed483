"""Pods as the stand-in shows them: their objects, and the status that a kubelet would write."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

from sandbox.kubernetes.answers import Json
from sandbox.kubernetes.store import now


def new_pod(owner_kind: str, owner_version: str, owner: Json, template: Json, prefix: str) -> Json:
    """A pod made for an owner from its template, not yet started."""
    meta = template.get("metadata", {})
    spec = template["spec"]
    account = spec.get("serviceAccountName", "default")
    reference = {
        "apiVersion": owner_version,
        "kind": owner_kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "metadata": {
            "generateName": prefix,
            **({"annotations": meta["annotations"]} if "annotations" in meta else {}),
            "labels": meta.get("labels", {}),
            "ownerReferences": [reference],
        },
        "spec": {**spec, "serviceAccountName": account, "serviceAccount": account, "nodeName": "sandbox"},
        "status": {"phase": "Pending", "startTime": now(), "qosClass": "BestEffort"},
    }


def image_id(image: str) -> str:
    """What a runtime calls an image that it has: the name and a digest, here of the name."""
    name = image.rpartition("@")[0] or image
    folder, _, last = name.rpartition("/")
    return f"{folder}/{last.partition(':')[0]}@sha256:{hashlib.sha256(image.encode()).hexdigest()}".lstrip("/")


def waiting(container: Json, reason: str, message: str = "") -> Json:
    """The status of a container that is not begun."""
    state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
    return _status(container, state, started=False, image="")


def running(container: Json) -> Json:
    """The status of a container at work."""
    return _status(container, {"running": {"startedAt": now()}}, started=True, image=image_id(container["image"]))


def terminated(container: Json, exit_code: int, started_at: str) -> Json:
    """The status of a container that has ended."""
    made = f"containerd://{uuid.uuid4().hex}{uuid.uuid4().hex}"
    end: dict[str, Any] = {
        "exitCode": exit_code,
        "reason": "Completed" if exit_code == 0 else "Error",
        "startedAt": started_at,
        "finishedAt": now(),
        "containerID": made,
    }
    return _status(container, {"terminated": end}, started=False, image=image_id(container["image"]))


def _status(container: Json, state: Json, *, started: bool, image: str) -> Json:
    return {
        "name": container["name"],
        "state": state,
        "lastState": {},
        "ready": "running" in state,
        "restartCount": 0,
        "image": container["image"],
        "imageID": image,
        "started": started,
    }


def set_container(pod: Json, status: Json) -> None:
    """Write one container's status into its pod's."""
    initial = {container["name"] for container in pod["spec"].get("initContainers", [])}
    field = "initContainerStatuses" if status["name"] in initial else "containerStatuses"
    statuses = pod["status"].setdefault(field, [])
    others = [one for one in statuses if one["name"] != status["name"]]
    order = [one["name"] for one in (*pod["spec"].get("initContainers", []), *pod["spec"]["containers"])]
    pod["status"][field] = sorted([*others, status], key=lambda one: order.index(one["name"]))


def begin(pod: Json) -> None:
    """All containers wait; the pod is scheduled."""
    for container in (*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]):
        set_container(pod, waiting(container, "PodInitializing"))
    condition = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now()}
    pod["status"]["conditions"] = [condition]


def ready(pod: Json) -> None:
    """All containers run and are ready: a pod of a Deployment."""
    for container in pod["spec"]["containers"]:
        set_container(pod, running(container))
    pod["status"]["phase"] = "Running"
    pod["status"]["conditions"] = [
        {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": now()}
        for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    ]
