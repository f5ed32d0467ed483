"""The time line as Chrome trace JSON, for chrome://tracing and Perfetto (the Trace Event Format)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from inventory.activity import Span


def trace(spans: Iterable[Span]) -> dict[str, Any]:
    """A process a worker, a thread a stage, a complete event ("X") a span; times in microseconds since 1970."""
    events: list[dict[str, Any]] = []
    named: set[int] = set()
    threads: dict[tuple[int, str], int] = {}
    for span in spans:
        if span.worker not in named:
            named.add(span.worker)
            events.append(_meta("process_name", span.worker, 0, f"{span.kind} {span.pod}"))
        key = (span.worker, span.stage)
        if key not in threads:
            threads[key] = 1 + len([worker for worker, _ in threads if worker == span.worker])
            events.append(_meta("thread_name", span.worker, threads[key], span.stage))
        events.append(
            {
                "name": f"{span.stage} {span.job}",
                "cat": span.stage,
                "ph": "X",
                "ts": int(span.began_at.timestamp() * 1e6),
                "dur": int((span.ended_at - span.began_at).total_seconds() * 1e6),
                "pid": span.worker,
                "tid": threads[key],
                "args": {
                    "files": span.files,
                    "failed": span.failed,
                    "bytes": span.bytes,
                    "busy_seconds": round(span.busy_seconds, 3),
                },
            }
        )
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _meta(name: str, worker: int, thread: int, value: str) -> dict[str, Any]:
    return {"name": name, "ph": "M", "pid": worker, "tid": thread, "args": {"name": value}}
