"""The cluster as Jobs need it: create, look, read the log, watch. Whatever the API server refuses becomes an error of ours."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import urllib3
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException

from core.errors import Outage, Permanent, UsageError
from core.settings import ComputeSettings
from k8s.connection import IN_A_POD, REQUEST_SECONDS, configured

SELECTOR = "app.kubernetes.io/managed-by=ingest-compute"
"""The label of all Jobs that are ours."""
WATCH_SECONDS = 60
LOG_LINES, LOG_BYTES = 50, 16_384
PAGE = 500


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One container of a pod."""

    name: str
    exit_code: int | None
    running: bool
    waiting: str
    """Why it is not begun: a reason and a message, '' for the usual ones."""
    image_id: str
    reason: str = ""
    """Why it ended, such as OOMKilled."""


@dataclass(frozen=True, slots=True)
class PodView:
    """The newest pod of a Job."""

    name: str
    phase: str
    reason: str
    containers: tuple[ContainerView, ...]

    def container(self, name: str) -> ContainerView | None:
        """The container of that name."""
        return next((one for one in self.containers if one.name == name), None)


@dataclass(frozen=True, slots=True)
class JobView:
    """A Job. `finished` is Complete, Failed, or '' while it is at work."""

    name: str
    finished: str
    reason: str
    message: str
    deleting: bool


@dataclass(frozen=True, slots=True)
class OwnPod:
    """What the pods of Jobs take over from the one that makes them."""

    image: str
    """That of its first container, as its manifest names it."""
    host_aliases: tuple[dict[str, Any], ...] = ()
    """Names that no DNS knows, such as those of iRODS servers."""
    pull_secrets: tuple[str, ...] = ()


class Cluster:
    """One connection pool to the API server; for many threads. Verbs raise `Outage`, and `Permanent` for what is wrong."""

    def __init__(self, settings: ComputeSettings) -> None:
        """Reads the configuration, connects nowhere yet. Raises UsageError when there is none, or no image for staging."""
        if settings.image is None and not IN_A_POD.exists() and "POD_NAME" not in os.environ:
            hint = "set compute.image to the image of this program that the cluster's nodes have or can pull"
            raise UsageError("compute.image is not set, and this is no pod whose image Jobs could run", hint)
        configuration, namespace = configured(settings.kubeconfig)
        self._api = client.ApiClient(configuration)
        self._batch = client.BatchV1Api(self._api)
        self._core = client.CoreV1Api(self._api)
        self._home = namespace
        self.namespace = settings.namespace or namespace
        self._named = settings.image
        self._own: OwnPod | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._api.close()
        self._api.rest_client.pool_manager.clear()

    def own_pod(self) -> OwnPod | None:
        """The pod that this process runs in; None where it is none and Jobs run `compute.image`. Raises `Outage`."""
        if self._named is not None and not IN_A_POD.exists():
            return None
        if self._own is None:
            name = os.environ.get("POD_NAME") or socket.gethostname()
            with _asked("read this pod"):
                spec = self._core.read_namespaced_pod(name, self._home, _request_timeout=REQUEST_SECONDS).spec
            self._own = OwnPod(
                image=str(spec.containers[0].image),
                host_aliases=tuple(
                    {"ip": one.ip, "hostnames": list(one.hostnames or ())} for one in spec.host_aliases or ()
                ),
                pull_secrets=tuple(one.name for one in spec.image_pull_secrets or ()),
            )
        return self._own

    def create_job(self, body: dict[str, Any]) -> bool:
        """Create a Job; False when there is one of that name, which is as good."""
        try:
            with _asked("create a Job"):
                self._batch.create_namespaced_job(self.namespace, body, _request_timeout=REQUEST_SECONDS)
        except Outage as problem:
            if _status(problem) == 409:
                return False
            if _status(problem) in (400, 422):
                raise Permanent(
                    "invalid_job", problem.message, "check the rule's image, resources and labels"
                ) from problem
            raise
        return True

    def job(self, name: str) -> JobView | None:
        """A Job, or None when there is none."""
        try:
            with _asked("read a Job"):
                found = self._batch.read_namespaced_job(name, self.namespace, _request_timeout=REQUEST_SECONDS)
        except Outage as problem:
            if _status(problem) == 404:
                return None
            raise
        for condition in found.status.conditions or ():
            if condition.type in ("Complete", "Failed") and condition.status == "True":
                finished, why = condition.type, condition
                break
        else:
            finished, why = "", None
        return JobView(
            name=name,
            finished=finished,
            reason=(why.reason or "") if why else "",
            message=(why.message or "") if why else "",
            deleting=found.metadata.deletion_timestamp is not None,
        )

    def pod(self, job: str) -> PodView | None:
        """The newest pod of a Job; None when it has none (any more)."""
        with _asked("list pods"):
            found = self._core.list_namespaced_pod(
                self.namespace, label_selector=f"batch.kubernetes.io/job-name={job}", _request_timeout=REQUEST_SECONDS
            )
        pods = sorted(found.items, key=lambda pod: pod.metadata.creation_timestamp)
        return _pod(pods[-1]) if pods else None

    def delete_job(self, name: str) -> None:
        """Delete a Job and its pods; fine when there is none."""
        try:
            with _asked("delete a Job"):
                self._batch.delete_namespaced_job(
                    name, self.namespace, propagation_policy="Background", _request_timeout=REQUEST_SECONDS
                )
        except Outage as problem:
            if _status(problem) != 404:
                raise

    def log(self, pod: str, container: str) -> str:
        """The last lines a container wrote; what the API server says where there is no log."""
        try:
            with _asked("read a log"):
                text = self._core.read_namespaced_pod_log(
                    pod,
                    self.namespace,
                    container=container,
                    tail_lines=LOG_LINES,
                    _preload_content=False,
                    _request_timeout=REQUEST_SECONDS,
                ).data
        except Outage as problem:
            if _status(problem) in (400, 404):
                return problem.message
            raise
        # a row holds no NUL
        return bytes(text[-LOG_BYTES:]).decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")

    def changes(self) -> Iterator[str]:
        """Names of Jobs that have changed, without end: all that are finished first, then each change as it comes.

        When the history that the server keeps is gone (410) all is listed again. Raises `Outage`.
        """
        while True:
            names, version = self._finished()
            yield from names
            yield from self._watched(version)

    def _finished(self) -> tuple[list[str], str]:
        """The names of all Jobs that are finished, and the version of that list."""
        names: list[str] = []
        token = None
        while True:
            with _asked("list Jobs"):
                page = self._batch.list_namespaced_job(
                    self.namespace,
                    label_selector=SELECTOR,
                    limit=PAGE,
                    _continue=token,
                    _request_timeout=REQUEST_SECONDS,
                )
            names += [job.metadata.name for job in page.items if job.status.completion_time or job.status.failed]
            token = page.metadata._continue
            if not token:
                return names, str(page.metadata.resource_version)

    def _watched(self, version: str) -> Iterator[str]:
        """Changes since a version, until it is too old."""
        while True:
            stream = watch.Watch()
            try:
                with _asked("watch Jobs"):
                    for event in stream.stream(
                        self._batch.list_namespaced_job,
                        self.namespace,
                        label_selector=SELECTOR,
                        resource_version=version,
                        timeout_seconds=WATCH_SECONDS,
                        allow_watch_bookmarks=True,
                        _request_timeout=(REQUEST_SECONDS[0], WATCH_SECONDS + 10),
                    ):
                        # a bookmark has no object, only its raw form
                        metadata = event["raw_object"]["metadata"]
                        if event["type"] != "BOOKMARK":
                            yield metadata["name"]
                        version = metadata.get("resourceVersion") or version
            except Outage as problem:
                if _status(problem) == 410:
                    return
                raise
            finally:
                stream.stop()


