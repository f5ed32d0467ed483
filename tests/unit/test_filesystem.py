"""The filesystem source on real files of every kind."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import Outage, Permanent, UsageError, Vanished
from core.settings import S3Settings
from core.sources import link_folder
from core.sources.base import UNKNOWN, Stat
from core.sources.filesystem import FilesystemSource
from core.sources.urls import open_source, source_basename, source_url


@pytest.fixture
def source(tmp_path: Path) -> FilesystemSource:
    (tmp_path / "keep").write_bytes(b"keep")
    return FilesystemSource(str(tmp_path))


def test_all_kinds_are_listed_and_none_is_followed(tmp_path: Path, source: FilesystemSource) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        directory = os.open(tmp_path, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{directory}/socket")  # a socket's path may have 107 bytes only
        os.close(directory)
    kinds = {entry.name: entry.kind for entry in source.scan("")}
    assert kinds == {"keep": "f", "dir": "d", "dangling": "l", "loop": "l", "pipe": "p", "socket": "s"}


def test_names_of_any_bytes_are_found_again(tmp_path: Path, source: FilesystemSource) -> None:
    names = [b"\xff\xfe", b"new\nline", b"tab\t", b"quote'\"`", b"\x01", b"%41", b"%FF", b" ", b"x" * 255]
    for name in names:
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))).write_bytes(name)
    found = {entry.name for entry in source.scan("")} - {"keep"}
    assert len(found) == len(names)
    contents = set()
    for name in found:
        opened = source.open(name)
        contents.add(opened.read_at(0, 1000))
        opened.close()
    assert contents == set(names)


def test_a_sparse_file_of_5_gib_is_read_anywhere(tmp_path: Path, source: FilesystemSource) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(5 << 30)
    opened = source.open("sparse")
    assert opened.stat().size == 5 << 30
    assert opened.read_at((5 << 30) - 3, 10) == b"\0\0\0"
    opened.close()


def test_growing_shrinking_and_replacing_are_seen(tmp_path: Path, source: FilesystemSource) -> None:
    path = tmp_path / "keep"
    opened = source.open("keep")
    before = opened.stat()
    with path.open("ab") as file:
        file.write(b"more")
    assert opened.stat().size == before.size + 4
    path.write_bytes(b"k")
    assert opened.stat().size == 1
    os.utime(path, ns=(0, 0))
    twin = tmp_path / "twin"
    twin.write_bytes(b"t")
    os.utime(twin, ns=(0, 0))
    same = opened.stat()
    twin.rename(path)
    assert opened.stat() != same  # of the same size and time, but another file
    opened.close()


def test_what_is_gone_is_vanished_and_what_is_no_file_any_more_too(tmp_path: Path, source: FilesystemSource) -> None:
    with pytest.raises(Vanished):
        source.open("gone")
    with pytest.raises(Vanished):
        list(source.scan("gone"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Vanished, match="no regular file"):
        source.open("pipe")
    opened = source.open("keep")
    (tmp_path / "keep").unlink()
    (tmp_path / "other").touch()
    with pytest.raises(Vanished):
        opened.stat()
    opened.close()


def test_nothing_vanishes_while_the_source_is_away(tmp_path: Path) -> None:
    root = tmp_path / "mount"
    root.mkdir()
    source = FilesystemSource(str(root))
    with pytest.raises(Outage, match="mounted"):
        source.open("a")
    with pytest.raises(Outage, match="mounted"):
        list(source.scan("sub"))


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path, source: FilesystemSource) -> None:
    (tmp_path / "link").symlink_to("keep")
    with pytest.raises(Permanent) as told:
        source.open("link")
    assert told.value.error == "ELOOP"


@pytest.mark.parametrize(("stamp", "expected"), [(-1, -1), (2**62, None), (-(2**62), None)])
def test_wild_stamps_stay_within_what_a_database_takes(
    tmp_path: Path, source: FilesystemSource, stamp: int, expected: int | None
) -> None:
    try:
        os.utime(tmp_path / "keep", ns=(stamp * 1000, stamp * 1000)) if abs(stamp) < 2**50 else os.utime(
            tmp_path / "keep", (stamp // 1_000_000, stamp // 1_000_000)
        )
    except OverflowError:
        pytest.fail("this filesystem does not take the stamp")
    [entry] = list(source.scan(""))
    assert -62_135_596_800_000_000 <= entry.modified_at <= 253_402_300_799_000_000
    if expected is not None:
        assert entry.modified_at == expected


def test_a_source_is_checked_before_a_job_begins(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="does not exist"):
        FilesystemSource(str(tmp_path / "nowhere")).check()
    with pytest.raises(UsageError, match="not a directory"):
        FilesystemSource(str(tmp_path / "file")).check()
    with pytest.raises(UsageError, match="no source serves"):
        source_url("gopher://x/y")


def test_physical_paths_that_irods_cannot_hold_are_refused(tmp_path: Path, source: FilesystemSource) -> None:
    assert source.physical_path("keep") == f"{tmp_path}/keep"
    linking = source.linking("/links/")
    assert linking.physical_path("keep") == f"{tmp_path}/keep"
    link = linking.physical_path("%FF")
    assert link.startswith("/links/irods_UnicodeEncodeError_") and len(link) < 120
    assert len({link, linking.physical_path("a%01b"), linking.physical_path("x" * 1100), "/links/keep"}) == 4
    with pytest.raises(UsageError, match="inside of the source"):
        source.linking(f"{tmp_path}/keep").check()
    with pytest.raises(Permanent, match="not UTF-8"):
        source.physical_path("%FF")
    with pytest.raises(Permanent, match="control characters"):
        source.physical_path("%01")


def test_links_are_made_once_and_lead_nowhere_else(tmp_path: Path) -> None:
    where, link = os.fsencode(tmp_path) + b"/\xff", str(tmp_path / "link")
    for _ in range(2):
        link_folder.make(link, where)
        assert os.readlink(os.fsencode(link)) == where
    for wrong in (link, str(tmp_path / "no" / "link")):
        with pytest.raises(Permanent) as refused:
            link_folder.make(wrong, b"/elsewhere")
        assert refused.value.error == "bad_link_folder"
    link_folder.remove(link)
    link_folder.remove(link)
    assert not os.path.lexists(link)


def test_a_url_holds_any_path(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a b%25\xff?#"))
    odd.mkdir()
    (odd / "in").write_bytes(b"x")
    assert [entry.name for entry in open_source(source_url(str(odd)), S3Settings()).scan("")] == ["in"]


@pytest.mark.parametrize(
    ("url", "last"),
    [
        ("s3://bucket", "bucket"),
        ("s3://bucket/a/[b", "[b"),
        ("s3://bu[cket/run 7/", "run 7"),
        ("s3://bucket/a#b?c%20d", "a#b?c%20d"),
        ("file:///data/run%207/", "run 7"),
        ("file:///data/%5Bx", "[x"),
        ("file:///", ""),
    ],
)
def test_the_last_part_of_a_url_is_what_a_person_calls_the_source(url: str, last: str) -> None:
    assert source_basename(source_url(url)) == last


@pytest.mark.parametrize("url", ["file://data/x", "file:data", "file:///data/run#7", "file:///data/what?"])
def test_a_file_url_that_names_another_place_than_it_seems_is_refused(url: str) -> None:
    if "://" in url:
        with pytest.raises(UsageError, match="file:///absolute/path"):
            source_url(url)
    else:  # no URL but the name of a file
        assert source_url(url).endswith("/file%3Adata")


def test_a_stat_is_a_size_and_microseconds(tmp_path: Path, source: FilesystemSource) -> None:
    os.utime(tmp_path / "keep", ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))
    opened = source.open("keep")
    assert opened.stat() == Stat(4, 1_700_000_000_123_456)
    opened.close()


_WITH_BROKEN_INODES = """
import ctypes, errno, os, platform, struct, sys
from core.sources.filesystem import FilesystemSource
syscall = {"x86_64": 262, "aarch64": 79}.get(platform.machine(), 0)  # newfstatat, by which entries are looked at
allow, fail = 0x7FFF0000, 0x00050000 | int(sys.argv[2])
program = b"".join(struct.pack("HBBI", *step) for step in [
    (0x20, 0, 0, 0), (0x15, 0, 3, syscall),  # the call
    (0x20, 0, 0, 40), (0x15, 0, 1, 0x100),  # its flags: AT_SYMLINK_NOFOLLOW
    (0x06, 0, 0, fail), (0x06, 0, 0, allow),
])
steps = ctypes.create_string_buffer(program)
filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 6, ctypes.addressof(steps)))
prctl = ctypes.CDLL(None, use_errno=True).prctl
source = FilesystemSource(sys.argv[1])
if not syscall or prctl(38, 1, 0, 0, 0) or prctl(22, 2, filter):
    sys.exit(77)
try:
    print(sorted(tuple(entry[:4]) for entry in source.scan("")))
except Exception as error:
    print(type(error).__name__, getattr(error, "error", error))
"""


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.EIO, str([("dir", "d", *UNKNOWN), ("keep", "f", *UNKNOWN), ("odd%FF", "f", *UNKNOWN)])),
        (errno.ESTALE, "Outage ESTALE"),
        (errno.EACCES, "Permanent EACCES"),
    ],
)
def test_an_entry_that_cannot_be_looked_at_keeps_no_other_from_being_listed(
    tmp_path: Path, source: FilesystemSource, number: int, told: str
) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "odd\udcff").touch()
    # the kernel itself answers so, in a process of its own: a seccomp filter stays
    done = subprocess.run(
        [sys.executable, "-c", _WITH_BROKEN_INODES, str(tmp_path), str(number)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("this kernel takes no seccomp filter")
    assert done.stdout.strip() == told, done.stderr
