"""What iRODS says before a Job is made: who may, which resource, whether a replica has to be made first."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import PurePosixPath

from core.errors import Permanent
from core.irods import ComputeGateway
from core.irods.replicas import Replica
from core.rules import Volume
from inventory.compute import Task
from k8s import manifest
from k8s.manifest import Placement


def reserve(task: Task, service: ComputeGateway, owner: ComputeGateway) -> tuple[str, bool]:
    """The resource of a task whose rule wants one, and whether all replicas on it will be the task's own to trim.

    To be written down before anything is made: whoever goes on with the task then knows whose the replicas are. Of a collection
    of which some objects lie there already none is trimmed. Raises FileErrors.
    """
    is_object = _readable(task, service, owner)
    resource = choose(task, service)
    rows = [service.replicas(task.input)] if is_object else service.objects_below(task.input).values()
    return resource, not any(row.good and row.root == resource for replicas in rows for row in replicas)


def place(task: Task, service: ComputeGateway, owner: ComputeGateway) -> tuple[Placement, bool]:
    """Check what the owner may, and bring the input to the task's resource; whether nothing of it lay there.

    Safe to repeat: what is there already is found. `service` is the configured user, `owner` the one it is done for.
    Raises FileErrors; `Permanent` when nobody but a person can help.
    """
    is_object = _readable(task, service, owner)
    found = Placement(
        kind="object" if is_object else "collection",
        resource=task.resource,
        node_selector=service.node_selector(task.resource) if task.resource else {},
    )
    owner.check_owned(manifest.output_collection(task, found))
    inputs = _inputs(task, service, is_object) if task.resource else []
    made = [service.replicate(path, task.resource) for path in inputs if task.resource]
    if task.rule.volume is not None:
        found = replace(found, input_folder=_in_volume(task, task.rule.volume, service, task.resource, is_object))
    return found, bool(made) and all(made)


def _readable(task: Task, service: ComputeGateway, owner: ComputeGateway) -> bool:
    """Whether the input is an object, and no collection. `Permanent` unless the owner may read it."""
    is_object = bool(service.replicas(task.input))
    owner.check_readable(task.input, exists=is_object or service.is_collection(task.input))
    return is_object


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


def _inputs(task: Task, service: ComputeGateway, is_object: bool) -> list[str]:
    return [task.input] if is_object else sorted(service.objects_below(task.input))


def trim(task: Task, service: ComputeGateway) -> bool:
    """Remove the replicas that were made for a task, if its rule says so and nobody else needs them; whether they are gone."""
    if not (task.rule.trim and task.replica_made and not task.replica_shared) or task.resource is None:
        return False
    for path in _inputs(task, service, bool(service.replicas(task.input))):
        service.trim(path, task.resource)
    return True


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
