"""Lists of files that somebody made beforehand: csv, `find -print0`, or an S3 Inventory."""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import IO, NamedTuple, cast
from urllib.parse import unquote_plus

from core.checksums import scheme_of
from core.errors import UsageError

_BLOCK = 1 << 16
_HEX = re.compile("[0-9a-fA-F]+")
_LENGTHS = {64: "sha2", 40: "sha1", 32: "md5", 8: "adler32"}
_PREFIXES = {"sha2": ("", "sha2", "sha256"), "sha1": ("", "sha1"), "md5": ("", "md5"), "adler32": ("", "adler32")}
_MOST_BYTES = (1 << 63) - 1
# what datetime, and so every client of the inventory, knows
_EARLIEST, _LATEST = -62_135_596_800_000_000, 253_402_300_799_000_000


class Line(NamedTuple):
    """A file of a manifest, and `where` it is written: the name of the manifest and the number of the line.

    `path` is its name as the source has it: relative to the source or, with a leading '/', its place in the filesystem; with a
    `bucket` its whole key there. `size` is in bytes, `modified_at` in microseconds since 1970, `tag` an ETag, `checksum` one in
    the notation of iRODS; None where the manifest does not say.
    """

    where: str
    path: bytes
    size: int | None = None
    modified_at: int | None = None
    tag: str | None = None
    checksum: str | None = None
    bucket: str | None = None


def read(path: Path) -> Iterator[Line]:
    """The lines of a manifest: manifest.json of an S3 Inventory, .csv or .csv.gz, anything else NUL-separated paths.

    One line is held at a time. Raises UsageError, with the number of the line.
    """
    if path.name.endswith(".json"):
        return _inventory(path)
    return _csv(path) if path.name.endswith((".csv", ".csv.gz")) else _separated(path)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"cannot read the manifest {path}: {error}", "check the file and its mode") from error


