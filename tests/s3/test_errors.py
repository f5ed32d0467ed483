"""What a service answers when something is wrong, over HTTP: the right class, one line with a hint, and nothing silently wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from core.errors import Changed, FileError, Outage, Overload, Permanent, Transient, UsageError, Vanished
from core.sources import s3_file
from core.sources.base import Stat
from core.sources.s3 import S3Source
from tests.s3.front import Answer, Front, Wrong, before, cut_after, error, first, saying
from tests.s3.service import EXTERNAL, Service

DATA = bytes(range(256)) * 40
_DATE = "Sat, 03 Jan 2026 10:00:00 GMT"


@pytest.fixture(scope="module")
def running_front(s3: Service) -> Iterator[Front]:
    with before(s3.endpoint) as front:
        yield front


@pytest.fixture
def front(running_front: Front) -> Iterator[Front]:
    yield running_front
    running_front.heal()


@pytest.fixture(scope="module")
def bucket(s3: Service) -> str:
    return s3.bucket("d/x", "d/y")


@pytest.fixture(scope="module")
def source(s3: Service, running_front: Front, bucket: str) -> S3Source:
    return through(s3, running_front, bucket)


@pytest.fixture(autouse=True)
def k(s3: Service, bucket: str) -> None:
    s3.client.put_object(Bucket=bucket, Key="k", Body=DATA)


def through(s3: Service, front: Front, bucket: str, **settings: Any) -> S3Source:
    return s3.source(bucket, **({"endpoint_url": front.endpoint, "attempts": 1} | settings))


def seen(source: S3Source) -> Stat:
    """What a listing says of the object k."""
    [entry] = [one for one in source.scan("") if one.name == "k"]
    return Stat(entry.size, entry.modified_at, entry.tag)


def held_to_the_rules(error: FileError) -> None:
    """One line that says what it is about, and no secret."""
    assert "\n" not in str(error)
    assert "s3://" in error.message
    assert "testing-secret" not in str(error)


ANSWERS: list[tuple[Wrong, type[FileError], str, str]] = [
    (error(503, "SlowDown"), Overload, "SlowDown", ""),
    (error(429, "TooManyRequests"), Overload, "TooManyRequests", ""),
    (error(503, "ServiceUnavailable"), Overload, "ServiceUnavailable", ""),
    (error(400, "ExpiredToken"), Outage, "ExpiredToken", "renew the credentials"),
    (error(403, "InvalidAccessKeyId"), Outage, "InvalidAccessKeyId", "s3.key_pair_file"),
    (error(403, "SignatureDoesNotMatch"), Outage, "SignatureDoesNotMatch", "secret key"),
    (error(403, "RequestTimeTooSkewed"), Outage, "RequestTimeTooSkewed", "clock"),
    (error(404, "NoSuchBucket"), Outage, "NoSuchBucket", "check the"),
    (error(301, "PermanentRedirect"), Outage, "PermanentRedirect", "s3.region"),
    (error(400, "AuthorizationHeaderMalformed"), Outage, "AuthorizationHeaderMalformed", "s3.region"),
    (error(500, "InternalError"), Outage, "InternalError", "does the S3 service answer?"),
    (error(400, "RequestTimeout"), Outage, "RequestTimeout", "does the S3 service answer?"),
    (saying(502, b"<html>Bad gateway</html>"), Outage, "502", "does the S3 service answer?"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "kind", "name", "hint"), ANSWERS, ids=[f"{one[2]}" for one in ANSWERS])
def test_what_is_nobodys_fault_touches_no_file(
    s3: Service, front: Front, bucket: str, source: S3Source, wrong: Wrong, kind: type[FileError], name: str, hint: str
) -> None:
    known = seen(source)
    status = str(wrong(lambda: Answer(0)).status)  # all that the answer to a HEAD says
    for method in ("GET", "HEAD"):
        front.fault(method, bucket, wrong)
    for attempt in (
        lambda: list(source.scan("d")),
        lambda: source.open("k", known).read_at(0, 10),
        lambda: source.entry("k"),
    ):
        with pytest.raises(FileError) as caught:
            attempt()
        assert type(caught.value) is kind, caught.value
        assert caught.value.error in (name, status)
        assert hint in caught.value.hint
        held_to_the_rules(caught.value)
    with pytest.raises(UsageError, match=name):
        source.check()
    front.heal()
    assert source.open("k", known).read_at(0, 10) == DATA[:10]


def test_access_denied_says_which_right_is_missing(front: Front, bucket: str, source: S3Source) -> None:
    known = seen(source)
    front.fault("GET", "list-type=2", error(403, "AccessDenied", "Access Denied"))
    with pytest.raises(Permanent, match="AccessDenied") as caught:
        list(source.scan("d"))
    assert caught.value.hint == "let the credentials list the bucket (s3:ListBucket)"
    with pytest.raises(UsageError, match="s3:ListBucket"):
        source.check()
    front.fault("GET", f"{bucket}/k", error(403, "AccessDenied", "Access Denied"))
    front.fault("HEAD", f"{bucket}/k", saying(403, b""))
    for attempt in (lambda: source.open("k", known).read_at(0, 10), lambda: source.open("k")):
        with pytest.raises(Permanent) as caught:
            attempt()
        assert caught.value.error == "AccessDenied"
        assert "s3:GetObject" in caught.value.hint
        held_to_the_rules(caught.value)


def test_an_overload_that_is_short_is_not_even_seen(s3: Service, front: Front, bucket: str) -> None:
    source = through(s3, front, bucket, attempts=3)
    known = seen(source)
    front.fault("GET", f"{bucket}/k", error(503, "SlowDown"), times=2)
    before_it = len(front.asked)
    assert source.open("k", known).read_at(0, len(DATA)) == DATA
    assert [one.method for one in front.asked[before_it:] if one.url.startswith(f"/{bucket}/k")] == ["GET"] * 3


def test_an_object_whose_answer_breaks_off_is_read_on_where_it_ended(
    s3: Service, front: Front, bucket: str, source: S3Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = seen(source)
    for window in (1 << 26, 3000):  # by one answer, and by several
        monkeypatch.setattr(s3_file, "WINDOW_BYTES", window)
        front.fault("GET", f"{bucket}/k", cut_after(1000), times=2)
        file = source.open("k", known)
        read = b"".join(file.read_at(offset, 700) for offset in range(0, len(DATA) + 700, 700))
        assert read == DATA
        file.close()
    front.fault("GET", f"{bucket}/k", cut_after(0))
    with pytest.raises(Outage) as caught:
        source.open("k", known).read_at(0, 100)
    held_to_the_rules(caught.value)


def test_an_object_that_is_overwritten_while_it_is_read_is_changed(
    s3: Service, front: Front, bucket: str, source: S3Source
) -> None:
    known = seen(source)
    file = source.open("k", known)
    assert file.read_at(0, 1000) == DATA[:1000]
    file.close()  # as after an answer that broke off
    s3.client.put_object(Bucket=bucket, Key="k", Body=DATA[::-1])
    with pytest.raises(Changed):
        file.read_at(1000, 1000)
    assert not file.stat().is_like(known)


def test_a_service_that_ignores_if_match_and_range_gives_no_wrong_bytes(
    s3: Service, front: Front, bucket: str, source: S3Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_file, "WINDOW_BYTES", 4000)
    known = seen(source)

    def deaf(ask: Callable[[], Answer]) -> Answer:
        whole = s3.client.get_object(Bucket=bucket, Key="k")
        return Answer(200, {"ETag": whole["ETag"], "Last-Modified": _DATE}, whole["Body"].read())

    front.fault("GET", f"{bucket}/k", deaf)
    with pytest.raises(Permanent) as caught:
        source.open("k", known).read_at(500, 100)
    assert caught.value.error == "range_ignored"
    held_to_the_rules(caught.value)
    s3.client.put_object(Bucket=bucket, Key="k", Body=DATA[::-1])
    with pytest.raises(Changed):
        source.open("k", known).read_at(0, 100)


def test_an_object_that_is_gone_when_it_is_read_has_vanished(
    s3: Service, front: Front, bucket: str, source: S3Source
) -> None:
    known = seen(source)
    front.fault("GET", f"{bucket}/k", first(lambda: s3.client.delete_object(Bucket=bucket, Key="k")), times=1)
    with pytest.raises(Vanished):
        source.open("k", known).read_at(0, 10)
    front.fault("HEAD", bucket, error(403, ""))  # who may not look at the bucket believes it too
    front.fault("GET", f"/{bucket}?", error(403, "AccessDenied"))
    with pytest.raises(Vanished):
        source.open("k", known).read_at(0, 10)


LISTING = "<?xml version='1.0'?><ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>{}</ListBucketResult>"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>Please log in</body></html>",
        b"<?xml version='1.0'?><Something/>",
        LISTING.format("").encode(),
        b"404",
        LISTING.format("<IsTruncated>true</IsTruncated>").encode(),
        LISTING.format("<IsTruncated>false</IsTruncated><Contents><Key>d/x").encode(),
        b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>late</Message></Error>",
    ],
)
def test_an_answer_that_is_no_whole_listing_is_no_empty_one(front: Front, source: S3Source, body: bytes) -> None:
    front.fault("GET", "list-type=2", saying(404 if body == b"404" else 200, body, "application/xml"))
    for directory in ("", "d"):
        with pytest.raises((Outage, Transient)) as caught:
            list(source.scan(directory))
        held_to_the_rules(caught.value)
    with pytest.raises(UsageError):
        source.check()


def test_a_listing_whose_answer_breaks_off_says_nothing(
    s3: Service, front: Front, bucket: str, source: S3Source
) -> None:
    front.fault("GET", "list-type=2", cut_after(300))
    with pytest.raises(Outage) as caught:
        list(source.scan("d"))
    held_to_the_rules(caught.value)


def test_what_a_page_repeats_unquoted_may_be_no_xml(s3: Service, front: Front) -> None:
    names = [f"\x01{n}" for n in range(5)] + ["\x02d/a", "\x02d/b", "\x02e/a", "\ufffe", "\uffffz", "last"]
    bucket = s3.bucket(*(f"p\x1f/{name}" for name in names))

    def ceph(ask: Callable[[], Answer]) -> Answer:
        """Keys are quoted; where to go on is said by the last name of the page as it is."""
        got = ask()
        page: str = re.sub("<StartAfter>.*?</StartAfter>", "", got.body.decode())
        names = [unquote(one) for one in re.findall("<(?:Key|CommonPrefixes><Prefix)>(.*?)<", page)]
        token = f"<NextContinuationToken>{max(names, default='')}<"
        page = re.sub("<NextContinuationToken>.*?<", lambda one: token, page)
        page = page.replace("<IsTruncated>", "<StartAfter>\x03\uffff</StartAfter><IsTruncated>")
        return got._replace(body=page.encode())

    front.fault("GET", "list-type=2", ceph)
    for page in (1, 2, 1000):
        source = through(s3, front, bucket, list_page=page)
        found = [(entry.name, entry.kind) for entry in source.scan("p%1F")]
        assert len(found) == len(set(found)) == 10, page


def test_a_key_pair_that_is_renewed_is_taken(s3: Service, front: Front, bucket: str, tmp_path: Path) -> None:
    pair = tmp_path / "pair"
    pair.write_text("old\nsecret\n")
    source = through(s3, front, bucket, key_pair_file=pair)

    def unless_new(ask: Callable[[], Answer]) -> Answer:
        known = "Credential=new/" in front.asked[-1].headers["authorization"]
        return ask() if known else error(400, "ExpiredToken")(ask)

    front.fault("GET", bucket, unless_new)
    for half in ("old\nsecret\n", "new\n"):  # as before, and half written
        pair.write_text(half)
        with pytest.raises(Outage, match="ExpiredToken"):
            list(source.scan("d"))
    if not os.environ.get(EXTERNAL):
        pair.write_text("new\nsecret\n")
        assert [entry.name for entry in source.scan("d")] == ["x", "y"]
