"""What an event handler of ours looks like: a class of methods that do nothing, and one frozen context."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from core.settings import DeleteMode, Operation

AROUND = ("data_obj_create", "data_obj_modify", "data_obj_delete", "coll_create", "coll_modify", "coll_delete")
"""What a pair of events stands around: `pre_…` before it, `post_…` after it has succeeded."""
FILE_EVENTS = tuple(f"{when}_data_obj_{what}" for what in ("create", "modify") for when in ("pre", "post"))
"""The events of one file's loading: with any of them files are loaded one by one."""
COLLECTION_EVENTS = tuple(f"{when}_coll_{what}" for what in ("create", "modify") for when in ("pre", "post"))
CHANGE_EVENTS = ("pre_coll_modify", "post_coll_modify")
DELETE_EVENTS = tuple(f"{when}_{what}_delete" for what in ("data_obj", "coll") for when in ("pre", "post"))
JOB_EVENTS = ("pre_job", "post_job")
ANSWERS = ("operation", "to_resource", "target_path", "as_user", "delete_mode", "character_map")
LIMITS = ("timeout", "max_retries", "delay")
NAMES = (*ANSWERS, *LIMITS, *FILE_EVENTS, *COLLECTION_EVENTS, *DELETE_EVENTS, *JOB_EVENTS)
"""Everything an event handler can say."""


@dataclass(frozen=True)
class Context:
    """What is known where a handler is asked: about a file, a directory (`is_directory`), or a whole job (no `path`).

    `path` is the path at the source, with bytes that are no UTF-8 as surrogates; `logical_path` the one in iRODS; `relative` the
    escaped path below the job's source; `bucket` the bucket it is in, '' for a directory. Times are in seconds since 1970, sizes
    in bytes. `attempt` counts from 1. `session` is an iRODSSession of python-irodsclient that acts as the loader does, or as the
    user that `as_user` named; it is None where there is none: in `as_user`, `delete_mode` and `character_map`. `log` writes to
    the pod's log: `log.info("event", key=value)`.
    """

    job: str
    source: str
    collection: str
    log: Any
    path: str = ""
    relative: str = ""
    logical_path: str = ""
    is_directory: bool = False
    size: int = 0
    modified_at: float = 0.0
    attempt: int = 1
    session: Any = None
    pass_number: int = 0
    bucket: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The settings of the job, as `ingest job start` took them."""
    reader: Callable[[], BinaryIO] | None = field(default=None, repr=False)

    def open(self) -> BinaryIO:
        """The file's bytes, whatever kind of source it is in; close it, or use it in a `with`."""
        if self.reader is None:
            raise ValueError(f"{self.path or self.job} is no file")
        return self.reader()

    @property
    def target(self) -> str:
        """The logical path; of a whole job its collection."""
        return self.logical_path or self.collection


@dataclass(frozen=True)
class Annotations:
    """What belongs to an object besides its bytes: what `--extract-metadata` functions may return.

    `metadata` are (attribute, value) or (attribute, value, unit), `acl` are (user or user#zone, level).
    """

    metadata: Sequence[tuple[str, ...]] = ()
    acl: Sequence[tuple[str, str]] = ()


class EventHandler:
    """Derive a class of this one, in a file of its own, and override what you have a say in. Nothing else is asked.

    A method that raises fails the file, collection or job event it was called for, and no other.
    """

    def operation(self, context: Context) -> Operation | None:
        """How this file is brought in; None: as the job says."""

    def to_resource(self, context: Context) -> str | None:
        """The resource to put to or to register on; None: as the job says."""

    def target_path(self, context: Context) -> str | None:
        """The physical path to register instead of the one at the source."""

    def as_user(self, context: Context) -> tuple[str, str] | None:
        """(zone, user) to act for; who logs in must be a rodsadmin then."""

    def delete_mode(self, context: Context) -> DeleteMode | None:
        """What becomes of objects whose file is gone; asked once, when the job starts."""

    def character_map(self) -> Any:
        """Characters to be replaced in names: see docs/event-handlers.md. None: none."""

    def timeout(self, context: Context) -> float | None:
        """Seconds after which this file's attempt is ended, whatever it is at."""

    def max_retries(self, context: Context) -> int | None:
        """How often a failed attempt is repeated; None: as the job says."""

    def delay(self, context: Context, retries: int) -> float:
        """Seconds to wait before the repetition of that number; only asked with `max_retries`."""
        return 0

    def pre_data_obj_create(self, context: Context) -> None:
        """Before an object is made."""

    def post_data_obj_create(self, context: Context) -> None:
        """After an object was made."""

    def pre_data_obj_modify(self, context: Context) -> None:
        """Before an object that exists is overwritten or brought up to date."""

    def post_data_obj_modify(self, context: Context) -> None:
        """After that."""

    def pre_data_obj_delete(self, context: Context) -> None:
        """Before the object of a file that is gone is removed."""

    def post_data_obj_delete(self, context: Context) -> None:
        """After that."""

    def pre_coll_create(self, context: Context) -> None:
        """Before a collection is made."""

    def post_coll_create(self, context: Context) -> None:
        """After a collection was made."""

    def pre_coll_modify(self, context: Context) -> None:
        """When the directory of a collection that exists was found to have changed."""

    def post_coll_modify(self, context: Context) -> None:
        """Right after that."""

    def pre_coll_delete(self, context: Context) -> None:
        """Before the empty collection of a directory that is gone is removed."""

    def post_coll_delete(self, context: Context) -> None:
        """After that."""

    def pre_job(self, context: Context) -> None:
        """Once a pass, before anything of it is loaded."""

    def post_job(self, context: Context) -> None:
        """Once a pass, when all of it is loaded and verified."""
