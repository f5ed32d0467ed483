"""`make_inventory`: creates the inventory, for those who come from hsds-bucket-loader.

As there, it fails when the inventory exists already: whoever scripts it must not load into an old one unawares.
`ingest inventory upgrade` is the command that may be run twice.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from scripts.frame import Invocation, run


@click.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="The config.yml to read.")
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
def make_inventory(config_file: Path | None, debug: bool) -> None:
    """Create the inventory in the Postgres database of config.yml; the same as `ingest inventory init`.

    Unlike in hsds-bucket-loader it is no file with a fixed list of names: the watchers fill it from the source.
    """
    from inventory import schema

    settings = Invocation(config_file, debug).settings().inventory
    version = schema.init(settings.connection_url())
    click.echo(f"Created the inventory in {settings.url}, schema version {version}.")
    click.echo("Next: `ingest job start` names a source and a collection; `ingest dump` shows every file.")


def main() -> None:
    """Run the command."""
    sys.exit(run(make_inventory, "make_inventory", sys.argv[1:]))


if __name__ == "__main__":
    main()
