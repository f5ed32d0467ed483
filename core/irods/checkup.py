"""Whether an iRODS can be used, and how well: login, version, fast calls, clock, and a file put, verified and removed."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator

from core import checksums
from core.checkup import Check
from core.errors import FileError, IngestError
from core.irods import features, probe
from core.irods.gateway import Gateway
from core.settings import IrodsSettings

OLDEST = (4, 2, 9)
CLOCK_SECONDS = 5
_POOLING = (
    "with `Pooling = Yes` in the server's odbcinst.ini puts of small files went nearly twice as fast; it cannot be seen"
    " from here"
)


def check(settings: IrodsSettings, *, resource: str | None, operation: str, target: str | None) -> Iterator[Check]:
    """All there is to check; with a target collection also whether files may be brought there. Raises Unavailable."""
    with Gateway(settings) as gateway:
        server = gateway.server()
        version = ".".join(map(str, server.version))
        who = f"{server.user}#{server.zone} ({'rodsadmin' if server.is_admin else 'rodsuser'})"
        if server.version < OLDEST:
            yield Check("irods", "version", "FAIL", f"{version} as {who}", "upgrade it to 4.3 or 5")
        else:
            yield Check("irods", "version", "OK", f"{version} as {who}")
        yield from _features(gateway, operation)
        if resource is not None:
            yield _tried(
                "resource", f"{resource} takes {operation}", lambda: gateway.check_resource(resource, operation)
            )
        if target is not None:
            yield _tried("target", f"{target} may be written", lambda: gateway.check_target(target))
        yield from _round_trip(gateway, f"/{server.zone}/home/{server.user}", resource, operation)
        yield Check("irods", "pooling", "OK", "a put opens a database connection in the server", _POOLING)


def _tried(name: str, good: str, attempt: Callable[[], None]) -> Check:
    try:
        attempt()
    except IngestError as problem:
        return Check("irods", name, "FAIL", problem.message, problem.hint)
    return Check("irods", name, "OK", good)


def _features(gateway: Gateway, operation: str) -> Iterator[Check]:
    for name, state in gateway.features().items():
        if state == "available" or (name == features.VAULT_WRITE and state == probe.FORBIDDEN):
            yield Check("irods", name, "OK", state)
        else:
            instead = (
                "small files are unpacked of tars" if name == features.VAULT_WRITE else "small files go one by one"
            )
            yield Check("irods", name, "WARN", state, f"{instead} instead, which is slower: see docs/irods.md")


def _round_trip(gateway: Gateway, home: str, resource: str | None, operation: str) -> Iterator[Check]:
    """Put, verify and remove one small file in a collection of its own, which is gone afterwards."""
    scratch = f"{home}/.ingest_doctor_{uuid.uuid4().hex[:12]}"
    path, data = f"{scratch}/file", b"ingest doctor\n" * 64
    checksum = checksums.checksum_of(data)
    where = None if operation.startswith("register") else resource
    try:
        began = time.time()
        gateway.make_collections(scratch)
        gateway.put_bytes(path, data, checksum=checksum, resource=where, overwrite=False)
        put = time.time()
        gateway.verify(path, size=len(data), checksum=checksum)
        verified = time.time()
        [replica] = gateway.replicas(path)[:1]
        gateway.remove(path, force=True)
        took = f"put {put - began:.3f} s, verified {verified - put:.3f} s, removed {time.time() - verified:.3f} s"
        yield Check("irods", "round trip", "OK", f"{took}, on {replica.hierarchy}")
        yield _clock(replica.modified_at / 1_000_000, began, put)
    except FileError as problem:
        yield Check("irods", "round trip", "FAIL", problem.message, problem.hint)
    finally:
        try:
            gateway.remove_collection(scratch)
        except FileError as problem:
            yield Check(
                "irods", "scratch", "WARN", f"{scratch} could not be removed: {problem.message}", "remove it by hand"
            )


def _clock(server: float, began: float, ended: float) -> Check:
    away = server - ended if server > ended else min(0.0, server + 1 - began)  # iRODS keeps whole seconds
    message = f"the server's clock is {away:+.0f} s from this one's"
    if abs(away) > CLOCK_SECONDS:
        return Check(
            "irods", "clock", "WARN", message, "set both by NTP; logs and audit trails are hard to match otherwise"
        )
    return Check("irods", "clock", "OK", message)
