"""The pods of this program as the cluster sees them; reads only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import urllib3
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from core.errors import Unavailable, UsageError
from k8s.connection import IN_A_POD, REQUEST_SECONDS, configured

SELECTOR = "app.kubernetes.io/name=irods-inventory-loader"
KIND = "app.kubernetes.io/component"
PAGE = 500


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod. `why` is what keeps it from running: the reason of the first container that waits or has ended badly, or ''."""

    name: str
    kind: str
    phase: str
    ready: bool
    restarts: int
    node: str
    leaving: bool
    why: str


def is_near(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether there is a cluster to ask: this is a pod with a token, or KUBECONFIG names one."""
    return bool(environ.get("KUBECONFIG")) or IN_A_POD.exists()


def listed(namespace: str | None = None) -> list[Pod]:
    """All pods of this program in a namespace, by name; None: our own, or the one of the kubeconfig's context.

    Raises UsageError when there is no cluster to ask or it refuses us, Unavailable when it does not answer.
    """
    configuration, ours = configured()
    with client.ApiClient(configuration) as api:
        core = client.CoreV1Api(api)
        found: list[Any] = []
        more: str | None = None
        try:
            while more != "":
                page = core.list_namespaced_pod(
                    namespace or ours,
                    label_selector=SELECTOR,
                    limit=PAGE,
                    _continue=more,
                    _request_timeout=REQUEST_SECONDS,
                )
                found += page.items
                more = (page.metadata._continue if page.metadata else None) or ""
        except ApiException as error:
            if error.status in (401, 403):
                hint = "it takes the Role `status` of k8s/manifests/base, or a kubeconfig of yours"
                raise UsageError(f"the cluster does not let us list pods: {error.reason}", hint) from None
            raise Unavailable(f"the cluster cannot list pods: {error.status} {error.reason}", "ask again") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(f"the cluster does not answer: {error}", "check KUBECONFIG") from None
    return sorted((_pod(pod) for pod in found), key=lambda pod: (pod.kind, pod.name))


def _pod(pod: Any) -> Pod:
    states = [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]
    ready = any(one.type == "Ready" and one.status == "True" for one in pod.status.conditions or [])
    return Pod(
        name=pod.metadata.name,
        kind=pod.metadata.labels.get(KIND, ""),
        phase=pod.status.phase or "Unknown",
        ready=ready,
        restarts=sum(state.restart_count for state in states),
        node=pod.spec.node_name or "",
        leaving=pod.metadata.deletion_timestamp is not None,
        why=next((why for state in states if (why := _why(state.state))), pod.status.reason or ""),
    )


def _why(state: Any) -> str:
    if state is None:
        return ""
    if state.waiting is not None:
        return str(state.waiting.reason or "waiting")
    if state.terminated is not None and state.terminated.exit_code:
        return str(state.terminated.reason or f"exit code {state.terminated.exit_code}")
    return ""
