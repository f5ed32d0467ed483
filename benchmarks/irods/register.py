"""Register files in place: python -m benchmarks.irods.register --files 5000 --connections 4

The loop to compare with is what a user of python-irodsclient writes, physical and logical path alone, for which the
server looks at each file. ireg is measured where it is on PATH.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.irods.compare import Bench, Race, Way, Work, bench, chosen, options
from core.checksums import checksum_of
from core.irods import Registration
from core.outcome import Done

RESOURCE = "demoResc"
SIZE = 1024
WHEN = 1_700_000_000


def plain(server: Bench, **keywords: str) -> Way:
    """data_objects.register in a loop."""

    def connect(stack: ExitStack) -> Work:
        session = server.client(stack)

        def work(collection: str, numbers: Sequence[int]) -> None:
            for number in numbers:
                session.data_objects.register(str(server.file(number, SIZE)), f"{collection}/f{number}", **keywords)

        return work

    return Way("python-irodsclient register" + (", size and time given" if keywords else ""), connect, plain=True)


def single(server: Bench) -> Way:
    """register."""

    def connect(stack: ExitStack) -> Work:
        gateway = server.gateway(stack)

        def work(collection: str, numbers: Sequence[int]) -> None:
            for number in numbers:
                path = f"{collection}/f{number}"
                gateway.register(path, str(server.file(number, SIZE)), SIZE, WHEN * 1_000_000, resource=RESOURCE)

        return work

    return Way("20008", connect, plain=True)


def many(server: Bench, checksum: str | None) -> Way:
    """register_many."""

    def connect(stack: ExitStack) -> Work:
        gateway = server.gateway(stack)

        def work(collection: str, numbers: Sequence[int]) -> None:
            for start in range(0, len(numbers), 500):
                rows = [
                    Registration(
                        f"{collection}/f{number}", str(server.file(number, SIZE)), SIZE, WHEN * 1_000_000, checksum
                    )
                    for number in numbers[start : start + 500]
                ]
                outcomes = gateway.register_many(rows, resource=RESOURCE)
                assert all(isinstance(outcome, Done) for outcome in outcomes), outcomes[:3]

        return work

    return Way("many, with time" + (" and checksum" if checksum else ""), connect)


def icommand(server: Bench) -> Way:
    """ireg of the folder, in one request."""

    def connect(stack: ExitStack) -> Work:
        def work(collection: str, numbers: Sequence[int]) -> None:
            if 0 in numbers:
                subprocess.run(["ireg", "-r", "-R", RESOURCE, str(server.folder), f"{collection}/tree"], check=True)

        return work

    return Way("ireg -r, 1 connection", connect, whole=True)


def main() -> None:
    """Run it."""
    given = options(__doc__, files=5000, connections=4, plain=1000, rounds=2)
    with bench() as server:
        for number in range(given.files):
            server.file(number, SIZE)
        ways = [
            plain(server),
            plain(server, dataSize=str(SIZE), dataModify=str(WHEN), destRescName=RESOURCE),
            single(server),
            many(server, None),
            many(server, checksum_of(b"x")),
        ]
        if shutil.which("ireg"):
            ways.append(icommand(server))
        race = Race(given.files, given.plain, given.connections, given.rounds)
        server.race(chosen(ways, given.ways), race)


if __name__ == "__main__":
    main()
