"""What the benchmarks share: a server, ways of doing one job with the same number of connections, a table of their
rates.

The server is that of IRODS_ENVIRONMENT_FILE (password from .irodsA or IRODS_PASSWORD), else a sandbox, whose rates
say little (it runs in this very process) but which counts requests exactly.
"""

from __future__ import annotations

import argparse
import os
import resource as process_limits
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
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


class Bench:
    """A server and a folder for the files of one benchmark."""

    def __init__(self, settings: IrodsSettings, sandbox: SandboxServer | None, folder: Path) -> None:
        self.settings = settings
        self.sandbox = sandbox
        self.folder = folder

    def gateway(self, stack: ExitStack) -> Gateway:
        """A connected gateway."""
        gateway = stack.enter_context(Gateway(self.settings))
        gateway.server()
        gateway.check_resource("demoResc", "put")
        gateway.clean_staging(0)
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

    def calls(self) -> int:
        """Requests that the sandbox has seen."""
        return sum(self.sandbox.calls.values()) if self.sandbox is not None else 0

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

    def run(self, way: Way, items: int, connections: int, collection: str) -> tuple[float, float]:
        """Seconds, and requests an item, of one way."""
        failures: list[BaseException] = []
        barrier = threading.Barrier(connections + 1)

        def thread(number: int) -> None:
            with ExitStack() as stack:
                try:
                    work = way.connect(stack)
                    barrier.wait()
                    work(collection, range(number, items, connections))
                except BaseException as problem:  # noqa: BLE001  reported by the main thread
                    failures.append(problem)
                    barrier.abort()

        threads = [threading.Thread(target=thread, args=(number,)) for number in range(connections)]
        for each in threads:
            each.start()
        with suppress(threading.BrokenBarrierError):
            barrier.wait()
        calls, started = self.calls(), time.perf_counter()
        for each in threads:
            each.join()
        if failures:
            raise failures[0]
        return time.perf_counter() - started, (self.calls() - calls) / items

    def race(
        self, ways: Sequence[Way], items: int, connections: int, unit: str, units: float, before: Any = None
    ) -> None:
        """Run each way in a collection of its own and print rates, and ratios to the first."""
        where = "sandbox" if self.sandbox is not None else self.settings.environment_file
        print(f"{items} items, {connections} connections, {where}")
        print(f"{'way':44} {'seconds':>8} {unit + '/s':>10} {'ratio':>6} {'requests/item':>14} {'peak MiB':>9}")
        base = 0.0
        for way in ways:
            with self.collection() as collection:
                if before is not None:
                    before(collection)
                seconds, requests = self.run(way, items, connections, collection)
            rate = units / seconds
            base = base or rate
            peak = process_limits.getrusage(process_limits.RUSAGE_SELF).ru_maxrss / 1024
            count = f"{requests:14.2f}" if self.sandbox is not None else f"{'-':>14}"
            print(f"{way.name:44} {seconds:8.2f} {rate:10.1f} {rate / base:6.2f} {count} {peak:9.0f}", flush=True)


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
