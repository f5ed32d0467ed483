"""Jobs as REST answers them."""

from __future__ import annotations

from inventory.standing import Standing
from inventory.web.bodies import JobFigures


def figures(standing: Standing) -> JobFigures:
    """One job and how far it is."""
    job, rates = standing.job, [rate.files for rate in standing.rates.values() if rate.files]
    return JobFigures(
        job=job.name,
        state=job.state,
        source=job.source_url,
        collection=job.target_collection,
        operation=job.settings.operation,
        priority=job.settings.priority,
        max_in_flight=job.settings.max_in_flight,
        started_at=job.started_at.isoformat(),
        finished_at=job.finished_at.isoformat() if job.finished_at else None,
        files={state: int(amount.files) for state, amount in standing.states.items()},
        total_files=int(standing.total.files),
        total_bytes=int(standing.total.bytes),
        failed_files=standing.failed_files,
        failed_directories=standing.failed_directories,
        retries=standing.retries,
        elapsed_seconds=round(standing.elapsed_seconds, 3),
        files_per_second=round(min(rates, default=0.0), 3),
        seconds_left=standing.seconds_left,
    )
