"""The Deployment controller: as many ready pods as the Deployment says."""

from __future__ import annotations

import uuid
from contextlib import suppress

from sandbox.kubernetes import pods
from sandbox.kubernetes.answers import DEPLOYMENTS, PODS, Json, Refused
from sandbox.kubernetes.store import Store, now

_SETS = uuid.UUID("6f0f3c9e-3a34-4f0b-9c5e-0d6b5a6f7f10")


def settle(store: Store, namespace: str, name: str) -> None:
    """Make or remove pods of one Deployment, and say so in its status."""
    with store.changed, suppress(Refused):
        found = store.get(DEPLOYMENTS, namespace, name)
        mine = pods_of(store, found)
        wanted = found["spec"]["replicas"]
        for pod in mine[wanted:]:
            store.delete(PODS, namespace, pod["metadata"]["name"])
        for _ in range(wanted - len(mine)):
            _add_pod(store, found)
        store.change(DEPLOYMENTS, namespace, name, _tell)


def pods_of(store: Store, deployment: Json) -> list[Json]:
    """The pods of a Deployment, by name."""
    labels = deployment["spec"]["selector"]["matchLabels"]
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    return store.list(PODS, deployment["metadata"]["namespace"], f"{selector},pod-template-hash={_hash(deployment)}")


def _hash(deployment: Json) -> str:
    return uuid.uuid5(_SETS, str(deployment["spec"]["template"])).hex[:10]


def _add_pod(store: Store, deployment: Json) -> None:
    digest = _hash(deployment)
    owner_name = f"{deployment['metadata']['name']}-{digest}"
    owner = {"metadata": {"name": owner_name, "uid": str(uuid.uuid5(_SETS, deployment["metadata"]["uid"] + digest))}}
    template = deployment["spec"]["template"]
    labels = {**template["metadata"].get("labels", {}), "pod-template-hash": digest}
    marked = {**template, "metadata": {**template["metadata"], "labels": labels}}
    pod = pods.new_pod("ReplicaSet", "apps/v1", owner, marked, f"{owner_name}-")
    pods.ready(pod)
    store.create(PODS, deployment["metadata"]["namespace"], pod)


def _tell(deployment: Json) -> None:
    count = deployment["spec"]["replicas"]
    stamp = now()
    condition = {
        "type": "Available",
        "status": "True",
        "lastUpdateTime": stamp,
        "lastTransitionTime": stamp,
        "reason": "MinimumReplicasAvailable",
        "message": "Deployment has minimum availability.",
    }
    counts = {key: count for key in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas") if count}
    deployment["metadata"].setdefault("annotations", {})["deployment.kubernetes.io/revision"] = "1"
    deployment["status"] = {
        "observedGeneration": deployment["metadata"]["generation"],
        **counts,
        "conditions": [condition],
    }
