"""Logs of pods and commands: one object a line on standard error or in a file, ours and the libraries' by one renderer.

A JSON line has `timestamp` (ISO 8601, UTC), `level`, `event`, what `configure` and `bind` were given (pod kind, worker,
…), and the fields of the call; a library's has `logger`, an error's has `exception`.
"""

from __future__ import annotations

import json
import logging
import sys
from io import TextIOBase
from logging.handlers import TimedRotatingFileHandler
from pathlib import Path
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from core.errors import UsageError
from core.settings import LogSettings

LIBRARIES_LEVEL = logging.WARNING

# python-irodsclient writes whole packets at DEBUG: file contents and password challenges
_NEVER_BELOW_WARNING = ("irods",)

_bound: dict[str, object] = {}
_open: list[logging.Handler] = []


def configure(settings: LogSettings, **fields: object) -> None:
    """Send all logs to standard error or to the file of the settings from now on, each line with `fields`.

    Called once, when a process starts. Raises UsageError when the file cannot be written.
    """
    close()
    _bound.clear()
    bind(**fields)
    stream = sys.stderr if settings.filename is None else _file(settings, settings.filename, fields)
    processors: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_bound,
    ]
    final = _final_processors(settings)
    structlog.configure(
        processors=[*processors, *final],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,  # loggers are made at import, before this is called
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*processors, structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    handler.addFilter(_is_harmless)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LIBRARIES_LEVEL)
    logging.captureWarnings(True)


class _Rotated(TextIOBase):
    """A text stream into files that are changed by time; for whole lines, from any thread."""

    def __init__(self, handler: TimedRotatingFileHandler) -> None:
        self._handler = handler

    def write(self, text: str) -> int:
        """Write a line, into a new file when it is time for one."""
        if line := text.rstrip("\n"):
            self._handler.handle(logging.makeLogRecord({"msg": line, "levelno": logging.INFO}))
        return len(text)


def _file(settings: LogSettings, name: str, fields: dict[str, object]) -> TextIO:
    known = {key: str(fields.get(key, "")) for key in ("kind", "pod")}
    try:
        path = Path(name.format_map(known)).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = TimedRotatingFileHandler(
            path, when=settings.when, interval=settings.interval, backupCount=settings.keep, encoding="utf-8", utc=True
        )
    except (KeyError, ValueError, IndexError) as error:
        raise UsageError(
            f"log.filename {name!r} is not usable: {error}", "only {kind} and {pod} are replaced"
        ) from None
    except OSError as error:
        raise UsageError(
            f"cannot write log.filename {name}: {error.strerror}", "name a file that may be written"
        ) from None
    _open.append(handler)
    return cast("TextIO", _Rotated(handler))


def close() -> None:
    """Close the file that was written to, if there was one."""
    while _open:
        _open.pop().close()


def bind(**fields: object) -> None:
    """Add `fields` to every line of this process from now on, whichever thread writes it."""
    # not structlog's context variables: those end at the border of a thread
    _bound.update(fields)


def _add_bound(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    for key, value in _bound.items():
        event.setdefault(key, value)
    return event


def _is_harmless(record: logging.LogRecord) -> bool:
    """Drop what must never be written even when somebody sets a library's logger to DEBUG."""
    family = record.name.split(".", 1)[0]
    return record.levelno >= logging.WARNING or family not in _NEVER_BELOW_WARNING


def _final_processors(settings: LogSettings) -> list[Processor]:
    if settings.format == "text":
        return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_dumps)]


def _dumps(value: object, **_: object) -> str:
    # plain ASCII: file names may hold what UTF-8 cannot say
    return json.dumps(value, default=repr)
