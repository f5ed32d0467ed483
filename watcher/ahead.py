"""Work done a little ahead: an iterator turned in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")
_WAIT_SECONDS = 0.2


class Ahead(Generic[Item]):
    """Turns an iterable in a thread, at most `depth` items ahead of who takes them; that bounds the memory.

    It begins when `after` has ended.
    """

    def __init__(self, items: Iterable[Item], depth: int, after: Ahead[Item] | None = None) -> None:
        self._items = items
        self._after = after
        self._ready: queue.Queue[Item | BaseException | None] = queue.Queue(depth)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._turn, name="ahead", daemon=True)
        self._thread.start()

    def take(self, seconds: float) -> Item | None:
        """The next item, waited for; None at the end. Raises TimeoutError, or what the iterable raised."""
        try:
            one = self._ready.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(one, BaseException):
            raise one
        return one

    def close(self) -> None:
        """Let go of the thread: it ends by itself when the step it is in is over."""
        self._closed.set()

    def _turn(self) -> None:
        end: BaseException | None = None
        if self._after is not None:
            self._after._thread.join()
            self._after = None
        try:
            for item in self._items:
                self._put(item)
                if self._closed.is_set():
                    return
        except BaseException as error:  # noqa: BLE001  # it belongs to who takes the items
            end = error
        self._put(end)

    def _put(self, item: Item | BaseException | None) -> None:
        while not self._closed.is_set():
            try:
                self._ready.put(item, timeout=_WAIT_SECONDS)
            except queue.Full:
                continue
            return
