"""The two sides of a job, for commands that compare them: its source as it wants it, and how its files are called in iRODS."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from core.settings import Settings

if TYPE_CHECKING:
    from core.sources.base import Source
    from inventory.jobs import Job


def source_of(job: Job, settings: Settings) -> Source:
    """The source of a job behind its filters. Raises UsageError when it cannot be read."""
    from core.sources.selection import selected
    from core.sources.urls import open_source

    source = selected(open_source(job.source_url, settings.s3), job.settings)
    source.check()
    return source


def names_of(job: Job, settings: Settings) -> Callable[[str], str] | None:
    """How the job's event handler maps paths relative to the source, by its character map; None where it maps none.

    Raises UsageError when the file the job was started with is not on loader.handlers_folder here.
    """
    if job.handler is None or not job.hears("character_map"):
        return None
    from core.handlers.folder import HandlersFolder

    names = HandlersFolder(settings.loader.handlers_folder).names(job.handler.file, job.handler.sha256)
    return None if names is str else names


def is_placed_elsewhere(job: Job) -> bool:
    """Whether the event handler says for each file where its object goes: then only it knows which object is whose."""
    return job.hears("target_path")
