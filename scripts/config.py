"""`ingest config`: what is in force, and where it comes from."""

from __future__ import annotations

import json
from pathlib import Path

import click
import yaml
from pydantic import SecretStr

from core.sections import Section
from core.settings_file import Loaded
from core.settings_sources import setting_fields
from scripts.connect import ask
from scripts.frame import Invocation

MASK = "********"


@click.group("config")
def group() -> None:
    """See the settings."""


@group.command("check")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, by key, instead of YAML.")
@click.option("--connect", is_flag=True, help="Connect to the inventory and to iRODS as well, and show what they are.")
@click.pass_obj
def check(invocation: Invocation, as_json: bool, connect: bool) -> None:
    """Check the settings and print what is in force.

    Each value is followed by where it comes from: default, a line of config.yml, or an environment variable. Passwords
    are masked. Bad settings are refused with exit code 2.

    With --connect it also shows, below `connected`, the versions of both servers, the user and zone that iRODS takes us
    for, and each fast call of iRODS as available, forbidden by the settings, or refused by the server. Nothing is changed.
    A service that cannot be used is shown with its error, and the exit code is that error's.
    """
    loaded = invocation.load()
    answers, problem = ask(loaded.settings) if connect else ({}, None)
    if as_json:
        connected = {"connected": answers} if connect else {}
        click.echo(json.dumps(_by_key(loaded) | connected, indent=2))
    else:
        _print_yaml(loaded)
        if connect:
            click.echo(yaml.safe_dump({"connected": answers}, sort_keys=False, width=10_000), nl=False)
    if problem is not None:
        raise problem


def _by_key(loaded: Loaded) -> dict[str, object]:
    """Return for each key its value, the kind of place it comes from and the place."""
    answer: dict[str, object] = {}
    for key in setting_fields():
        given = loaded.origins.get(key)
        source, place = (given.layer, given.place) if given else ("default", None)
        answer[key] = {"value": _shown(loaded, key), "source": source, "place": place}
    return answer


def _print_yaml(loaded: Loaded) -> None:
    click.echo(f"# {loaded.file or 'no config.yml was found'}")
    printed = ""
    for key in setting_fields():
        section, name = key.split(".")
        if section != printed:
            click.echo(f"{section}:")
            printed = section
        given = loaded.origins.get(key)
        shown = _shown(loaded, key)
        value = (
            yaml.safe_dump(shown, width=10_000, default_flow_style=True if isinstance(shown, list) else None)
            .removesuffix("...\n")
            .strip()
        )
        click.echo(f"  {name}: {value}  # {given.place if given else 'default'}")


def _shown(loaded: Loaded, key: str) -> object:
    section, name = key.split(".")
    value = getattr(getattr(loaded.settings, section), name)
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, tuple):
        return [
            one.model_dump(mode="json", exclude_defaults=True) if isinstance(one, Section) else one for one in value
        ]
    return str(value) if isinstance(value, Path) else value
