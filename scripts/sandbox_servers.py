"""`ingest sandbox`: an iRODS stand-in to try things on."""

from __future__ import annotations

import json
import os
import secrets
import signal
import threading
from pathlib import Path

import click

from core.errors import Unavailable

_CONNECT = """\
This is a stand-in for demos and tests: NOT FOR PRODUCTION. It knows no TLS, one user and what this project needs.

ready on {host}:{port}, zone {zone}; catalogue and vaults in {state}; in another terminal:

  export IRODS_ENVIRONMENT_FILE={environment}
  export IRODS_PASSWORD=$(cat {password})

Ctrl-C ends it; the next start goes on with the same data."""


@click.group("sandbox")
def group() -> None:
    """Try things out without an iRODS."""


@group.command("up")
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".sandbox"),
    show_default=True,
    help="Where its catalogue and vaults are; made when missing.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=1247, show_default=True, help="The port to listen on; 0 takes a free one.")
@click.option("--zone", default="tempZone", show_default=True, help="The name of its zone.")
def up(state: Path, host: str, port: int, zone: str) -> None:
    """Run an iRODS stand-in in the foreground, NOT for production.

    It speaks the iRODS protocol to unmodified clients and keeps its data between runs. SIGTERM and Ctrl-C end it.
    """
    from sandbox.irods.server import SandboxServer

    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    state = state.absolute()
    try:
        state.mkdir(parents=True, exist_ok=True)
        password = _kept_password(state / "password")
        server = SandboxServer(state, host=host, port=port, zone=zone, password=password.read_text().strip())
        server.start()
    except (OSError, ValueError) as error:
        raise Unavailable(f"the sandbox iRODS cannot start: {error}", "choose another --port or --state") from None
    try:
        environment = state / "irods_environment.json"
        environment.write_text(json.dumps(server.environment, indent=2) + "\n")
        click.echo(
            _CONNECT.format(
                host=server.host, port=server.port, zone=zone, state=state, environment=environment, password=password
            )
        )
        told.wait()
    finally:
        server.stop()


def _kept_password(path: Path) -> Path:
    """Make the file with the password of user rods, once, for our eyes only."""
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(16) + "\n")
    return path