def _rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The rows of a csv file, packed or not, each with where it ends."""
    # bytes that are not UTF-8 come through as lone surrogates, as the names of files do
    with _told(path):
        with (
            gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as raw,
            TextIOWrapper(cast(IO[bytes], raw), encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            reader = csv.reader(file, strict=True)
            while True:
                try:
                    row = next(reader, None)
                except csv.Error as error:
                    raise UsageError(f"{path}:{reader.line_num}: {error}", "write it as csv, quotes doubled") from None
                if row is None:
                    return
                yield f"{path}:{reader.line_num}", row


def _separated(path: Path) -> Iterator[Line]:
    number, rest = 0, b""
    with _told(path), path.open("rb") as file:
        while block := file.read(_BLOCK):
            *whole, rest = (rest + block).split(b"\0")
            for name in whole:
                number += 1
                yield _named(f"{path}: path {number}", name)
            if len(rest) > _BLOCK:
                raise UsageError(
                    f"{path}: path {number + 1} has no end", "write it as find -print0 does, or name it .csv"
                )
    if rest:
        raise UsageError(
            f"{path}: path {number + 1} has no NUL at its end", "is the list whole? find -print0 writes one"
        )


def _named(where: str, name: bytes) -> Line:
    if not name:
        raise UsageError(f"{where} is empty", "write it as find -print0 does")
    return Line(where, name)


def _csv(path: Path) -> Iterator[Line]:
    """path[,size[,mtime[,checksum]]]; a first line that begins with `path` and names columns is passed over."""
    first = True
    for where, row in _rows(path):
        is_heading, first = first and bool(row) and row[0] == "path" and not (row[1:] and row[1].isdigit()), False
        if not row or is_heading:
            continue
        if len(row) > 4 or not row[0]:
            raise UsageError(f"{where}: {'no path' if not row[0] else f'{len(row)} columns'}", _COLUMNS)
        name, size, modified, checksum = (*row, "", "", "")[:4]
        try:
            yield Line(
                where,
                name.encode("utf-8", "surrogateescape"),
                _size(size) if size else None,
                instant(modified) if modified else None,
                checksum=notation(checksum) if checksum else None,
            )
        except ValueError as error:
            raise UsageError(f"{where}: {error}", _COLUMNS) from None


_COLUMNS = "write path[,size[,mtime[,checksum]]]"


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= _MOST_BYTES):
        raise ValueError(f"size {text!r} is no number of bytes")
    return int(text)


def instant(text: str) -> int:
    """Microseconds since 1970 of seconds since then, with a fraction or without, or of an ISO date. Raises ValueError."""
    if re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]*)?", text):
        whole, _, fraction = text.removeprefix("-").partition(".")
        found = int(whole) * 1_000_000 + int((fraction + "000000")[:6])
        found = -found if text.startswith("-") else found
    else:
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"time {text!r} is neither seconds since 1970 nor an ISO date") from None
        found = round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1_000_000)
    if not _EARLIEST <= found <= _LATEST:
        raise ValueError(f"time {text!r} is outside of the years 1 to 9999")
    return found


def notation(text: str) -> str:
    """A checksum as iRODS writes it, of hexadecimal digits or of that notation itself. Raises ValueError."""
    prefix, _, digits = text.rpartition(":")
    scheme = _LENGTHS.get(len(digits), "")
    if _HEX.fullmatch(digits) and prefix in _PREFIXES.get(scheme, ()):
        if scheme in ("sha2", "sha1"):
            return f"{scheme}:{b64encode(bytes.fromhex(digits)).decode()}"
        return f"adler32:{digits.lower()}" if scheme == "adler32" else digits.lower()
    if scheme_of(text) in ("sha2", "sha1") and len(digits) != {"sha2": 44, "sha1": 28}[prefix]:
        raise ValueError(f"checksum {text!r} does not have the length of {prefix}")
    return text


def _inventory(path: Path) -> Iterator[Line]:
    """An S3 Inventory in csv: manifest.json, and its files at the place it names or beside it."""
    try:
        with _told(path):
            said = json.loads(path.read_text(encoding="utf-8"))
        columns = [column.strip() for column in said["fileSchema"].split(",")]
        bucket, packed, files = (
            str(said["sourceBucket"]),
            said["fileFormat"],
            [str(file["key"]) for file in said["files"]],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: not the manifest.json of an S3 Inventory: {error!r}", "see docs/s3.md") from None
    if packed != "CSV":
        raise UsageError(f"{path}: an inventory as {packed}", "have S3 write it as CSV")
    for key in files:
        name = Path(key).name
        found = next(
            (
                at
                for at in (path.parent / key.lstrip("/"), path.parent / "data" / name, path.parent / name)
                if at.exists()
            ),
            None,
        )
        if found is None:
            raise UsageError(f"{path} names {key}, which is not there", "copy the inventory's data files beside it")
        for where, row in _rows(found):
            if len(row) != len(columns):
                raise UsageError(f"{where}: {len(row)} columns, not {len(columns)}", "is the file whole?")
            if (line := _of_inventory(dict(zip(columns, row, strict=True)), where, bucket)) is not None:
                yield line


def _of_inventory(row: dict[str, str], where: str, bucket: str) -> Line | None:
    """A line of an inventory; None for a version that is not the latest, and for a delete marker."""
    if row.get("IsLatest", "true").lower() == "false" or row.get("IsDeleteMarker", "false").lower() == "true":
        return None
    try:
        size, modified = row.get("Size"), row.get("LastModifiedDate")
        return Line(
            where,
            unquote_plus(row["Key"], errors="strict").encode(),
            _size(size) if size else None,
            # listings may tell fractions that the header of an object never does
            instant(modified) // 1_000_000 * 1_000_000 if modified else None,
            row.get("ETag", "").strip('"') or None,
            bucket=row.get("Bucket", bucket),
        )
    except (KeyError, ValueError) as error:
        raise UsageError(f"{where}: {error!r}", "is this an S3 Inventory?") from None
