"""Connections to the inventory, and the one place where a lost connection becomes an error of ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import psycopg2
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from core.errors import Unavailable

# Hot statements go by index whatever the statistics say: after a bulk COPY without ANALYZE the planner reads whole tables
# (258 instead of 21 000 files a second were measured), and over a small partition it prefers a hash join of all of it.
_QUEUE_OPTIONS = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
}
# serialization failure, deadlock, lock not available: nothing was changed, and the same again may pass
_AGAIN = ("40001", "40P01", "55P03")
_COPY_BYTES = 1 << 18
_OPTIONS = {"TimeZone": "UTC", "lock_timeout": "30000"}
_IDLE_SECONDS = (10.0, 60.0)
_PATIENT = text("SELECT set_config('idle_in_transaction_session_timeout', '1h', true)")


class Database:
    """The inventory as one process sees it: `begin()` is one short transaction.

    `queue` connections are for the workers' hot statements, others for reports. What a process that was frozen in the
    middle of a transaction has locked is free for others once its lease is over, but not before 10 s nor after 60 s.
    """

    def __init__(
        self,
        url: str,
        *,
        queue: bool = False,
        connect_timeout_seconds: float = 10,
        name: str = "ingest",
        lease_seconds: float = _IDLE_SECONDS[1],
    ) -> None:
        shortest, longest = _IDLE_SECONDS
        idle = round(1000 * min(longest, max(shortest, lease_seconds)))
        options = _OPTIONS | {"idle_in_transaction_session_timeout": str(idle)} | (_QUEUE_OPTIONS if queue else {})
        self.where = make_url(url).render_as_string(hide_password=True)
        self.engine: Engine = create_engine(
            url,
            pool_size=2,
            max_overflow=2,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": max(1, round(connect_timeout_seconds)),
                "application_name": name[:63],
                "keepalives_idle": 15,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 30000,
                "options": " ".join(f"-c {key}={value}" for key, value in options.items()),
            },
        )

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction. Raises Unavailable when the inventory does not answer; the transaction is then not committed,
        or, when the connection broke in the commit itself, perhaps is: every statement is written to bear both."""
        try:
            with self.engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            if _lost(error):
                raise self._away(error) from error
            raise

    @contextmanager
    def stream(self, **options: Any) -> Iterator[Connection]:
        """A read-only transaction for results that are larger than memory.

        Who reads them may be slow, a person with a pager or the listing of a huge directory: an hour between two reads.
        """
        try:
            streaming = self.engine.connect().execution_options(stream_results=True, max_row_buffer=2000, **options)
            with streaming as connection:
                connection.execute(_PATIENT).scalar()
                yield connection
        except DBAPIError as error:
            if _lost(error):
                raise self._away(error) from error
            raise

    def version(self) -> str:
        """The server's version, as it says it. Raises Unavailable."""
        with self.begin() as connection:
            return str(connection.execute(text("SHOW server_version")).scalar_one())

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """As `stream`, and all that is asked in it sees the inventory as it was at the first question."""
        with self.stream(isolation_level="REPEATABLE READ") as connection:
            yield connection

    def close(self) -> None:
        self.engine.dispose()

    def _away(self, error: SQLAlchemyError) -> Unavailable:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines() or ["no reason given"]
        # of a statement's error the first line is what happened, of a connection's the last one
        said = getattr(getattr(getattr(error, "orig", None), "diag", None), "message_primary", None) or cause[-1]
        return Unavailable(f"inventory {self.where} does not answer: {said}", _hint(" ".join(cause)))


def copy(connection: Connection, statement: str, stream: IO[bytes]) -> None:
    """Run a COPY … FROM STDIN or TO STDOUT with the bytes of a stream; what it raises is what any statement raises."""
    cursor = connection.connection.cursor()
    try:
        cursor.copy_expert(statement, stream, _COPY_BYTES)
    except psycopg2.Error as error:
        # the driver's own call: SQLAlchemy has not seen its error, nor that the connection is broken
        gone = isinstance(error, psycopg2.InterfaceError) or bool(
            getattr(connection.connection.dbapi_connection, "closed", True)
        )
        if gone:
            connection.invalidate()
        raise DBAPIError.instance(statement, None, error, psycopg2.Error, connection_invalidated=gone) from error
    finally:
        cursor.close()


def array_of(numbers: Iterable[float | None]) -> str:
    """An array of numbers as Postgres writes it; the driver's way costs more than the update of a row."""
    return "{" + ",".join(["NULL" if number is None else str(number) for number in numbers]) + "}"


def _lost(error: DBAPIError) -> bool:
    """Whether the connection failed, rather than the statement (SQLSTATE classes 08, 53, 57P and 28, 3D000 on connecting)."""
    if error.connection_invalidated:
        return True
    code = getattr(error.orig, "pgcode", None)
    if code is None:
        return type(error.orig).__name__ in ("OperationalError", "InterfaceError")
    return str(code).startswith(("08", "53", "57P", "28", "3D", "25P03")) or code in _AGAIN


def _hint(cause: str) -> str:
    for words, hint in (
        ("password authentication failed", "check INVENTORY_PASSWORD or inventory.password_file"),
        ("no password supplied", "set INVENTORY_PASSWORD or inventory.password_file"),
        ("role", "check the user in inventory.url"),
        ("database", "create it, or check inventory.url"),
        ("could not translate host name", "check the host in inventory.url"),
        ("refused", "is Postgres running there? check inventory.url"),
        ("No such file", "is Postgres running there? check inventory.url"),
        ("timeout", "is the host reachable? check inventory.url"),
        ("No space left", "make room on the disk of Postgres"),
        ("too many clients", "raise max_connections or put a pooler before Postgres"),
    ):
        if words in cause:
            return hint
    return "check inventory.url and the Postgres log"
