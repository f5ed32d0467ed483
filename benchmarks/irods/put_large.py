"""Put one large file with its checksum: python -m benchmarks.irods.put_large --mib 1024 --streams 4"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.irods.compare import Bench, Race, Way, Work, bench, chosen, options
from core.checksums import Hasher

RESOURCE = "demoResc"
MIB = 1024 * 1024


def plain(server: Bench, file: Path, threads: int, **keywords: str) -> Way:
    """data_objects.put of one file."""

    def connect(stack: ExitStack) -> Work:
        session = server.client(stack)

        def work(collection: str, numbers: Sequence[int]) -> None:
            session.data_objects.put(
                str(file), f"{collection}/large", num_threads=threads, destRescName=RESOURCE, **keywords
            )

        return work

    return Way(f"python-irodsclient put, {threads} threads" + (", checksum" if keywords else ""), connect)


def icommand(server: Bench, file: Path, *flags: str) -> Way:
    """iput of one file."""

    def connect(stack: ExitStack) -> Work:
        def work(collection: str, numbers: Sequence[int]) -> None:
            subprocess.run(["iput", *flags, "-R", RESOURCE, str(file), f"{collection}/large"], check=True)

        return work

    return Way(" ".join(("iput", *flags)), connect)


def streams(server: Bench, file: Path, count: int) -> Way:
    """put_stream."""

    def connect(stack: ExitStack) -> Work:
        gateway = server.gateway(stack)
        descriptor = os.open(file, os.O_RDONLY)
        stack.callback(os.close, descriptor)

        def work(collection: str, numbers: Sequence[int]) -> None:
            gateway.put_stream(
                f"{collection}/large",
                lambda offset, length: os.pread(descriptor, length, offset),
                file.stat().st_size,
                resource=RESOURCE,
                overwrite=False,
                streams=count,
            )

        return work

    return Way(f"put_stream, {count} streams, end-to-end checksum", connect)


def sha256_rate(file: Path) -> float:
    """MiB/s of hashing alone, the file in the page cache."""
    hasher = Hasher()
    started = time.perf_counter()
    with file.open("rb") as source:
        while chunk := source.read(4 * MIB):
            hasher.update(chunk)
    return file.stat().st_size / MIB / (time.perf_counter() - started)


def main() -> None:
    """Run it."""
    given = options(__doc__, mib=1024, streams=4, rounds=2)
    with bench() as server:
        file = server.file(0, given.mib * MIB)
        sha256_rate(file)
        print(f"sha256 alone: {sha256_rate(file):.0f} MiB/s")
        ways = [
            plain(server, file, given.streams),
            plain(server, file, given.streams, regChksum=""),
            streams(server, file, 1),
            streams(server, file, given.streams),
        ]
        if shutil.which("iput"):
            ways += [
                icommand(server, file, "-N", str(given.streams)),
                icommand(server, file, "-K", "-N", str(given.streams)),
            ]
        server.race(chosen(ways, given.ways), Race(1, 1, 1, given.rounds, "MiB", given.mib))
        print(f"sha256 alone: {sha256_rate(file):.0f} MiB/s")


if __name__ == "__main__":
    main()
