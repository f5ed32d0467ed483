"""A server before the S3 service of the tests: it hands on what it is asked, notes it, and goes wrong where it is told to.

It may also be a proxy in the sense of HTTP (it takes whole URLs, and CONNECT), and speak TLS.
"""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

_HOP = {"connection", "transfer-encoding", "content-length", "date", "server"}


class Asked(NamedTuple):
    """A request: `url` is its unquoted path and query, or the whole URL when it came as to a proxy."""

    method: str
    url: str
    headers: dict[str, str]


class Answer(NamedTuple):
    """What goes back; with `cut` only so many bytes of the body do, before the connection breaks."""

    status: int
    headers: dict[str, str] = {}  # noqa: RUF012
    body: bytes = b""
    cut: int | None = None


Wrong = Callable[[Callable[[], Answer]], Answer]
"""What goes wrong: from what asks the service to the answer."""


@dataclass
class _Fault:
    method: str
    words: str
    wrong: Wrong
    times: int


@dataclass
class Front:
    """What was asked so far, and what is to go wrong."""

    endpoint: str
    asked: list[Asked] = field(default_factory=list)
    _faults: list[_Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, method: str, words: str, wrong: Wrong, times: int = 1_000_000) -> None:
        """Have the next requests of that method whose URL has these words go wrong."""
        with self._lock:
            self._faults.append(_Fault(method, words, wrong, times))

    def heal(self) -> None:
        """All goes well from now on."""
        with self._lock:
            self._faults.clear()

    def wrong_with(self, asked: Asked) -> Wrong | None:
        """What is to go wrong with a request."""
        with self._lock:
            self.asked.append(asked)
            for one in self._faults:
                if one.times and one.method == asked.method and one.words in asked.url:
                    one.times -= 1
                    return one.wrong
        return None


def error(status: int, code: str, message: str = "so it is", **headers: str) -> Wrong:
    """An error as S3 writes it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return lambda ask: Answer(status, {"Content-Type": "application/xml", **headers}, body)


def saying(status: int, body: bytes, kind: str = "text/html") -> Wrong:
    """Something that no S3 service says."""
    return lambda ask: Answer(status, {"Content-Type": kind}, body)


def cut_after(size: int) -> Wrong:
    """The service's answer, the connection broken after so many bytes of its body."""
    return lambda ask: ask()._replace(cut=size)


def first(do: Callable[[], object]) -> Wrong:
    """The service's answer after something else has happened."""

    def wrong(ask: Callable[[], Answer]) -> Answer:
        do()
        return ask()

    return wrong


@contextmanager
def before(endpoint: str, *, tls: tuple[str, str] | None = None, domain: str = "") -> Iterator[Front]:
    """A running server before the one at `endpoint`; `tls` names certificate and key.

    Below `domain` the name of a bucket may stand before the host.
    """
    where = urlsplit(endpoint)
    assert where.hostname is not None

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            sent = self.rfile.read(length)
            asked = Asked(self.command, unquote(self.path), {k.lower(): v for k, v in self.headers.items()})
            wrong = front.wrong_with(asked)
            answer = self._ask(sent) if wrong is None else wrong(lambda: self._ask(sent))
            self.send_response(answer.status)
            whole = self.command == "HEAD" and "Content-Length" in answer.headers
            headers = answer.headers if whole else answer.headers | {"Content-Length": str(len(answer.body))}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body[: answer.cut])
            if answer.cut is not None and answer.cut < len(answer.body):
                self.close_connection = True

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer

        def _ask(self, sent: bytes) -> Answer:
            parts = urlsplit(self.path)
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            host = self.headers.get("Host", "").partition(":")[0]
            named = bool(domain) and host.endswith(f".{domain}")
            if named:
                path = f"/{host.removesuffix(f'.{domain}')}{path}"
            connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
            connection.putrequest(self.command, path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "proxy-connection"):
                    connection.putheader(name, where.netloc if named and name.lower() == "host" else value)
            connection.endheaders(sent or None)
            got = connection.getresponse()
            body = got.read()
            headers = {name: value for name, value in got.getheaders() if name.lower() not in _HOP}
            if self.command == "HEAD" and (size := got.getheader("Content-Length")):
                headers["Content-Length"] = size
            connection.close()
            return Answer(got.status, headers, body)

        def do_CONNECT(self) -> None:
            """A tunnel: the name is noted, and our own service is what it leads to."""
            front.asked.append(Asked("CONNECT", self.path, {k.lower(): v for k, v in self.headers.items()}))
            with socket.create_connection((where.hostname, where.port)) as there:
                self.send_response(200)
                self.end_headers()
                ends = {self.connection: there, there: self.connection}
                while data := (came := select.select(list(ends), [], [])[0][0]).recv(1 << 16):
                    ends[came].sendall(data)
            self.close_connection = True

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that went away is none of the tests' business."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    front = Front(f"{'https://localhost' if tls else 'http://127.0.0.1'}:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield front
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
