"""Globs on paths, as a regular expression that Python and Postgres read alike."""

from __future__ import annotations

import re


def pattern_of(glob: str) -> str:
    """The expression a whole path must match: `*` and `?` stay within a name, `**/` is any directories, `[a-z]`, `[!a-z]`.

    Raises ValueError for a bracket without an end.
    """
    parts: list[str] = []
    at = 0
    while at < len(glob):
        if glob.startswith("**/", at):
            parts.append("(?:.*/)?")
            at += 3
        elif glob.startswith("**", at):
            parts.append(".*")
            at += 2
        elif glob[at] == "[":
            text, at = _bracket(glob, at)
            parts.append(text)
        else:
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(glob[at]) or _literal(glob[at]))
            at += 1
    return "".join(parts)


def matches(pattern: str, path: str) -> bool:
    """Whether a path is what `pattern_of` made an expression for."""
    return re.fullmatch(pattern, path, re.DOTALL) is not None


def _literal(letter: str) -> str:
    """A backslash before a letter or digit means something, before anything else only that letter."""
    return letter if letter.isalnum() or letter == "_" or not letter.isascii() or letter.isspace() else f"\\{letter}"


def _bracket(glob: str, at: int) -> tuple[str, int]:
    end = glob.find("]", at + 2 + glob.startswith("[!", at))
    if end < 0:
        raise ValueError(f"{glob!r} has a '[' without a ']'")
    inner = glob[at + 1 : end]
    negated = inner.startswith("!")
    letters = inner[negated:]
    # both dialects agree on letters, digits and ranges of them; all else could be a class, a collation or an escape
    if not re.fullmatch(r"(?:[A-Za-z0-9_.](?:-[A-Za-z0-9])?)+", letters):
        raise ValueError(f"{glob!r} has brackets around something else than letters, digits, '_', '.' and ranges")
    return f"[{'^/' if negated else ''}{letters}]", end + 1
