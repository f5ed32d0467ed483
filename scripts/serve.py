"""`ingest serve`: the status page and the REST interface."""

from __future__ import annotations

import socket
import threading
from functools import cache, partial
from typing import TYPE_CHECKING

import click

from core.errors import Unavailable, UsageError
from core.settings import Settings, WebSettings
from scripts.frame import Invocation
from scripts.sides import handlers_folder, logical_path_of

if TYPE_CHECKING:
    from inventory.explain import Explained
    from inventory.web.pages import LogicalPath


@click.command("serve")
@click.option("--address", help="Where to listen.")
@click.option("--port", type=int, help="The port to listen on; 0 takes a free one.")
@click.pass_obj
def serve(invocation: Invocation, address: str | None, port: int | None) -> None:
    """Serve the status page and REST until asked to stop.

    Reading is open to all who reach it, unless web.private is set; control needs the token of web.token_file or WEB_TOKEN.
    """
    import uvicorn

    from core.sources.urls import open_source
    from inventory import schema
    from inventory.engine import Database
    from inventory.jobs import Job
    from inventory.web.access import Access
    from inventory.web.app import create_app
    from scripts.jobs import begin

    options = {"web.address": address, "web.port": port}
    settings = invocation.settings({key: value for key, value in options.items() if value is not None})
    access = Access(settings.web.control_token(), private=settings.web.private)
    if settings.web.private and not access.can_control:
        raise UsageError("web.private is set, but there is no token to read with", "set web.token_file or WEB_TOKEN")
    wait = settings.inventory.connect_timeout_seconds
    database = Database(settings.inventory.connection_url(), connect_timeout_seconds=wait, name="ingest serve")
    schema.check(database)

    def start(name: str | None, source: str, collection: str, overrides: dict[str, object]) -> Job:
        return begin(database, invocation.settings(overrides), source, collection, name)

    app = create_app(
        database,
        start,
        access,
        cache(partial(open_source, s3=settings.s3)),
        _logical_paths(settings),
        body_bytes=settings.web.max_body_bytes,
        requests_per_minute=settings.web.requests_per_minute,
    )
    listener = _listener(settings.web)
    host, number = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"http://{shown}:{number}/ {'' if access.can_control else '(read-only)'}".rstrip())
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, server_header=False))
    server.run(sockets=[listener])


def _logical_paths(settings: Settings) -> LogicalPath:
    """What says how files are called in iRODS; an event handler is loaded once, by one thread."""
    handlers, one_at_a_time = handlers_folder(settings), threading.Lock()

    def logical_path(told: Explained) -> tuple[str | None, str | None]:
        with one_at_a_time:
            return logical_path_of(told, handlers)

    return logical_path


def _listener(settings: WebSettings) -> socket.socket:
    """The socket, bound before anything is promised. Raises Unavailable."""
    try:
        [(family, *_), *_] = socket.getaddrinfo(settings.address, settings.port, type=socket.SOCK_STREAM)
        return socket.create_server((settings.address, settings.port), family=family)
    except OSError as error:
        where = f"{settings.address}:{settings.port}"
        raise Unavailable(
            f"cannot listen on {where}: {error.strerror or error}", "choose another --address or --port"
        ) from None
