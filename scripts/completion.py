"""`ingest completion`: what a shell needs to complete commands, options and values."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command("completion", short_help="Print what a shell needs to complete commands and options.")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what SHELL needs to complete commands, options and values.

    bash: `ingest completion bash > ~/.local/share/bash-completion/completions/ingest`. zsh: `> ~/.zfunc/_ingest`, with ~/.zfunc in
    fpath. fish: `> ~/.config/fish/completions/ingest.fish`.
    """
    context = click.get_current_context().find_root()
    kind = get_completion_class(shell)
    assert kind is not None  # one of those that click has
    name = "ingest"
    click.echo(kind(context.command, {}, name, "_INGEST_COMPLETE").source())
