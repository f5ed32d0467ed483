"""The Job of a task: staging in, the rule's image, and staging out, one container after the other in one pod.

The rule's container is the second init container. So it begins when its input is there, its output is taken out when it has
ended well, and only the two staging containers see the iRODS Secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core import paths
from core.rules import INPUTS, OUTPUTS, Rule, fill
from core.settings import ComputeSettings, IrodsSettings
from inventory.compute import Task
from k8s.cluster import SELECTOR, OwnPod

SECRET, TEMPORARY, VOLUME = "/secrets/irods", "/tmp", "/volume"

STAGE_IN, COMPUTE, STAGE_OUT = "stage-in", "compute", "stage-out"
STAGING = {"requests": {"cpu": "10m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}
"""What a staging container is given: a namespace with a quota takes no pod that does not say it."""
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Placement:
    """What is known of a task before its Job is made."""

    kind: str
    """object or collection."""
    resource: str | None
    node_selector: Mapping[str, str]
    input_folder: str = ""
    """With a volume: the input's path in it, of a file or of a directory."""


def input_name(task: Task) -> str:
    """The name of the input's file in its container; no mount may have a colon in its path."""
    return paths.split(task.input)[1].replace(":", "_")


def names(task: Task, place: Placement) -> dict[str, str]:
    """What templates and the container's environment are told."""
    collection, name = paths.split(task.input)
    is_file = place.kind == "object"
    stem, dot, _ = name.rpartition(".")
    return {
        "INPUT": f"{INPUTS}/{input_name(task)}" if is_file else INPUTS,
        "INPUTS": INPUTS,
        "OUTPUTS": OUTPUTS,
        "NAME": name,
        "STEM": stem if dot and stem else name,
        "COLLECTION": collection,
        "LOGICAL_PATH": task.input,
        "RULE": task.rule.name,
        "TASK": task.k8s_name,
        "RESOURCE": place.resource or "",
        "OWNER": "#".join(filter(None, task.owner or ())),
    }


def output_collection(task: Task, place: Placement) -> str:
    """Where the output goes. Raises `Permanent` when that is no usable path."""
    path = fill(task.rule.output, names(task, place)).rstrip("/")
    paths.check_logical(path)
    return path


def output_folder(task: Task) -> str:
    """With a volume: the folder of this attempt's output in it."""
    assert task.rule.volume is not None
    return f"{task.rule.volume.outputs}/{task.job_name}"


def job(
    task: Task, place: Placement, settings: ComputeSettings, irods: IrodsSettings, home: OwnPod | None = None
) -> Json:
    """The body of a task's Job: the same for whoever makes it.

    `home` is the pod that makes it. Raises ValueError where neither that nor `settings` names the image of this program.
    """
    rule = task.rule
    ours = settings.image or (home.image if home else None)
    if ours is None:
        raise ValueError("no image for staging")
    labels = {
        **dict([SELECTOR.split("=")]),
        "app.kubernetes.io/name": "ingest-compute",
        "app.kubernetes.io/component": "job",
        "ingest/rule": rule.name,
    }
    notes = {"ingest/input": task.input, "ingest/task": task.k8s_name, "ingest/attempt": str(task.attempts + 1)}
    spec: Json = {
        "restartPolicy": "Never",
        "serviceAccountName": settings.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": rule.run_as,
            "runAsGroup": rule.run_as,
            "fsGroup": rule.run_as,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [_staging(STAGE_IN, task, place, ours, irods), _compute(task, place)],
        "containers": [_staging(STAGE_OUT, task, place, ours, irods)],
        "volumes": _volumes(rule, settings),
    }
    selector = {**place.node_selector, **rule.node_selector}
    if selector:
        spec["nodeSelector"] = selector
    if home is not None and home.host_aliases:
        spec["hostAliases"] = list(home.host_aliases)
    if home is not None and home.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in home.pull_secrets]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": task.job_name, "labels": labels, "annotations": notes},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": rule.deadline_seconds,
            "ttlSecondsAfterFinished": rule.ttl_seconds,
            # a drained node or a preempted pod is no failure of the task
            "podFailurePolicy": {
                "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
            },
            "podReplacementPolicy": "Failed",
            "template": {"metadata": {"labels": labels, "annotations": notes}, "spec": spec},
        },
    }


def escaped(text: str) -> str:
    """A text that Kubernetes leaves as it is: it would expand `$(NAME)`, and takes `$$` for a dollar."""
    return text.replace("$", "$$")


def _environment(values: Mapping[str, str]) -> list[Json]:
    return [{"name": name, "value": escaped(value)} for name, value in values.items()]


