"""Put small files: python -m benchmarks.irods.put_small --files 5000 --size 1024 --connections 4

Also --size 65536. Fewer files: --files 1000 --plain 200. iput is measured where it is on PATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.irods.compare import Bench, Race, Way, Work, bench, chosen, options
from core.checksums import checksum_of
from core.irods import SmallFile
from core.outcome import Done
from core.settings import BundleSettings

RESOURCE = "demoResc"


def plain(server: Bench, size: int, **keywords: str) -> Way:
    """data_objects.put in a loop."""

    def connect(stack: ExitStack) -> Work:
        session = server.client(stack)

        def work(collection: str, numbers: Sequence[int]) -> None:
            for number in numbers:
                file = server.file(number, size)
                session.data_objects.put(str(file), f"{collection}/{file.name}", destRescName=RESOURCE, **keywords)

        return work

    return Way("python-irodsclient put" + (", checksum" if keywords else ""), connect, plain=True)


def single(server: Bench, size: int) -> Way:
    """put_bytes."""

    def connect(stack: ExitStack) -> Work:
        gateway = server.gateway(stack)

        def work(collection: str, numbers: Sequence[int]) -> None:
            for number in numbers:
                file = server.file(number, size)
                data = file.read_bytes()
                path = f"{collection}/{file.name}"
                gateway.put_bytes(path, data, checksum=checksum_of(data), resource=RESOURCE, overwrite=False)

        return work

    return Way("606 with end-to-end checksum", connect, plain=True)


def bundles(server: Bench, size: int, count: int, *, recorded: bool, written: bool) -> Way:
    """put_bundle, with the checksums in the catalogue or without, written into the vault or unpacked there."""

    def connect(stack: ExitStack) -> Work:
        gateway = server.gateway(stack, bundle_checksums=recorded, vault_writes=written)

        def work(collection: str, numbers: Sequence[int]) -> None:
            for start in range(0, len(numbers), count):
                files = []
                for number in numbers[start : start + count]:
                    file = server.file(number, size)
                    data = file.read_bytes()
                    files.append(SmallFile(file.name, data, checksum_of(data)))
                outcomes = gateway.put_bundle(collection, files, resource=RESOURCE, overwrite=False)
                assert all(isinstance(outcome, Done) for outcome in outcomes), outcomes[:3]

        return work

    kind = "written (518)" if written else "unpacked (665)"
    return Way(f"bundles of {count} {kind}, {'catalogue checksums' if recorded else 'no checksums'}", connect)


def icommand(server: Bench, files: int, size: int, *flags: str) -> Way:
    """iput of a folder, one connection."""
    folder = server.folder / "tree"
    folder.mkdir(exist_ok=True)
    for number in range(files):
        source = server.file(number, size)
        if not (folder / source.name).exists():
            os.link(source, folder / source.name)

    def connect(stack: ExitStack) -> Work:
        def work(collection: str, numbers: Sequence[int]) -> None:
            if 0 in numbers:
                subprocess.run(["iput", *flags, "-R", RESOURCE, str(folder), collection], check=True)

        return work

    return Way(" ".join(("iput", *flags)) + ", 1 connection", connect, plain=True, whole=True)


def main() -> None:
    """Run it."""
    given = options(__doc__, files=5000, size=1024, connections=4, bundle=500, plain=600, rounds=1)
    # no bundle is larger than a loader makes it
    count = max(1, min(given.bundle, BundleSettings().max_bytes // max(1, given.size)))
    with bench() as server:
        for number in range(given.files):
            server.file(number, given.size)
        ways = [
            plain(server, given.size),
            plain(server, given.size, regChksum=""),
            single(server, given.size),
            *(
                bundles(server, given.size, count, recorded=recorded, written=written)
                for written in (True, False)
                for recorded in (True, False)
            ),
        ]
        if shutil.which("iput"):
            ways += [icommand(server, given.plain, given.size, "-K", "-r")]
        race = Race(given.files, given.plain, given.connections, given.rounds)
        server.race(chosen(ways, given.ways), race)


if __name__ == "__main__":
    main()
