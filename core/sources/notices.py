"""What a bucket tells of its objects: S3 event messages as AWS, MinIO and Ceph write them, bare, by SNS or by EventBridge."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

_CREATED = ("ObjectCreated:",)
_REMOVED = ("ObjectRemoved:", "LifecycleExpiration:", "ObjectLifecycle:Expiration:")
_BRIDGED = {"Object Created": False, "Object Deleted": True}


class Notice(NamedTuple):
    """Something has happened to a key; it need not be true any more."""

    bucket: str
    key: str
    removed: bool


def notices_of(body: str | bytes) -> list[Notice]:
    """The notices of one message; events of other kinds, and S3's own test of the way, give none. Raises ValueError."""
    return _of(json.loads(body))


def _of(said: Any) -> list[Notice]:
    if not isinstance(said, Mapping):
        raise ValueError(f"no JSON object, but {type(said).__name__}")
    if said.get("Type") == "Notification" and isinstance(said.get("Message"), str):
        return notices_of(said["Message"])
    if said.get("Event") == "s3:TestEvent":
        return []
    try:
        if said.get("source") == "aws.s3":
            removed = _BRIDGED.get(said["detail-type"])
            detail = said["detail"]
            found = [] if removed is None else [Notice(detail["bucket"]["name"], detail["object"]["key"], removed)]
        else:
            found = [notice for record in said["Records"] if (notice := _of_record(record)) is not None]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no event of S3: {error!r}") from None
    if not all(isinstance(part, str) for notice in found for part in notice[:2]):
        raise ValueError("no event of S3: a name that is no text")
    return found


def _of_record(record: Any) -> Notice | None:
    event = record["eventName"].removeprefix("s3:")
    if not event.startswith(_CREATED + _REMOVED):
        return None
    # as in a form; a service that leaves it plain names another key, which is then looked for in its directory
    key = unquote_plus(record["s3"]["object"]["key"])
    return Notice(record["s3"]["bucket"]["name"], key, event.startswith(_REMOVED))
