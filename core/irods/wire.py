"""Framing of the iRODS protocol: one request, one reply.

python-irodsclient's own send and receive copy a message three times, log it, and turn codes missing from its table
into a KeyError that has lost the reply. This reads and writes the same frames: a 4-byte big-endian length,
MsgHeader_PI, then the packed struct, the error stack and the byte stream.
"""

from __future__ import annotations

import html
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SMALL = 64 * 1024  # below this a byte stream is sent with its header in one segment
_FIELD = re.compile(rb"<(msgLen|errorLen|bsLen|intInfo)>\s*(-?\d+)\s*</")
_STACK = re.compile(rb"<status>\s*(-?\d+)\s*</status>\s*<msg>(.*?)</msg>", re.DOTALL)

AT_ONCE = 256 * 1024


class Gathered:
    """A byte stream that lies in many pieces and is never put together."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self._size = sum(map(len, pieces))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        """Its bytes in order, small pieces joined to blocks that are worth a system call."""
        block: list[bytes] = []
        size = 0
        for piece in self._pieces:
            block.append(piece)
            size += len(piece)
            if size >= AT_ONCE:
                yield b"".join(block)
                block, size = [], 0
        if block:
            yield b"".join(block)


Buffer = bytes | bytearray | memoryview | Gathered


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's answer. `status` is intInfo: an error code when negative, else often a count or a descriptor."""

    status: int
    body: bytes
    """The packed struct, empty when the call has none."""
    stack: tuple[tuple[int, str], ...]
    """The error stack RError_PI: (code, text)."""
    stream: bytes
    """The byte stream."""

    @property
    def text(self) -> str:
        """The error stack as words."""
        return " / ".join(text.strip() for _, text in self.stack if text.strip())


def frame(kind: str, number: int, body_bytes: int = 0, stream_bytes: int = 0) -> bytes:
    """The length and MsgHeader_PI that go before a message."""
    header = (
        f"<MsgHeader_PI><type>{kind}</type><msgLen>{body_bytes}</msgLen><errorLen>0</errorLen>"
        f"<bsLen>{stream_bytes}</bsLen><intInfo>{number}</intInfo></MsgHeader_PI>"
    ).encode()
    return len(header).to_bytes(4, "big") + header


def send(sock: socket.socket, api: int, body: bytes, stream: Buffer) -> None:
    """Send one request (RODS_API_REQ)."""
    front = frame("RODS_API_REQ", api, len(body), len(stream)) + body
    if isinstance(stream, Gathered):
        sock.sendall(front)
        for block in stream:
            sock.sendall(block)
    elif len(stream) <= SMALL:
        sock.sendall(front + stream)
    else:
        sock.sendall(front)
        sock.sendall(stream)


def receive(sock: socket.socket) -> Reply:
    """Read one reply; `OSError` when the connection ends or the frame makes no sense."""
    length = int.from_bytes(_read(sock, 4), "big")
    if not 0 < length <= 4096:
        raise OSError(f"header of {length} bytes: this is not an iRODS server")
    fields = {name: int(value) for name, value in _FIELD.findall(_read(sock, length))}
    try:
        sizes, status = [fields[b"msgLen"], fields[b"errorLen"], fields[b"bsLen"]], fields[b"intInfo"]
    except KeyError:
        raise OSError("header without lengths: this is not an iRODS server") from None
    body, error, stream = (_read(sock, size) if size > 0 else b"" for size in sizes)
    stack = tuple((int(code), html.unescape(text.decode("utf-8", "replace"))) for code, text in _STACK.findall(error))
    return Reply(status, body, stack, stream)


def _read(sock: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        count = sock.recv_into(view[done:])
        if count == 0:
            raise ConnectionError("the server closed the connection")
        done += count
    return bytes(data)
