"""Transactions that have done their work and are held open before they end, so that a race is not a matter of luck."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, text

from inventory.engine import Database
from tests.e2e.world import eventually

PATIENCE = 30.0


class BrokeOff(Exception):
    """The transaction was rolled back, as if its connection had broken."""


class Held(Database):
    """A database whose transactions, once their work is done, wait to be let go."""

    def __init__(self, url: str, *, breaks_off: bool = False) -> None:
        super().__init__(url, queue=True, name="held")
        self._breaks_off = breaks_off
        self.reached = threading.Event()
        self.go_on = threading.Event()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        with super().begin() as connection:
            yield connection
            self.reached.set()
            assert self.go_on.wait(PATIENCE)
            if self._breaks_off:
                raise BrokeOff


class Aside:
    """A call in a thread of its own."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that waits
            self._error = error

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def value(self) -> Any:
        """What it returned or raised."""
        self._thread.join(PATIENCE)
        assert self.ended
        if self._error is not None:
            raise self._error
        return self._value


@contextmanager
def held(url: str, call: Callable[[Database], Any], *, breaks_off: bool = False) -> Iterator[Aside]:
    """Do `call` in a transaction that is held open during the block, and ends after it."""
    database = Held(url, breaks_off=breaks_off)
    aside = Aside(lambda: call(database))
    try:
        assert database.reached.wait(PATIENCE)
        yield aside
    finally:
        database.go_on.set()
        aside._thread.join(PATIENCE)
        database.close()


def waits_for_a_lock(database: Database) -> None:
    """Return when some transaction of this test's database waits for another one's lock."""

    def waiting() -> bool:
        with database.begin() as connection:
            return bool(
                connection.execute(
                    text(
                        "SELECT count(*) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                    )
                ).scalar()
            )

    eventually("a transaction waits for a lock", waiting, PATIENCE)
