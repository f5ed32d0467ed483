"""What a bucket tells, in any order, twice, wrongly or oddly written: the inventory then has what is really there."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from core.errors import Overload
from core.sources.notices import notices_of
from inventory import noticed
from tests.integration.inventory_world import World
from tests.s3.front import before, error
from tests.s3.service import Service, running


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("s3")) as service:
        yield service


def told(bucket: str, *events: tuple[str, str]) -> str:
    """A message with keys as they are written in it."""
    records = [
        {"eventName": event, "s3": {"bucket": {"name": bucket}, "object": {"key": key, "eTag": "of another version"}}}
        for event, key in events
    ]
    return json.dumps({"Records": records})


def hear(world: World, s3: Service, bucket: str, *messages: str) -> set[tuple[str, str]]:
    source = s3.source(bucket)
    looked = noticed.look(source, world.job, [notice for message in messages for notice in notices_of(message)])
    return noticed.bring(world.database, world.job, source, looked)


def listed_soon(world: World) -> int:
    return int(world.one("SELECT count(*) FROM inventory.directory WHERE next_scan_at <= now() AND path = ''"))


@pytest.fixture
def settled(world: World) -> World:
    """A job whose root was listed, and is due in an hour."""
    world.add("known")
    world.execute("UPDATE inventory.directory SET next_scan_at = now() + interval '1 hour'")
    return world


def test_what_is_told_twice_is_one_file_as_it_is_now(settled: World, s3: Service) -> None:
    bucket = s3.bucket("known", "new")
    created = told(bucket, ("ObjectCreated:Put", "new"))
    for messages in ((created, created), (created,)):
        assert hear(settled, s3, bucket, *messages) == set()
    s3.client.put_object(Bucket=bucket, Key="new", Body=b"longer")
    hear(settled, s3, bucket, created)
    assert settled.rows("name, size") == [("known", 1), ("new", 6)]
    assert listed_soon(settled) == 0


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_does_not_matter(settled: World, s3: Service, order: int) -> None:
    bucket = s3.bucket("known", "back")
    for key in ("back", "gone"):  # the one was removed and came back, the other came and was removed
        events = [("ObjectCreated:Put", key), ("ObjectRemoved:Delete", key)][::order]
        hear(settled, s3, bucket, *(told(bucket, event) for event in events))
    assert dict(settled.rows()).keys() <= {"known", "back"}
    assert listed_soon(settled) == 1  # which finds what is there, and that nothing else is


def test_a_removal_that_is_not_true_any_more_removes_nothing(settled: World, s3: Service) -> None:
    bucket = s3.bucket("known")
    hear(settled, s3, bucket, told(bucket, ("ObjectRemoved:Delete", "known")))
    assert settled.rows() == [("known", "discovered")]
    assert listed_soon(settled) == 1


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ("a b", "a+b"),
        ("a+b", "a%2Bb"),
        ("a%20b", "a%2520b"),
        ("é/ü", "%C3%A9%2F%C3%BC"),
        ("x//y", "x//y"),
        ("t/", "t/"),
    ],
)
def test_keys_are_written_as_in_a_form(settled: World, s3: Service, key: str, written: str) -> None:
    bucket = s3.bucket("known", key)
    hear(settled, s3, bucket, told(bucket, ("ObjectCreated:Put", written)))
    assert len(settled.rows()) == 2
    assert listed_soon(settled) == 0


def test_a_key_that_is_written_plain_is_found_by_a_listing(settled: World, s3: Service) -> None:
    bucket = s3.bucket("known", "a+b")
    hear(settled, s3, bucket, told(bucket, ("ObjectCreated:Put", "a+b")))
    assert settled.rows() == [("known", "discovered")]
    assert listed_soon(settled) == 1


def test_other_buckets_and_tests_of_the_way_change_nothing(settled: World, s3: Service) -> None:
    bucket = s3.bucket("known", "new")
    messages = (told("another", ("ObjectCreated:Put", "new")), '{"Service": "Amazon S3", "Event": "s3:TestEvent"}')
    assert hear(settled, s3, bucket, *messages) == set()
    assert settled.rows() == [("known", "discovered")]
    assert listed_soon(settled) == 0


def test_what_cannot_be_looked_at_now_is_told_again(settled: World, s3: Service) -> None:
    bucket = s3.bucket("new")
    with before(s3.endpoint) as front:
        front.fault("HEAD", "/new", error(503, "SlowDown"))
        source = s3.source(bucket, endpoint_url=front.endpoint, attempts=1)
        with pytest.raises(Overload):
            noticed.look(source, settled.job, notices_of(told(bucket, ("ObjectCreated:Put", "new"))))
