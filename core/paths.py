"""Names and logical paths: what iRODS and Postgres can hold, and the reversible escape for what they cannot.

A name on a filesystem is any byte string without NUL and '/'. iRODS speaks XML 1.0 and both catalogues store UTF-8
text, so bytes that are not valid UTF-8, control characters other than tab and newline (a carriage return silently
becomes a newline in XML), DEL, U+FFFE and U+FFFF cannot go as they are: each of their bytes is written as %XX with
upper-case digits.
"""

from __future__ import annotations

import os
import re

from core.errors import Permanent

MAX_PATH_BYTES = 1023
"""The longest logical path in bytes of UTF-8; on the wire a path has 1088 bytes, in the server's libraries 1024."""

_FORBIDDEN = re.compile("[\x01-\x08\x0b-\x1f\x7f\ufffe\uffff\ud800-\udfff]")
# what escape() can emit, and the percent sign itself; any other %XX in a name is just a name
_ESCAPE = re.compile("%(0[1-8B-F]|1[0-9A-F]|25|7F|[89A-F][0-9A-F])")
_ESCAPE_BYTES = re.compile(_ESCAPE.pattern.encode())


def escape(name: bytes) -> str:
    """The text that stands for `name` in the inventory and in iRODS; ordinary names stand for themselves.

    A percent sign is written as %25 only where it would otherwise be read as an escape, so `100%.txt` and `a%20b` stay.
    No two names give the same text, and `unescape` gives the name back.
    """
    # invalid bytes become lone surrogates U+DC80..U+DCFF, which valid UTF-8 never decodes to
    text = name.decode("utf-8", "surrogateescape")
    text = _ESCAPE.sub(lambda match: "%25" + match.group(1), text)
    return _FORBIDDEN.sub(_percent, text)


def unescape(text: str) -> bytes:
    """The name that `escape` was given."""
    return _ESCAPE_BYTES.sub(lambda match: bytes.fromhex(match.group(1).decode()), text.encode("utf-8"))


def ways_of_prefix(given: str) -> tuple[str, ...]:
    """The escaped beginnings of paths that a person may have meant: of names as they are at the source, or as our output writes
    them. `given` is as it was typed, with bytes that are no UTF-8 as lone surrogates; () for nothing."""
    if not given:
        return ()
    escaped = escape(os.fsencode(given))
    return (escaped,) if escaped == given or _FORBIDDEN.search(given) else (escaped, given)


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match.group().encode("utf-8", "surrogateescape"))


def logical_path(collection: str, relative: str) -> str:
    """The logical path of `relative` (no leading '/') below `collection`; checked as `check_logical` does."""
    path = f"{collection.rstrip('/')}/{relative}" if relative else collection
    check_logical(path)
    return path


def split(path: str) -> tuple[str, str]:
    """The collection and the name of a logical path."""
    collection, _, name = path.rpartition("/")
    return collection or "/", name


def below_zone(path: str) -> str:
    """A logical path without its zone: where iRODS puts the file below a vault unless a policy says otherwise."""
    return path.lstrip("/").partition("/")[2]


def check_logical(path: str) -> None:
    """Refuse what iRODS would take literally, cut or reject, with a `Permanent` of class bad_path or path_too_long.

    The server takes `//`, `/.` and `/..` for collections of that name, and the registration calls do not normalise at
    all.
    """
    if not path.startswith("/"):
        raise Permanent("bad_path", f"logical path {path!r} does not start with '/'", "give an absolute path: /zone/…")
    segments = path[1:].split("/")
    if "" in segments:
        raise Permanent("bad_path", f"logical path {path!r} has an empty segment", "remove '//' or the trailing '/'")
    if "." in segments or ".." in segments:
        raise Permanent("bad_path", f"logical path {path!r} has a '.' or '..' segment", "give the path without them")
    if "\0" in path or _FORBIDDEN.search(path):
        raise Permanent("bad_path", f"logical path {path!r} has a character that iRODS cannot hold", "escape its names")
    length = len(path.encode("utf-8"))
    if length > MAX_PATH_BYTES:
        raise Permanent("path_too_long", f"logical path of {length} bytes, at most {MAX_PATH_BYTES}: {path[:80]}…")


# with U+FFFE or U+FFFF in it no answer that names the path can be read: they are no XML
_UNREGISTRABLE = re.compile("[\0-\x08\x0b-\x1f\ufffe\uffff\ud800-\udfff]")
_NOT_REGISTRABLE = "rename it at the source, or put it; job.link_folder registers those of a mounted source by links"


def checked_physical(path: str, physical: str) -> str:
    """The physical path of `path`, unless iRODS cannot hold it: then a `Permanent` of class bad_physical_path.

    Bytes that are no UTF-8 are lone surrogates in it.
    """
    if odd := _UNREGISTRABLE.search(physical):
        is_text = not "\ud800" <= odd.group() <= "\udfff"
        words = "this physical path (control characters, U+FFFE or U+FFFF)" if is_text else "a path that is not UTF-8"
    elif len(physical.encode()) > MAX_PATH_BYTES:
        words = f"this physical path (over {MAX_PATH_BYTES} bytes)"
    else:
        return physical
    raise Permanent("bad_physical_path", f"{path}: iRODS cannot hold {words}", _NOT_REGISTRABLE)
