"""What buckets tell, in the shapes of several services."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.sources.notices import Notice, notices_of


def record(event: str, key: str) -> dict[str, Any]:
    return {"eventName": event, "s3": {"bucket": {"name": "b"}, "object": {"key": key, "size": 1, "eTag": "e"}}}


@pytest.mark.parametrize("event", ["ObjectCreated:Put", "s3:ObjectCreated:CompleteMultipartUpload"])
def test_records_of_aws_minio_and_ceph(event: str) -> None:
    said = {
        "EventName": event,
        "Key": "b/a",
        "Records": [record(event, "a+b%2Bc%C3%A9/d"), record("s3:ObjectRemoved:Delete", "g")],
    }
    wanted = [Notice("b", "a b+cé/d", False), Notice("b", "g", True)]
    assert notices_of(json.dumps(said)) == wanted
    assert notices_of(json.dumps({"Type": "Notification", "Message": json.dumps(said)})) == wanted


def test_eventbridge_writes_keys_as_they_are() -> None:
    said = {
        "source": "aws.s3",
        "detail-type": "Object Deleted",
        "detail": {"bucket": {"name": "b"}, "object": {"key": "a+b"}},
    }
    assert notices_of(json.dumps(said)) == [Notice("b", "a+b", True)]
    assert notices_of(json.dumps(said | {"detail-type": "Object Tags Added"})) == []


def test_other_events_and_the_test_of_the_way_tell_nothing() -> None:
    assert notices_of('{"Service": "Amazon S3", "Event": "s3:TestEvent"}') == []
    assert notices_of(json.dumps({"Records": [record("ObjectTagging:Put", "a")]})) == []


@pytest.mark.parametrize(
    "body",
    ["", "x", "[]", "{}", "null", '{"Records": 1}', '{"Records": [1]}', '{"Records": [{"eventName": "ObjectCreated:Put"}]}',
     '{"Type": "Notification", "Message": "x"}', '{"source": "aws.s3"}',
     '{"source": "aws.s3", "detail-type": "Object Created", "detail": {"bucket": {"name": 1}, "object": {"key": "k"}}}'],
)  # fmt: skip
def test_what_is_no_event_is_refused(body: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # json's own, or ours
        notices_of(body)
