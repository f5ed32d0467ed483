"""The options that choose files, for the commands that start and change jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args

import click

from core.settings import FileType, JobSettings

Command = TypeVar("Command", bound=Callable[..., Any])
_SYMLINKS = get_args(JobSettings.model_fields["symlinks"].annotation)
_OPTIONS = (
    click.option("--include", multiple=True, help="Take only files that match, as in .gitignore; may be repeated."),
    click.option("--exclude", multiple=True, help="Leave out what matches, as in .gitignore; may be repeated."),
    click.option("--include-regex", multiple=True, help="Take only files in whose path this is found; may be repeated."),
    click.option("--exclude-regex", multiple=True, help="Leave out in whose path this is found; may be repeated."),
    click.option(
        "--exclude-type", "exclude_types", multiple=True, type=click.Choice(get_args(FileType)),
        help="Leave out such files; may be repeated.",
    ),
    click.option("--min-bytes", type=int, help="Leave out smaller files."),
    click.option("--max-bytes", type=int, help="Leave out larger files."),
    click.option("--min-age", "min_age_seconds", type=float, help="Leave out files modified less than so many seconds ago."),
    click.option("--max-age", "max_age_seconds", type=float, help="Leave out files modified longer ago."),
    click.option("--symlinks", type=click.Choice(_SYMLINKS), help="What to do with symbolic links."),
    click.option("--hidden/--no-hidden", "hidden_files", default=None, help="Whether names with a dot in front are taken."),
)  # fmt: skip


def filter_options(command: Command) -> Command:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def given(options: Mapping[str, Any]) -> dict[str, object]:
    """Those of a command's options that were given, by their keys in the settings."""
    return {f"job.{key}": value for key, value in options.items() if value is not None and value != ()}
