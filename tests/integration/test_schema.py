"""Creating, migrating and refusing an inventory."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from core.errors import SchemaError, Unavailable, UsageError
from inventory import schema
from inventory.engine import Database
from sandbox.databases import PostgresServer


def _set_version(url: str, version: str) -> None:
    database = Database(url)
    with database.begin() as connection:
        connection.execute(text("UPDATE inventory.alembic_version SET version_num = :version"), {"version": version})
    database.close()


def test_init_creates_and_refuses_a_second_time(empty_database_url: str) -> None:
    assert schema.init(empty_database_url) == schema.head()
    with pytest.raises(UsageError, match="exists already"):
        schema.init(empty_database_url)


def test_upgrade_creates_and_may_be_repeated(empty_database_url: str) -> None:
    assert schema.upgrade(empty_database_url) == schema.upgrade(empty_database_url) == schema.head()


def test_check_accepts_the_version_this_program_knows(inventory_url: str) -> None:
    database = Database(inventory_url)
    assert schema.check(database) == schema.head()
    database.close()


def test_check_refuses_a_missing_schema(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    with pytest.raises(SchemaError, match="ingest inventory init"):
        schema.check(database)
    database.close()


def test_check_and_upgrade_refuse_a_newer_schema(inventory_url: str) -> None:
    _set_version(inventory_url, "9999")
    database = Database(inventory_url)
    with pytest.raises(SchemaError, match="newer than this program"):
        schema.check(database)
    database.close()
    with pytest.raises(SchemaError, match="newer than this program"):
        schema.upgrade(inventory_url)


def test_a_missing_database_is_told_in_one_line(inventory_url: str) -> None:
    database = Database(inventory_url.rsplit("/", 1)[0] + "/nowhere")
    with pytest.raises(Unavailable, match="does not exist") as told:
        schema.check(database)
    assert "\n" not in str(told.value)
    assert told.value.exit_code == 4


def test_a_wrong_password_is_never_shown(strict_postgres: PostgresServer) -> None:
    head, _, tail = strict_postgres.url().partition("@")
    database = Database(head.rsplit(":", 1)[0] + ":open-sesame@" + tail)
    with pytest.raises(Unavailable, match="INVENTORY_PASSWORD") as told:
        schema.check(database)
    assert "open-sesame" not in str(told.value)
