"""Refusals as an API server words them: a `Status` object and its HTTP code (held to recordings of a real 1.32)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

Json = dict[str, Any]


class Resource(NamedTuple):
    """A kind of object and where it is served."""

    plural: str
    kind: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As objects name it: `v1` or `batch/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """As messages name it: `pods` or `jobs.batch`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


NAMESPACES = Resource("namespaces", "Namespace", namespaced=False)
PODS = Resource("pods", "Pod")
JOBS = Resource("jobs", "Job", "batch")
DEPLOYMENTS = Resource("deployments", "Deployment", "apps")
SERVED = (
    NAMESPACES,
    PODS,
    JOBS,
    DEPLOYMENTS,
    Resource("serviceaccounts", "ServiceAccount"),
    Resource("secrets", "Secret"),
    Resource("configmaps", "ConfigMap"),
    Resource("persistentvolumeclaims", "PersistentVolumeClaim"),
)
"""All resources that are served; what is no Job, pod or Deployment is only kept."""


class Refused(Exception):
    """A request is refused with a `Status`."""

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.body: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            **({"details": details} if details else {}),
            "code": code,
        }


def _details(resource: Resource, name: str, kind: str = "") -> Json:
    group = {"group": resource.group} if resource.group else {}
    return {"name": name, **group, "kind": kind or resource.plural}


def not_found(resource: Resource, name: str) -> Refused:
    """There is no object of that name."""
    return Refused(404, "NotFound", f'{resource.qualified} "{name}" not found', _details(resource, name))


def already_exists(resource: Resource, name: str) -> Refused:
    """There is one already."""
    message = f'{resource.qualified} "{name}" already exists'
    return Refused(409, "AlreadyExists", message, _details(resource, name))


def conflict(resource: Resource, name: str) -> Refused:
    """The object has another resource version by now."""
    message = (
        f'Operation cannot be fulfilled on {resource.qualified} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    return Refused(409, "Conflict", message, _details(resource, name))


def invalid(resource: Resource, name: str, causes: Sequence[tuple[str, str, str]]) -> Refused:
    """Fields are wrong; each cause is (reason, message, field)."""
    words = [f"{field}: {message}" for _, message, field in causes]
    said = words[0] if len(words) == 1 else f"[{', '.join(words)}]"
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    listed = [{"reason": reason, "message": message, "field": field} for reason, message, field in causes]
    details = {**_details(resource, name, resource.kind), "causes": listed}
    return Refused(422, "Invalid", f'{kind} "{name}" is invalid: {said}', details)


def expired(asked: int, oldest: int) -> Json:
    """A watch from a version whose history is gone: not an HTTP error, but the watch's only event."""
    message = f"too old resource version: {asked} ({oldest})"
    return Refused(410, "Expired", message).body


def unauthorized() -> Refused:
    """No token, or a wrong one."""
    return Refused(401, "Unauthorized", "Unauthorized")


def forbidden(user: str, verb: str, resource: Resource, name: str, namespace: str) -> Refused:
    """The user's roles do not allow it."""
    said = f' "{name}"' if name else ""
    place = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
    message = (
        f'{resource.qualified}{said} is forbidden: User "{user}" cannot {verb} resource "{resource.plural}"'
        f' in API group "{resource.group}"{place}'
    )
    return Refused(403, "Forbidden", message, _details(resource, name))


def unknown_path() -> Refused:
    """Nothing is served there."""
    return Refused(404, "NotFound", "the server could not find the requested resource", {})


def bad_request(message: str) -> Refused:
    """The request itself makes no sense."""
    return Refused(400, "BadRequest", message)
