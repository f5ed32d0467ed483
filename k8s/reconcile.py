"""One look at one task: compare the row with the cluster, and do the next thing. Level-based: only what is there counts.

Each step may be done twice, or by two pods: Jobs have names that follow from the row, and a finish is a guarded statement.
"""

from __future__ import annotations

import structlog

from core.errors import FileError, Outage
from core.irods import AVU, ComputeGateway
from core.settings import Settings
from inventory.compute import Failure, Progress, Task
from k8s import manifest, placement
from k8s.cluster import Cluster, ContainerView, JobView, PodView
from k8s.manifest import COMPUTE, STAGE_IN, STAGE_OUT
from k8s.stage import OUTAGE_CODE

SOON_SECONDS = 2.0
"""A Job that was just made, or is being deleted, is looked at again so soon."""
MAX_OUTAGES = 5
"""So many Jobs of an attempt may find iRODS away, while this pod reaches it; the next one is a failure like any other."""
log = structlog.get_logger()
ERRORS = {STAGE_IN: "stage_in", COMPUTE: "exit_code", STAGE_OUT: "stage_out"}


def look(
    task: Task, cluster: Cluster, service: ComputeGateway, owner: ComputeGateway, settings: Settings
) -> Progress | Failure:
    """Look at a task and bring it forward. Raises FileErrors: `Outage` when cluster or iRODS is away."""
    if task.state == "requested":
        return submit(task, cluster, service, owner, settings)
    job = cluster.job(task.job_name)
    if job is None:
        # deleted by somebody, or by its TTL while no compute pod was there to see it end
        return submit(task, cluster, service, owner, settings)
    if job.finished == "Complete":
        return conclude(task, cluster.pod(task.job_name), service, owner)
    if job.finished == "Failed":
        pod = cluster.pod(task.job_name)
        if _was_outage(pod) and task.outages < MAX_OUTAGES:
            # uncounted: the Job is made again, once iRODS lets it be prepared
            cluster.delete_job(task.job_name)
            wait = SOON_SECONDS * 2**task.outages
            # not `submitted`: the cluster's word that the Job is gone would have it looked at before its time
            return Progress("requested", wait, message="iRODS was away while it was staged", outage=True)
        return explain(job, pod, cluster)
    return _at_work(task, job, cluster.pod(task.job_name), settings)


def submit(
    task: Task, cluster: Cluster, service: ComputeGateway, owner: ComputeGateway, settings: Settings
) -> Progress:
    """Prepare the input and make the Job; one that is there already is as good."""
    if task.rule.resource_role is not None and task.resource is None:
        resource, ours = placement.reserve(task, service, owner)
        return Progress(task.state, resource=resource, replica_made=ours or None)
    place, made = placement.place(task, service, owner)
    cluster.create_job(manifest.job(task, place, settings.compute, settings.irods, cluster.own_pod()))
    return Progress(
        state="submitted",
        check_seconds=SOON_SECONDS,
        output=manifest.output_collection(task, place),
        replica_made=made or None,
    )


def _at_work(task: Task, job: JobView, pod: PodView | None, settings: Settings) -> Progress:
    running = pod is not None and any(one.running or one.exit_code is not None for one in pod.containers)
    waiting = next((one.waiting for one in pod.containers if one.waiting), pod.reason) if pod else ""
    return Progress(
        state="running" if running or task.state == "running" else "submitted",
        check_seconds=SOON_SECONDS if job.deleting else settings.compute.reconcile_seconds,
        message=waiting or None,
    )


def conclude(task: Task, pod: PodView | None, service: ComputeGateway, owner: ComputeGateway) -> Progress | Failure:
    """Say at the output where it comes from, and trim. The output itself was registered or put by the last container."""
    output = task.output
    assert output is not None
    if not owner.is_collection(output):
        return Failure("no_output", f"the Job has ended well, but there is no collection {output}")
    main = pod.container(COMPUTE) if pod else None
    digest = (main.image_id if main else "") or None
    metadata = [
        AVU("compute::rule", task.rule.name),
        AVU("compute::task", task.k8s_name),
        AVU("compute::input", task.input),
        AVU("compute::image", task.rule.image),
        AVU("compute::exit_code", "0"),
    ]
    owner.annotate_collection(output, [*metadata, *([AVU("compute::image_digest", digest)] if digest else [])])
    placement.trim(task, service)
    return Progress(state="succeeded", image_digest=digest, exit_code=0)


def give_up(task: Task, why: Failure, service: ComputeGateway) -> Failure:
    """Trim also after the last failed attempt, so that no replica is left for nobody. Raises `Outage` alone."""
    try:
        return why._replace(trimmed=placement.trim(task, service))
    except Outage:
        raise
    except FileError as error:
        log.warning("not_trimmed", task=task.k8s_name, input=task.input, resource=task.resource, reason=str(error))
        return why


def explain(job: JobView, pod: PodView | None, cluster: Cluster) -> Failure:
    """Why a Job failed: the first container that did, its exit code and its last lines. A deadline takes the pod away."""
    failed = _failed(pod)
    if pod is None or failed is None:
        reason = "deadline_exceeded" if job.reason == "DeadlineExceeded" else "job_failed"
        said = f"; its pod: {pod.reason}" if pod and pod.reason else ""
        return Failure(reason, f"{job.reason}: {job.message}{said}")
    said = cluster.log(pod.name, failed.name)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = f": {lines[-1][:500]}" if lines else ""
    why = f" ({failed.reason})" if failed.reason not in ("", "Error") else ""
    message = f"container {failed.name} ended with exit code {failed.exit_code}{why}{last}"
    return Failure(ERRORS.get(failed.name, "exit_code"), message, exit_code=failed.exit_code, log=said)


def _failed(pod: PodView | None) -> ContainerView | None:
    return next((one for one in (pod.containers if pod else ()) if one.exit_code), None)


def _was_outage(pod: PodView | None) -> bool:
    failed = _failed(pod)
    return failed is not None and failed.name in (STAGE_IN, STAGE_OUT) and failed.exit_code == OUTAGE_CODE
