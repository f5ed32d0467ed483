"""Verify small objects: python -m benchmarks.irods.verify --files 5000 --size 1024 --connections 4"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from irods.message import RErrorStack

from benchmarks.irods.compare import Bench, Race, Way, Work, bench, chosen, options
from core.checksums import checksum_of
from core.irods import Expected, Gateway, SmallFile
from core.outcome import Done
from core.settings import VerifyLevel


def plain(server: Bench) -> Way:
    """data_objects.chksum with verifyChksum in a loop."""

    def connect(stack: ExitStack) -> Work:
        session = server.client(stack)

        def work(collection: str, numbers: Sequence[int]) -> None:
            for number in numbers:
                path = f"{collection}/c{number // 500}/f{number}"
                session.data_objects.chksum(path, r_error=RErrorStack(), verifyChksum="")

        return work

    return Way("python-irodsclient chksum, verifyChksum", connect, plain=True)


def single(server: Bench, checksums: Sequence[str], size: int) -> Way:
    """verify."""

    def connect(stack: ExitStack) -> Work:
        gateway = server.gateway(stack)

        def work(collection: str, numbers: Sequence[int]) -> None:
            for number in numbers:
                gateway.verify(f"{collection}/c{number // 500}/f{number}", size=size, checksum=checksums[number])

        return work

    return Way("one by one, 702 and 629", connect, plain=True)


def many(
    server: Bench, checksums: Sequence[str], size: int, connections: int, level: VerifyLevel, *, packs: bool = True
) -> Way:
    """verify_many, a collection a time."""

    def connect(stack: ExitStack) -> Work:
        gateway = stack.enter_context(Gateway(server.settings.model_copy(update={"bundles": packs})))
        gateway.check_resource("demoResc", "put")

        def work(collection: str, numbers: Sequence[int]) -> None:
            for folder in range(numbers[0], (len(checksums) + 499) // 500, connections):
                mine = range(folder * 500, min(folder * 500 + 500, len(checksums)))
                wanted = [Expected(f"f{number}", size, checksums[number]) for number in mine]
                outcomes = gateway.verify_many(f"{collection}/c{folder}", wanted, level=level)
                assert all(isinstance(outcome, Done) for outcome in outcomes), outcomes[:3]

        return work

    how = ("packs of 500" if packs else "629 in rows of 50") if level == "rehash" else "collections of 500"
    return Way(f"{level}, {how}", connect, whole=True)


def main() -> None:
    """Run it."""
    given = options(__doc__, files=5000, size=1024, connections=4, plain=1500, rounds=1)
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
            many(server, checksums, given.size, given.connections, "rehash"),
            many(server, checksums, given.size, given.connections, "rehash", packs=False),
            many(server, checksums, given.size, given.connections, "stat"),
            many(server, checksums, given.size, given.connections, "catalog"),
        ]
        race = Race(given.files, given.plain, given.connections, given.rounds)
        server.race(chosen(ways, given.ways), race, fill)


if __name__ == "__main__":
    main()
