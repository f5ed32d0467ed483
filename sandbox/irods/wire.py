"""Messages on the socket: 4 bytes of length, an XML header, then struct, error stack and byte stream."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

from sandbox.irods.errors import Code, IrodsError
from sandbox.irods.xml_packing import pack

_HEADER = re.compile(
    rb"\s*<MsgHeader_PI>\s*<type>([^<]*)</type>\s*<msgLen>(-?\d+)</msgLen>\s*<errorLen>(-?\d+)</errorLen>"
    rb"\s*<bsLen>(-?\d+)</bsLen>\s*<intInfo>(-?\d+)</intInfo>\s*</MsgHeader_PI>"
)
HEADER_LIMIT = 1088
# above this a byte stream gets a buffer of its own, given back after the request
KEPT_BUFFER = 64 << 20
# below this a byte stream is joined with its message, to leave in one packet
JOINED = 1 << 16


@dataclass(slots=True)
class Message:
    """One message of the client. `stream` points into the channel's buffer and holds until the next message is read."""

    kind: str
    number: int
    body: bytes
    stream: memoryview


class Closed(Exception):
    """The peer went away, or sent something that is no message."""


class Channel:
    """One connection: reads the client's messages, writes the server's."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._ahead = bytearray(1 << 16)
        self._view = memoryview(self._ahead)
        self._start = self._end = 0
        self._stream = bytearray()

    def _exactly(self, count: int) -> bytes:
        kept = self._end - self._start
        if kept >= count:
            data = bytes(self._view[self._start : self._start + count])
            self._start += count
            return data
        whole = bytearray(count)
        view = memoryview(whole)
        self._into(view)
        return bytes(whole)

    def _into(self, view: memoryview) -> None:
        kept = min(self._end - self._start, len(view))
        view[:kept] = self._view[self._start : self._start + kept]
        self._start += kept
        done = kept
        while done < len(view):
            if len(view) - done >= len(self._ahead):
                done += self._received(view[done:])
                continue
            self._start, self._end = 0, self._received(self._view)
            kept = min(self._end, len(view) - done)
            view[done : done + kept] = self._view[:kept]
            self._start = kept
            done += kept

    def _received(self, view: memoryview) -> int:
        try:
            count = self.sock.recv_into(view)
        except OSError as problem:
            raise Closed(str(problem)) from None
        if not count:
            raise Closed("end of stream")
        return count

    def read_header(self) -> tuple[str, list[int]]:
        """Type and numbers of a message, in TLS of one that is nothing else. Raises Closed."""
        length = int.from_bytes(self._exactly(4), "big")
        if not 0 < length <= HEADER_LIMIT:
            raise Closed(f"header of {length} bytes")
        found = _HEADER.match(self._exactly(length))
        if not found:
            raise Closed("no message header")
        return found.group(1).decode("ascii", "replace"), [int(found.group(i)) for i in range(2, 6)]

    def read(self) -> Message:
        """The next message. Raises Closed."""
        kind, (body_length, error_length, stream_length, number) = self.read_header()
        if min(body_length, error_length, stream_length) < 0:
            raise Closed("negative length")
        body = self._exactly(body_length)
        self._exactly(error_length)
        stream = self._room(stream_length)
        self._into(stream)
        return Message(kind, number, body, stream)

    def _room(self, length: int) -> memoryview:
        if length > KEPT_BUFFER:
            return memoryview(bytearray(length))
        if len(self._stream) < length:
            self._stream = bytearray(length)
        return memoryview(self._stream)[:length]

    def exactly(self, count: int) -> bytes:
        """`count` bytes that are no message (the client's answers during API 679). Raises Closed."""
        return self._exactly(count)

    def write(
        self,
        kind: str,
        number: int,
        body: bytes = b"",
        errors: list[tuple[int, str]] | None = None,
        stream: bytes | memoryview = b"",
    ) -> None:
        """Send one message. Raises Closed."""
        stack = error_stack(errors) if errors else b""
        header = (
            f"<MsgHeader_PI>\n<type>{kind}</type>\n<msgLen>{len(body)}</msgLen>\n<errorLen>{len(stack)}</errorLen>\n"
            f"<bsLen>{len(stream)}</bsLen>\n<intInfo>{number}</intInfo>\n</MsgHeader_PI>\n"
        ).encode()
        parts = [len(header).to_bytes(4, "big"), header, body, stack]
        try:
            if len(stream) <= JOINED:
                self.sock.sendall(b"".join([*parts, stream]))
            else:
                self.sock.sendall(b"".join(parts))
                self.sock.sendall(stream)
        except OSError as problem:
            raise Closed(str(problem)) from None


def error_stack(errors: list[tuple[int, str]]) -> bytes:
    """An RError_PI of (status, text); a text is cut to the 1023 bytes that the struct holds."""
    entries = [{"status": status, "msg": text.encode()[:1023].decode("utf-8", "ignore")} for status, text in errors]
    return pack("RError_PI", {"count": len(entries), "RErrMsg_PI": entries})


def refused_option(text: str) -> IrodsError:
    """For something that the real server does and this one does not."""
    return IrodsError(Code.SYS_NOT_SUPPORTED, f"the sandbox does not do this: {text}", status=Code.SYS_NOT_SUPPORTED)
