"""What iRODS says before a Job is made: who may, which resource, whether a replica has to be made first."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

from core.errors import Permanent
from core.irods import ComputeGateway
from core.irods.replicas import Replica
from core.rules import Volume
from inventory.compute import Task
from k8s import manifest
from k8s.manifest import Placement


def place(task: Task, service: ComputeGateway, owner: ComputeGateway) -> tuple[Placement, bool]:
    """Check what the owner may, choose the resource and bring the input there; whether a replica was made for it.

    Safe to repeat: what is there already is found. `service` is the configured user, `owner` the one it is done for.
    Raises FileErrors; `Permanent` when nobody but a person can help.
    """
    is_object = bool(service.replicas(task.input))
    owner.check_readable(task.input, exists=is_object or service.is_collection(task.input))
    resource, made = task.resource, False
    if task.rule.resource_role is not None:
        resource = resource or choose(task, service)
        made = _replicate(task, service, resource, is_object)
    found = Placement(
        kind="object" if is_object else "collection",
        resource=resource,
        node_selector=service.node_selector(resource) if resource else {},
        input_folder=_in_volume(task, task.rule.volume, service, resource, is_object) if task.rule.volume else "",
    )
    owner.check_owned(manifest.output_collection(task, found))
    return found, made


def choose(task: Task, service: ComputeGateway) -> str:
    """A root resource of the role: one that has the input, else any of them, by the task's name.

    `Permanent` when there is none.
    """
    role = task.rule.resource_role
    assert role is not None
    fitting = service.resources_of_role(role)
    if not fitting:
        hint = f"imeta set -R RESOURCE COMPUTE_RESOURCE_ROLE {role}"
        raise Permanent("no_resource", f"no resource carries COMPUTE_RESOURCE_ROLE {role}", hint)
    holding = {row.root for row in service.replicas(task.input) if row.good}
    near = [name for name in fitting if name in holding] or fitting
    return near[int(hashlib.sha256(task.k8s_name.encode()).hexdigest(), 16) % len(near)]


def _replicate(task: Task, service: ComputeGateway, resource: str, is_object: bool) -> bool:
    inputs = [task.input] if is_object else sorted(service.objects_below(task.input))
    made = [service.replicate(path, resource) for path in inputs]
    return any(made)


def trim(task: Task, service: ComputeGateway) -> None:
    """Remove the replicas that were made for a task."""
    if task.resource is None:
        return
    inputs = [task.input] if service.replicas(task.input) else sorted(service.objects_below(task.input))
    for path in inputs:
        service.trim(path, task.resource)


def _in_volume(task: Task, volume: Volume, service: ComputeGateway, resource: str | None, is_object: bool) -> str:
    """The path of the input below the volume's root. `Permanent` when it does not lie there, all together."""
    if is_object:
        return _below(volume, _physical(task.input, service.replicas(task.input), resource))
    folders = set()
    for path, rows in service.objects_below(task.input).items():
        relative = path.removeprefix(f"{task.input}/")
        folder = _below(volume, _physical(path, rows, resource)).removesuffix(relative).rstrip("/")
        folders.add(folder)
    if len(folders) != 1:
        raise Permanent("not_in_volume", f"the objects of {task.input} do not lie in one folder", "use no `volume`")
    return folders.pop()


def _physical(path: str, rows: list[Replica], resource: str | None) -> str:
    good = [row for row in rows if row.good and resource in (None, row.root)]
    if not good:
        raise Permanent("no_good_replica", f"{path} has no good replica on {resource or 'any resource'}", "repair it")
    return good[0].physical_path


def _below(volume: Volume, physical: str) -> str:
    try:
        return str(PurePosixPath(physical).relative_to(volume.path))
    except ValueError:
        hint = "correct the volume's `path`, or choose the resource by `resource_role`"
        raise Permanent("not_in_volume", f"{physical} does not lie below {volume.path}", hint) from None
