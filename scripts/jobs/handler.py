"""The event handler of a job that is started: looked at, asked what holds for the whole job, and remembered by its digest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from core.errors import UsageError
from core.settings import DELETE_MODES, Settings

if TYPE_CHECKING:
    from core.handlers.loaded import Handler
    from inventory.jobs import HandlerRecord


def choose(settings: Settings, job: str, url: str, collection: str) -> tuple[Settings, HandlerRecord | None]:
    """The settings as the job's event handler wants them, and the record of it; both as they were without one.

    Its operation, delete mode and user are asked for the root of the source. Raises UsageError when it cannot be loaded, fails,
    or wants what does not go together.
    """
    if settings.job.event_handler is None:
        return settings, None
    from core.handlers import automated_ingest, files
    from inventory.jobs import HandlerRecord

    file = files.find(settings.job.event_handler, settings.loader.handlers_folder)
    with automated_ingest.provided(files.NoNotes()):
        handler = files.load(file)
        changes = {"event_handler": file.path.name} | _wishes(handler, settings, job, url, collection)
    chosen = settings.job.model_copy(update=changes)
    if chosen.delete_mode not in DELETE_MODES[chosen.operation]:
        allowed = " or ".join(DELETE_MODES[chosen.operation])
        raise UsageError(
            f"the event handler {file.path.name} wants operation {chosen.operation} with delete mode {chosen.delete_mode}",
            f"with {chosen.operation} use {allowed}",
        )
    record = HandlerRecord(file.path.name, file.sha256, handler.overrides)
    return settings.model_copy(update={"job": chosen}), record


def _wishes(handler: Handler, settings: Settings, job: str, url: str, collection: str) -> dict[str, Any]:
    """What it says of the whole job. Raises UsageError when it raises."""
    import structlog

    from core.handlers import Context
    from core.handlers.loaded import HandlerFailed
    from core.irods import plain_session
    from core.sources.urls import bucket_of, source_path

    root = os.fsdecode(source_path(url, "").rstrip(b"/") or b"/")
    about: dict[str, Any] = {
        "job": job,
        "source": root,
        "collection": collection,
        "log": structlog.get_logger(),
        "path": root,
        "logical_path": collection,
        "is_directory": True,
        "bucket": bucket_of(url),
        "settings": settings.job.model_dump(mode="json"),
    }
    changes: dict[str, Any] = {}
    session = None
    try:
        if (user := handler.ask("as_user", Context(**about))) is not None:
            changes["as_user"] = f"{user[1]}#{user[0]}"
        session = plain_session(settings.irods, (user[1], user[0]) if user else settings.job.client)
        if operation := handler.ask("operation", Context(**about, session=session)):
            changes["operation"] = operation
        if delete_mode := handler.ask("delete_mode", Context(**about)):
            changes["delete_mode"] = delete_mode
    except HandlerFailed as error:
        raise UsageError(error.message, "it was asked for the root of the source") from error
    finally:
        if session is not None:
            session.cleanup()
    return changes
