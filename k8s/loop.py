"""The compute pod's loop: rules, complete collections, what the cluster told, and tasks that are due."""

from __future__ import annotations

import time

from core import metrics
from core.worker import Pipeline
from inventory import compute, compute_queries
from inventory.pod import Member
from k8s.cluster import Cluster
from k8s.intake import Intake
from k8s.tasks import ComputeStage
from k8s.watching import Watcher

LOOK_SECONDS = 1.0
"""How often collections are looked at and counts are shown."""


class ComputeLoop:
    """What `python -m k8s` does over and over."""

    def __init__(self, member: Member) -> None:
        """Raises UsageError when no cluster is configured."""
        settings = member.settings
        self._member = member
        self._cluster = Cluster(settings.compute)
        self._intake = Intake(settings, member.database)
        self._watcher = Watcher(self._cluster)
        self._pipeline = Pipeline(
            ComputeStage(member, self._cluster),
            threads=settings.compute.threads,
            batch=settings.compute.threads,
            flush_files=1,
            flush_seconds=settings.worker.flush_seconds,
            is_sure=lambda: member.lease.is_sure,
        )
        self._look_at = float("-inf")

    def step(self) -> bool:
        """Turn once. Raises Unavailable when the inventory is away."""
        self._intake.step()
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_SECONDS
            compute.release_complete(self._member.database)
            self._show()
        if changed := self._watcher.take():
            compute.look_now(self._member.database, changed)
        return self._pipeline.step()

    def drain(self, seconds: float) -> bool:
        """Stop in good order: Jobs run on, and whoever comes next looks at them."""
        self._watcher.end()
        drained = self._pipeline.drain(seconds)
        self._intake.close()
        return drained

    def _show(self) -> None:
        metrics.COMPUTE_TASKS.clear()
        for rule, states in compute_queries.counts(self._member.database).items():
            for state, tasks in states.items():
                metrics.COMPUTE_TASKS.labels(rule, state).set(tasks)
