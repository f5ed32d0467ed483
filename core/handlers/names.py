"""Character maps: other names in iRODS than at the source, as automated ingest makes them.

Each element of a path is mapped by itself. One that changes gets a suffix that tells it from others which would be mapped to the
same name: what was replaced and where, or a SHA-224 of the name when that is shorter. The suffix is the same as the one of
automated ingest, so that its catalogues are found again.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from core.errors import UsageError

_SEPARATORS = "-~_"
_DIGITS = string.digits + string.ascii_letters
_HASH_BYTES = hashlib.sha224().digest_size
_SAY = "character_map() must return a dict, or pairs, of a character, a tuple of them, a pattern or a function to one character"

Rule = tuple[Any, Any]


class CharacterMap:
    """The map that an event handler's `character_map` has returned. Raises UsageError when it is none."""

    def __init__(self, returned: Any) -> None:
        try:
            pairs: Iterable[Rule] = returned.items() if isinstance(returned, Mapping) else returned
            self._rules = [(key, value) for key, value in pairs]
        except (TypeError, ValueError):
            raise UsageError(f"the event handler's character map is a {type(returned).__name__}", _SAY) from None
        for key, value in self._rules:
            if not _is_rule(key, value):
                raise UsageError(f"the event handler's character map has {key!r}: {value!r}", _SAY)
        # the suffix is made of what the map leaves alone
        self._separator = self._kept(_SEPARATORS)[:1]
        self._digits = self._kept(_DIGITS)

    def path(self, relative: str) -> str:
        """The mapped form of a relative path."""
        return "/".join(self.element(element) for element in relative.split("/")) if relative else relative

    def element(self, name: str) -> str:
        """The mapped form of one name."""
        mapped = self._replace(name)
        if mapped == name:
            return name
        return mapped + self._suffix(name, mapped)

    def _replace(self, name: str) -> str:
        for key, value in self._rules:
            if isinstance(key, re.Pattern):
                name = key.sub(value, name)
            elif value is not None:
                name = "".join(value if _matches(key, character) else character for character in name)
        return name

    def _kept(self, characters: str) -> str:
        return "".join(old for old, new in zip(characters, self._replace(characters), strict=False) if old == new)

    def _suffix(self, name: str, mapped: str) -> str:
        if len(self._digits) < 2:
            raise UsageError("the event handler's character map leaves no two letters or digits as they are", _SAY)
        told = bytearray()
        for place, (old, new) in enumerate(zip(name, mapped, strict=False)):
            if old != new:
                told += chr(place).encode() + old.encode("utf-8", "surrogateescape")
                if len(told) >= _HASH_BYTES:
                    told = bytearray(hashlib.sha224(name.encode("utf-8", "surrogateescape")).digest())
                    break
        number, base, written = int.from_bytes(told, "big"), len(self._digits), self._separator
        while number:
            number, digit = divmod(number, base)
            written += self._digits[digit]
        return written


def _is_rule(key: Any, value: Any) -> bool:
    single = not isinstance(value, str) or len(value) <= 1
    if isinstance(key, str):
        return single and len(key) == 1
    if isinstance(key, tuple):
        return single and all(isinstance(one, str) and len(one) == 1 for one in key)
    return single and (isinstance(key, re.Pattern) or callable(key))


def _matches(key: str | tuple[str, ...] | Callable[[str], Any], character: str) -> bool:
    if isinstance(key, str):
        return key == character
    return character in key if isinstance(key, tuple) else bool(key(character))
