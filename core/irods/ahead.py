"""Taking items from an iterator in a thread of its own, so that what makes them overlaps what uses them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import TypeVar

Item = TypeVar("Item")


class _End:
    """The last thing in the queue, with what stopped the iterator."""

    def __init__(self, problem: BaseException | None) -> None:
        self.problem = problem


def ahead(items: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    """The items in order, of which up to `depth` are made before they are asked for.

    What the iterator raises is raised here. When this generator is closed early the thread ends after the item that it is
    making; closing waits for it.
    """
    made: queue.Queue[Item | _End] = queue.Queue(maxsize=depth)
    closing = threading.Event()

    def put(item: Item | _End) -> None:
        while not closing.is_set():
            with suppress(queue.Full):
                made.put(item, timeout=0.1)
                return

    def run() -> None:
        problem: BaseException | None = None
        try:
            for item in items:
                put(item)
                if closing.is_set():
                    break
        except BaseException as raised:  # noqa: BLE001  raised again where the items are used
            problem = raised
        put(_End(problem))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while True:
            item = made.get()
            if isinstance(item, _End):
                if item.problem is not None:
                    raise item.problem
                return
            yield item
    finally:
        closing.set()
        thread.join()
