"""Checksums are written exactly as iRODS writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import checksums

# as a real iRODS 5.0.2 stored them, and as the RFCs give them
KNOWN = [
    ("sha2", b"hello world", "sha2:uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="),
    ("sha2", b"", "sha2:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
    ("sha1", b"", "sha1:2jmj7l5rSw0yVb/vlWAYkK/YBwk="),
    ("md5", b"abc", "900150983cd24fb0d6963f7d28e17f72"),
    ("adler32", b"Wikipedia", "adler32:11e60398"),
    ("adler32", b"", "adler32:00000001"),
]


@pytest.mark.parametrize(("scheme", "data", "expected"), KNOWN)
def test_notation(scheme: str, data: bytes, expected: str) -> None:
    assert checksums.checksum_of(data, scheme) == expected
    assert checksums.scheme_of(expected) == scheme


@given(st.sampled_from(checksums.SCHEMES), st.lists(st.binary(max_size=50), max_size=8))
def test_pieces_hash_like_the_whole(scheme: str, pieces: list[bytes]) -> None:
    assert checksums.checksum_of_chunks(pieces, scheme) == checksums.checksum_of(b"".join(pieces), scheme)


def test_same() -> None:
    assert checksums.same("900150983CD24FB0D6963F7D28E17F72", "900150983cd24fb0d6963f7d28e17f72")
    assert not checksums.same("sha2:uU0n", "sha2:UU0n")
    with pytest.raises(ValueError, match="different schemes"):
        checksums.same("sha2:uU0n", "900150983cd24fb0d6963f7d28e17f72")


@pytest.mark.parametrize(
    "text", ["", "sha2", "md5:900150983cd24fb0d6963f7d28e17f72", "sha512:xx", "900150983cd24fb0d6963f7d28e17f7"]
)
def test_unknown_notations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="notation"):
        checksums.scheme_of(text)


def test_unknown_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="known: sha2"):
        checksums.Hasher("crc32")
