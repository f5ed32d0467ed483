"""Installing the schema, migrating it, and refusing to work on another one."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from core.errors import SchemaError, UsageError
from inventory.engine import Database

_LOCK = 0x1_0AD_0001  # advisory lock: one migration at a time


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    return config


def head() -> str:
    """The schema version this program was written for."""
    version = ScriptDirectory.from_config(_config()).get_current_head()
    assert version is not None
    return version


def _version(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table_schema": "inventory"})
    return context.get_current_revision()


def _known(version: str) -> bool:
    return any(script.revision == version for script in ScriptDirectory.from_config(_config()).walk_revisions())


def init(url: str) -> str:
    """Create the inventory and return its version. Raises UsageError when there is one already."""
    return _migrate(url, new=True)


def upgrade(url: str) -> str:
    """Bring the inventory to this program's version, creating it where there is none, and return the version.

    Safe to run twice and from several pods at once. Raises SchemaError when the inventory is newer than this program.
    """
    return _migrate(url, new=False)


def _migrate(url: str, *, new: bool) -> str:
    database = Database(url, name="ingest schema")
    try:
        with database.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '120s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            current = _version(connection)
            if new and current is not None:
                raise UsageError(
                    f"inventory {database.where} exists already, at version {current}",
                    "nothing was changed; `ingest inventory upgrade` migrates it",
                )
            if current is not None and not _known(current):
                raise _newer(database, current)
            connection.execute(text("CREATE SCHEMA IF NOT EXISTS inventory"))
            command.upgrade(_config(connection), "head")
        return head()
    finally:
        database.close()


def check(database: Database) -> str:
    """The inventory's version. Raises SchemaError unless it is exactly the one this program was written for."""
    with database.begin() as connection:
        current = _version(connection)
    if current is None:
        raise SchemaError(f"inventory {database.where} has no schema", "run `ingest inventory init`")
    if not _known(current):
        raise _newer(database, current)
    if current != head():
        raise SchemaError(
            f"inventory {database.where} is at version {current}, this program needs {head()}",
            "run `ingest inventory upgrade`",
        )
    return current


def _newer(database: Database, current: str) -> SchemaError:
    return SchemaError(
        f"inventory {database.where} is at version {current}, newer than this program's {head()}",
        "run a newer version of the program",
    )
