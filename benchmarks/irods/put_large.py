"""Put one large file with its checksum: python -m benchmarks.irods.put_large --mib 1024 --streams 4

What the machine makes of it without iRODS is measured too: the same bytes hashed and sent to a process that writes them.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.irods.compare import Bench, Race, Way, Work, bench, chosen, options
from core.checksums import Hasher
from core.irods.ahead import ahead
from core.irods.stream import READ_BYTES

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


def bare(server: Bench, file: Path) -> Way:
    """Two threads that hash and send, a process that receives and writes."""

    def receive(listener: socket.socket) -> None:
        connection = listener.accept()[0]
        buffer = memoryview(bytearray(4 * MIB))
        with connection, (server.folder / "received").open("wb", buffering=0) as target:
            while count := connection.recv_into(buffer, len(buffer), socket.MSG_WAITALL):
                target.write(buffer[:count])
        (server.folder / "received").unlink()

    def pieces(hasher: Hasher) -> Iterator[bytes]:
        with file.open("rb", buffering=0) as source:
            while chunk := source.read(READ_BYTES):
                hasher.update(chunk)
                yield chunk

    def connect(stack: ExitStack) -> Work:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        receiver = multiprocessing.get_context("fork").Process(target=receive, args=(listener,))
        receiver.start()

        def work(collection: str, numbers: Sequence[int]) -> None:
            with socket.create_connection(listener.getsockname()) as connection:
                for chunk in ahead(pieces(Hasher()), 4 * MIB // READ_BYTES):
                    connection.sendall(chunk)
            receiver.join()

        return work

    return Way("hashed, sent and written, no iRODS", connect)


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
            bare(server, file),
            streams(server, file, 1),
            streams(server, file, given.streams),
        ]
        if shutil.which("iput"):
            ways += [
                icommand(server, file, "-N", str(given.streams)),
                icommand(server, file, "-K", "-N", str(given.streams)),
            ]
        server.race(chosen(ways, given.ways), Race(1, 1, 1, given.rounds, "MiB", given.mib, keep=False))
        print(f"sha256 alone: {sha256_rate(file):.0f} MiB/s")


if __name__ == "__main__":
    main()
