"""`python -m k8s.stage in|out`: what runs in a Job's own staging containers.

`in` brings the input from iRODS to a folder, and compares it with the checksum that iRODS has. `out` puts all regular files of
the output folder below the output collection, or registers them where they lie. All may be done again: what is there is replaced.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from core import checksums, paths
from core.errors import IngestError, Mismatch, Outage, Unavailable, UsageError
from core.irods import ComputeGateway
from core.settings_file import load_settings

OUTAGE_CODE = 75
"""The exit code when iRODS is away (EX_TEMPFAIL): no failure of the task."""
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Places:
    """What the Job's manifest says, in variables that begin with COMPUTE_."""

    input: str
    kind: str
    inputs: Path
    outputs: Path
    file: str
    output: str
    resource: str | None
    physical: str | None
    """Where the output folder lies for the iRODS server: then nothing is copied."""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Places:
        """Read the environment. Raises UsageError when a variable is missing."""
        try:
            return cls(
                input=environ["COMPUTE_INPUT"],
                kind=environ["COMPUTE_KIND"],
                inputs=Path(environ["COMPUTE_INPUTS"]),
                outputs=Path(environ["COMPUTE_OUTPUTS"]),
                file=environ["COMPUTE_FILE"],
                output=environ["COMPUTE_OUTPUT"],
                resource=environ.get("COMPUTE_RESOURCE") or None,
                physical=environ.get("COMPUTE_PHYSICAL") or None,
            )
        except KeyError as missing:
            raise UsageError(f"{missing.args[0]} is not set", "this runs in the Jobs of a compute pod") from None


def stage_in(gateway: ComputeGateway, places: Places) -> int:
    """Bring the input in; returns how many files. With a volume only the output folder is made: the input is mounted.

    Raises Mismatch when what was read is not what the catalogue says.
    """
    if places.physical is not None:
        places.outputs.mkdir(parents=True, exist_ok=True)
        return 0
    if places.kind == "object":
        _fetch(gateway, places.input, places.inputs / places.file, places.resource)
        return 1
    objects = sorted(gateway.objects_below(places.input))
    for path in objects:
        relative = path.removeprefix(f"{places.input}/")
        paths.check_logical(f"/{relative}")  # no '..' may lead out of the folder
        _fetch(gateway, path, places.inputs / os.fsdecode(paths.unescape(relative)), places.resource)
    return len(objects)


def _fetch(gateway: ComputeGateway, path: str, file: Path, resource: str | None) -> None:
    stored = next((row for row in gateway.replicas(path) if row.good), None)
    if stored is None:
        raise Mismatch("no_good_replica", f"{path} has no good replica", "repair it first")
    known = stored.checksum if stored.checksum and not stored.checksum.startswith("sha512:") else None
    hasher = checksums.Hasher(checksums.scheme_of(known) if known else "sha2")
    file.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with file.open("wb") as writing:
        for piece in gateway.read(path, resource):
            hasher.update(piece)
            size += len(piece)
            writing.write(piece)
    if size != stored.size or (known is not None and not checksums.same(hasher.checksum, known)):
        raise Mismatch(
            "checksum_mismatch",
            f"{path}: read {size} bytes, {hasher.checksum}; the catalogue has {stored.size}, {stored.checksum}",
            "its replica is damaged, or the object was changed meanwhile",
        )


def stage_out(gateway: ComputeGateway, places: Places) -> int:
    """Bring all regular files out, and make the collection even for none; returns how many files."""
    known: set[str] = set()
    gateway.make_collections(places.output, known)
    count = 0
    for file, relative in _regular_files(places.outputs):
        path = paths.logical_path(places.output, relative)
        gateway.make_collections(paths.split(path)[0], known)
        if places.physical is None:
            _put(gateway, file, path, places.resource)
        else:
            _register(gateway, file, path, places)
        count += 1
    return count


def _regular_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files and their escaped relative paths. Links are left out: one could lead to this container's own secrets."""
    base = os.fsencode(folder)
    for place, folders, names in os.walk(base):
        folders.sort()
        for name in sorted(names):
            file = os.path.join(place, name)
            relative = os.path.relpath(file, base)
            if not stat.S_ISREG(os.lstat(file).st_mode):
                print(f"left out: {os.fsdecode(relative)!r} is no regular file", file=sys.stderr)
                continue
            yield Path(os.fsdecode(file)), "/".join(paths.escape(part) for part in relative.split(b"/"))


def _put(gateway: ComputeGateway, file: Path, path: str, resource: str | None) -> None:
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        size = os.fstat(descriptor).st_size
        gateway.put_stream(
            path,
            lambda offset, length: os.pread(descriptor, length, offset),
            size,
            resource=resource,
            overwrite=True,
        )
    finally:
        os.close(descriptor)


def _register(gateway: ComputeGateway, file: Path, path: str, places: Places) -> None:
    hasher = checksums.Hasher("sha2")
    with file.open("rb") as reading:
        while block := reading.read(_BLOCK):
            hasher.update(block)
        found = os.fstat(reading.fileno())
    physical = f"{places.physical}/{file.relative_to(places.outputs)}"
    gateway.register(
        path,
        physical,
        found.st_size,
        found.st_mtime_ns // 1000,
        resource=places.resource,
        checksum=hasher.checksum,
    )


def main(arguments: list[str], environ: Mapping[str, str] = os.environ) -> int:
    """Stage in or out and return the exit code: 0, 75 when iRODS is away, another one for what a person must look at."""
    if arguments not in (["in"], ["out"]):
        print("usage: python -m k8s.stage in|out", file=sys.stderr)
        return UsageError.exit_code
    work = stage_in if arguments == ["in"] else stage_out
    try:
        places = Places.of(environ)
        given = {name: value for name, value in environ.items() if name.startswith(("INGEST_IRODS__", "IRODS_"))}
        with ComputeGateway(load_settings(environ=given).irods) as gateway:
            files = work(gateway, places)
    except (Outage, Unavailable) as error:
        print(f"stage {arguments[0]}: {error}", file=sys.stderr)
        return OUTAGE_CODE
    except (IngestError, OSError) as error:
        print(f"stage {arguments[0]}: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    where = f"{places.input} to {places.inputs}" if arguments == ["in"] else f"{places.outputs} to {places.output}"
    print(f"stage {arguments[0]}: {files} files from {where}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
