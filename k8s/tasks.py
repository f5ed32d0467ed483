"""The compute pod's stage: tasks that are due to be looked at."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import structlog

from core import metrics
from core.errors import FileError
from core.irods import ComputeGateway
from core.outcome import Dead, Done, Mismatched, Outcome, Released, Retry, failure_of, outcome_of
from core.worker import Report, Reported, Unit, run_each
from inventory import compute
from inventory.compute import Failure, Progress, Task
from inventory.pod import Member
from k8s.cluster import Cluster
from k8s.reconcile import give_up, look

OUTAGE_SECONDS = 5.0
"""A task given back because a service was away waits so long, uncounted."""
log = structlog.get_logger()


class ComputeStage:
    """Rows of compute_job, one a unit."""

    def __init__(self, member: Member, cluster: Cluster) -> None:
        self._member = member
        self._cluster = cluster
        self._open = threading.local()

    def claim(self, limit: int) -> Sequence[Unit[Task]]:
        settings = self._member.settings.compute
        tasks = compute.claim(self._member.database, self._member.worker, limit, settings.max_running)
        return [[task] for task in tasks]

    def run(self, unit: Unit[Task], report: Report[Task], stopping: threading.Event) -> None:
        run_each(unit, self._look, report, stopping)

    def finish(self, reported: Sequence[Reported[Task]]) -> int:
        return sum(not self._finish(one.item, one.outcome) for one in reported)

    def is_suspect(self, item: Task) -> bool:
        return False

    def begin(self, item: Task) -> bool:
        return True

    def keep(self, items: Sequence[Task]) -> None:
        compute.keep(self._member.database, self._member.worker, items)

    def told(self, item: Task) -> dict[str, object]:
        return _told(item)

    def end_thread(self) -> None:
        for gateway in self._gateways().values():
            gateway.close()
        self._gateways().clear()

    def _look(self, task: Task) -> Outcome:
        task.progress = None
        service, owner = self._gateway(None), self._gateway(task.owner)
        try:
            found = look(task, self._cluster, service, owner, self._member.settings)
        except FileError as error:
            if (why := failure_of(outcome := outcome_of(error))) is None:
                return outcome
            found = Failure(*why, permanent=isinstance(outcome, Dead))
        if isinstance(found, Failure) and (found.permanent or task.attempts >= task.rule.retries):
            found = give_up(task, found, service)
        task.progress = found
        return Done()

    def _finish(self, task: Task, outcome: Outcome) -> bool:
        """Write one outcome down. False when the task was no longer this worker's."""
        database, worker = self._member.database, self._member.worker
        match outcome:
            case Released(reason):
                return not compute.release(database, worker, [task], OUTAGE_SECONDS if reason else 0)
            case Done():
                found = task.progress
            case Retry(error, message) | Mismatched(error, message):
                found = Failure(error, message)
            case Dead(error, message):
                found = Failure(error, message, permanent=True)
            case _:
                found = Failure(type(outcome).__name__.lower(), "the input is no longer there", permanent=True)
        if isinstance(found, Failure):
            return self._failed(task, found)
        assert found is not None
        return self._advanced(task, found)

    def _advanced(self, task: Task, to: Progress) -> bool:
        mine = compute.advance(self._member.database, self._member.worker, task, to)
        if mine and to.state == "succeeded":
            metrics.COMPUTE_ATTEMPTS.labels(task.rule.name, "succeeded").inc()
        if mine and to.state != task.state:
            log.info("compute", state=to.state, **_told(task))
        if mine and to.outage:
            log.warning("compute_outage", outages=task.outages + 1, again_in_seconds=to.check_seconds, **_told(task))
        return mine

    def _failed(self, task: Task, why: Failure) -> bool:
        longest = self._member.settings.worker.retry_max_seconds
        state = compute.fail(self._member.database, self._member.worker, task, why, longest)
        if state is None:
            return False
        metrics.COMPUTE_ATTEMPTS.labels(task.rule.name, "dead" if state == "dead" else "failed").inc()
        log.warning("compute_failed", state=state, error=why.error, reason=why.message, **_told(task))
        return True

    def _gateways(self) -> dict[tuple[str, str] | None, ComputeGateway]:
        mine: dict[tuple[str, str] | None, ComputeGateway] | None = getattr(self._open, "gateways", None)
        if mine is None:
            mine = self._open.gateways = {}
        return mine

    def _gateway(self, user: tuple[str, str] | None) -> ComputeGateway:
        mine = self._gateways()
        if user not in mine:
            mine[user] = ComputeGateway(self._member.settings.irods, as_user=user)
        return mine[user]


def _told(task: Task) -> dict[str, object]:
    return {
        "task": task.k8s_name,
        "k8s_job": task.job_name,
        "rule": task.rule.name,
        "input": task.input,
        "attempt": task.attempts + 1,
    }
