"""What a code of iRODS means for a file, for every code there is."""

from __future__ import annotations

import socket
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import FileError, Outage, Overload, Permanent, Transient
from core.irods import Exists, Locked, errors
from core.irods.batches import one_by_one, outcome
from core.outcome import Dead, Done, Released, Retry, Skipped


@given(st.integers(min_value=-200_000_000, max_value=-1), st.text(max_size=20), st.text(max_size=50))
def test_every_code_has_an_error_of_one_line(code: int, path: str, text: str) -> None:
    error = errors.error_for(code, path, text)
    assert isinstance(error, (Transient, Permanent, Outage))
    assert str(code) in str(error)
    assert "\n" not in str(error)
    assert error.error


@pytest.mark.parametrize(
    ("code", "kind", "word"),
    [
        (-826000, Outage, "auth"),
        (-840000, Outage, "auth"),
        (-9000, Overload, "SYS_EXCEED_CONNECT_CNT"),
        (-110000, Outage, "SYS_RESC_QUOTA_EXCEEDED"),
        (-512028, Outage, "UNIX_FILE_READ_ERR"),
        (-511122, Outage, "UNIX_FILE_CREATE_ERR"),
        (-510036, Permanent, "path_too_long"),
        (-510013, Transient, "UNIX_FILE_OPEN_ERR"),
        (-129000, Permanent, "PATH_REG_NOT_ALLOWED"),
        (-818000, Permanent, "CAT_NO_ACCESS_PERMISSION"),
        (-312000, Exists, "OVERWRITE_WITHOUT_FORCE_FLAG"),
        (-405000, Locked, "locked"),
        (-406000, Locked, "locked"),
        (-314000, Transient, "USER_CHKSUM_MISMATCH"),
        (-154000, Transient, "SYS_INTERNAL_ERR"),
        (-1, Transient, "IRODS_1"),
        (-163000, Transient, "IRODS_163000"),
    ],
)
def test_what_codes_mean(code: int, kind: type[FileError], word: str) -> None:
    error = errors.error_for(code, "/z/f", "the server's words")
    assert type(error) is kind
    assert error.error == word
    assert "/z/f" in str(error)
    assert "the server's words" in str(error)


def test_the_errno_is_named() -> None:
    assert "[EACCES]" in str(errors.error_for(-510013, "/z/f"))
    assert "[" not in str(errors.error_for(-510000, "/z/f"))


@pytest.mark.parametrize(
    ("cause", "word"),
    [
        (TimeoutError("timed out"), "timeout"),
        (ConnectionRefusedError(111, "refused"), "unreachable"),
        (ConnectionResetError(104, "reset"), "connection_lost"),
        (socket.gaierror(-2, "Name or service not known"), "unknown_host"),
        (ssl.SSLError("certificate"), "connection_lost"),
        (BrokenPipeError(), "connection_lost"),
    ],
)
def test_lost_connections_are_outages(cause: OSError, word: str) -> None:
    error = errors.lost(cause, "host:1247")
    assert error.error == word
    assert "host:1247" in str(error)


def test_one_by_one_gives_everything_back_after_an_outage() -> None:
    tried = []

    def work(item: int) -> str:
        tried.append(item)
        if item == 2:
            raise Permanent("bad", "words")
        if item == 4:
            raise Outage("away", "words")
        return f"sum{item}"

    found = one_by_one(range(1, 8), work)
    assert found[:3] == [Done("sum1"), Dead("bad", "words"), Done("sum3")]
    assert found[3:] == [Released("words")] * 4
    assert tried == [1, 2, 3, 4]


def test_outcomes() -> None:
    assert isinstance(outcome(Exists("exists", "x")), Skipped)
    assert isinstance(outcome(Locked("locked", "x")), Retry)
