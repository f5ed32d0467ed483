"""What the inventory and iRODS say of themselves when they are connected to: the second half of `ingest config check`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from core.errors import IngestError
from core.settings import InventorySettings, IrodsSettings, Settings

Answers = dict[str, dict[str, Any]]
"""By service; one that could not be used has the one key `error`."""


def ask(settings: Settings) -> tuple[Answers, IngestError | None]:
    """Ask both services, changing nothing; what they say, and the first error, the other service being asked all the
    same."""
    answers: Answers = {}
    first: IngestError | None = None
    asked: dict[str, Callable[[], dict[str, Any]]] = {
        "inventory": lambda: _inventory(settings.inventory),
        "irods": lambda: _irods(settings.irods),
    }
    for service, ask_it in asked.items():
        try:
            answers[service] = ask_it()
        except IngestError as error:
            answers[service] = {"error": str(error)}
            first = first or error
    return answers, first


def _inventory(settings: InventorySettings) -> dict[str, Any]:
    from inventory import schema
    from inventory.engine import Database

    database = Database(settings.connection_url(), connect_timeout_seconds=settings.connect_timeout_seconds)
    try:
        version = schema.check(database)
        return {"where": database.where, "server": f"PostgreSQL {database.version()}", "schema": version}
    finally:
        database.close()


def _irods(settings: IrodsSettings) -> dict[str, Any]:
    from core.irods import Gateway

    with Gateway(settings) as gateway:
        server = gateway.server()
        return {
            "where": gateway.where,
            "server": "iRODS " + ".".join(map(str, server.version)),
            "zone": server.zone,
            "user": f"{server.user}#{server.zone}",
            "rodsadmin": server.is_admin,
            "features": gateway.features(),
        }
