"""A process as a member of the inventory: what every pod does between its start and its loop."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import structlog

from core import logs, metrics, service, warmup
from core.errors import IngestError
from core.settings import Settings
from core.settings_file import load_settings
from core.signals import Stop
from inventory import gauges, housekeeping, schema
from inventory.claims import Limits
from inventory.engine import Database
from inventory.jobs import Job
from inventory.notices import Courier
from inventory.rota import Rota
from inventory.workers import Lease

OF_IRODS = ("loader", "verifier")
"""Kinds of pods that are ready only while iRODS answers."""
log = structlog.get_logger()


@dataclass(frozen=True)
class Member:
    """What a pod's loop is built from. `database` belongs to the main thread alone."""

    settings: Settings
    database: Database
    lease: Lease
    rota: Rota

    @property
    def worker(self) -> int:
        """The owner of all this process claims."""
        return self.lease.worker

    def limits(self, job: Job) -> Limits:
        """When a failing file of this job is a dead letter, and how it backs off."""
        return Limits(
            max_attempts=job.settings.max_attempts,
            max_reloads=job.settings.max_reloads,
            retry_seconds=self.settings.worker.retry_seconds,
            retry_max_seconds=self.settings.worker.retry_max_seconds,
        )


class Watched:
    """A loop that says each time it turns."""

    def __init__(self, loop: service.Loop, probes: metrics.Probes) -> None:
        self._loop = loop
        self._probes = probes

    def step(self) -> bool:
        """Turn once."""
        self._probes.turned()
        return self._loop.step()

    def drain(self, seconds: float) -> bool:
        """Stop in good order."""
        return self._loop.drain(seconds)


def program_version() -> str:
    """The version of this program as it was installed."""
    try:
        return version("irods-inventory-loader")
    except PackageNotFoundError:
        return "not installed"


def run(kind: str, loop_of: Callable[[Member], service.Loop], environ: Mapping[str, str] = os.environ) -> int:
    """Run a pod of one kind until it is asked to stop, and return its exit code.

    The exit code says why it could not begin: 2 bad settings, 3 another schema, 4 no inventory; 5 comes from a lost lease.
    """
    stop = Stop().install()
    warmup.over()
    try:
        settings = load_settings(environ=environ)
        pod = environ.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}"
        logs.configure(settings.log, kind=kind, pod=pod)
        _serve(kind, pod, settings, loop_of, stop)
    except IngestError as error:
        print(f"{kind}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _serve(kind: str, pod: str, settings: Settings, loop_of: Callable[[Member], service.Loop], stop: Stop) -> None:
    url, wait = (settings.inventory.connection_url(), settings.inventory.connect_timeout_seconds)
    silence = settings.worker.lease_seconds
    database = Database(url, queue=True, connect_timeout_seconds=wait, name=f"{kind} {pod}", lease_seconds=silence)
    heart = Database(
        url, queue=True, connect_timeout_seconds=wait, name=f"{kind} {pod} heartbeat", lease_seconds=silence
    )
    post = Database(url, connect_timeout_seconds=wait, name=f"{kind} {pod} notices")
    courier = Courier(post, settings.notify, settings.worker.housekeeping_seconds)
    try:
        schema.check(database)
        lease = Lease(heart, kind, pod, program_version(), settings.worker.lease_seconds)
        logs.bind(worker=lease.worker)
        member = Member(settings, database, lease, Rota(database, lease.worker))

        def tidy() -> None:
            done = housekeeping.tidy(
                database,
                lease_seconds=settings.worker.lease_seconds,
                max_reaps=settings.worker.max_reaps,
                may_judge=lease.may_judge,
                activity_hours=settings.worker.activity_hours,
            )
            probes.answered("inventory")
            if kind == "watcher" and settings.metrics.port is not None:
                # of one kind of pod only: all would say the same
                metrics.INVENTORY.snapshot = gauges.read(database)
            metrics.EXPIRED.inc(done.expired)
            metrics.REAPED.inc(done.reaped)
            if done.expired or done.reaped or done.finished_jobs:
                log.info("tidied", expired=done.expired, reaped=done.reaped, finished_jobs=list(done.finished_jobs))

        probes = metrics.Probes(settings.metrics.patience_seconds)
        if settings.metrics.port is not None:
            metrics.serve(settings.metrics.port, probes)
            if kind in OF_IRODS:
                from core.irods.pulse import Pulse  # watchers do without iRODS

                Pulse(settings.irods, probes, settings.metrics.patience_seconds).start()
        courier.start()
        service.serve(Watched(loop_of(member), probes), lease, tidy, settings.worker, stop)
    finally:
        courier.end()
        database.close()
        heart.close()
        post.close()
