"""The S3 source over HTTP: what it lists, how it reads, and what it makes of errors."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import Changed, Outage, Permanent, UsageError, Vanished
from core.paths import check_logical
from core.sources import keys, s3_file
from core.sources.base import Keys
from core.sources.s3 import S3Source
from tests.s3.front import Answer, before
from tests.s3.service import Service, tree

ODD_KEYS = [
    "plain", "with space", "plus+and%20percent", "a%2Fb", "quote'single\"double`", "ünïcödé 文字 🧬", "back\\slash",
    "a//b", "//c", "/leading", "dots/./x", "dots/../y", "...", "trailing/", "trailing/x", "nested/deep/er/leaf",
    "tab\there", "carriage\rreturn", "*?[x]&<xml>;", "k" * 1024, "x/" * 24 + "z" * 976, "%2F", "%2E", "%00",
    "same", "same/below", "same-too", "same.", "same0", "both/", "both//z",
]  # fmt: skip


def test_every_key_is_found_once_under_a_path_of_its_own(s3: Service) -> None:
    bucket = s3.bucket(*ODD_KEYS, size=3)
    for page in (2, 1000):
        found = tree(s3.source(bucket, list_page=page))
        assert sorted(keys.key_of(path) for path in found) == sorted(ODD_KEYS)
        assert {entry.size for entry in found.values()} == {3}
        for path in found:
            if len(path) < 1000:
                check_logical(f"/zone/{path}")
        names = {path: found[path] for path in ("same%2F", "same/below", "both/%2F%2F", "both/%2F/z", "trailing/%2F")}
        assert len(names) == 5
    source = s3.source(bucket)
    for path in found:
        with_bytes = source.open(path)
        assert with_bytes.read_at(0, 10) == b"xxx", path
        with_bytes.close()


def test_an_empty_object_that_stands_for_a_directory_is_one(s3: Service) -> None:
    bucket = s3.bucket("made/", "made/by/console/", size=0)
    source = s3.source(bucket)
    assert tree(source) == {}
    assert [entry.name for entry in source.scan("made")] == ["by"]
    assert list(source.scan("made/by/console")) == []


def test_a_prefix_is_the_root(s3: Service) -> None:
    bucket = s3.bucket("in/a", "in/b/c", "inside", "out", "in")
    assert set(tree(s3.source(bucket, "in"))) == {"a", "b/c"}
    assert set(tree(s3.source(bucket, "in/b/"))) == {"c"}
    assert s3.source(bucket, "in").physical_path("b/c") == f"/{bucket}/in/b/c"


def test_a_directory_without_keys_has_vanished_and_an_empty_root_is_empty(s3: Service) -> None:
    bucket = s3.bucket()
    assert list(s3.source(bucket).scan("")) == []
    with pytest.raises(Vanished):
        next(s3.source(bucket).scan("gone"))
    with pytest.raises(Outage, match="is empty now"):
        next(s3.source(bucket).scan("", Keys("a", "b")))


@pytest.mark.parametrize("reached", [5, 15])
def test_parts_hold_every_key_once(s3: Service, reached: int) -> None:
    names = [f"{number:05}" for number in range(0, 60_000, 1999)] + ["a", "a/1", "a-1", "b/2", "b/3", "été", "\x01odd"]
    bucket = s3.bucket(*[f"flat/{name}" for name in names])
    source = s3.source(bucket, list_page=5)
    whole = {(entry.name, entry.kind) for entry in source.scan("flat")}
    found: list[tuple[str, str]] = []
    parts = [Keys()]
    listed = 0
    while parts:
        listing = source.scan("flat", parts.pop())
        for entry in listing:
            found.append((entry.name, entry.kind))
            listed += 1
            if listed % reached == 0 and (more := listing.divide()):
                parts += more
    assert sorted(found) == sorted(whole)
    assert {"a%2F", "a", "b"} <= {name for name, _ in found}


def test_a_large_listing_is_cut_into_several_parts(s3: Service) -> None:
    bucket = s3.bucket(*[f"log-{number:03}" for number in range(100)])
    source = s3.source(bucket, list_page=14)
    listing = source.scan("")
    next(listing)
    parts = listing.divide()
    assert len(parts) >= 6
    assert [part.after for part in parts[1:]] == [part.until for part in parts[:-1]]
    held_back = len(list(listing))
    sizes = [len(list(source.scan("", part))) for part in parts]
    assert 1 + held_back + sum(sizes) == 100
    assert max(sizes) < 40


def test_reading_is_of_one_version(s3: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_file, "WINDOW_BYTES", 1000)
    data = bytes(range(256)) * 40
    bucket = s3.bucket()
    s3.client.put_object(Bucket=bucket, Key="k", Body=data)
    source = s3.source(bucket)
    [entry] = source.scan("")
    opened = source.open("k", s3_file.Stat(entry.size, entry.modified_at, entry.tag))
    assert opened.stat() == source.look("k")
    read = b"".join(opened.read_at(offset, 700) for offset in range(0, len(data) + 700, 700))
    assert read == data
    assert opened.read_at(5000, 10) == data[5000:5010]
    assert opened.read_at(len(data), 10) == b""
    s3.client.put_object(Bucket=bucket, Key="k", Body=data[::-1])
    with pytest.raises(Changed):
        opened.read_at(0, 10)
    assert opened.stat().tag != entry.tag
    s3.client.delete_object(Bucket=bucket, Key="k")
    with pytest.raises(Vanished):
        source.open("k")
    with pytest.raises(Vanished):
        source.open("k", s3_file.Stat(entry.size, entry.modified_at, entry.tag)).read_at(0, 1)


@pytest.mark.parametrize(
    "written", ["2026-01-03T10:00:00.123Z", "2026-01-03T10:00:00Z", "Sat, 03 Jan 2026 10:00:00 GMT", "1767434400"]
)
def test_times_are_understood_in_every_notation(s3: Service, written: str) -> None:
    bucket = s3.bucket("k")
    with before(s3.endpoint) as front:

        def dated(ask: Callable[[], Answer]) -> Answer:
            page = re.sub(b"<LastModified>.*?<", b"<LastModified>" + written.encode() + b"<", (got := ask()).body)
            return got._replace(body=page)

        front.fault("GET", "list-type=2", dated)
        [entry] = s3.source(bucket, endpoint_url=front.endpoint).scan("")
        assert entry.modified_at == 1_767_434_400_000_000


def test_an_empty_object_is_read(s3: Service) -> None:
    bucket = s3.bucket("empty", size=0)
    assert s3.source(bucket).open("empty").read_at(0, 10) == b""


def test_s3s_own_checksum_is_known_when_it_is_of_the_whole_object(s3: Service) -> None:
    if not s3.keeps_checksums:
        pytest.skip("S3_TEST_ENDPOINT keeps no checksums")
    bucket = s3.bucket()
    digest = b64encode(hashlib.sha256(b"bytes").digest()).decode()
    s3.client.put_object(Bucket=bucket, Key="with", Body=b"bytes", ChecksumAlgorithm="SHA256")
    s3.client.put_object(Bucket=bucket, Key="without", Body=b"bytes", ChecksumAlgorithm="CRC32")
    s3.client.put_object(Bucket=bucket, Key="parts", Body=b"bytes")
    source = s3.source(bucket)
    assert source.open("with").checksum() == source.open("with").promise() == f"sha2:{digest}"
    assert source.open("without").checksum() is None
    lazily = source.open("with", source.look("with"))
    assert lazily.read_at(0, 5) == b"bytes"
    assert lazily.promise() == f"sha2:{digest}"


def test_a_checksum_of_parts_is_none_of_the_object(s3: Service) -> None:
    if not s3.keeps_checksums:
        pytest.skip("S3_TEST_ENDPOINT keeps no checksums")
    bucket = s3.bucket()
    begun = s3.client.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256")
    parts = []
    for number, body in enumerate((b"a" * 5 * 1024 * 1024, b"b"), 1):
        sent = s3.client.upload_part(
            Bucket=bucket, Key="k", UploadId=begun["UploadId"], PartNumber=number, Body=body, ChecksumAlgorithm="SHA256"
        )
        parts.append({"PartNumber": number, "ETag": sent["ETag"], "ChecksumSHA256": sent["ChecksumSHA256"]})
    s3.client.complete_multipart_upload(
        Bucket=bucket,
        Key="k",
        UploadId=begun["UploadId"],
        MultipartUpload={"Parts": parts},  # type: ignore[typeddict-item]
    )
    opened = s3.source(bucket).open("k")
    assert opened.stat().size == 5 * 1024 * 1024 + 1
    assert opened.checksum() is None
    assert opened.read_at(5 * 1024 * 1024 - 1, 10) == b"ab"


def test_an_archived_object_is_a_clear_permanent_error(s3: Service) -> None:
    if not s3.has_archive:
        pytest.skip("S3_TEST_ENDPOINT has no archive")
    bucket = s3.bucket("fresh")
    s3.client.put_object(Bucket=bucket, Key="cold", Body=b"ice", StorageClass="GLACIER")
    source = s3.source(bucket)
    opened = source.open("cold")
    with pytest.raises(Permanent, match="restore it") as caught:
        opened.read_at(0, 10)
    assert caught.value.error == "InvalidObjectState"
    s3.client.restore_object(Bucket=bucket, Key="cold", RestoreRequest={"Days": 1})
    assert opened.read_at(0, 10) == b"ice"


def test_a_missing_bucket_is_nobodys_deletion(s3: Service) -> None:
    bucket = s3.bucket("k")
    source = s3.source(bucket)
    opened = source.open("k", source.look("k"))
    s3.client.delete_object(Bucket=bucket, Key="k")
    s3.client.delete_bucket(Bucket=bucket)
    with pytest.raises(Outage):
        source.open("k")
    with pytest.raises(Outage):
        opened.read_at(0, 1)
    with pytest.raises(Outage):
        next(source.scan(""))
    with pytest.raises(UsageError, match="NoSuchBucket"):
        source.check()


def test_a_service_that_is_away_is_an_outage(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a\nb\n")
    service = Service("http://127.0.0.1:9", tmp_path)
    source = S3Source("s3://bucket", service.settings(attempts=1))
    with pytest.raises(Outage, match="does the S3 service answer"):
        source.open("k")
    with pytest.raises(UsageError, match=r"127\.0\.0\.1:9"):
        source.check()
    service.close()


@pytest.mark.parametrize("text", ["", "only\n", "a\nb\nc\nd\n"])
def test_a_key_pair_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "pair").write_text(text)
    service = Service("http://127.0.0.1:9", tmp_path)
    with pytest.raises(UsageError, match=r"s3\.key_pair_file"):
        S3Source("s3://bucket", service.settings(key_pair_file=tmp_path / "pair"))
    service.close()


def test_a_source_url_names_a_bucket(s3: Service) -> None:
    with pytest.raises(UsageError, match="names no bucket"):
        S3Source("s3:///x", s3.settings())
