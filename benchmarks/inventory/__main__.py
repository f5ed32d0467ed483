"""Measure the inventory: python -m benchmarks.inventory [--rows N] [--quick] [--minutes N] [--only PART]"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import click
import structlog

from benchmarks.inventory import discovery, queue
from benchmarks.inventory.world import World, server

Row = tuple[str, str, str]


def parts(rows: int, quick: bool, minutes: float | None = None) -> dict[str, Callable[[World], Sequence[Row]]]:
    """What can be measured, by name, in the order of the table."""
    few, seconds = (1, 1.0) if quick else (4, 4.0)
    return {
        "flat": lambda world: discovery.one_directory(world, 250_000 if quick else 5_000_000),
        "memory": lambda world: discovery.from_memory(world, 100_000 * few),
        "tree": lambda world: discovery.from_tree(world, "100 directories of 1000", 100, 1000),
        "small": lambda world: discovery.from_tree(world, f"{2000 * few} directories of 7", 2000 * few, 7),
        "batch": lambda world: queue.by_batch(world, 200_000 * few, seconds),
        "size": lambda world: queue.by_size(world, rows, seconds),
        "pinned": lambda world: queue.beside_a_long_transaction(world, 100_000 * few),
        "churn": lambda world: queue.churn(world, 5_000, 4 if quick else 60, minutes and minutes * 60),
        "rules": lambda world: queue.beside_rules(world, 25_000 * few, seconds),
        "life": lambda world: queue.a_life(world, 50_000 * few),
    }


@click.command()
@click.option("--rows", default=100_000, show_default=True, help="The largest table to claim from.")
@click.option("--quick", is_flag=True, help="Smaller and shorter: a minute instead of several.")
@click.option("--minutes", type=float, help="How long to churn; else some turns of the whole table.")
@click.option("--only", multiple=True, type=click.Choice(list(parts(0, True))), help="Only this part; may be repeated.")
def main(rows: int, quick: bool, minutes: float | None, only: Sequence[str]) -> None:
    """Print what the inventory does a second, against a baseline where there is one."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    with server() as postgres:
        click.echo(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; durable Postgres")
        for name, measure in parts(rows, quick, minutes).items():
            if only and name not in only:
                continue
            world = World(postgres, name)
            for what, value, beside in measure(world):
                click.echo(f"{what:<58} {value:>32}  {beside}")
            world.database.close()
            postgres.drop_database(name)


if __name__ == "__main__":
    main()
