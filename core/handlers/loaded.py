"""An event handler that was loaded, asked in one way whatever it was written for."""

from __future__ import annotations

import math
import os
import types
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any, Protocol, get_args

from core.errors import FileError, Transient
from core.handlers import api, automated_ingest
from core.handlers.api import AROUND, Context, EventHandler
from core.handlers.names import CharacterMap
from core.paths import escape
from core.settings import DeleteMode, Operation


class HandlerFailed(Transient):
    """A handler has raised; `error` is the class of what it raised, and the message names the method."""


class Handler(Protocol):
    """A handler's say. Everything raises `HandlerFailed` for what the handler raises."""

    overrides: tuple[str, ...]
    """What it has a say in, of `api.NAMES`."""
    style: str
    """What it was written for."""
    strict: bool
    """Whether what it raises is not tried again, unless it says so."""

    @property
    def one_by_one(self) -> bool:
        """Whether files are loaded one by one, because it has a say in each."""
        ...

    def ask(self, name: str, context: Context, *arguments: Any) -> Any:
        """Its answer to one of `api.ANSWERS` or `api.LIMITS`, checked; None where it has none."""
        ...

    def around(self, event: str, context: Context, work: Callable[[], None]) -> None:
        """Do `work` between the two events of `api.AROUND`; what it raises passes through, and then nothing comes after it."""
        ...

    def tell(self, event: str, context: Context) -> None:
        """Tell of a pre_job or post_job."""
        ...

    def character_map(self) -> CharacterMap | None:
        """Its character map. Raises UsageError when what it gives is none."""
        ...


class _Overriding:
    """What follows from what a handler overrides."""

    overrides: tuple[str, ...]

    @property
    def one_by_one(self) -> bool:
        return not set(self.overrides).isdisjoint((*api.FILE_EVENTS, *api.LIMITS))


class OfOurs(_Overriding):
    """A class derived from `EventHandler`."""

    style = "this loader"
    strict = False

    def __init__(self, kind: type[EventHandler]) -> None:
        with _calling("__init__"):
            self._handler = kind()
        self.overrides = tuple(name for name in api.NAMES if getattr(kind, name) is not getattr(EventHandler, name))

    def ask(self, name: str, context: Context, *arguments: Any) -> Any:
        if name not in self.overrides:
            return None
        with _calling(name):
            return _checked(name, getattr(self._handler, name)(context, *arguments))

    def around(self, event: str, context: Context, work: Callable[[], None]) -> None:
        self.tell(f"pre_{event}", context)
        work()
        self.tell(f"post_{event}", context)

    def tell(self, event: str, context: Context) -> None:
        if event in self.overrides:
            with _calling(event):
                getattr(self._handler, event)(context)

    def character_map(self) -> CharacterMap | None:
        if "character_map" not in self.overrides:
            return None
        with _calling("character_map"):
            returned = self._handler.character_map()
        return None if returned is None else CharacterMap(returned)


class OfAutomatedIngest(_Overriding):
    """A class `event_handler` written for irods_capability_automated_ingest.

    Its defaults are those of the handlers it was written for: registration, nothing deleted, no repetition of what it fails.
    """

    style = automated_ingest.PACKAGE
    strict = True

    def __init__(self, module: types.ModuleType, kind: type) -> None:
        self._module = module
        self._kind = kind
        heard = {name for name in api.NAMES if hasattr(kind, name)}
        for event in AROUND:  # the older way: the whole call of an event taken over
            if _found(kind, f"on_{event}") is not _found(automated_ingest.Core, f"on_{event}"):
                heard |= {f"pre_{event}", f"post_{event}"}
        self.overrides = tuple(name for name in api.NAMES if name in heard)

    def ask(self, name: str, context: Context, *arguments: Any) -> Any:
        if name not in self.overrides:
            return "register_sync" if name == "operation" else None
        method = getattr(self._kind, name)
        with _calling(name):
            if name in ("operation", "to_resource", "target_path"):
                answer = method(context.session, meta_of(context))
            elif name in ("as_user", "delete_mode"):
                answer = method(meta_of(context))
            else:
                answer = method(self._kind, context.log, meta_of(context), *arguments)
            return _checked(name, "register_sync" if name == "operation" and answer is None else answer)

    def around(self, event: str, context: Context, work: Callable[[], None]) -> None:
        raised: list[BaseException] = []

        def func(*_: Any, **__: Any) -> None:
            try:
                work()
            except BaseException as error:
                raised.append(error)
                raise

        # deletions are told without a logger
        told = [self._module, context.session, meta_of(context)]
        if not event.endswith("_delete"):
            told.insert(1, context.log)
        call = getattr(self._kind, f"on_{event}", getattr(automated_ingest.Core, f"on_{event}").__func__)
        try:
            if hasattr(call, "__self__"):
                call(func, *told)
            else:
                call(self._kind, func, *told)
        except BaseException as error:
            if error in raised:
                raise
            raise _failed(_raiser(error, event), error) from error

    def tell(self, event: str, context: Context) -> None:
        if event in self.overrides:
            with _calling(event):
                getattr(self._kind, event)(self._kind, context.log, meta_of(context))

    def character_map(self) -> CharacterMap | None:
        if "character_map" not in self.overrides:
            return None
        with _calling("character_map"):
            returned = self._kind.character_map()  # type: ignore[attr-defined]  # it was found there
        return CharacterMap(returned)