@contextmanager
def _asked(what: str) -> Iterator[None]:
    """Whatever goes wrong in the block is an `Outage`: nobody's task is at fault, and nothing is counted."""
    try:
        yield
    except ApiException as error:
        hint = {
            401: "its token is not accepted",
            403: "give its ServiceAccount the Role of k8s/manifests, or look at the namespace's quota",
            404: "is the namespace there?",
        }.get(error.status, "look at the API server")
        words = f"Kubernetes refuses to {what} ({error.status} {error.reason}): {_message(error)}"
        raise Outage(f"kubernetes_{error.status}", words, hint) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Outage("kubernetes_away", f"Kubernetes does not answer: {error}", "look at the API server") from error


def _status(problem: Outage) -> int | None:
    cause = problem.__cause__
    return cause.status if isinstance(cause, ApiException) else None


def _message(error: ApiException) -> str:
    """The message of the Status in the body, without its JSON."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.body or "no reason given")[:500]


_USUAL = frozenset({"PodInitializing", "ContainerCreating"})


def _pod(pod: Any) -> PodView:
    statuses = [*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())]
    return PodView(
        name=pod.metadata.name,
        phase=pod.status.phase or "",
        reason=_unscheduled(pod) or ": ".join(filter(None, (pod.status.reason, pod.status.message))),
        containers=tuple(_container(status) for status in statuses),
    )


def _unscheduled(pod: Any) -> str:
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"{condition.reason}: {condition.message}"
    return ""


def _container(status: Any) -> ContainerView:
    ended, waits = status.state.terminated, status.state.waiting
    waiting = ""
    if waits is not None and waits.reason not in _USUAL:
        waiting = ": ".join(filter(None, (waits.reason, waits.message)))
    return ContainerView(
        name=status.name,
        exit_code=ended.exit_code if ended else None,
        running=status.state.running is not None,
        waiting=waiting,
        image_id=status.image_id or "",
        reason=(ended.reason or "") if ended else "",
    )
