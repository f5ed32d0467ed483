"""How many files of a job may be in flight: a bound for all pods together, asked for by each claim of such a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, text

_LOCK = 0x1_0AD_0300  # advisory lock, the first of two keys; the second is the job's id
_STAGES = {"load": ("discovered", "loading"), "verify": ("loaded", "verifying"), "delete": ("vanished", "deleting")}


class Cap(NamedTuple):
    """The limit of one job and the shards it is counted over."""

    job: int
    files: int
    shards: Sequence[int]


def room(connection: Connection, cap: Cap, stage: str) -> int:
    """How many more files of the job this transaction may claim; claims of the job wait for its end.

    While another stage has files waiting none takes more than half of what the job may have, or that one would starve.
    """
    # locked by itself: the counts are of a snapshot taken after the claim before this one was committed
    connection.execute(
        text("SELECT pg_advisory_xact_lock(CAST(:key AS int), CAST(:job AS int))"), {"key": _LOCK, "job": cap.job}
    )
    return _room(_counts(connection, cap), cap, stage)


def full(connection: Connection, cap: Cap) -> frozenset[str]:
    """The stages that may claim no file of the job now. Takes no lock: for people."""
    counts = _counts(connection, cap)
    return frozenset(stage for stage in _STAGES if not _room(counts, cap, stage))


def _counts(connection: Connection, cap: Cap) -> dict[str, int]:
    rows = connection.execute(
        text("""
            SELECT state, sum(files)::bigint AS files FROM inventory.progress_now
            WHERE shard = ANY(:shards) GROUP BY state"""),
        {"shards": list(cap.shards)},
    )
    return {row.state: row.files for row in rows}


def _room(counts: Mapping[str, int], cap: Cap, stage: str) -> int:
    mine = counts.get(_STAGES[stage][1], 0)
    free = cap.files - sum(counts.get(busy, 0) for _, busy in _STAGES.values())
    # vanished files may rest for ever: they are not taken for waiting
    others = [ready for other, (ready, _) in _STAGES.items() if other not in (stage, "delete")]
    if any(counts.get(ready, 0) for ready in others):
        free = min(free, -(-cap.files // 2) - mine)
    return max(0, free)
