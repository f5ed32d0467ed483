"""`ingest inventory`: create, migrate and check the inventory's schema."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import click

from core.errors import IngestError, SchemaError, Unavailable
from scripts.frame import Invocation

AGAIN_SECONDS = 1.0
_wait = click.option(
    "--wait", "wait_seconds", type=click.FloatRange(min=0), default=0, help="Try again for so many seconds."
)


def _patiently(ask: Callable[[], str], seconds: float, *again: type[IngestError]) -> str:
    """Ask for so many seconds until there is an answer; raises what the last try raised, and at once what is not `again`."""
    until = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except again:
            if time.monotonic() >= until:
                raise
            time.sleep(AGAIN_SECONDS)


@click.group("inventory")
def group() -> None:
    """Create and migrate the inventory."""


@group.command("init")
@click.pass_obj
def init(invocation: Invocation) -> None:
    """Create the inventory in an empty database.

    The database itself must exist. An inventory that exists is left alone and refused with exit code 2.
    """
    from inventory import schema

    click.echo(f"created, schema version {schema.init(invocation.settings().inventory.connection_url())}")


@group.command("upgrade")
@_wait
@click.pass_obj
def upgrade(invocation: Invocation, wait_seconds: float) -> None:
    """Bring the inventory to this program's version.

    Creates it where there is none; may run twice and from several places at once. A newer schema is refused with exit
    code 3.
    """
    from inventory import schema

    url = invocation.settings().inventory.connection_url()
    click.echo(f"schema version {_patiently(lambda: schema.upgrade(url), wait_seconds, Unavailable)}")


@group.command("check")
@_wait
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def check(invocation: Invocation, wait_seconds: float, as_json: bool) -> None:
    """Check that the inventory answers and fits this program.

    Exit code 3: its schema is older, newer or missing. Exit code 4: it does not answer.
    """
    from inventory import schema
    from inventory.engine import Database

    settings = invocation.settings().inventory
    database = Database(settings.connection_url(), connect_timeout_seconds=settings.connect_timeout_seconds)
    try:
        version = _patiently(lambda: schema.check(database), wait_seconds, Unavailable, SchemaError)
        click.echo(json.dumps({"schema_version": version}) if as_json else f"schema version {version}")
    finally:
        database.close()
