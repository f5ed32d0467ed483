"""`python -m tests.s3.large SIZE [CHECKSUM TYPE]`: an S3 service with one object of any size, made up as it is read; it prints its
port.

Its ETag is one of an upload in parts. Bytes repeat themselves only after PERIOD, which divides no power of two.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PERIOD = 999_983
_BLOCK = random.Random(3).randbytes(PERIOD)
_LONG = _BLOCK * 9
ETAG = '"0123456789abcdef0123456789abcdef-700"'


def data_at(offset: int, length: int) -> bytes:
    """The bytes of the object."""
    return b"".join(_pieces(offset, offset + length))


def _pieces(offset: int, end: int) -> Iterator[bytes]:
    while offset < end:
        at = offset % PERIOD
        piece = _LONG[at : min(len(_LONG), at + end - offset)]
        yield piece
        offset += len(piece)


def main() -> None:
    size = int(sys.argv[1])
    checksum = dict(zip(("x-amz-checksum-sha256", "x-amz-checksum-type"), sys.argv[2:4], strict=False))

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

        def do_HEAD(self) -> None:
            self._head(200, {"Content-Length": str(size)} | checksum)

        def do_GET(self) -> None:
            if self.headers.get("If-Match", ETAG) != ETAG:
                self._head(412, {"Content-Length": "0"})
                return
            begin, end, status = 0, size, 200
            if asked := self.headers.get("Range"):
                low, _, high = asked.removeprefix("bytes=").partition("-")
                begin, end, status = int(low), min(size, int(high) + 1), 206
            more = {"Content-Range": f"bytes {begin}-{end - 1}/{size}"} if status == 206 else checksum
            self._head(status, {"Content-Length": str(end - begin)} | more)
            for piece in _pieces(begin, end):
                self.wfile.write(piece)

        def _head(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            fixed = {"ETag": ETAG, "Last-Modified": "Sat, 03 Jan 2026 10:00:00 GMT", "Accept-Ranges": "bytes"}
            for name, value in (fixed | headers).items():
                self.send_header(name, value)
            self.end_headers()

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A reader that went away in the middle is not told of."""

    server = Server(("127.0.0.1", 0), Answer)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
