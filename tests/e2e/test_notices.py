"""A bucket that tells of its objects: by a queue, and by a webhook. The next full listing is an hour away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_plus

import httpx
import pytest

from tests.e2e.world import World, eventually
from tests.s3.service import Service, running
from tests.web.conftest import TOKEN, serving

AWAY = "away"
HOURLY = ("--rescan", "3600", "--delete-mode", "no_trash", "--exclude", "*.tmp")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("s3")) as service:
        yield service


def queue_of(s3: Service, bucket: str) -> str:
    url = s3.sqs.create_queue(QueueName=bucket, Attributes={"VisibilityTimeout": "2"})["QueueUrl"]
    arn = s3.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    s3.client.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}]
        },
    )
    return url


def left_on(s3: Service, url: str) -> int:
    names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    found = s3.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(names))["Attributes"]
    return sum(int(found[name]) for name in names)


def start(world: World, s3: Service, bucket: str, *options: str) -> None:
    world.environment |= s3.environment()
    done = world.ingest("job", "start", f"s3://{bucket}/in", world.target, "--name", "job", *HOURLY, *options)
    assert done.returncode == 0, done.stderr
    world.start("watcher", "loader", "verifier")


def states(world: World) -> dict[str, str]:
    """By path; a pass that is about to end takes along what vanishes in it."""
    found = {path: line.state for path, line in world.lines().items()}
    return {path: AWAY if state in ("vanished", "deleting", "deleted") else state for path, state in found.items()}


def deleted_at_the_end_of_a_pass(world: World, gone: set[str]) -> None:
    """A person need not wait for it."""
    assert world.ingest("job", "rescan", "job").returncode == 0
    eventually(
        lambda: f"they are deleted: {world.lines()}",
        lambda: gone <= {path for path, line in world.lines().items() if line.state == "deleted"},
    )


def test_a_queue_tells_of_objects_that_come_change_and_go(world: World, s3: Service) -> None:
    bucket = s3.bucket("in/a", "in/goes", "in/d/goes", "in/changes")
    url = queue_of(s3, bucket)
    start(world, s3, bucket, "--notices-queue", url)
    eventually("all are verified", lambda: world.counts() == {"verified": 4})
    for key in ("in/new é+1", "in/new/deep/x", "in/left.tmp", "out"):
        s3.client.put_object(Bucket=bucket, Key=key, Body=b"new")
    s3.client.put_object(Bucket=bucket, Key="in/changes", Body=b"other")
    s3.client.put_object(Bucket=bucket, Key="in/short-lived", Body=b"x")
    for key in ("in/goes", "in/d/goes", "in/short-lived"):
        s3.client.delete_object(Bucket=bucket, Key=key)
    s3.sqs.send_message(QueueUrl=url, MessageBody="this is no event")
    wanted = {"a", "changes", "new é+1", "new/deep/x"}
    gone = {"goes", "d/goes"}

    def found() -> dict[str, str]:
        found = states(world)
        if found.get("short-lived") == AWAY:
            del found["short-lived"]  # who hears of its end soon enough never knew of it
        return found

    expected = dict.fromkeys(wanted, "verified") | dict.fromkeys(gone, AWAY)
    eventually(lambda: str(found()), lambda: found() == expected)
    assert all(line.size == 5 for path, line in world.lines().items() if path == "changes")
    eventually("only the malformed one is left", lambda: left_on(s3, url) == 1)
    assert "notice_malformed" in (world.logs / "watcher-0.log").read_text()
    deleted_at_the_end_of_a_pass(world, gone)
    assert set(world.held_by_irods()) == wanted
    world.stop()


def test_a_queue_is_for_a_bucket_that_is_also_listed(world: World, s3: Service, tmp_path: Path) -> None:
    world.environment |= s3.environment()
    bucket = s3.bucket("a")
    words = ("job", "start", f"s3://{bucket}", world.target, "--name", "job", "--notices-queue")
    for more, told in (
        ((queue_of(s3, bucket),), "--rescan"),
        ((f"{s3.endpoint}/123456789012/none", "--rescan", "60"), "NonExistentQueue"),
        (("nowhere", "--rescan", "60"), "is no URL of a queue"),
    ):
        refused = world.ingest(*words, *more)
        assert refused.returncode == 2
        assert told in refused.stderr
        assert "Traceback" not in refused.stderr


def test_a_webhook_tells_the_same(world: World, s3: Service) -> None:
    bucket = s3.bucket("in/a", "in/goes")
    start(world, s3, bucket)
    eventually("all are verified", lambda: world.counts() == {"verified": 2})

    def said(*events: tuple[str, str]) -> str:
        records = [
            {"eventName": event, "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(key)}}}
            for event, key in events
        ]
        return json.dumps({"EventName": events[0][0], "Key": "x", "Records": records})

    s3.client.put_object(Bucket=bucket, Key="in/n é/w", Body=b"new")
    s3.client.delete_object(Bucket=bucket, Key="in/goes")
    events = said(("s3:ObjectCreated:Put", "in/n é/w"), ("s3:ObjectRemoved:Delete", "in/goes"))
    with serving({**world.environment, "WEB_TOKEN": TOKEN}) as address, httpx.Client(base_url=address) as client:
        assert client.post("/job/job/notices", content=events).status_code == 401
        operator = {"Authorization": f"Bearer {TOKEN}"}
        for body, status in ((events, 204), ("{}", 400), ("[", 400)):
            answer = client.post("/job/job/notices", content=body, headers=operator)
            assert answer.status_code == status, answer.text
        assert client.post("/job/none/notices", content=events, headers=operator).status_code == 404
        wanted = {"a": "verified", "n é/w": "verified", "goes": AWAY}
        eventually(lambda: f"the new one is there, the other gone: {states(world)}", lambda: states(world) == wanted)
        deleted_at_the_end_of_a_pass(world, {"goes"})
        assert set(world.held_by_irods()) == {"a", "n é/w"}
        assert world.ingest("job", "stop", "job").returncode == 0
        assert client.post("/job/job/notices", content=events, headers=operator).status_code == 409
    world.stop()
