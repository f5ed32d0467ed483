"""Databases on a PostgreSQL server where we may create them: those of the tests and of the demo.

The one place outside of `inventory` that speaks SQL: these databases are made before there is an inventory to ask.
"""

from __future__ import annotations

import sqlalchemy
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

CONNECT_SECONDS = 10


class PostgresServer:
    """A PostgreSQL server on which databases may be created and dropped."""

    def __init__(self, admin_url: str) -> None:
        """`admin_url` is a postgresql+psycopg2:// URL of a role that may create databases, with its password."""
        self._admin_url = admin_url
        self._engine: sqlalchemy.Engine | None = None

    def url(self, database: str = "postgres") -> str:
        """Return the whole URL of `database`, with the password."""
        url = sqlalchemy.make_url(self._admin_url).set(database=database)
        return url.render_as_string(hide_password=False)

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create database `name`, as a copy of `template` if given (nobody may be connected to it); return its URL."""
        copied = f" TEMPLATE {_quoted(template)}" if template else ""
        self._execute(f"CREATE DATABASE {_quoted(name)}{copied}")
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop database `name` if it exists, disconnecting its clients."""
        self._execute(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")

    def has_database(self, name: str) -> bool:
        """True when database `name` exists."""
        return self._execute("SELECT count(*) FROM pg_database WHERE datname = :name", name=name) == 1

    def answers(self) -> bool:
        """True when the server takes connections with our password."""
        try:
            self._execute("SELECT 1")
        except OperationalError:
            return False
        return True

    def _execute(self, statement: str, **parameters: str) -> object:
        """Run one statement and return the first value of its answer, or None when it has no rows."""
        url = sqlalchemy.make_url(self.url())
        if self._engine is None or self._engine.url != url:
            # kept: at its first connection an engine asks what the server is like, which takes longer than the statement
            self._engine = sqlalchemy.create_engine(
                url,
                poolclass=NullPool,
                isolation_level="AUTOCOMMIT",  # CREATE DATABASE does not run inside a transaction
                connect_args={"connect_timeout": CONNECT_SECONDS},
            )
        with self._engine.connect() as connection:
            result = connection.execute(sqlalchemy.text(statement), parameters)
            return result.scalar() if result.returns_rows else None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
