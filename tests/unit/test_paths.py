"""Names survive iRODS and Postgres: the escape is reversible and injective for every possible name."""

from __future__ import annotations

from html import escape as xml_escape
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core import paths
from core.errors import Permanent

# names rich in what the escape is about: percent signs, hex digits, controls, cut and overlong UTF-8, surrogates
_PIECES = st.one_of(
    st.binary(max_size=4),
    st.text(max_size=4).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF, categories=["Cs"]).map(
        lambda c: c.encode("utf-8", "surrogatepass")
    ),
    st.sampled_from(
        [b"%", b"%2", b"%25", b"%0D", b"%0d", b"%FF", b"%20", b"%41", b"2", b"5", b"F", b"\r", b"\n", b"\t", b"\x7f"]
    ),
    st.sampled_from(
        [b"\xef\xbf\xbe", b"\xef\xbf\xbf", b"\xc0\xaf", b"\xc3", b"\xff", b"\xed\xa0\x80", "é".encode(), "😀".encode()]
    ),
)
NAMES = st.lists(_PIECES, max_size=12).map(lambda parts: b"".join(parts).replace(b"\0", b"").replace(b"/", b""))


@given(NAMES)
@example(b"%2525%25%")
@example(b"\xff%FF")
def test_unescape_gives_the_name_back(name: bytes) -> None:
    assert paths.unescape(paths.escape(name)) == name


@given(NAMES, NAMES)
@example(b"\xff", b"%FF")
@example(b"%25", b"%2525")
@example(b"\r", b"%0D")
def test_no_two_names_share_an_escape(one: bytes, other: bytes) -> None:
    assert (paths.escape(one) == paths.escape(other)) == (one == other)


@given(NAMES)
def test_the_escape_passes_xml_and_utf8_unchanged(name: bytes) -> None:
    text = paths.escape(name)
    assert text.encode("utf-8").decode("utf-8") == text
    assert "\0" not in text
    assert "/" not in text
    assert "\x7f" not in text
    assert "\r" not in text
    document = f"<a>{xml_escape(text, quote=False)}</a>".encode()
    assert (ElementTree.fromstring(document).text or "") == text


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "100%.txt",
        "a%20b",
        "50%00",
        "%41",
        "%ff",
        "%0a",
        "%0A",
        "%09",
        "%",
        "%%",
        "it's",
        "a b",
        "日本.txt",
        "x\ty\nz",
    ],
)
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    assert paths.escape(name.encode()) == name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"a\rb", "a%0Db"),
        (b"\x7f", "%7F"),
        (b"caf\xe9", "caf%E9"),
        (b"%E9", "%25E9"),
        (b"%25", "%2525"),
        (b"\xef\xbf\xbf", "%EF%BF%BF"),
        (b"\xed\xa0\x80", "%ED%A0%80"),
        (b"\x01", "%01"),
    ],
)
def test_forbidden_bytes_are_written_in_hex(name: bytes, text: str) -> None:
    assert paths.escape(name) == text


@pytest.mark.parametrize(
    "path", ["", "a/b", "/", "/z//a", "/z/a/", "/z/./a", "/z/../a", "/z/a/..", "/z/\r", "/z/\0", "/z/\ud800"]
)
def test_bad_paths_are_refused(path: str) -> None:
    with pytest.raises(Permanent) as refusal:
        paths.check_logical(path)
    assert refusal.value.error == "bad_path"


@pytest.mark.parametrize("path", ["/z", "/z/a", "/z/.a", "/z/...", "/z/a b/'\"`<&>", "/z/x\ty\nz", "/z/%0D"])
def test_good_paths_pass(path: str) -> None:
    paths.check_logical(path)


def test_the_limit_is_in_bytes_of_utf8() -> None:
    paths.check_logical("/" + "é" * 511)
    with pytest.raises(Permanent) as refusal:
        paths.check_logical("/" + "é" * 512)
    assert refusal.value.error == "path_too_long"


@pytest.mark.parametrize(
    ("typed", "ways"),
    [
        ("", ()),
        ("a/b c", ("a/b c",)),
        ("100%", ("100%",)),
        ("d\udcff/", ("d%FF/",)),
        ("d%FF/", ("d%25FF/", "d%FF/")),
        ("d%25FF/", ("d%2525FF/", "d%25FF/")),
        ("\udcff%FF", ("%FF%25FF",)),
    ],
)
def test_a_prefix_is_taken_as_it_is_at_the_source_and_as_it_is_written(typed: str, ways: tuple[str, ...]) -> None:
    assert paths.ways_of_prefix(typed) == ways


def test_joining() -> None:
    assert paths.logical_path("/z/home", "d/f") == "/z/home/d/f"
    assert paths.logical_path("/z/home", "") == "/z/home"
    with pytest.raises(Permanent):
        paths.logical_path("/z/home", "../f")
    assert paths.split("/z/home/f") == ("/z/home", "f")
    assert paths.split("/z") == ("/", "z")


@pytest.mark.parametrize("key", ["\x01", "a\rb", "\x00", "\ufffe", "a\uffffb", "k" * 1017, "é" * 509, "\udcff"])
def test_a_physical_path_that_spoils_answers_of_irods_is_refused(key: str) -> None:
    with pytest.raises(Permanent) as caught:
        paths.checked_physical("f", f"/bucket/{key}")
    assert caught.value.error == "bad_physical_path"
    assert paths.checked_physical("f", "/bucket/\t\n\x7f" + "k" * 1000) == "/bucket/\t\n\x7f" + "k" * 1000
