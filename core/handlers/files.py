"""Files of event handlers: found on the mounted folder, known by their digest, loaded."""

from __future__ import annotations

import hashlib
import sys
import types
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from core.errors import UsageError
from core.handlers import automated_ingest
from core.handlers.api import EventHandler
from core.handlers.loaded import Handler, HandlerFailed, OfAutomatedIngest, OfOurs

CLASS = "event_handler"
"""The name that automated ingest gives the class; ours may have any."""


@dataclass(frozen=True)
class HandlerFile:
    """The text of a handler, and its SHA-256 in hexadecimal."""

    path: Path
    text: bytes

    @property
    def sha256(self) -> str:
        """The digest that a job keeps of it."""
        return hashlib.sha256(self.text).hexdigest()


def read(path: Path) -> HandlerFile:
    """Read a handler's file. Raises UsageError."""
    try:
        return HandlerFile(path, path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read the event handler {path}: {error.strerror}", "check the path") from None


def find(name: str, folder: Path | None) -> HandlerFile:
    """The handler that a person named: a path, or the name of a file on the handlers' folder. Raises UsageError."""
    if "/" not in name and folder is not None and (folder / name).is_file():
        return read(folder / name)
    return read(Path(name).expanduser())


def named(name: str, folder: Path | None) -> HandlerFile:
    """The handler of a job, on the handlers' folder. Raises UsageError."""
    if folder is None:
        raise UsageError(f"no folder to find the event handler {name} in", "mount one and set loader.handlers_folder")
    return read(folder / name)


def load(file: HandlerFile) -> Handler:
    """Run a handler's file and return what it has to say; to be called where `automated_ingest.provided` is in force.

    Raises UsageError in one line: for what the file raises, for imports that are not there, and when it defines no handler.
    """
    name = f"{automated_ingest.PACKAGE}.examples.{file.path.stem}"
    module = types.ModuleType(name)
    module.__file__ = str(file.path)
    # where the examples of automated ingest lie, which import relative to it
    module.__package__ = f"{automated_ingest.PACKAGE}.examples"
    sys.modules[name] = module
    try:
        exec(compile(file.text, str(file.path), "exec"), vars(module))
    except (Exception, SystemExit) as error:
        place = _line_of(error, str(file.path))
        hint = "an event handler is imported once, in every helper process"
        raise UsageError(f"event handler {file.path.name}{place}: {type(error).__name__}: {error}", hint) from error
    try:
        handler = _handler_in(module, file.path.name)
        handler.character_map()
    except HandlerFailed as error:
        raise UsageError(error.message) from error
    return handler


def _handler_in(module: types.ModuleType, name: str) -> Handler:
    ours = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, EventHandler) and value.__module__ == module.__name__
    ]
    named = getattr(module, CLASS, None)
    if len(ours) == 1 and named in (None, ours[0]):
        return OfOurs(ours[0])
    if isinstance(named, type):
        return OfOurs(named) if issubclass(named, EventHandler) else OfAutomatedIngest(module, named)
    hint = f"derive one class from core.handlers.EventHandler, or name one {CLASS}"
    raise UsageError(f"event handler {name} defines {len(ours)} handlers", hint)


def _line_of(error: BaseException, path: str) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f", line {error.lineno}"
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f", line {line}" if line else ""


class NoNotes:
    """In place of the notes of a job, where a handler is only looked at."""

    def get(self, key: str) -> Any:
        return None

    def set(self, key: str, value: Any) -> None:
        pass

    def add(self, key: str, amount: float) -> float:
        return amount

    def delete(self, key: str) -> None:
        pass

    def count(self, what: str) -> int:
        return 0


def inspect(file: HandlerFile) -> Handler:
    """Load a handler to look at it, and leave no trace of it in this process. Raises UsageError."""
    with automated_ingest.provided(NoNotes()):
        return load(file)


def function(named: str, folder: Path | None) -> Any:
    """The function that `module:function` names, of a module on the handlers' folder or an installed one. Raises UsageError."""
    module, _, name = named.partition(":")
    hint = "--extract-metadata takes module:function"
    if not module or not name.isidentifier():
        raise UsageError(f"{named!r} names no function", hint)
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        found = getattr(import_module(module), name, None)
    except (Exception, SystemExit) as error:
        raise UsageError(f"cannot import {module}: {type(error).__name__}: {error}", hint) from error
    if not callable(found):
        raise UsageError(f"module {module} has no function {name}", hint)
    return found
