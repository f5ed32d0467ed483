"""What an API server makes of a Job or a Deployment that is created: checks, and the defaults it fills in."""

from __future__ import annotations

import copy
import re
import uuid
from typing import Any

from sandbox.kubernetes import answers
from sandbox.kubernetes.answers import Json, Resource

SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_BAD_NAME = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
Causes = list[tuple[str, str, str]]


def _name_causes(body: Json) -> Causes:
    name = body.get("metadata", {}).get("name", "")
    if name and (not re.fullmatch(SUBDOMAIN, name) or len(name) > 253):
        return [("FieldValueInvalid", f'Invalid value: "{name}": {_BAD_NAME}', "metadata.name")]
    return []


def _refuse(resource: Resource, body: Json, causes: Causes) -> None:
    if causes:
        raise answers.invalid(resource, body.get("metadata", {}).get("name", ""), causes)


def _filled(container: Json) -> Json:
    return {
        **container,
        "resources": container.get("resources", {}),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": container.get("imagePullPolicy") or _pull_policy(container.get("image", "")),
    }


def _pull_policy(image: str) -> str:
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if "@" not in image and tag in ("", "latest") else "IfNotPresent"


def _pod_spec(spec: Json, restart: str | None) -> Json:
    filled = copy.deepcopy(spec)
    for group in ("initContainers", "containers"):
        if group in filled:
            filled[group] = [_filled(container) for container in filled[group]]
    usual: dict[str, Any] = {
        "restartPolicy": restart,
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    }
    return {**{key: value for key, value in usual.items() if value is not None}, **filled}


def job(body: Json) -> Json:
    """A Job as it is stored. Raises `Refused` (422) when a field is missing or wrong."""
    spec = copy.deepcopy(body.get("spec", {}))
    template = spec.get("template", {})
    pod = template.get("spec", {})
    causes = _name_causes(body)
    if not pod.get("containers"):
        causes.append(("FieldValueRequired", "Required value", "spec.template.spec.containers"))
    if not pod.get("restartPolicy"):
        words = 'Required value: valid values: "OnFailure", "Never"'
        causes.append(("FieldValueRequired", words, "spec.template.spec.restartPolicy"))
    elif pod["restartPolicy"] not in ("OnFailure", "Never"):
        words = f'Unsupported value: "{pod["restartPolicy"]}": supported values: "OnFailure", "Never"'
        causes.append(("FieldValueNotSupported", words, "spec.template.spec.restartPolicy"))
    for number, container in enumerate(pod.get("containers", [])):
        if not container.get("image"):
            causes.append(("FieldValueRequired", "Required value", f"spec.template.spec.containers[{number}].image"))
    _refuse(answers.JOBS, body, causes)
    uid = str(uuid.uuid4())
    name = body["metadata"].get("name", "")
    own = {
        f"{prefix}{key}": value for prefix in ("batch.kubernetes.io/", "") for key, value in _owner(uid, name).items()
    }
    labels = {**template.get("metadata", {}).get("labels", {}), **own}
    meta = {**template.get("metadata", {}), "creationTimestamp": None, "labels": labels}
    replacement = "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed"
    return {
        "metadata": {**body["metadata"], "labels": body["metadata"].get("labels") or labels, "uid": uid},
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 6,
            **spec,
            "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}},
            "manualSelector": False,
            "template": {**template, "metadata": meta, "spec": _pod_spec(pod, None)},
            "completionMode": "NonIndexed",
            "suspend": spec.get("suspend", False),
            "podReplacementPolicy": spec.get("podReplacementPolicy", replacement),
        },
        "status": {},
    }


def _owner(uid: str, name: str) -> dict[str, str]:
    return {"controller-uid": uid, "job-name": name}


def deployment(body: Json) -> Json:
    """A Deployment as it is stored. Raises `Refused` (422)."""
    _refuse(answers.DEPLOYMENTS, body, _name_causes(body))
    spec = copy.deepcopy(body.get("spec", {}))
    template = spec.get("template", {})
    meta = {**template.get("metadata", {}), "creationTimestamp": None}
    return {
        "metadata": body["metadata"],
        "spec": {
            "replicas": 1,
            **spec,
            "template": {**template, "metadata": meta, "spec": _pod_spec(template.get("spec", {}), "Always")},
            "strategy": spec.get("strategy")
            or {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
            "revisionHistoryLimit": spec.get("revisionHistoryLimit", 10),
            "progressDeadlineSeconds": spec.get("progressDeadlineSeconds", 600),
        },
        "status": {},
    }


def scale_of(found: Json) -> Json:
    """The Scale of a Deployment."""
    meta = {
        key: found["metadata"][key]
        for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if key in found["metadata"]
    }
    selector = ",".join(f"{key}={value}" for key, value in sorted(found["spec"]["selector"]["matchLabels"].items()))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": meta,
        "spec": {"replicas": found["spec"]["replicas"]},
        "status": {"replicas": found["status"].get("replicas", 0), "selector": selector},
    }


def check_scale(name: str, replicas: object) -> int:
    """The wanted number. Raises `Refused` (422) for a negative one."""
    wanted = int(str(replicas))
    if wanted < 0:
        words = f"Invalid value: {wanted}: must be greater than or equal to 0"
        raise answers.invalid(
            Resource("scales", "Scale", "autoscaling"), name, [("FieldValueInvalid", words, "spec.replicas")]
        )
    return wanted