def _restricted(**container: object) -> Json:
    return {
        **container,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _compute(task: Task, place: Placement) -> Json:
    rule, values = task.rule, names(task, place)
    environment = {
        "HOME": TEMPORARY,
        "TMPDIR": TEMPORARY,
        **{f"COMPUTE_{name}": value for name, value in values.items()},
        **{name: fill(text, values) for name, text in rule.env.items()},
    }
    container = _restricted(
        name=COMPUTE,
        image=rule.image,
        imagePullPolicy=rule.pull_policy,
        env=_environment(environment),
        workingDir=OUTPUTS,
        volumeMounts=[*_data_mounts(task, place), {"name": "work", "mountPath": TEMPORARY}],
    )
    for key, words in (("command", rule.command), ("args", rule.args)):
        if words:
            container[key] = [escaped(fill(word, values)) for word in words]
    amounts = {key: amount for key, amount in rule.resources.model_dump().items() if amount}
    if amounts:
        container["resources"] = amounts
    return container


def _data_mounts(task: Task, place: Placement) -> list[Json]:
    if task.rule.volume is None:
        return [
            {"name": "inputs", "mountPath": INPUTS, "readOnly": True},
            {"name": "outputs", "mountPath": OUTPUTS},
        ]
    where = names(task, place)["INPUT"]
    return [
        {"name": "volume", "mountPath": where, "subPath": place.input_folder, "readOnly": True},
        {"name": "volume", "mountPath": OUTPUTS, "subPath": output_folder(task)},
    ]


def _staging(name: str, task: Task, place: Placement, image: str, irods: IrodsSettings) -> Json:
    volume = task.rule.volume
    environment = {
        "HOME": TEMPORARY,
        "COMPUTE_INPUT": task.input,
        "COMPUTE_KIND": place.kind,
        "COMPUTE_INPUTS": INPUTS,
        "COMPUTE_OUTPUTS": OUTPUTS,
        "COMPUTE_FILE": input_name(task),
        "COMPUTE_OUTPUT": output_collection(task, place),
        "COMPUTE_RESOURCE": place.resource or "",
        **_irods(task, irods),
    }
    mounts: list[Json] = [
        {"name": "tmp", "mountPath": TEMPORARY},
        {"name": "irods", "mountPath": SECRET, "readOnly": True},
    ]
    if volume is None:
        mounts.append(
            {"name": "inputs", "mountPath": INPUTS}
            if name == STAGE_IN
            else {"name": "outputs", "mountPath": OUTPUTS, "readOnly": True}
        )
    else:
        mounts.append({"name": "volume", "mountPath": VOLUME})
        environment["COMPUTE_OUTPUTS"] = f"{VOLUME}/{output_folder(task)}"
        environment["COMPUTE_PHYSICAL"] = f"{volume.path}/{output_folder(task)}"
    return _restricted(
        name=name,
        image=image,
        imagePullPolicy="IfNotPresent",
        command=["python", "-m", "k8s.stage", "in" if name == STAGE_IN else "out"],
        env=_environment(environment),
        resources=STAGING,
        volumeMounts=mounts,
    )


def _irods(task: Task, irods: IrodsSettings) -> dict[str, str]:
    """How the staging containers log in: as this pod does, for the owner. The password is in the Secret."""
    found = {
        "INGEST_IRODS__HOST": irods.host,
        "INGEST_IRODS__PORT": str(irods.port),
        "INGEST_IRODS__USER": irods.user,
        "INGEST_IRODS__ZONE": irods.zone,
        "INGEST_IRODS__PASSWORD_FILE": f"{SECRET}/password",
    }
    if irods.environment_file is not None:
        found["IRODS_ENVIRONMENT_FILE"] = f"{SECRET}/irods_environment.json"
    user, zone = task.owner or (irods.client_user, irods.client_zone)
    if user is not None:
        found["INGEST_IRODS__CLIENT_USER"] = user
        if zone:
            found["INGEST_IRODS__CLIENT_ZONE"] = zone
    return found


def _volumes(rule: Rule, settings: ComputeSettings) -> list[Json]:
    secret = {"secretName": settings.secret, "defaultMode": 0o440}
    volumes: list[Json] = [
        {"name": "irods", "secret": secret},
        {"name": "tmp", "emptyDir": {"sizeLimit": settings.scratch}},
        # of its own: what an image leaves in /tmp must not be found by the container that comes next and holds the Secret
        {"name": "work", "emptyDir": {"sizeLimit": settings.scratch}},
    ]
    if rule.volume is not None:
        return [*volumes, {"name": "volume", "persistentVolumeClaim": {"claimName": rule.volume.claim}}]
    scratch = {"sizeLimit": settings.scratch}
    return [*volumes, {"name": "inputs", "emptyDir": scratch}, {"name": "outputs", "emptyDir": scratch}]
