"""The group of commands, and what they share: an open inventory, and a job by its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from core.errors import UsageError
from core.settings import InventorySettings

if TYPE_CHECKING:
    from inventory.engine import Database
    from inventory.jobs import Job


@click.group("job")
def group() -> None:
    """Start and look after ingest jobs."""


@contextmanager
def opened(settings: InventorySettings, *, queue: bool = False) -> Iterator[Database]:
    """The inventory, its schema checked, with `queue` for statements as the pods have them. Raises Unavailable and SchemaError."""
    from inventory import schema
    from inventory.engine import Database

    url = settings.connection_url()
    database = Database(url, queue=queue, connect_timeout_seconds=settings.connect_timeout_seconds)
    try:
        schema.check(database)
        yield database
    finally:
        database.close()


def named(database: Database, name: str) -> Job:
    """The job of that name. Raises UsageError when there is none."""
    from inventory import jobs

    job = jobs.find(database, name)
    if job is None:
        raise UsageError(f"there is no job {name!r}", "see `ingest job list`")
    return job
