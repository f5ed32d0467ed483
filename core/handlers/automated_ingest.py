"""What a file written for irods_capability_automated_ingest imports, so that it runs unchanged.

The modules are put into `sys.modules` under their own names while such a file is loaded or run. They are made from what handlers
see of them: classes to derive from, two enumerations, the log, and a place to keep counters, which is a table of the inventory
here instead of Redis.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, Protocol

import structlog

from core.handlers.api import AROUND

PACKAGE = "irods_capability_automated_ingest"


class Operation(Enum):
    """What becomes of a file."""

    REGISTER_SYNC = 0
    REGISTER_AS_REPLICA_SYNC = 1
    PUT = 2
    PUT_SYNC = 3
    PUT_APPEND = 4
    NO_OP = 5


class DeleteMode(Enum):
    """What becomes of the object of a file that is gone."""

    DO_NOT_DELETE = 0
    UNREGISTER = 1
    TRASH = 2
    NO_TRASH = 3


def _around(event: str) -> Any:
    def on(cls: type, func: Callable[..., Any], *args: Any, **options: Any) -> None:
        before, after = getattr(cls, f"pre_{event}", None), getattr(cls, f"post_{event}", None)
        if before is not None:
            before(*args, **options)
        func(*args, **options)
        if after is not None:
            after(*args, **options)

    return classmethod(on)


Core = type("Core", (), {f"on_{event}": _around(event) for event in AROUND})
"""The class that handlers derive from: each `on_…` calls the `pre_…` method, does the work, and calls the `post_…` one."""


class Notes(Protocol):
    """What handlers keep from one call to another, for all pods of a job."""

    def get(self, key: str) -> Any:
        """The value kept under a key, or None."""
        ...

    def set(self, key: str, value: Any) -> None:
        """Keep a value: a number or a text."""
        ...

    def add(self, key: str, amount: float) -> float:
        """Add to a number, beginning at 0, and return the sum."""
        ...

    def delete(self, key: str) -> None:
        """Forget a key."""
        ...

    def count(self, what: str) -> int:
        """How many `failures` or `retries` the job's pass has had."""
        ...


class Redis:
    """The calls of a Redis client that handlers use for counters and small values."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def get(self, key: str) -> bytes | None:
        """The value as bytes, as Redis gives it."""
        value = self._notes.get(key)
        return None if value is None else str(value).encode()

    def set(self, key: str, value: Any) -> bool:
        """Keep a value."""
        self._notes.set(key, value.decode() if isinstance(value, bytes) else value)
        return True

    def incr(self, key: str, amount: int = 1) -> int:
        """Add to a counter."""
        return int(self._notes.add(key, amount))

    def decr(self, key: str, amount: int = 1) -> int:
        """Take from a counter."""
        return int(self._notes.add(key, -amount))

    def delete(self, *keys: str) -> None:
        """Forget keys."""
        for key in keys:
            self._notes.delete(key)

    incrby, decrby = incr, decr

    def exists(self, key: str) -> int:
        """1 when there is such a key."""
        return int(self._notes.get(key) is not None)


class KeyHandle:
    """One value of a Redis under a category and a name. A number comes back as a number."""

    def __init__(self, redis: Redis, category: str, identifier: str, delimiter: str = ":/") -> None:
        self._notes = redis._notes
        self._key = f"{category}{delimiter}{identifier}"

    def get_key(self) -> str:
        """The whole key."""
        return self._key

    def get_value(self) -> Any:
        """The value, or None."""
        return self._notes.get(self._key)

    def set_value(self, value: Any) -> None:
        """Keep a value."""
        self._notes.set(self._key, value)

    def incrby(self, amount: int = 1) -> None:
        """Add so many."""
        self._notes.add(self._key, amount)

    def decrby(self, amount: int = 1) -> None:
        """Take so many."""
        self._notes.add(self._key, -amount)

    def incr(self) -> None:
        """Add one."""
        self._notes.add(self._key, 1)

    def decr(self) -> int:
        """Take one."""
        return int(self._notes.add(self._key, -1))

    def reset(self) -> None:
        """Forget it."""
        self._notes.delete(self._key)


class _Counted(KeyHandle):
    """A count of the job's, which the inventory keeps."""

    category = ""

    def __init__(self, redis: Redis, job: str) -> None:
        super().__init__(redis, self.category, job)

    def get_value(self) -> int | None:
        """The count; None when it is 0."""
        return self._notes.count(self.category) or None


class FailuresHandle(_Counted):
    """Files and directories that were given up."""

    category = "failures"


class RetriesHandle(_Counted):
    """Attempts that failed and were tried again."""

    category = "retries"


@contextmanager
def provided(notes: Notes) -> Iterator[None]:
    """Have the package under its name, with `notes` behind its Redis, whether or not another one is installed."""
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == PACKAGE}
    sys.modules.update(_modules(notes))
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]
        sys.modules.update(hidden)


def _modules(notes: Notes) -> dict[str, types.ModuleType]:
    contents: dict[str, dict[str, Any]] = {
        "": {},
        ".core": {"Core": Core},
        ".utils": {"Operation": Operation, "DeleteMode": DeleteMode},
        ".sync_logging": {"get_sync_logger": lambda config: structlog.get_logger()},
        ".redis_utils": {"get_redis": lambda config: Redis(notes)},
        ".redis_key": {
            "redis_key_handle": KeyHandle,
            "float_redis_key_handle": KeyHandle,
            "incremental_redis_key_handle": KeyHandle,
            "failures_key_handle": FailuresHandle,
            "retries_key_handle": RetriesHandle,
        },
        ".examples": {},
    }
    modules = {f"{PACKAGE}{suffix}": types.ModuleType(f"{PACKAGE}{suffix}") for suffix in contents}
    for suffix, attributes in contents.items():
        module = modules[f"{PACKAGE}{suffix}"]
        vars(module).update(attributes)
        if suffix in ("", ".examples"):
            module.__path__ = []
        if suffix:
            setattr(modules[PACKAGE], suffix[1:], module)
    return modules
