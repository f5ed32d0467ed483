"""`ingest migrate`: what people who come from other programs have, in our words."""

from __future__ import annotations

import click

from scripts.migrate_automated_ingest import automated_ingest
from scripts.migrate_hsds_bucket_loader import hsds_bucket_loader


@click.group("migrate")
def group() -> None:
    """Print our commands for those of other programs."""


group.add_command(automated_ingest)
group.add_command(hsds_bucket_loader)