def meta_of(context: Context) -> dict[str, Any]:
    """The `meta` of automated ingest, made anew for each call: what a handler changes in it changes nothing."""
    quiet: Mapping[str, Any] = {"filename": None, "when": None, "interval": None, "level": None}
    excluded = list(context.settings.get("exclude_regex", ()))
    # of a bucket the paths have a slash in front there, the source has none, and the root of its objects is the bucket alone
    source = context.source.lstrip("/") if context.bucket else context.source
    meta: dict[str, Any] = {
        "job_name": context.job,
        "root": context.bucket if context.bucket and context.path else source,
        "src_path": source,
        "path": context.path or source,
        "target": context.target,
        "root_target_collection": context.collection,
        "interval": context.settings.get("rescan_seconds"),
        "event_handler": context.settings.get("event_handler"),
        "event_handler_key": f"custom_event_handler:/{context.job}",
        "config": {"log": dict(quiet), "profile": dict(quiet), "redis": {"host": "localhost", "port": 6379, "db": 0}},
        "ignore_cache": False,
        "initial_ingest": False,
        "synchronous": False,
        "progress": False,
        "profile": False,
        "files_per_task": 1,
        "restart_queue": "restart",
        "path_queue": "path",
        "file_queue": "file",
        "queue_name": "path" if context.is_directory or not context.path else "file",
        "idle_disconnect_seconds": 60,
        "exclude_file_type": list(context.settings.get("exclude_types", ())),
        "exclude_file_name": excluded,
        "exclude_directory_name": excluded,
        "s3_keypair": None,
        "s3_endpoint_domain": None,
        "s3_region_name": None,
        "s3_proxy_url": None,
        "s3_secure_connection": True,
        "s3_multipart_chunksize_in_mib": 8,
    }
    if context.bucket and context.path:
        meta["s3_prefix"] = source.partition("/")[2]
    if context.path:
        kind = "dir" if context.is_directory else "file"
        meta |= {"entry_type": kind, "task": "filesystem_sync_dir" if context.is_directory else "sync_file"}
        meta |= _times(context) | _other_name(context)
    if context.path and not context.is_directory:
        meta |= {"size": context.size, "is_link": False, "is_socket": False, "is_empty_dir": None}
    return meta


def _other_name(context: Context) -> dict[str, Any]:
    """Why a path has another name in iRODS, and its bytes as base64; nothing where it has its own."""
    path = os.fsencode(context.path)
    kept, name = b64encode(path), context.logical_path.rpartition("/")[2]
    said: dict[str, Any] = {}
    if context.relative and context.logical_path != f"{context.collection.rstrip('/')}/{context.relative}":
        said |= {"b64_reason": "character_map", "b64_path_str_charmap": kept}
    if escape(path).encode() != path:
        said |= {"b64_reason": "UnicodeEncodeError", "b64_path_str": kept, "unicode_error_filename": name}
    return said


def _times(context: Context) -> dict[str, float]:
    """The times of a path. The time of its inode is asked of the source, where that is a filesystem."""
    try:
        status = os.lstat(context.path)
    except OSError:  # it is gone, or was never a file: an object of a bucket
        return {"mtime": context.modified_at, "ctime": context.modified_at}
    return {"mtime": status.st_mtime if context.is_directory else context.modified_at, "ctime": status.st_ctime}


def _found(kind: type, name: str) -> Any:
    return next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)


@contextmanager
def _calling(name: str) -> Iterator[None]:
    """Tell of whatever a handler's method raises as its failure."""
    try:
        yield
    except HandlerFailed:
        raise
    except (Exception, SystemExit) as error:  # a handler's own, whatever it is
        raise _failed(name, error) from error


def _failed(name: str, error: BaseException) -> HandlerFailed:
    if isinstance(error, HandlerFailed):
        return error
    words = error.message if isinstance(error, FileError) else f"{type(error).__name__}: {error}"
    return HandlerFailed(type(error).__name__, f"event handler: {name} raised {words}")


def _raiser(error: BaseException, event: str) -> str:
    """Which of the two events has raised: the first of them that the traceback names."""
    trace = error.__traceback__
    while trace is not None:
        if (name := trace.tb_frame.f_code.co_name) in (f"pre_{event}", f"post_{event}"):
            return name
        trace = trace.tb_next
    return f"on_{event}"


def _checked(name: str, answer: Any) -> Any:
    """An answer in our words; raises when it makes no sense."""
    if answer is None:
        return None
    if name in ("operation", "delete_mode"):
        word = answer.name.lower() if isinstance(answer, Enum) else answer
        wanted: tuple[str, ...] = get_args(Operation if name == "operation" else DeleteMode)
        good = word in wanted
        answer = word
    elif name == "as_user":
        good = len(answer) == 2 and all(isinstance(part, str) and part for part in answer)
        answer = tuple(answer)
    elif name in ("to_resource", "target_path"):
        good = isinstance(answer, str) and bool(answer)
    elif name == "max_retries":
        good = isinstance(answer, int) and answer >= 0
    else:
        good = isinstance(answer, int | float) and math.isfinite(answer) and (answer > 0 or name == "delay")
    if not good:
        raise HandlerFailed("bad_answer", f"event handler: {name} returned {answer!r}")
    return answer
