"""Installing the schema, migrating it, and refusing to work on another one.

Revisions are numbers that count up, and the files of the migrations are named by them. So asking for the version, which every
pod and every command does when it starts, needs no Alembic: reading that in takes longer than the answer.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from core.errors import SchemaError, UsageError
from inventory.engine import Database

if TYPE_CHECKING:
    from alembic.config import Config

_MIGRATIONS = Path(__file__).with_name("migrations")
_LOCK = 0x1_0AD_0001  # advisory lock: one migration at a time


def head() -> str:
    """The schema version this program was written for."""
    return max(_revisions())


@cache
def _revisions() -> frozenset[str]:
    """All versions there have been, up to this program's."""
    return frozenset(file.name[1:5] for file in (_MIGRATIONS / "versions").glob("v*.py"))


def _version(connection: Connection) -> str | None:
    """The version of the inventory; None when there is none."""
    if connection.execute(text("SELECT to_regclass('inventory.alembic_version')")).scalar() is None:
        return None
    version: str | None = connection.execute(text("SELECT version_num FROM inventory.alembic_version")).scalar()
    return version


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def init(url: str) -> str:
    """Create the inventory and return its version. Raises UsageError when there is one already."""
    return _migrate(url, new=True)


def upgrade(url: str) -> str:
    """Bring the inventory to this program's version, creating it where there is none, and return the version.

    Safe to run twice and from several pods at once. Raises SchemaError when the inventory is newer than this program.
    """
    return _migrate(url, new=False)


def _migrate(url: str, *, new: bool) -> str:
    from alembic import command

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
            if current is not None and current not in _revisions():
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
    if current not in _revisions():
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
