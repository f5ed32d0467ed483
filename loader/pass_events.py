"""pre_job and post_job of a pass: claimed, and their ends written down."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from core.handlers.api import JOB_EVENTS
from core.outcome import Dead, Done, Outcome, failure_of
from inventory import passes
from inventory.passes import ClaimedEvent
from inventory.pod import Member

log = structlog.get_logger()


class PassEvents:
    """The events of passes, as a loader sees them."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def claim(self) -> list[list[ClaimedEvent]]:
        """Units of one event each."""
        member = self._member
        jobs = member.rota.hearing(*JOB_EVENTS)
        return [[event] for event in passes.claim_events(member.database, member.worker, jobs)]

    def finish(self, event: ClaimedEvent, outcome: Outcome) -> None:
        """Write down what became of one."""
        member = self._member
        if isinstance(outcome, Done):
            mine = passes.done(member.database, member.worker, event)
            log.info("pass_event", job=event.job_id, number=event.number, pass_event=event.event, fenced=not mine)
        elif (why := failure_of(outcome)) is not None:
            limits = member.limits(member.rota.job(event.job_id))
            permanent = isinstance(outcome, Dead)
            passes.failed(member.database, member.worker, event, ": ".join(why), limits, permanent=permanent)
        else:
            passes.release(member.database, member.worker, [event])

    def keep(self, events: Sequence[ClaimedEvent]) -> None:
        """Give back whatever this worker has claimed besides these."""
        passes.keep(self._member.database, self._member.worker, events)
