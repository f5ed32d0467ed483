"""Any key has one path that iRODS takes, and the path says which key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.paths import check_logical
from core.sources import keys

characters = st.one_of(
    st.sampled_from(list("/././.%%25EF0\0\x01\x1f\n\r '\"ü文\ufffe\x7f")), st.characters(exclude_categories=["Cs"])
)
any_key = st.text(characters, min_size=1, max_size=40)


@given(any_key)
def test_a_path_says_which_key_it_is(key: str) -> None:
    path = keys.path_of(key)
    check_logical(f"/zone/{path}")
    assert keys.key_of(path) == key


@given(any_key, any_key)
def test_no_two_keys_have_one_path(one: str, other: str) -> None:
    assert (keys.path_of(one) == keys.path_of(other)) == (one == other)


@given(any_key, any_key)
def test_an_object_that_shares_its_key_with_a_prefix_has_a_path_that_is_no_other_keys(one: str, other: str) -> None:
    beside = keys.path_of(one) + keys.SLASH
    check_logical(f"/zone/{beside}")
    assert keys.key_of(beside) == one
    # another key comes to the same path only as an object whose own key ends in a slash beside that same prefix
    assert keys.path_of(other) != beside or keys.key_of(beside) == other


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("plain/name.txt", "plain/name.txt"),
        ("100%.txt", "100%.txt"),
        ("a%2Fb", "a%2Fb"),  # what URL-encoded names look like stays
        ("a%2E", "a%2E"),
        ("a//b", "a/%2F/b"),
        ("/a", "%2F/a"),
        ("a/", "a/%2F"),
        ("a/./b/../c", "a/%2E/b/%2E%2E/c"),
        ("%2E", "%252E"),
        ("a%2F", "a%252F"),
        ("nul\0", "nul%00"),
        ("%00", "%2500"),
        ("tab\tline\n", "tab\tline\n"),
        ("bell\x07", "bell%07"),
        ("quote'\"`", "quote'\"`"),
    ],
)
def test_what_paths_look_like(key: str, path: str) -> None:
    assert keys.path_of(key) == path
    assert keys.key_of(path) == key


def test_a_directory_is_a_prefix() -> None:
    assert keys.prefix_of("") == ""
    assert keys.prefix_of("a/%2F/b") == "a//b/"
