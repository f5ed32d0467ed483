"""Objects beyond what one upload can bring, put in parts: their bytes, their checksums, and the memory they take."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.sources.base import Stat
from core.sources.s3 import S3Source
from tests.s3.large import ETAG, data_at
from tests.s3.service import Service

GIB = 1024**3
SHA256 = b64encode(hashlib.sha256(b"of the parts").digest()).decode()


@contextmanager
def serving(s3: Service, size: int, *checksum: str) -> Iterator[tuple[S3Source, str]]:
    """A source whose bucket has the one object `k`, and where it is."""
    words = [sys.executable, "-m", "tests.s3.large", str(size), *checksum]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            endpoint = f"http://127.0.0.1:{int(server.stdout.readline())}"
            yield s3.source("bucket", endpoint_url=endpoint), endpoint
        finally:
            server.terminate()


def test_every_byte_of_a_very_large_object_can_be_read(s3: Service) -> None:
    size = 5 * 1024 * GIB
    with serving(s3, size) as (source, _):
        seen = source.look("k")
        assert (seen.size, seen.tag) == (size, ETAG.strip('"'))
        file = source.open("k", seen)
        for offset in (0, 2**31 - 5, 2**32 - 5, 5 * GIB - 5, size - 10):
            assert file.read_at(offset, 10) == data_at(offset, 10), offset
        assert file.read_at(size - 4, 10) == data_at(size - 4, 4)
        assert file.read_at(size, 10) == b""
        file.close()


READS = """
import hashlib, resource, sys
from core.settings import S3Settings
from core.sources.s3 import S3Source
endpoint, pair, begin, end = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
source = S3Source("s3://bucket", S3Settings(endpoint_url=endpoint, key_pair_file=pair, addressing="path"))
file, hasher = source.open("k", source.look("k")), hashlib.sha256()
file.read_at(0, 1 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for offset in range(begin, end, 4 << 20):
    hasher.update(file.read_at(offset, min(4 << 20, end - offset)))
print(hasher.hexdigest(), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_it_streams_in_bounded_memory(s3: Service) -> None:
    begin, size = 5 * GIB - 200_000_000, 400_000_000
    with serving(s3, 6 * GIB) as (_, endpoint):
        words = [sys.executable, "-W", "ignore", "-c", READS, endpoint, s3.key_pair, begin, begin + size]
        done = subprocess.run(
            [str(word) for word in words],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
    digest, mebibytes = done.stdout.split()
    assert digest == hashlib.sha256(data_at(begin, size)).hexdigest()
    assert int(mebibytes) < 32


@pytest.mark.parametrize(
    "checksum",
    [(f"{SHA256}-700", "COMPOSITE"), (SHA256, "COMPOSITE"), (f"{SHA256}-700",), (SHA256,), ()],
    ids=["composite", "composite without number", "no type", "neither", "none"],
)
def test_a_checksum_of_an_object_put_in_parts_is_never_taken_for_its_own(
    s3: Service, checksum: tuple[str, ...]
) -> None:
    with serving(s3, 1_000_000, *checksum) as (source, _):
        looked = source.open("k")
        assert looked.checksum() is None
        seen: Stat = source.look("k")
        whole = source.open("k", seen)
        assert whole.read_at(0, 1_000_000) == data_at(0, 1_000_000)
        assert (whole.checksum(), whole.promise()) == (None, None)
