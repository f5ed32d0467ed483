"""Register files in place: python -m benchmarks.irods.register --files 2000 --connections 4"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.irods.compare import Bench, Way, Work, bench, chosen, options
from core.checksums import checksum_of
from core.irods import Registration
from core.outcome import Done

RESOURCE = "demoResc"
WHEN = 1_700_000_000


def plain(server: Bench) -> Way:
    """data_objects.register in a loop, with size and time."""

    def connect(stack: ExitStack) -> Work:
        session = server.client(stack)

        def work(collection: str, numbers: Sequence[int]) -> None:
            for number in numbers:
                session.data_objects.register(
                    f"/data/f{number}",
                    f"{collection}/f{number}",
                    destRescName=RESOURCE,
                    dataSize="1024",
                    dataModify=str(WHEN),
                )

        return work

    return Way("python-irodsclient register", connect)


def single(server: Bench) -> Way:
    """register."""

    def connect(stack: ExitStack) -> Work:
        gateway = server.gateway(stack)

        def work(collection: str, numbers: Sequence[int]) -> None:
            for number in numbers:
                path = f"{collection}/f{number}"
                gateway.register(path, f"/data/f{number}", 1024, WHEN * 1_000_000, resource=RESOURCE)

        return work

    return Way("20008", connect)


def many(server: Bench, checksum: str | None) -> Way:
    """register_many."""

    def connect(stack: ExitStack) -> Work:
        gateway = server.gateway(stack)

        def work(collection: str, numbers: Sequence[int]) -> None:
            for start in range(0, len(numbers), 500):
                rows = [
                    Registration(f"{collection}/f{number}", f"/data/f{number}", 1024, WHEN * 1_000_000, checksum)
                    for number in numbers[start : start + 500]
                ]
                outcomes = gateway.register_many(rows, resource=RESOURCE)
                assert all(isinstance(outcome, Done) for outcome in outcomes), outcomes[:3]

        return work

    return Way("many, with time" + (" and checksum" if checksum else ""), connect)


def main() -> None:
    """Run it."""
    given = options(__doc__, files=2000, connections=4)
    with bench() as server:
        ways = [plain(server), single(server), many(server, None), many(server, checksum_of(b"x"))]
        server.race(chosen(ways, given.ways), given.files, given.connections, "files", given.files)


if __name__ == "__main__":
    main()
