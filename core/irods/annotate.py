"""Metadata and access that belong to an object: sent with its bytes where iRODS can (606), else right after them.

Both are set, not added: after any number of attempts an attribute has the values that were given, once each. Only
attributes and users that are named are touched.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from core import paths
from core.errors import FileError
from core.irods import batches, errors, messages
from core.irods.messages import Api
from core.irods.queries import Column, equal, select
from core.irods.session import Session
from core.outcome import Done, Outcome

INGEST_NAME = "irods::automated_ingest::UnicodeEncodeError"
INGEST_UNIT = "python3.base64.b64encode(full_path_of_source_file)"


class AVU(NamedTuple):
    """One piece of metadata."""

    attribute: str
    value: str
    unit: str = ""


Access = tuple[str, str]
"""A permission for a user or group: (`user#zone` or `user`, `read`, `write`, `own`, `null` or any other level)."""


def source_path_avu(source_path: bytes) -> AVU | None:
    """The AVU that keeps the path of a source file whose name iRODS cannot hold as it is; None where it can.

    It is the one of automated ingest (irods_capability_automated_ingest, tasks/filesystem_tasks.py), so that programs
    that read its catalogues read ours.
    """
    if paths.escape(source_path).encode("utf-8") == source_path:
        return None
    return AVU(INGEST_NAME, b64encode(source_path).decode(), INGEST_UNIT)


def included(metadata: Sequence[AVU], acl: Sequence[Access]) -> dict[str, str]:
    """The keywords of a put (606) that bring metadata and access along: lists with `;`, and `\\` before what is
    special (irods_serialization.cpp)."""
    keywords = {}
    if metadata:
        keywords["metadataIncluded"] = ";".join(_escaped(part) for avu in metadata for part in avu)
    if acl:
        keywords["aclIncluded"] = ";".join(f"{level} {_escaped(who).replace(' ', chr(92) + ' ')}" for who, level in acl)
    return keywords


def annotate(session: Session, path: str, metadata: Sequence[AVU], acl: Sequence[Access]) -> None:
    """Set metadata (702, and 20002 where something differs: all or nothing) and access (707) of an object.

    Of an attribute that is given, other values than the given ones are removed.
    """
    if metadata:
        _set_metadata(session, path, metadata)
    if acl:
        for reply in session.pipeline([(Api.MOD_ACCESS_CONTROL, _grant(path, *entry)) for entry in acl]):
            if reply.status < 0:
                raise errors.error_for(reply.status, path, reply.text)


class Annotated(Protocol):
    """An item of a bulk verb that brings metadata and access along."""

    @property
    def metadata(self) -> Sequence[AVU]:
        """What is to be set."""

    @property
    def acl(self) -> Sequence[Access]:
        """Who may do what."""


def annotate_done(
    session: Session, items: Sequence[tuple[str, Annotated]], outcomes: Sequence[Outcome]
) -> list[Outcome]:
    """Annotate, by logical path, the items that are done; one whose annotation fails is not."""
    settled = list(outcomes)
    for number, (path, item) in enumerate(items):
        if isinstance(settled[number], Done) and (item.metadata or item.acl):
            try:
                annotate(session, path, item.metadata, item.acl)
            except FileError as problem:
                settled[number] = batches.outcome(problem)
    return settled


def read_metadata(session: Session, path: str) -> list[AVU]:
    """The metadata of an object, in order. One round trip (702)."""
    collection, name = paths.split(path)
    columns = (Column.META_ATTRIBUTE, Column.META_VALUE, Column.META_UNIT)
    conditions = [(Column.COLL_NAME, equal(collection)), (Column.DATA_NAME, equal(name))]
    return sorted(AVU(*row) for row in select(session, columns, conditions, path=path))


def _set_metadata(session: Session, path: str, metadata: Sequence[AVU]) -> None:
    _set(session, path, "data_object", read_metadata(session, path), metadata)


def annotate_collection(session: Session, path: str, metadata: Sequence[AVU]) -> None:
    """Set metadata of a collection, as `annotate` does of an object."""
    _set(session, path, "collection", read_collection_metadata(session, path), metadata)


def read_collection_metadata(session: Session, path: str) -> list[AVU]:
    """The metadata of a collection, in order. One round trip (702)."""
    columns = (Column.META_COLL_ATTRIBUTE, Column.META_COLL_VALUE, Column.META_COLL_UNIT)
    return sorted(AVU(*row) for row in select(session, columns, [(Column.COLL_NAME, equal(path))], path=path))


def _set(session: Session, path: str, kind: str, present: Sequence[AVU], metadata: Sequence[AVU]) -> None:
    wanted, attributes = set(metadata), {avu.attribute for avu in metadata}
    there = {avu for avu in present if avu.attribute in attributes}
    operations = [_operation("remove", avu) for avu in sorted(there - wanted)]
    operations += [_operation("add", avu) for avu in sorted(wanted - there)]
    if operations:
        request = {"entity_name": path, "entity_type": kind, "operations": operations}
        session.call(Api.ATOMIC_METADATA, messages.json_body(request), path=path)


def _operation(what: str, avu: AVU) -> Mapping[str, str]:
    return {"operation": what, "attribute": avu.attribute, "value": avu.value, "units": avu.unit}


def _grant(path: str, who: str, level: str) -> messages.Packable:
    name, _, zone = who.partition("#")
    return messages.access(path, level, name, zone)


def _escaped(part: str) -> str:
    return part.replace("\\", "\\\\").replace(";", "\\;")
