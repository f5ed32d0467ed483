"""`ingest sandbox`: an iRODS stand-in, a Postgres and files to try things on."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

import click

from core.errors import Unavailable, UsageError

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
@click.option("--password-file", type=click.Path(path_type=Path), help="The password of user rods; made when left out.")
def up(state: Path, host: str, port: int, zone: str, password_file: Path | None) -> None:
    """Run an iRODS stand-in in the foreground, NOT for production.

    It speaks the iRODS protocol to unmodified clients and keeps its data between runs. SIGTERM and Ctrl-C end it.
    """
    from core.settings import read_secret
    from core.signals import Stop
    from sandbox.irods.server import SandboxServer

    stop = Stop().install()
    state = state.absolute()
    try:
        state.mkdir(parents=True, exist_ok=True)
        password = password_file or _kept_password(state / "password")
        server = SandboxServer(state, host=host, port=port, zone=zone, password=read_secret(password))
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
        stop.wait()
    finally:
        server.stop()


def _kept_password(path: Path) -> Path:
    """Make the file with the password of user rods, once, for our eyes only."""
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(16) + "\n")
    return path


@group.command("postgres")
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where its data are.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=5432, show_default=True, help="The port to listen on.")
@click.option("--password-file", type=click.Path(path_type=Path), required=True, help="The password of role ingest.")
@click.option("--database", default="ingest", show_default=True, help="A database that is made when missing.")
def postgres(state: Path, host: str, port: int, password_file: Path, database: str) -> int:
    """Run a Postgres in the foreground, NOT for production.

    Every machine that reaches the port may connect with the password, unencrypted. SIGTERM and Ctrl-C end it; the next
    start goes on with the same data and password.
    """
    from core.settings import read_secret
    from sandbox.postgres import EmbeddedPostgres, Public, until_told_or_dead

    if host not in ("127.0.0.1", "0.0.0.0", "*"):
        raise UsageError(f"--host {host} leaves out 127.0.0.1", "give 127.0.0.1, or 0.0.0.0 for all addresses")
    server = EmbeddedPostgres(state, public=Public(host, port, read_secret(password_file)))
    server.start()
    try:
        if not server.process:
            raise UsageError(f"a Postgres already runs in {state}, process {server.pid}", "end it first")
        if not server.has_database(database):
            server.create_database(database)
        click.echo(f"ready on {host}:{port}, role ingest, database {database}; data and log in {state}")
        return until_told_or_dead(server)
    finally:
        server.stop()


@group.command("files")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--count", default=20_000, show_default=True, help="How many files there are to be.")
@click.option("--bytes", "size", default=4096, show_default=True, help="Bytes of each.")
def files(folder: Path, count: int, size: int) -> None:
    """Make files to ingest, a hundred a directory; what is there already is left alone."""
    from sandbox.files import make_files

    made = make_files(folder, count, size)
    click.echo(f"{made} files made in {folder}, {count - made} were there")
