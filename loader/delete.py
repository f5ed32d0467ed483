"""The object of a file that is gone from the source: unregistered, put into the trash, or erased, as the job says."""

from __future__ import annotations

from typing import NamedTuple, assert_never

from core.errors import Vanished
from core.filters import filter_of
from core.outcome import Changed, Done, Outcome, Skipped
from core.outcome import Vanished as StillVanished
from core.sources import link_folder
from inventory.claims import ClaimedFile
from inventory.jobs import Job
from loader.connection import Connections
from loader.load import link_of


class Deletion(NamedTuple):
    """A file claimed for deletion."""

    file: ClaimedFile

    def __str__(self) -> str:
        return self.file.path


def delete(connections: Connections, job: Job, file: ClaimedFile) -> Outcome:
    """Remove what we have made of a file, after a last look at the source: one that is back is loaded again instead.

    Raises FileError: an Outage while the source is away, so that nothing is deleted because of a missing mount.
    """
    if (kept := last_look(connections, job, file)) is not None:
        return kept
    path = connections.path(job, file.path)
    match job.settings.delete_mode:
        case "unregister":
            connections.gateway(job).unregister(path)
            if (link := link_of(job, file.path)) is not None:
                link_folder.remove(link)
        case "trash" | "no_trash":
            connections.gateway(job).remove(path, force=job.settings.delete_mode == "no_trash")
        case "do_not_delete":
            return StillVanished()
        case _:
            assert_never(job.settings.delete_mode)
    return Done()


def last_look(connections: Connections, job: Job, file: ClaimedFile) -> Outcome | None:
    """What becomes of a file without its object being removed; None: the object is to be removed. Raises FileError."""
    if filter_of(job.settings).protects(file.path, False):
        return Skipped("the job's filters leave it out; what is in iRODS stays there")
    try:
        opened = connections.source(job).open(file.path)
    except Vanished:
        pass
    else:
        try:
            now = opened.stat()
        finally:
            opened.close()
        return Changed(now.size, now.modified_at, now.tag)
    return Done() if file.fresh else None  # nothing of ours was ever there
