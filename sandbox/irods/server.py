"""The server: a listening socket, a thread for each connection, and the state folder behind them.

NOT for production: passwords are kept in plain text, and one process does it all.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import sqlite3
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from sandbox.irods.agent import Agent
from sandbox.irods.apis import APIS
from sandbox.irods.catalogue import Catalogue
from sandbox.irods.checksums import PREFIXES
from sandbox.irods.faults import Faults
from sandbox.irods.replicas import WRITE_LOCKED, rows_of
from sandbox.irods.resources import Resources
from sandbox.irods.tls import context_of, part
from sandbox.irods.tokens import Tokens
from sandbox.irods.wire import Channel

log = logging.getLogger("sandbox.irods")


class SandboxServer:
    """A stand-in for an iRODS 5.0.2 with one zone. NOT for production.

    `state` holds all of it: `catalogue.sqlite`, the vault of demoResc in `Vault`, those of later resources beside it as
    their maker says, `faults.json` if a fault is to be switched on from outside, `calls.json` when it was dumped.
    Starting again on the same folder goes on with the same catalogue; zone, administrator and password then stay as
    they are. `port` 0 takes a free one. Raises OSError when the port or the folder cannot be used.
    """

    def __init__(
        self,
        state: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        zone: str = "tempZone",
        admin: str = "rods",
        password: str = "rods",
        hash_scheme: str = "SHA256",
        default_resource: str = "demoResc",
        tls: tuple[Path, Path] | None = None,
        pam: Mapping[str, str] | None = None,
    ) -> None:
        """With `tls`, a certificate chain and its key, it takes nobody without TLS; `pam` are passwords by user name
        outside of iRODS."""
        if hash_scheme not in PREFIXES:
            raise ValueError(f"hash scheme {hash_scheme}: one of {', '.join(PREFIXES)}")
        self.state = Path(state).absolute()
        self.host = host
        self.port = port
        self.zone = zone
        self.admin = admin
        self.hash_scheme = hash_scheme
        self.default_resource = default_resource
        self.vault = self.state / "Vault"
        self._password = password
        self.tls = context_of(*tls) if tls is not None else None
        self.pam = dict(pam or {})
        self.pam_tokens: dict[str, list[str]] = {}
        # the catalogue holds passwords
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.vault.mkdir(exist_ok=True)
        self.faults = Faults(self.state / "faults.json")
        self.calls: Counter[int] = Counter()
        self.tokens = Tokens()
        self.ending = threading.Event()
        self.catalogue = Catalogue(self.state / "catalogue.sqlite")
        self._open_catalogue()
        self.resources = Resources(self.catalogue)
        self.resources.load()
        self._counting = threading.Lock()
        self._listener: socket.socket | None = None
        self._threads: dict[threading.Thread, socket.socket] = {}
        self._guard = threading.Lock()
        self._accepting: threading.Thread | None = None

    def _open_catalogue(self) -> None:
        try:
            if not self.catalogue.exists():
                self.catalogue.create(self.zone, self.admin, self._password, self.vault)
            row = self.catalogue.one("select name from zone where type = 'local'")
        except sqlite3.Error as problem:
            raise OSError(f"{self.catalogue.path}: {problem}") from None
        if row is not None:
            self.zone = str(row["name"])

    @property
    def environment(self) -> dict[str, Any]:
        """What goes into a client's irods_environment.json; the password does not."""
        return {
            "irods_host": self.host,
            "irods_port": self.port,
            "irods_user_name": self.admin,
            "irods_zone_name": self.zone,
            "irods_home": f"/{self.zone}/home/{self.admin}",
            "irods_cwd": f"/{self.zone}/home/{self.admin}",
            "irods_default_hash_scheme": self.hash_scheme,
            "irods_authentication_scheme": "native",
            "irods_client_server_negotiation": "request_server_negotiation",
            "irods_client_server_policy": "CS_NEG_REQUIRE" if self.tls else "CS_NEG_REFUSE",
        }

    def start(self) -> SandboxServer:
        """Listen and serve in background threads; returns when connections are taken."""
        listener = socket.create_server((self.host, self.port), backlog=128)
        self._listener = listener
        self.port = int(listener.getsockname()[1])
        self.ending.clear()
        log.warning("sandbox iRODS on %s:%s, zone %s: NOT for production", self.host, self.port, self.zone)
        self._accepting = threading.Thread(target=self._accept, args=(listener,), daemon=True, name="irods-accept")
        self._accepting.start()
        return self

    def stop(self) -> None:
        """End all connections, then the threads, and close the catalogue. Open replicas become stale."""
        self.ending.set()
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        if self._accepting is not None:
            self._accepting.join(5)
        with self._guard:
            running = list(self._threads.items())
        for _, sock in running:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread, _ in running:
            thread.join(5)
        self.catalogue.close()

    def __enter__(self) -> SandboxServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _accept(self, listener: socket.socket) -> None:
        while not self.ending.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            if self.faults.take("refuse"):
                sock.close()
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True, name="irods-agent")
            with self._guard:
                self._threads[thread] = sock
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        channel = Channel(sock)
        try:
            Agent(self, channel, APIS).run()
        except Exception:
            log.exception("a connection failed")
        finally:
            part(channel)
            channel.sock.close()
            with self._guard:
                self._threads.pop(threading.current_thread(), None)

    def secured(self, sock: socket.socket) -> None:
        """The calling thread's connection goes on over this socket."""
        with self._guard:
            self._threads[threading.current_thread()] = sock

    def count(self, number: int) -> None:
        """Count a request."""
        with self._counting:
            self.calls[number] += 1

    def dump_calls(self) -> Path:
        """Write the number of requests by API number to `calls.json` of the state folder."""
        path = self.state / "calls.json"
        part = path.with_suffix(".part")
        with self._counting:
            part.write_text(json.dumps({str(number): count for number, count in sorted(self.calls.items())}) + "\n")
            part.replace(path)
        return path

    def sql(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a query on the catalogue's tables (see catalogue.SCHEMA), for tests that look behind the protocol."""
        return [tuple(row) for row in self.catalogue.all(text, *values)]

    def lock_object(self, path: str) -> None:
        """Mark an object's replicas as write-locked, as one whose sibling is written."""
        with self.catalogue.change() as db:
            for row in rows_of(self.catalogue, path):
                db.execute(
                    "update replicas set original = coalesce(original, status), status = ? where data_id = ?",
                    (WRITE_LOCKED, row["data_id"]),
                )
