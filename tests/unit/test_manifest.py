"""Manifests line by line: what each format says, and what is told of a bad line."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from core.sources.base import Stat
from core.sources.filesystem import FilesystemSource
from core.sources.manifest import Line, instant, notation, read
from core.sources.promised import Promised, promise_tag

DIGEST = hashlib.sha256(b"x")
SHA256 = f"sha2:{b64encode(DIGEST.digest()).decode()}"


def test_csv_gives_path_size_time_and_checksum(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(
        b"path,size,mtime,checksum\n"
        b"a,1,1700000000.25," + DIGEST.hexdigest().encode() + b"\n"
        b'"b ""q"", c\nd",,2026-01-01T00:00:00Z,\n\nonly\nnot \xff utf-8,0,0\n'
    )
    assert [line[1:6] for line in read(path)] == [
        (b"a", 1, 1_700_000_000_250_000, None, SHA256),
        (b'b "q", c\nd', None, 1_767_225_600_000_000, None, None),
        (b"only", None, None, None, None),
        (b"not \xff utf-8", 0, 0, None, None),
    ]
    packed = tmp_path / "list.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert [line[1:] for line in read(packed)] == [line[1:] for line in read(path)]


def test_a_file_that_is_called_path_is_no_heading(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("path,17\n")
    assert [line[1:3] for line in read(path)] == [(b"path", 17)]


@given(names=st.lists(st.binary(min_size=1).filter(lambda name: b"\0" not in name), max_size=20))
def test_any_name_comes_through_both_formats(names: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("lists")
    (folder / "list").write_bytes(b"".join(name + b"\0" for name in names))
    assert [line.path for line in read(folder / "list")] == names
    with (folder / "list.csv").open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        csv.writer(file).writerows([name.decode("utf-8", "surrogateescape"), 1] for name in names)
    assert [line.path for line in read(folder / "list.csv")] == names


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("l.csv", b"a,1\nb,x\n", "l.csv:2: size 'x'"),
        ("l.csv", b"a,-1\n", "l.csv:1: size '-1'"),
        ("l.csv", b"a,1\n\nb,1,yesterday\n", "l.csv:3: time 'yesterday'"),
        ("l.csv", b"a,1,2,abc\n", "l.csv:1: checksum 'abc'"),
        ("l.csv", b"a,1,2,sha2:AAAA\n", "l.csv:1: checksum 'sha2:AAAA'"),
        ("l.csv", b"a,1,2,3,4\n", "l.csv:1: 5 columns"),
        ("l.csv", b",1\n", "l.csv:1: no path"),
        ("l.csv", b'a\n"b\n', "l.csv:2:"),
        ("l.csv.gz", gzip.compress(b"a,1\n" * 1000, mtime=0)[:-9], "l.csv.gz"),
        ("l.csv.gz", b"a,1\n", "cannot read the manifest"),
        ("l.nul", b"a\0\0b\0", "l.nul: path 2 is empty"),
        ("l.nul", b"a\0b", "l.nul: path 2 has no NUL"),
        ("manifest.json", b"{}", "not the manifest.json"),
    ],
)
def test_a_bad_line_is_told_by_its_number(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError) as raised:
        list(read(tmp_path / name))
    assert told in raised.value.message


def inventory(folder: Path, *rows: list[str], schema: str, **more: object) -> Path:
    (folder / "data").mkdir(exist_ok=True)
    with gzip.open(folder / "data" / "one.csv.gz", "wt", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    said = {"sourceBucket": "b", "fileFormat": "CSV", "fileSchema": schema, "files": [{"key": "x/data/one.csv.gz"}]}
    (folder / "manifest.json").write_text(json.dumps(said | more))
    return folder / "manifest.json"


def test_an_inventory_of_s3_gives_the_latest_versions(tmp_path: Path) -> None:
    path = inventory(
        tmp_path,
        ["b", "in/a+b%2Bc%C3%A9", "v1", "true", "false", "7", "2026-01-01T00:00:00.500Z", "abc-2"],
        ["b", "in/a", "v0", "false", "false", "7", "2026-01-01T00:00:00.000Z", "old"],
        ["b", "in/gone", "v2", "true", "true", "", "2026-01-01T00:00:00.000Z", ""],
        schema="Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag",
    )
    where = f"{tmp_path}/data/one.csv.gz:1"
    key = "in/a b+cé".encode()
    assert list(read(path)) == [Line(where, key, 7, 1_767_225_600_000_000, "abc-2", None, "b")]


def test_an_inventory_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    path = inventory(tmp_path, ["b", "k"], schema="Bucket, Key, Size")
    with pytest.raises(UsageError, match="2 columns, not 3"):
        list(read(path))
    (tmp_path / "data" / "one.csv.gz").unlink()
    with pytest.raises(UsageError, match="not there"):
        list(read(path))
    with pytest.raises(UsageError, match="as ORC"):
        list(read(inventory(tmp_path, schema="Bucket, Key", fileFormat="ORC")))


def test_times_and_checksums_have_several_notations() -> None:
    assert instant("-1.5") == -1_500_000
    assert instant("1.0000019") == 1_000_001
    assert instant("2026-01-01T01:00:00+01:00") == 1_767_225_600_000_000
    assert notation(SHA256) == notation(f"sha256:{DIGEST.hexdigest()}") == SHA256
    assert notation("ABCDEF01") == notation("adler32:abcdef01") == "adler32:abcdef01"
    assert notation(hashlib.md5(b"x").hexdigest().upper()) == hashlib.md5(b"x").hexdigest()
    for text in ("1e3", "0x1", "99999999999999", "٣"):
        with pytest.raises(ValueError, match="time"):
            instant(text)


def test_names_outside_of_a_directory_are_refused(tmp_path: Path) -> None:
    source = FilesystemSource(str(tmp_path))
    assert source.place(b"./a//b\xff/") == ("a/b%FF", "b%FF")
    assert source.place(bytes(tmp_path / "c")) == ("c", "c")
    assert source.place(b".") is source.place(bytes(tmp_path)) is None
    for name in (b"../a", b"a/../../b", b"/etc/passwd", bytes(tmp_path) + b"-too/a"):
        with pytest.raises(ValueError, match=r"not below|segment"):
            source.place(name)


def test_what_a_manifest_promises_stays_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    source = Promised(FilesystemSource(str(tmp_path)))
    plain = source.open("a", Stat(1, 0))
    assert plain.promise() is None
    plain.close()
    tag = promise_tag(SHA256)
    opened = source.open("a", Stat(1, 0, tag))
    assert (opened.promise(), opened.checksum(), opened.stat().tag) == (SHA256, None, tag)
    opened.close()
    assert Stat(1, 0, "etag").is_like(Stat(1, 0, tag))
    assert not Stat(1, 1, "etag").is_like(Stat(1, 0, tag))
    assert Stat(1, 1, "etag").held_to(Stat(1, 0, tag)) == Stat(1, 1, tag)
    assert Stat(1, 1, "etag").held_to(Stat(1, 0, "other")) == Stat(1, 1, "etag")
