"""Verify small objects at level rehash: python -m benchmarks.irods.verify --files 1000 --size 1024 --connections 4"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from irods.message import RErrorStack

from benchmarks.irods.compare import Bench, Way, Work, bench, chosen, options
from core.checksums import checksum_of
from core.irods import Expected, Gateway, SmallFile
from core.outcome import Done


def plain(server: Bench) -> Way:
    """data_objects.chksum with verifyChksum in a loop."""

    def connect(stack: ExitStack) -> Work:
        session = server.client(stack)

        def work(collection: str, numbers: Sequence[int]) -> None:
            for number in numbers:
                path = f"{collection}/c{number // 500}/f{number}"
                session.data_objects.chksum(path, r_error=RErrorStack(), verifyChksum="")

        return work

    return Way("python-irodsclient chksum, verifyChksum", connect)


def single(server: Bench, checksums: Sequence[str], size: int) -> Way:
    """verify."""

    def connect(stack: ExitStack) -> Work:
        gateway = server.gateway(stack)

        def work(collection: str, numbers: Sequence[int]) -> None:
            for number in numbers:
                gateway.verify(f"{collection}/c{number // 500}/f{number}", size=size, checksum=checksums[number])

        return work

    return Way("702 and 629", connect)


def many(server: Bench, checksums: Sequence[str], size: int, connections: int) -> Way:
    """verify_many, a collection a time."""

    def connect(stack: ExitStack) -> Work:
        gateway = server.gateway(stack)

        def work(collection: str, numbers: Sequence[int]) -> None:
            for folder in range(numbers[0], (len(checksums) + 499) // 500, connections):
                mine = range(folder * 500, min(folder * 500 + 500, len(checksums)))
                wanted = [Expected(f"f{number}", size, checksums[number]) for number in mine]
                outcomes = gateway.verify_many(f"{collection}/c{folder}", wanted)
                assert all(isinstance(outcome, Done) for outcome in outcomes), outcomes[:3]

        return work

    return Way("packs of 500", connect)


def main() -> None:
    """Run it."""
    given = options(__doc__, files=2000, size=1024, connections=4)
    with bench() as server:
        contents = [server.file(number, given.size).read_bytes() for number in range(given.files)]
        checksums = [checksum_of(data) for data in contents]

        def fill(collection: str) -> None:
            with Gateway(server.settings) as gateway:
                for start in range(0, given.files, 500):
                    part = range(start, min(start + 500, given.files))
                    files = [SmallFile(f"c{start // 500}/f{i}", contents[i], checksums[i]) for i in part]
                    gateway.put_bundle(collection, files, resource="demoResc", overwrite=False)

        ways = [
            plain(server),
            single(server, checksums, given.size),
            many(server, checksums, given.size, given.connections),
        ]
        server.race(chosen(ways, given.ways), given.files, given.connections, "files", given.files, fill)


if __name__ == "__main__":
    main()
