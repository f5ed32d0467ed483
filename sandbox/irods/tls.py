"""TLS as iRODS does it: agreed on before the login, begun after the version, followed by a shared secret nobody uses here."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

from sandbox.irods.wire import Channel, Closed


def context_of(certificate: Path, key: Path) -> ssl.SSLContext:
    """What a server with that certificate needs. Raises OSError when a file cannot be used."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


def secure(channel: Channel, context: ssl.SSLContext) -> None:
    """Go on over TLS (ssl_agent_start of plugins/network/src/ssl.cpp). Raises Closed."""
    try:
        channel.sock = context.wrap_socket(channel.sock, server_side=True)
    except OSError as problem:
        raise Closed(f"TLS: {problem}") from None
    channel.read_header()  # algorithm, and sizes of key, salt and rounds in place of lengths
    if channel.read().kind != "SHARED_SECRET":
        raise Closed("no shared secret")


def part(channel: Channel) -> None:
    """End TLS in good order, as the server does after each connection."""
    if isinstance(channel.sock, ssl.SSLSocket):
        with suppress(OSError, ValueError):
            channel.sock.settimeout(1)
            channel.sock.unwrap()
