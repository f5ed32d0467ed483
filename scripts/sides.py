"""The two sides of a job, for commands that compare them: its source as it wants it, and how its files are called in iRODS."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from core.errors import UsageError
from core.settings import Settings

if TYPE_CHECKING:
    from core.handlers.folder import HandlersFolder
    from core.sources.base import Source
    from inventory.explain import Explained
    from inventory.jobs import Job

Names = Callable[[str], str]
"""From a path relative to the source to the one in iRODS, element by element."""


def source_of(job: Job, settings: Settings) -> Source:
    """The source of a job behind its filters. Raises UsageError when it cannot be read."""
    from core.sources.selection import selected
    from core.sources.urls import open_source

    source = selected(open_source(job.source_url, settings.s3), job.settings)
    source.check()
    return source


def handlers_folder(settings: Settings) -> HandlersFolder:
    """The folder on which event handlers lie here."""
    from core.handlers.folder import HandlersFolder

    return HandlersFolder(settings.loader.handlers_folder)


def names_of(job: Job, handlers: HandlersFolder) -> Names | None:
    """How the job's event handler maps paths relative to the source, by its character map; None where it maps none.

    Raises UsageError when the file the job was started with is not on the folder.
    """
    if job.handler is None or not job.hears("character_map"):
        return None
    names = handlers.names(job.handler.file, job.handler.sha256)
    return None if names is str else names


def loads_anything(job: Job) -> bool:
    """Whether iRODS can have objects of the job: all but no_op brings files in, and an event handler may say otherwise of each."""
    return job.settings.operation != "no_op" or job.hears("operation")


def logical_path_of(told: Explained, handlers: HandlersFolder) -> tuple[str | None, str | None]:
    """What a path is called in iRODS, None where only the job's event handler knows, and a remark about that."""
    job = told.job
    try:
        names = names_of(job, handlers)
    except UsageError as error:
        return None, f"its name there is mapped by the job's event handler, which is not at hand: {error}"
    return f"{job.target_collection.rstrip('/')}/{names(told.path) if names else told.path}".rstrip("/"), None
