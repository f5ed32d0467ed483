"""Whether a source can be read, how fast it lists, and whether its times can be believed. Nothing is written to it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from core.checkup import Check
from core.errors import FileError
from core.sources.base import DIRECTORY, REGULAR, Entry, Source

SAMPLE = 20_000
"""Entries that are listed at most."""
SECONDS = 5.0
SLOW = 2_000
"""Entries a second below which a scan of many files takes long."""
_DOUBTFUL = ("fuse", "9p", "cifs", "smb", "nfs")
"""Filesystems whose directory times are cached, or not kept at all."""


def check(url: str, source: Source, *, trust_directory_mtime: bool) -> Iterator[Check]:
    """Look at a sample of a source. Raises UsageError when it cannot be read at all."""
    source.check()
    yield Check("source", "readable", "OK", url)
    began = time.monotonic()
    sample, unreadable = _sample(source, began + SECONDS)
    seconds = max(time.monotonic() - began, 1e-6)
    if unreadable:
        path, problem = unreadable[0]
        message = f"{len(unreadable)} directories cannot be listed, first {path}: {problem}"
        yield Check("source", "directories", "FAIL", message, "make them readable for the pods' user")
    yield _rate(len(sample), seconds)
    late = [entry for entry in sample if entry.modified_at > (time.time() + 60) * 1_000_000]
    if late:
        message = f"{len(late)} of {len(sample)} files were modified in the future, first {late[0].name}"
        hint = "set the clock of who writes there; with job.settle_seconds such files wait until then"
        yield Check("source", "times", "WARN", message, hint)
    else:
        yield Check("source", "times", "OK", f"none of {len(sample)} files was modified in the future")
    if not any(entry.kind == REGULAR for entry in sample):
        yield Check(
            "source", "files", "WARN", "no regular file was found in the sample", "is it mounted, and the right one?"
        )
    if (parts := urlsplit(url)).scheme == "file":
        yield _directory_times(unquote_to_bytes(parts.path), trust_directory_mtime)


def _sample(source: Source, until: float) -> tuple[list[Entry], list[tuple[str, str]]]:
    sample: list[Entry] = []
    unreadable: list[tuple[str, str]] = []
    below = [""]
    while below and len(sample) < SAMPLE and time.monotonic() < until:
        path = below.pop()
        try:
            for entry in islice(source.scan(path), SAMPLE - len(sample)):
                if entry.kind == DIRECTORY:
                    below.append(f"{path}/{entry.name}" if path else entry.name)
                else:
                    sample.append(entry)
                if time.monotonic() > until:
                    break
        except FileError as problem:
            unreadable.append((path or "its root", problem.error))
    return sample, unreadable


def _rate(entries: int, seconds: float) -> Check:
    rate = entries / seconds
    message = f"{entries} files listed in {seconds:.2f} s, {rate:.0f} a second"
    if entries >= 1000 and rate < SLOW:
        return Check(
            "source", "listing rate", "WARN", message, "more watcher pods list more directories at the same time"
        )
    return Check("source", "listing rate", "OK", message)


def _directory_times(path: bytes, trusted: bool) -> Check:
    kind = _filesystem(Path(os.fsdecode(os.path.realpath(path))))
    doubtful = kind.startswith(_DOUBTFUL)
    if trusted and doubtful:
        hint = "unset it, unless that filesystem is known to keep directory times honestly"
        return Check("source", "directory times", "WARN", f"job.trust_directory_mtime is set on {kind}", hint)
    return Check(
        "source", "directory times", "OK", f"filesystem {kind}" + (", trusted" if trusted else ", not relied on")
    )


def _filesystem(path: Path) -> str:
    """The type of the filesystem that holds a path, by the longest mount point above it."""
    found = ("", "unknown")
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return "unknown"
    for line in mounts:
        _, where, kind, *_ = line.split()
        where = where.encode("utf-8", "surrogateescape").decode("unicode_escape", "replace")  # \040 for a space
        if path.is_relative_to(where) and len(where) >= len(found[0]):
            found = (where, kind)
    return found[1]
