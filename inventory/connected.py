"""A pipeline that keeps to its share of the connections that all pods may have together."""

from __future__ import annotations

import time
from typing import TypeVar

import structlog

from core import metrics
from core.irods import ExtraStreams, answers
from core.worker import Pipeline, Stage
from inventory import connections
from inventory.pod import Member
from inventory.staging import StagingSweep

GRANT_SECONDS = 2.0
"""How often a worker asks for its share."""
Item = TypeVar("Item")
log = structlog.get_logger()


class Connected:
    """The loop of a loader or a verifier: a pipeline with as many threads as it has connections."""

    def __init__(self, member: Member, stage: Stage[Item], batch: int, extra: ExtraStreams | None = None) -> None:
        """`extra` lends the stage's large files what is granted beyond a connection for each thread."""
        self._member = member
        self._extra = extra
        self._sweep = StagingSweep(member)
        worker, irods = member.settings.worker, member.settings.irods
        self._pipeline = Pipeline(
            stage,
            threads=irods.connections,
            batch=batch,
            flush_files=worker.flush_files,
            flush_seconds=worker.flush_seconds,
            is_sure=lambda: member.lease.is_sure,
            answers=lambda: answers(irods),
            tell=member.lease.hold_back,
        )
        self._granted = 0
        self._asked_at = float("-inf")
        self._overloads = 0
        self._pipeline.allow(0)

    def step(self) -> bool:
        """Keep to the share, and do a little."""
        if self._pipeline.overloads > self._overloads:
            self._overloads = self._pipeline.overloads
            log.warning("irods_overloaded", hint="all pods together use half the connections for now")
            connections.overloaded(self._member.database)
            self._asked_at = float("-inf")
        if time.monotonic() - self._asked_at >= GRANT_SECONDS:
            self._ask()
        if self._sweep.look():
            self._share()
            if self._in_use() < self._granted:
                self._sweep.begin()
        self._member.rota.running()  # also while nothing is claimed: what is not begun of a stopped job is given back
        return self._pipeline.step()

    def drain(self, seconds: float) -> bool:
        """Stop the pipeline in good order."""
        return self._pipeline.drain(seconds)

    def _ask(self) -> None:
        irods, member = self._member.settings.irods, self._member
        wanted = irods.connections
        if self._extra is not None and irods.streams > 1:
            wanted += irods.extra_streams
        granted = connections.grant(member.database, member.worker, wanted, irods.max_connections, self._in_use())
        self._asked_at = time.monotonic()
        if granted != self._granted:
            log.info("connections", granted=granted, wanted=wanted)
            self._granted = granted
            metrics.CONNECTIONS.set(granted)
        self._share()

    def _share(self) -> None:
        """Cut what is granted into threads, connections for their large files, and the one of a sweep that is due."""
        threads = self._member.settings.irods.connections
        left = max(0, self._granted - self._sweep.wants)
        self._pipeline.allow(min(left, threads))
        if self._extra is not None:
            self._extra.allow(max(0, left - threads))

    def _in_use(self) -> int:
        """Connections that are open, or may be from one moment to the next."""
        extra = self._extra.most_lent if self._extra is not None else 0
        return self._pipeline.most_open + extra + self._sweep.open
