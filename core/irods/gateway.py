"""The one gateway to iRODS: what a loader, a verifier or a command asks of it, as verbs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from types import TracebackType
from typing import Self

from core import paths
from core.errors import Permanent, UsageError
from core.irods import (
    batches,
    bulk,
    bundle,
    collections,
    objects,
    pack,
    put,
    register,
    replicas,
    resources,
    stream,
    targets,
    verify,
)
from core.irods.bundle import Bundling, SmallFile
from core.irods.features import Features
from core.irods.pack import Expected
from core.irods.register import Registration
from core.irods.replicas import Replica
from core.irods.resources import Resource
from core.irods.session import Session
from core.irods.targets import Server
from core.irods.verify import Verified
from core.outcome import Outcome
from core.settings import IrodsSettings

STAGING = ".ingest_staging"
REREAD_SECONDS = 60
"""How soon the resources are read again for a name that was not among them."""


class Gateway:
    """One connection to iRODS and its verbs; for one thread, made after fork.

    Paths are logical paths whose names are already escaped (`core.paths`); sizes are bytes; times are microseconds
    since 1970; checksums are in iRODS notation. Verbs on files raise `core.errors.FileError`s: `Outage` when the
    service is away or a reply was lost (then the outcome is unknown, and the same verb again converges), `Transient`,
    `Permanent` (`errors.Exists`: the path is taken), `errors.Locked`, `Mismatch`. The checks raise `UsageError` and
    `Unavailable`.
    """

    def __init__(self, settings: IrodsSettings) -> None:
        """Reads environment file and password (`UsageError` when they are missing); connects at the first verb."""
        self._settings = settings
        self._session = Session(settings)
        self._features = Features(settings)
        self._resources: dict[str, Resource] = {}
        self._resources_read = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a later verb connects again."""
        self._session.close()

    @property
    def connects(self) -> int:
        """How many connections have been made so far."""
        return self._session.connects

    def server(self) -> Server:
        """Who answers and who we are there (one or two round trips, then none); `Unavailable` when nobody answers."""
        with targets.at_start():
            version = self._session.version
            who = self._session
            return Server(version, who.zone, who.user, self._is_admin, self._features.names())

    def check_target(self, collection: str) -> None:
        """Whether files can be brought below `collection`, which need not exist yet; makes nothing.

        `UsageError`: it is '/', malformed, in an unknown or remote zone, or its deepest existing ancestor may not be
        written. `Unavailable`: iRODS is away or refuses the login.
        """
        targets.check_target(self._session, collection)

    def check_resource(self, name: str, operation: str) -> None:
        """Whether `operation` (a job's) can use that resource; `UsageError` when it is unknown, or not a root for
        put, or neither leaf nor root for registration."""
        with targets.at_start():
            resources.check(self._known(name), name, operation)

    def make_collections(self, path: str, known: set[str] | None = None) -> None:
        """Make a collection and its missing ancestors, parent before child (681).

        `known` are paths that exist; it grows. One round trip when only the last level is missing. `Permanent` when a
        data object has the name of a level or the user may not create one.
        """
        collections.make(self._session, path, set() if known is None else known)

    def remove_collection(self, path: str) -> None:
        """Remove a collection and all in it, past the trash (679); fine when there is none."""
        collections.remove(self._session, path)

    def remove_empty_collection(self, path: str) -> bool:
        """Remove a collection in which nothing is left (679); False when something is, which then stays as it is."""
        return collections.remove_empty(self._session, path)

    def put_bytes(self, path: str, data: bytes, *, checksum: str, resource: str | None, overwrite: bool) -> None:
        """Put a small file in one call (606) whose bytes the server re-reads and compares with `checksum`.

        `errors.Exists` when an object with other bytes is there and `overwrite` is not set. What a dead client left is
        overwritten in any case.
        """
        paths.check_logical(path)
        put.put_bytes(
            self._session,
            path,
            data,
            checksum=checksum,
            resource=resource,
            overwrite=overwrite,
            resources=self._known(resource),
        )

    def put_stream(
        self,
        path: str,
        read_at: stream.ReadAt,
        size: int,
        *,
        resource: str | None,
        overwrite: bool,
        progress: stream.Progress | None = None,
        streams: int = 1,
    ) -> str:
        """Put a file of any size in bounded memory and return the SHA-256 of the bytes read, stored in the catalogue
        too.

        `read_at(offset, length)` gives bytes of the source. `Changed` when it ends before `size`; else as
        `put_bytes`.
        """
        paths.check_logical(path)
        return stream.put_stream(
            self._session,
            path,
            read_at,
            size,
            resource=resource,
            overwrite=overwrite,
            resources=self._known(resource),
            progress=progress,
            streams=streams,
        )

    def register(
        self,
        path: str,
        physical_path: str,
        size: int,
        modified_at: int,
        *,
        resource: str | None,
        checksum: str | None = None,
    ) -> None:
        """Register a file where it lies (20008, else 630), or update an object registered from there before (622).

        `Permanent` of class wrong_path or wrong_resource when the object has another file; iRODS does not look at the
        file.
        """
        paths.check_logical(path)
        row = Registration(path, physical_path, size, modified_at, checksum)
        register.register(self._session, row, self._resource(resource))

    def register_many(self, rows: Sequence[Registration], *, resource: str | None) -> list[Outcome]:
        """Register many files with size, time and checksum, 50 in one exchange (619) on a leaf; one outcome a row, in
        order.

        Best with rows of one collection. What cannot be done so is done row by row, as `register` does.
        """
        return batches.all_at_once(
            rows, lambda: bulk.register_many(self._session, rows, self._resource(resource), self._features)
        )

    def put_bundle(
        self, collection: str, files: Sequence[SmallFile], *, resource: str | None, overwrite: bool
    ) -> list[Outcome]:
        """Put many small files below `collection` as tars that the server unpacks (606, 665, 688); one outcome a file.

        Their bytes are in memory; one tar has at most `irods.single_buffer_bytes`. `Skipped` where an object with other
        bytes is there and `overwrite` is not set. What a bundle cannot do is done as `put_bytes` does.
        """

        def work() -> list[Outcome]:
            limit = self._settings.single_buffer_bytes
            how = Bundling(self._staging, resource, overwrite, limit, self._known(resource))
            return bundle.put_bundle(self._session, collection, files, how, self._features)

        return batches.all_at_once(files, work)

    def verify_many(self, collection: str, files: Sequence[Expected]) -> list[Outcome]:
        """Verify many files below `collection` by hashing a pack of it (666, 608); one outcome a file: `Done`,
        `Mismatched`…

        Files that a pack cannot hold, and those that are not as expected in it, are verified as `verify` does.
        """

        def work() -> list[Outcome]:
            return pack.verify_many(self._session, self._staging, collection, files, self._known(), self._features)

        return batches.all_at_once(files, work)

    def clean_staging(self, before: int) -> int:
        """Remove what dead clients left in our user's staging collection before that time; how many tars that were."""
        return bundle.remove_stale(self._session, self._staging, before)

    def replicas(self, path: str) -> list[Replica]:
        """The replicas of one data object by number; [] when there is none (702)."""
        return replicas.replicas(self._session, path)

    def verify(self, path: str, *, size: int, checksum: str) -> Verified:
        """Prove by re-reading them that all good replicas hold the source's bytes (702, 629); `Mismatch` when not."""
        return verify.verify(self._session, path, size=size, checksum=checksum)

    def remove(self, path: str, *, force: bool) -> None:
        """Remove a data object, to the trash or past it (615); fine when there is none."""
        objects.remove(self._session, path, force=force)

    def unregister(self, path: str) -> None:
        """Take a data object out of the catalogue and leave its files (615); fine when there is none."""
        objects.unregister(self._session, path)

    def unlock(self, path: str) -> bool:
        """Set replicas that a dead client left intermediate or locked to stale (622); whether there were any.

        `errors.Locked` with the command for an administrator when this user is not a rodsadmin.
        """
        return replicas.unlock(self._session, path, replicas.replicas(self._session, path))

    @cached_property
    def _staging(self) -> str:
        """Where tars are for a moment: below the user's home, on each use by one client under a name of its own."""
        path = f"/{self._session.zone}/home/{self._session.user}/{STAGING}"
        collections.make(self._session, path, set())
        return path

    @cached_property
    def _is_admin(self) -> bool:
        return targets.is_admin(self._session)

    def _known(self, name: str | None = None) -> dict[str, Resource]:
        """The zone's resources; read again for a name that is not among them.

        An agent learns the resources when it starts and never again, so they are read on a connection of their age:
        what is known here, the agent knows too.
        """
        unknown = name is not None and name not in self._resources
        too_young = time.monotonic() - self._resources_read < REREAD_SECONDS
        if not self._resources or (unknown and not too_young):
            self._session.close()
            self._resources = resources.read_resources(self._session)
            self._resources_read = time.monotonic()
        return self._resources

    def _resource(self, name: str | None) -> Resource | None:
        """The resource to register on; a wrong one is the job's fault, found at its start, and here the file's."""
        if name is None:
            return None
        known = self._known(name)
        try:
            resources.check(known, name, "register")
        except UsageError as problem:
            raise Permanent("wrong_resource", problem.message, problem.hint) from problem
        return known[name]
