"""What `ingest doctor` asks a cluster: are our Deployments there, ready, of one image, and what they mount too? Reads only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import urllib3
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from core.checkup import Check
from core.errors import Unavailable
from k8s import pods
from k8s.connection import REQUEST_SECONDS, configured
from k8s.pods import KIND, PAGE, SELECTOR, Pod

PART = "cluster"
NEEDED = ("watcher", "loader", "verifier")
"""The Deployments without which no file gets from its source to being verified."""
ENFORCE = "pod-security.kubernetes.io/enforce"


def check(namespace: str | None = None) -> Iterator[Check]:
    """Look at our namespace, or the one of the kubeconfig's context. One line where there is no cluster.

    Raises UsageError when it refuses us altogether, Unavailable when it does not answer.
    """
    if not pods.is_near():
        yield Check(PART, "cluster", "OK", "no cluster: skipped")
        return
    configuration, ours = configured()
    where = namespace or ours
    running = pods.listed(where)
    yield Check(PART, "pods", "OK", f"namespace {where}, {len(running)} pods of ours may be seen")
    with client.ApiClient(configuration) as api:
        found = _asked(
            lambda: client.AppsV1Api(api).list_namespaced_deployment(
                where, label_selector=SELECTOR, limit=PAGE, _request_timeout=REQUEST_SECONDS
            )
        )
        if found is None:
            hint = "give the account get and list of deployments, as the Role `status` of k8s/manifests/base does"
            yield Check(PART, "deployments", "WARN", "we may not look at Deployments", hint)
        else:
            deployments = {one.metadata.labels.get(KIND, one.metadata.name): one for one in found.items}
            yield from _deployments(deployments, running, where)
            yield from _images(deployments)
            yield from _mounted(deployments, client.CoreV1Api(api), where)
        yield from _pod_security(client.CoreV1Api(api), where)


@contextmanager
def _told() -> Iterator[None]:
    """Turn what the client raises into an error of ours."""
    try:
        yield
    except ApiException as error:
        raise Unavailable(f"the cluster does not tell: {error.status} {error.reason}", "ask again") from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Unavailable(f"the cluster does not answer: {error}", "check KUBECONFIG") from None


def _asked(question: Callable[[], Any]) -> Any | None:
    """The answer; None where we may not ask. Raises Unavailable."""
    with _told():
        try:
            return question()
        except ApiException as error:
            if error.status in (401, 403):
                return None
            raise


def _exists(question: Callable[[], Any]) -> bool | None:
    """Whether something is there; None where we may not ask. Raises Unavailable."""
    with _told():
        try:
            question()
            return True
        except ApiException as error:
            if error.status in (401, 403):
                return None
            if error.status == 404:
                return False
            raise


def _deployments(deployments: dict[str, Any], running: list[Pod], namespace: str) -> Iterator[Check]:
    for kind in sorted({*NEEDED, *deployments}):
        if kind not in deployments:
            hint = f"kubectl apply -k an overlay of k8s/manifests, into namespace {namespace}"
            yield Check(PART, f"deployment {kind}", "FAIL", "does not exist", hint)
            continue
        wanted = deployments[kind].spec.replicas
        ready = (deployments[kind].status.ready_replicas if deployments[kind].status else None) or 0
        message = f"{ready} of {wanted} pods ready"
        if wanted == 0 and kind in NEEDED:
            hint = f"kubectl scale deployment/{deployments[kind].metadata.name} --replicas=1 -n {namespace}"
            yield Check(PART, f"deployment {kind}", "WARN", message, hint)
        elif ready < (wanted or 0):
            why = next((f": {pod.name} {pod.why}" for pod in running if pod.kind == kind and pod.why), "")
            hint = f"kubectl describe pods -l {KIND}={kind} -n {namespace}"
            yield Check(PART, f"deployment {kind}", "WARN" if ready else "FAIL", message + why, hint)
        else:
            yield Check(PART, f"deployment {kind}", "OK", message)


def _images(deployments: dict[str, Any]) -> Iterator[Check]:
    """Whether all run one image: pods refuse a schema that is not their program's."""
    images = {one.spec.template.spec.containers[0].image for one in deployments.values()}
    if len(images) > 1:
        hint = "set one image in the overlay's kustomization.yaml and apply it"
        yield Check(PART, "image", "WARN", f"{len(images)} images: {', '.join(sorted(images))}", hint)
    elif images:
        yield Check(PART, "image", "OK", *images)


def _mounted(deployments: dict[str, Any], core: client.CoreV1Api, namespace: str) -> Iterator[Check]:
    """Whether what pods that are not ready mount is there. Ready ones have it, and nobody needs to look at their Secrets."""
    wanted = {
        (kind, name)
        for one in deployments.values()
        if ((one.status.ready_replicas if one.status else None) or 0) < (one.spec.replicas or 0)
        for volume in one.spec.template.spec.volumes or []
        for kind, name in _needs(volume)
    }
    for kind, name in sorted(wanted):
        read = core.read_namespaced_secret if kind == "Secret" else core.read_namespaced_config_map
        found = _exists(partial(read, name, namespace, _request_timeout=REQUEST_SECONDS))
        if found is False:
            script = "make_secrets.sh" if kind == "Secret" else "make_configmap.sh"
            hint = f"make it, with scripts/{script} or with the overlay"
            yield Check(PART, f"{kind} {name}", "FAIL", f"does not exist in namespace {namespace}", hint)
        elif found is None:
            hint = f"see for yourself: kubectl get {kind.lower()} {name} -n {namespace}"
            yield Check(PART, f"{kind} {name}", "WARN", "pods wait, and we may not look whether it is there", hint)


def _needs(volume: Any) -> Iterator[tuple[str, str]]:
    if volume.secret is not None and not volume.secret.optional:
        yield "Secret", volume.secret.secret_name
    if volume.config_map is not None and not volume.config_map.optional:
        yield "ConfigMap", volume.config_map.name


def _pod_security(core: client.CoreV1Api, namespace: str) -> Iterator[Check]:
    found = _asked(lambda: core.read_namespace(namespace, _request_timeout=REQUEST_SECONDS))
    if found is None:
        return  # namespaces are seldom shown to those who live in them
    level = (found.metadata.labels or {}).get(ENFORCE)
    if level in ("restricted", "baseline"):
        yield Check(PART, "pod security", "OK", f"{level} is enforced")
    else:
        hint = f"kubectl label namespace {namespace} {ENFORCE}=restricted; all pods of ours keep to it"
        yield Check(PART, "pod security", "WARN", f"{level or 'nothing'} is enforced in namespace {namespace}", hint)
