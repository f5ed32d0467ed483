"""How far a loader claims ahead of its reading in a job whose bandwidth is limited.

Without a bound one pod would take thousands of files that it may only read in hours, while the others, each with the same share of
the bandwidth, have nothing to do; and when it is asked to end it could not finish what it has begun.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from inventory.claims import ClaimedFile

AHEAD_SECONDS = 10.0
"""A loader holds no more of such a job than it may read in so long, or a file for each of its threads."""

_Name = tuple[int, int, str]


class Ahead(NamedTuple):
    """What a claim may take: files until `bytes` are reached, and `files` in any case."""

    bytes: int
    files: int


class Pace:
    """What a worker holds of each job to load it. For the main thread alone."""

    def __init__(self, at_once: int = 1) -> None:
        """`at_once` is how many files are read at the same time."""
        self._at_once = at_once
        self._held: dict[int, dict[_Name, int]] = {}
        self._bytes: Counter[int] = Counter()

    def claimed(self, files: Iterable[ClaimedFile]) -> None:
        """Count files in."""
        for file in files:
            self._held.setdefault(file.job_id, {})[_name(file)] = file.size
            self._bytes[file.job_id] += file.size

    def let_go(self, files: Iterable[ClaimedFile]) -> None:
        """Count files out: whatever became of them, they are no longer this worker's. Those that are not counted change nothing."""
        for file in files:
            self._bytes[file.job_id] -= self._held.get(file.job_id, {}).pop(_name(file), 0)

    def keep(self, files: Iterable[ClaimedFile]) -> None:
        """Forget all that is counted besides these: claims whose answer was lost."""
        kept = {(file.job_id, _name(file)) for file in files}
        self._held = {
            job: {name: size for name, size in held.items() if (job, name) in kept} for job, held in self._held.items()
        }
        self._bytes = Counter({job: sum(held.values()) for job, held in self._held.items()})

    def ahead(self, job: int, rate: float) -> Ahead | None:
        """What may be claimed of a job that this worker may read at so many bytes a second; None while it holds enough."""
        most, files = rate * AHEAD_SECONDS, len(self._held.get(job, ()))
        # half, so that claims are few
        if self._bytes[job] > most / 2 and files >= self._at_once:
            return None
        return Ahead(max(0, int(most) - self._bytes[job]), max(0, self._at_once - files))


def _name(file: ClaimedFile) -> _Name:
    return (file.shard, file.directory_id, file.name)
