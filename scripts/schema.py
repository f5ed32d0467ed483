"""`ingest inventory`: create, migrate and check the inventory's schema."""

from __future__ import annotations

import json

import click

from scripts.frame import Invocation


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
@click.pass_obj
def upgrade(invocation: Invocation) -> None:
    """Bring the inventory to this program's version.

    Creates it where there is none; may run twice and from several places at once. A newer schema is refused with exit
    code 3.
    """
    from inventory import schema

    click.echo(f"schema version {schema.upgrade(invocation.settings().inventory.connection_url())}")


@group.command("check")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def check(invocation: Invocation, as_json: bool) -> None:
    """Check that the inventory answers and fits this program.

    Exit code 3: its schema is older, newer or missing. Exit code 4: it does not answer.
    """
    from inventory import schema
    from inventory.engine import Database

    settings = invocation.settings().inventory
    database = Database(settings.connection_url(), connect_timeout_seconds=settings.connect_timeout_seconds)
    try:
        version = schema.check(database)
        click.echo(json.dumps({"schema_version": version}) if as_json else f"schema version {version}")
    finally:
        database.close()
