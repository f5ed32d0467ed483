"""Which entries of a source a job takes: by name, kind, size and age. Pure code over entries, whatever the source.

An entry that is left out is not forgotten: the scan hands it on as EXCLUDED, so that what the inventory knows under its name does
not count as vanished.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache

from pathspec import GitIgnoreSpec

from core.errors import UsageError
from core.settings import JobSettings
from core.sources.base import DIRECTORY, EXCLUDED, REGULAR, UNKNOWN, Entry

KIND_OF_TYPE = {
    "directory": DIRECTORY,
    "link": "l",
    "socket": "s",
    "pipe": "p",
    "character": "c",
    "block": "b",
    "regular": REGULAR,
}


class Filter:
    """The filters of one job. Paths are escaped and relative to the source, as everywhere in the inventory."""

    def __init__(self, settings: JobSettings) -> None:
        """Raises UsageError for a pattern that cannot be understood."""
        self._include = _globs("include", settings.include)
        self._exclude = _globs("exclude", settings.exclude)
        self._include_regex = _regexes("include_regex", settings.include_regex)
        self._exclude_regex = _regexes("exclude_regex", settings.exclude_regex)
        self._kinds = {KIND_OF_TYPE[name] for name in settings.exclude_types}
        if settings.symlinks == "skip":
            self._kinds.add("l")
        self._hidden = settings.hidden_files
        self._sizes = (settings.min_bytes or 0, settings.max_bytes)
        self._ages = (settings.min_age_seconds, settings.max_age_seconds)
        self.by_age = any(age is not None for age in self._ages)
        """Whether time alone changes what is taken."""
        self._by_name = not self._hidden or any(
            (self._include, self._exclude, self._include_regex, self._exclude_regex)
        )
        self.takes_all = not (self._by_name or self._kinds or any(self._sizes) or self.by_age)
        """Whether there is nothing to filter."""

    def takes(self, path: str, entry: Entry, now: float | None = None) -> bool:
        """Whether the entry at this path is brought in; a directory: whether it is descended into. `now` is seconds since 1970."""
        if entry.kind in self._kinds or (self._by_name and self.leaves_out(path, entry.kind == DIRECTORY)):
            return False
        if entry.kind == DIRECTORY or (entry.size, entry.modified_at) == UNKNOWN:
            return True
        return self._fits_size(entry) and (
            not self.by_age or self._fits_age(entry, time.time() if now is None else now)
        )

    def why_not(self, path: str, entry: Entry) -> str:
        """Why an entry that is not taken is not: by its type, name, size or age."""
        if entry.kind in self._kinds:
            return "type"
        if self._by_name and self.leaves_out(path, entry.kind == DIRECTORY):
            return "name"
        return "age" if self._fits_size(entry) else "size"

    def leaves_out(self, path: str, is_directory: bool) -> bool:
        """Whether the name alone says no. Includes choose files; directories are descended into unless they are excluded."""
        if not self._hidden and path.rpartition("/")[2].startswith("."):
            return True
        shown = f"{path}/" if is_directory else path
        if self._exclude is not None and self._exclude.match_file(shown):
            return True
        if any(regex.search(path) for regex in self._exclude_regex):
            return True
        if is_directory or (self._include is None and not self._include_regex):
            return False
        by_glob = self._include is not None and self._include.match_file(path)
        return not (by_glob or any(regex.search(path) for regex in self._include_regex))

    def leaves_out_below(self, directory: str) -> bool:
        """Whether a directory, or one above it, is left out by its name."""
        parts = directory.split("/") if directory and self._by_name else []
        return any(self.leaves_out("/".join(parts[: n + 1]), True) for n in range(len(parts)))

    def protects(self, path: str, is_directory: bool) -> bool:
        """Whether what has this path is left alone for its name, there or not: it never vanishes and is never deleted."""
        if not self._by_name:
            return False
        return self.leaves_out(path, is_directory) or self.leaves_out_below(path.rpartition("/")[0])

    def _fits_size(self, entry: Entry) -> bool:
        smallest, largest = self._sizes
        return entry.kind != REGULAR or (entry.size >= smallest and (largest is None or entry.size <= largest))

    def _fits_age(self, entry: Entry, now: float) -> bool:
        age, (youngest, oldest) = now - entry.modified_at / 1e6, self._ages
        return (youngest is None or age >= youngest) and (oldest is None or age <= oldest)


def excluded(entry: Entry) -> Entry:
    """What stands in a listing for an entry that is left out: its name and no more, or its changes would be changes of ours."""
    return Entry(entry.name, EXCLUDED, 0, 0)


@lru_cache(maxsize=256)
def filter_of(settings: JobSettings) -> Filter:
    """The filter of a job's settings, built once. Raises UsageError for a pattern that cannot be understood."""
    return Filter(settings)


def _globs(key: str, patterns: Sequence[str]) -> GitIgnoreSpec | None:
    try:
        return GitIgnoreSpec.from_lines(patterns) if patterns else None
    except ValueError as error:
        raise UsageError(f"job.{key} is no pattern: {error}", "write it as in .gitignore") from None


def _regexes(key: str, patterns: Iterable[str]) -> list[re.Pattern[str]]:
    compiled = []
    for pattern in patterns:
        try:
            compiled.append(re.compile(pattern))
        except re.error as error:
            raise UsageError(f"job.{key} {pattern!r} is no regular expression: {error}", "see Python's re") from None
    return compiled
