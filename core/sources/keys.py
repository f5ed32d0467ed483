"""S3 keys as paths below a collection, and back: any key has a path of its own that iRODS takes.

A key is cut at its slashes; each segment is written as in `core.paths`. A segment may be what no name may be: an empty one is
written %2F, `.` is %2E, `..` is %2E%2E and NUL is %00. An object that shares its key with a prefix (`a` beside `a/b`) would be
a data object of the name of a collection: %2F is added to its name. The few names that look like one of these get their percent
sign written as %25. So no two objects of one listing have the same path, and the path says which key it was.
"""

from __future__ import annotations

import re

from core.paths import escape

SLASH = "%2F"
_ODD = {"": SLASH, ".": "%2E", "..": "%2E%2E"}
_PLAIN = {"%2E": ".", "%2E%2E": ".."}
# the codes of core.paths, and NUL, which no filesystem has in a name
_ESCAPED = re.compile(b"%(0[0-8B-F]|1[0-9A-F]|25|7F|[89A-F][0-9A-F])")


def segment_name(segment: str) -> str:
    """The name of a directory or an object whose key has this segment between two slashes, or as its last one."""
    if segment in _ODD:
        return _ODD[segment]
    name = escape(segment.encode()).replace("%00", "%2500").replace("\0", "%00")
    if name in _PLAIN:
        return "%25" + name[1:]
    return name[:-3] + "%252F" if name.endswith(SLASH) else name


def segment_of(name: str) -> str:
    """The segment that `segment_name` was given, also when %2F was added to it. Raises UnicodeDecodeError for a name no key has."""
    while name.endswith(SLASH):
        name = name[:-3]
    if name in _PLAIN:
        return _PLAIN[name]
    return _ESCAPED.sub(lambda match: bytes.fromhex(match.group(1).decode()), name.encode()).decode()


def path_of(key: str) -> str:
    """The path of an object that shares its key with no prefix."""
    return "/".join(map(segment_name, key.split("/")))


def key_of(path: str) -> str:
    """The key of an object, of its path. Raises UnicodeDecodeError for a path no key has."""
    return "/".join(map(segment_of, path.split("/")))


def prefix_of(directory: str) -> str:
    """What the keys below a directory begin with; '' for the root."""
    return key_of(directory) + "/" if directory else ""
