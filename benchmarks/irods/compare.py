"""What the benchmarks share: a server, ways of doing one job with the same number of connections, a table of their
rates.

The server is that of IRODS_ENVIRONMENT_FILE (password from .irodsA or IRODS_PASSWORD), else a sandbox, whose rates
say little (it runs in this very process) but which counts requests exactly.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource as process_limits
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from irods.session import iRODSSession
from pydantic import SecretStr

from core.irods import Gateway
from core.irods.session import Session
from core.settings import IrodsSettings
from sandbox.irods import SandboxServer

Work = Callable[[str, Sequence[int]], None]
"""What one connection does: (collection, the numbers of its items)."""


@dataclass(frozen=True)
class Way:
    """One way of doing the job. `connect` makes a connection, warm, and what it does."""

    name: str
    connect: Callable[[ExitStack], Work]
    plain: bool = False
    """A slow one to compare with, which does fewer items."""
    whole: bool = False
    """One that cannot do a part of the items."""


@dataclass(frozen=True)
class Race:
    """How ways are compared."""

    items: int
    plain: int
    """Items of plain ways."""
    connections: int
    rounds: int
    unit: str = "files"
    units_an_item: float = 1
    keep: bool = True
    """Whether what a way made stays to the end. Else the next one pays for the removal of many files: Postgres vacuums their
    rows, and for a minute ext4 looks for inodes that were not just freed. A large file is better gone before it is on the disk.
    """


@dataclass(frozen=True)
class Spent:
    """What one way took."""

    items: int
    seconds: float
    calls: Counter[int]
    peak_mib: float


class Bench:
    """A server and a folder for the files of one benchmark."""

    def __init__(self, settings: IrodsSettings, sandbox: SandboxServer | None, folder: Path) -> None:
        self.settings = settings
        self.sandbox = sandbox
        self.folder = folder

    def gateway(self, stack: ExitStack, **changes: object) -> Gateway:
        """A connected gateway, with some settings changed."""
        gateway = stack.enter_context(Gateway(self.settings.model_copy(update=changes)))
        gateway.server()
        gateway.check_resource("demoResc", "put")
        gateway.make_collections(gateway.staging)
        return gateway

    def client(self, stack: ExitStack) -> iRODSSession:
        """A connected python-irodsclient session."""
        account = Session(self.settings)._account
        session: Any = iRODSSession(
            host=account.host,
            port=account.port,
            user=account.client_user,
            zone=account.client_zone,
            password=account.password,
        )
        stack.callback(session.cleanup)
        session.connection_timeout = 600
        session.collections.exists(f"/{session.zone}")
        return session

    def file(self, number: int, size: int) -> Path:
        """A source file with bytes of its own."""
        path = self.folder / f"f{number:06d}"
        if not path.exists() or path.stat().st_size != size:
            block = number.to_bytes(8, "big") + os.urandom(min(size, 1 << 20))
            with path.open("wb") as file:
                for _ in range(size // len(block) + 1):
                    file.write(block)
                file.truncate(size)
        return path

    def calls(self) -> Counter[int]:
        """Requests by API number that the sandbox has seen."""
        return Counter(self.sandbox.calls) if self.sandbox is not None else Counter()

    @contextmanager
    def collection(self) -> Iterator[str]:
        """A new collection, removed afterwards."""
        with Gateway(self.settings) as gateway:
            server = gateway.server()
            path = f"/{server.zone}/home/{server.user}/bench_{uuid.uuid4().hex[:8]}"
            gateway.make_collections(path)
            try:
                yield path
            finally:
                gateway.remove_collection(path)

    def run(self, way: Way, items: int, connections: int, collection: str) -> Spent:
        """What one way takes, in a process of its own, so that its memory is told from that of the others."""
        connections = min(connections, items)
        before = self.calls()
        here, there = multiprocessing.get_context("fork").Pipe()
        process = multiprocessing.get_context("fork").Process(
            target=_in_child, args=(there, way, items, connections, collection)
        )
        process.start()
        there.close()
        try:
            answer = here.recv()
        except EOFError:
            raise RuntimeError(f"{way.name} ended without an answer") from None
        process.join()
        if isinstance(answer, str):
            raise RuntimeError(f"{way.name}: {answer}")
        seconds, peak = answer
        return Spent(items, seconds, self.calls() - before, peak)

    def race(self, ways: Sequence[Way], race: Race, fill: Callable[[str], None] | None = None) -> None:
        """Run the ways in turn, several rounds, each in a collection of its own; print rates and ratios to the first.

        Rounds in turn, because other work on the machine would else favour one way. With `fill`, which puts something
        there that no way changes, all share one collection.
        """
        where = "sandbox (its rates say little)" if self.sandbox is not None else self.settings.environment_file
        print(f"{race.items} items, {race.connections} connections, {race.rounds} rounds in turn, {where}")
        spent: dict[str, list[Spent]] = {way.name: [] for way in ways}
        with ExitStack() as stack:
            shared = stack.enter_context(self.collection()) if fill is not None else None
            if fill is not None and shared is not None:
                fill(shared)
            for _ in range(race.rounds):
                for way in ways:
                    items = race.plain if way.plain else race.items
                    items = max(1, items // race.rounds) if not way.whole else items
                    with ExitStack() as at_once:
                        end = stack if race.keep else at_once
                        collection = shared or end.enter_context(self.collection())
                        spent[way.name].append(self.run(way, items, race.connections, collection))
        self._print(spent, race)

    def _print(self, spent: Mapping[str, Sequence[Spent]], race: Race) -> None:
        print(
            f"{'way':46} {'items':>6} {'seconds':>8} {race.unit + '/s':>9} {'ratio':>6} {'peak MiB':>8}  requests an item"
        )
        base = 0.0
        for name, parts in spent.items():
            items, seconds = sum(part.items for part in parts), sum(part.seconds for part in parts)
            rate = items * race.units_an_item / seconds
            base = base or rate
            calls = sum((part.calls for part in parts), Counter[int]())
            by_api = ", ".join(f"{api}: {count / items:.3g}" for api, count in sorted(calls.items()))
            total = f"{calls.total() / items:.3g} ({by_api})" if calls else "-"
            peak = max(part.peak_mib for part in parts)
            print(f"{name:46} {items:6} {seconds:8.2f} {rate:9.1f} {rate / base:6.2f} {peak:8.0f}  {total}", flush=True)


def _in_child(answer: Connection, way: Way, items: int, connections: int, collection: str) -> None:
    """Run one way with so many threads, timed from when all are connected."""
    failures: list[BaseException] = []
    barrier = threading.Barrier(connections + 1)

    def thread(number: int) -> None:
        with ExitStack() as stack:
            try:
                work = way.connect(stack)
                barrier.wait()
                work(collection, range(number, items, connections))
            except BaseException as problem:  # noqa: BLE001  reported to the parent
                failures.append(problem)
                barrier.abort()

    threads = [threading.Thread(target=thread, args=(number,)) for number in range(connections)]
    for each in threads:
        each.start()
    with suppress(threading.BrokenBarrierError):
        barrier.wait()
    started = time.perf_counter()
    for each in threads:
        each.join()
    seconds = time.perf_counter() - started
    peak = process_limits.getrusage(process_limits.RUSAGE_SELF).ru_maxrss / 1024
    answer.send(repr(failures[0]) if failures else (seconds, peak))
    answer.close()


@contextmanager
def bench() -> Iterator[Bench]:
    """The server of the environment, or a sandbox."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        environment = os.environ.get("IRODS_ENVIRONMENT_FILE")
        if environment:
            settings = IrodsSettings(environment_file=Path(environment), timeout_seconds=600)
            if password := os.environ.get("IRODS_PASSWORD"):
                settings = settings.model_copy(update={"password": SecretStr(password)})
            folder.chmod(0o755)
            yield Bench(settings, None, folder)
            return
        server = stack.enter_context(SandboxServer(folder / "server"))
        settings = IrodsSettings(host="127.0.0.1", port=server.port, password=SecretStr("rods"))
        yield Bench(settings, server, folder)


def options(doc: str | None, **defaults: int) -> argparse.Namespace:
    """The command line: whole numbers with defaults."""
    parser = argparse.ArgumentParser(description=doc)
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--ways", default="", help="only ways whose name holds this text")
    return parser.parse_args(sys.argv[1:])


def chosen(ways: Sequence[Way], text: str) -> list[Way]:
    """The ways whose name holds `text`."""
    return [way for way in ways if text in way.name]
