"""`ingest handler`: look at event handlers before a job runs them."""

from __future__ import annotations

import json
from pathlib import Path

import click

from scripts.frame import Invocation


@click.group("handler")
def group() -> None:
    """Look at event handlers."""


@group.command("check")
@click.argument("file", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def check(invocation: Invocation, file: str, as_json: bool) -> None:
    """Load the event handler FILE, a path or a name on loader.handlers_folder, and list what it overrides and always answers.

    FILE may also be module:function, for --extract-metadata. What cannot be loaded is told in one line.
    """
    from core.handlers import automated_ingest, files
    from core.handlers.answers import static_answers

    folder = invocation.settings().loader.handlers_folder
    if ":" in file and not Path(file).exists():
        files.function(file, folder)
        click.echo(json.dumps({"function": file}) if as_json else f"{file} can be called")
        return
    found = files.find(file, folder)
    with automated_ingest.provided(files.NoNotes()):
        handler = files.load(found)
        answers = static_answers(found, handler)
    if as_json:
        row = {
            "file": found.path.name,
            "sha256": found.sha256,
            "style": handler.style,
            "overrides": handler.overrides,
            "answers": answers,
        }
        click.echo(json.dumps(row))
        return
    click.echo(f"{found.path.name}: sha256 {found.sha256}, written for {handler.style}")
    click.echo("overrides " + (", ".join(handler.overrides) or "nothing"))
    if answers:
        click.echo("always answers " + ", ".join(f"{name} {answer}" for name, answer in answers.items()))
    click.echo("files are loaded " + ("one by one" if handler.one_by_one else "by bulk calls where iRODS has them"))
