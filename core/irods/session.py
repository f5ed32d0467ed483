"""One connection to iRODS for one thread: made lazily, after fork; recycled by age and after errors; closed by its
owner."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any

from irods.auth import AuthStorage
from irods.connection import Connection
from irods.exception import NetworkException, iRODSException
from irods.pool import Pool

from core.errors import FileError, Outage, UsageError
from core.irods import counted, errors, tokens, wire
from core.irods.counted import Counted
from core.irods.environment import read_account
from core.irods.messages import Api, Packable
from core.settings import IrodsSettings

APPLICATION = "irods-inventory-loader"
SLOWEST_BYTES_A_SECOND = 10_000_000
"""A server that reads files slower than this is not waited for."""
EVERYTHING: AbstractSet[int] = frozenset({0})
"""In place of codes to accept: all of them."""
_VANISHED = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}
"""A server whose machine or pod is gone says nothing, and the kernel would send to it for a quarter of an hour. It answers for a
server that is only slow. Where a system has no such option the timeout of the call has to do."""


class _Connection(Connection):  # type: ignore[misc]
    """python-irodsclient's connection and login, which closes its socket when the login fails."""

    socket: Any

    def __init__(self, pool: Pool, account: Any) -> None:
        # what a PAM login brings is kept here, which python-irodsclient refers to weakly
        brought = AuthStorage.create_temp_pw_storage(self)
        try:
            super().__init__(pool, account)
            tokens.keep(account, brought.pw)
        except BaseException:
            sock, self.socket = self.socket, None
            if sock is not None:
                sock.close()
            raise


