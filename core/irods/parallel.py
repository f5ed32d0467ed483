"""Writing one large file over several connections at once (20000, 20004), its bytes read and hashed once, in order.

The first connection creates the replica and asks for its token (20000); each other one opens the same replica with
it, so that the server lets them write side by side. A reader hands buffers to the connections in turn; memory is
bounded by two buffers a stream. The others close without touching the catalogue (20004), the first one last, which
finalizes.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from base64 import b64decode
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from xml.etree import ElementTree

from core.errors import FileError, Outage, Transient
from core.irods import errors, messages, objects, wire
from core.irods.messages import Api
from core.irods.session import EVERYTHING, Session

Piece = tuple[int, wire.Gathered]
"""An offset and the bytes that belong there."""


def write(
    session: Session, path: str, descriptor: int, size: int, streams: int, pieces: Iterator[Piece]
) -> Generator[int, None, None]:
    """Write all pieces to the replica open on `session` and on `streams - 1` further connections; yields bytes handed
    over.

    When it ends every byte has been acknowledged. On an error of any stream the others stop, and that error is
    raised; of several an `Outage`.
    """
    hierarchy, token = _token(session, path, descriptor)
    work: queue.Queue[Piece | None] = queue.Queue(maxsize=streams)
    failures: list[BaseException] = []

    def extra() -> None:
        with session.fresh() as own, own.held():
            keywords = {"resc_hier": hierarchy, "replicaToken": token, "dataSize": str(size)}
            its = objects.open_object(own, path, os.O_WRONLY, keywords, size=size)
            try:
                _drain(own, path, its, work, failures)
            finally:
                _close_quietly(own, path, its)

    writers = [_Writer(lambda: _drain(session, path, descriptor, work, failures), work, failures)]
    writers += [_Writer(extra, work, failures) for _ in range(streams - 1)]
    for writer in writers:
        writer.start()
    try:
        for piece in pieces:
            _hand(work, piece, failures)
            if failures:
                break
            yield len(piece[1])
    except BaseException as problem:
        failures.append(problem)
        raise
    finally:
        for _ in writers:
            _hand(work, None, failures)
        for writer in writers:
            writer.join()
    if failures:
        # a lost connection takes the others' tokens with it: what they say then is its consequence
        raise next((each for each in failures if isinstance(each, Outage)), failures[0])


class _Writer(threading.Thread):
    def __init__(self, run: Callable[[], None], work: queue.Queue[Piece | None], failures: list[BaseException]) -> None:
        super().__init__(daemon=True)
        self._work, self._queue, self._failures = run, work, failures

    def run(self) -> None:
        try:
            self._work()
        except BaseException as problem:  # noqa: BLE001  handed to the thread that waits for all of them
            self._failures.append(problem)


def _hand(work: queue.Queue[Piece | None], piece: Piece | None, failures: list[BaseException]) -> None:
    """Put a piece into the queue, or drop it when a writer has failed and nobody may take it any more."""
    while not failures:
        with suppress(queue.Full):
            work.put(piece, timeout=0.1)
            return
    with suppress(queue.Full):
        work.put_nowait(None)


def _drain(
    session: Session, path: str, descriptor: int, work: queue.Queue[Piece | None], failures: list[BaseException]
) -> None:
    position = 0
    while not failures:
        try:
            piece = work.get(timeout=0.1)
        except queue.Empty:
            continue
        if piece is None:
            return
        position = write_piece(session, path, descriptor, piece, position)


def write_piece(session: Session, path: str, descriptor: int, piece: Piece, position: int) -> int:
    """Write a piece, after a seek where the descriptor stands elsewhere; both in one round trip. Where it stands
    then."""
    offset, data = piece
    requests = 1
    if offset != position:
        session.send(Api.DATA_OBJ_LSEEK, messages.opened(descriptor, {}, offset=offset, whence=os.SEEK_SET))
        requests += 1
    session.send(Api.DATA_OBJ_WRITE, messages.opened(descriptor, {}, length=len(data)), data)
    replies = [session.receive(accept=EVERYTHING) for _ in range(requests)]
    for reply in replies:
        if reply.status < 0:
            raise errors.error_for(reply.status, path, reply.text)
    if replies[-1].status != len(data):
        raise Transient("short_write", f"iRODS wrote {replies[-1].status} of {len(data)} bytes of {path}")
    return offset + len(data)


def _token(session: Session, path: str, descriptor: int) -> tuple[str, str]:
    """The hierarchy and the token of the replica behind a descriptor (20000)."""
    reply = session.call(Api.GET_FILE_DESCRIPTOR_INFO, messages.json_body({"fd": descriptor}), path=path)
    text = ElementTree.fromstring(reply.body).findtext("buf") or ""
    info = json.loads(b64decode(text).rstrip(b"\0"))
    return str(info["data_object_info"]["resource_hierarchy"]), str(info["replica_token"])


def _close_quietly(session: Session, path: str, descriptor: int) -> None:
    """Close a further stream (20004): size and status are the first one's business."""
    options: dict[str, object] = {"fd": descriptor}
    options |= dict.fromkeys(("send_notification", "update_size", "update_status", "compute_checksum"), False)
    with suppress(FileError):
        session.call(Api.REPLICA_CLOSE, messages.json_body(options), path=path)