class Session:
    """A connection that comes back: each call that finds none makes one. Not to be shared between threads."""

    def __init__(self, settings: IrodsSettings, as_user: tuple[str, str] | None = None) -> None:
        """Reads the environment and the password (`UsageError`), connects nowhere yet. `as_user` is a name and a
        zone."""
        self._settings = settings
        self._as_user = as_user
        self._account = read_account(settings, as_user)
        self._account_used = False
        self._calls = 0
        self._connection: Any = None
        self._born = 0.0
        self._held = 0
        self._counted = Counted()
        self.connects = 0
        """Connections made so far."""

    @property
    def where(self) -> str:
        """host:port, for messages."""
        return f"{self._account.host}:{self._account.port}"

    @property
    def user(self) -> str:
        """The user whose rights apply."""
        return str(self._account.client_user)

    @property
    def zone(self) -> str:
        """The zone of that user."""
        return str(self._account.client_zone)

    @property
    def version(self) -> tuple[int, ...]:
        """The server's version; connects if need be."""
        return tuple(self._connected().server_version)

    def call(
        self,
        api: Api,
        message: Packable,
        stream: wire.Buffer = b"",
        *,
        path: str = "",
        accept: AbstractSet[int] = frozenset(),
    ) -> wire.Reply:
        """Send one request and return its reply.

        A negative status raises by `errors.error_for`, unless its nominal code is in `accept`. A broken connection or a
        timeout raises `Outage`, and then nobody knows whether the server has done what was asked.
        """
        self.send(api, message, stream)
        return self.receive(path=path, accept=accept)

    def send(self, api: Api, message: Packable, stream: wire.Buffer = b"") -> None:
        """The first half of `call`; its reply must be received before anything else is called on another thread."""
        body = message.pack().encode("utf-8")
        sock = self._connected().socket
        self._counted.sent(api)
        try:
            wire.send(sock, api, body, stream)
            self._calls += 1
        except OSError as problem:
            raise self._lost(problem) from problem

    def receive(self, *, path: str = "", accept: AbstractSet[int] = frozenset()) -> wire.Reply:
        """The second half of `call`."""
        if self._connection is None:
            # it broke while an earlier reply was read
            raise errors.lost(ConnectionError("it was closed"), self.where)
        try:
            reply = wire.receive(self._connection.socket)
        except OSError as problem:
            raise self._lost(problem) from problem
        self._counted.answered(reply.status)
        if reply.status < 0 and accept is not EVERYTHING and errors.nominal(reply.status) not in accept:
            if errors.nominal(reply.status) in errors.POISONED | errors.LOGIN_OVER:
                self.close()
            raise errors.error_for(reply.status, path, reply.text)
        return reply

    def pipeline(
        self, requests: Sequence[tuple[Api, Packable]], streams: Sequence[wire.Buffer] = ()
    ) -> list[wire.Reply]:
        """Send requests at once, with a byte stream each if any, and return their replies, refusals among them.

        The agent answers one after the other, so the round trips are shared; the replies must fit the socket's buffers:
        at most 50 requests.
        """
        with self.held():
            for (api, message), stream in zip(requests, streams or [b""] * len(requests), strict=True):
                self.send(api, message, stream)
            return [self.receive(accept=EVERYTHING) for _ in requests]

    def answer(self, value: int) -> None:
        """Send the bare number that a server waiting in the middle of a call wants (remove collection does)."""
        try:
            self._connection.socket.sendall(value.to_bytes(4, "big"))
        except OSError as problem:
            raise self._lost(problem) from problem

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the connection for its whole block: descriptors that are open on it would be lost with it."""
        self._connected()
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    @contextmanager
    def patient(self, size: int) -> Iterator[None]:
        """Wait longer for answers in this block, in which the server reads or copies `size` bytes."""
        with self.held():
            sock = self._connection.socket
            sock.settimeout(self._settings.timeout_seconds + size / SLOWEST_BYTES_A_SECOND)
            try:
                yield
            finally:
                if self._connection is not None:
                    sock.settimeout(self._settings.timeout_seconds)

    @contextmanager
    def last_words(self) -> Iterator[None]:
        """The calls of this block are the last ones on their connection: what 665 and 666 leak on an agent goes with
        it, and this thread has no second connection meanwhile."""
        try:
            yield
        finally:
            self.close()

    @contextmanager
    def fresh(self) -> Iterator[Session]:
        """Another connection, for this block only; whoever opens one has been lent it (`streams.ExtraStreams`)."""
        other = Session(self._settings, self._as_user)
        try:
            yield other
        finally:
            other.close()
            self.connects += other.connects

    def close(self) -> None:
        """Leave the server, politely if it still listens. A later call connects again."""
        connection, self._connection, self._counted = self._connection, None, Counted()
        if connection is None or connection.socket is None:
            return
        farewell = wire.frame("RODS_DISCONNECT", 0)
        try:
            connection.socket.settimeout(1)
            connection.socket.sendall(farewell)
            if isinstance(connection.socket, ssl.SSLSocket):
                # a server that is not told of the end writes an error into its log
                connection.socket.unwrap()
        except (OSError, ValueError):
            pass  # it is gone already
        finally:
            connection.socket.close()

    def _connected(self) -> Any:
        settings = self._settings
        too_old = time.monotonic() - self._born > settings.session_seconds or self._calls >= settings.session_calls
        if self._connection is not None and too_old and not self._held:
            self.close()
        if self._connection is None:
            if self._held:
                # descriptors were open on the connection that broke; going on with a new one would write elsewhere
                raise Outage("connection_lost", f"lost the connection to iRODS at {self.where} in the middle of a call")
            self._connection = self._connect()
            self._born, self._calls = time.monotonic(), 0
            self.connects += 1
        return self._connection

    def _lost(self, problem: OSError) -> Outage:
        """The connection broke: it is closed, and the error says what that means."""
        error = errors.lost(problem, self.where)
        self._counted.lost(error.error)
        self.close()
        return error

    def _connect(self) -> Any:
        began = time.monotonic()
        try:
            connection = self._log_in()
        except FileError as problem:
            counted.failed(counted.CONNECT, problem.error)
            raise
        counted.connected(began)
        return connection

    def _log_in(self) -> Any:
        if self._account_used:
            self._account = self._account_again()
        self._account_used = True
        if (native := tokens.with_token(self._account)) is not None:
            try:
                return self._log_in_with(native)
            except Outage as problem:
                if problem.error != "auth":
                    raise
                tokens.forget(self._account, native.password)
        return self._log_in_with(self._account)

    def _log_in_with(self, account: Any) -> Any:
        pool = Pool(account, APPLICATION)
        pool.connection_timeout = self._settings.timeout_seconds
        try:
            connection = _Connection(pool, account)
        except NetworkException as problem:
            raise self._not_begun(problem) from problem
        except iRODSException as problem:
            raise self._refused(getattr(problem, "code", 0), problem) from problem
        except KeyError as problem:
            # python-irodsclient looks a code up that its table lacks
            raise self._refused(problem.args[0] if isinstance(problem.args[0], int) else 0, problem) from problem
        except ssl.SSLError as problem:
            hint = "check irods_ssl_ca_certificate_file and irods_ssl_verify_server"
            raise Outage(
                "tls", f"TLS with iRODS at {self.where} failed: {problem.reason or problem}", hint
            ) from problem
        except OSError as problem:
            raise errors.lost(problem, self.where) from problem
        except (RuntimeError, ValueError, AttributeError) as problem:
            raise Outage("auth", f"cannot log in to iRODS at {self.where}: {problem}") from problem
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _VANISHED.items():
            if (option := getattr(socket, name, None)) is not None:
                connection.socket.setsockopt(socket.IPPROTO_TCP, option, value)
        return connection

    def _not_begun(self, problem: NetworkException) -> Outage:
        cause = problem.__context__ if isinstance(problem.__context__, OSError) else problem
        hint = (
            "set irods_client_server_policy in irods_environment.json: CS_NEG_REQUIRE for TLS, CS_NEG_REFUSE for none"
        )
        if "negotiation failure" in str(problem):
            return Outage("tls", f"iRODS at {self.where} does not agree on TLS: {problem}", hint)
        error = errors.lost(cause, self.where)
        plain = getattr(self._account, "client_server_negotiation", "") != "request_server_negotiation"
        if plain and error.error == "connection_lost":
            return Outage(error.error, error.message, f"does it require TLS? then {hint}")
        return error

    def _account_again(self) -> Any:
        """Passwords and PAM tokens rotate while a pod lives."""
        try:
            return read_account(self._settings, self._as_user)
        except UsageError as problem:
            raise Outage("auth", problem.message, problem.hint) from problem

    def _refused(self, code: int, problem: Exception) -> FileError:
        who = f"user {self.user}#{self.zone} on {self.where}"
        if self._as_user is not None and errors.nominal(code) in errors.NOT_FOR_USER:
            entry = errors.meaning(code)
            return errors.NotForUser(entry.name, f"{entry.name} ({code}) at {who}", entry.hint)
        error = errors.error_for(code, who) if code else Outage("refused", f"iRODS refuses {who}: {problem}")
        # whatever keeps a session from starting is nobody's file
        return error if isinstance(error, Outage) else Outage(error.error, error.message, error.hint)
