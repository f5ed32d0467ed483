"""The one gateway to iRODS: what a loader, a verifier or a command asks of it, as verbs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from core import paths
from core.irods import (
    as_replica,
    batches,
    bulk,
    bundle,
    collections,
    objects,
    put,
    register,
    replicas,
    stream,
    wire,
)
from core.irods.annotate import AVU, Access, annotate, annotate_done
from core.irods.append import Appended, append
from core.irods.bundle import Bundling
from core.irods.looking import Looking
from core.irods.members import SmallFile
from core.irods.register import Registration
from core.irods.resources import Resource
from core.irods.streams import ExtraStreams
from core.outcome import Outcome
from core.settings import IrodsSettings


class Gateway(Looking):
    """One connection to iRODS and its verbs; for one thread, made after fork.

    Paths are logical paths whose names are already escaped (`core.paths`); sizes are bytes; times are microseconds
    since 1970; checksums are in iRODS notation. Verbs on files raise `core.errors.FileError`s: `Outage` when the
    service is away or a reply was lost (then the outcome is unknown, and the same verb again converges), `Transient`,
    `Permanent` (`errors.Exists`: the path is taken), `errors.Locked`, `Mismatch`. The checks raise `UsageError` and
    `Unavailable`.
    """

    def __init__(
        self, settings: IrodsSettings, *, as_user: tuple[str, str] | None = None, extra: ExtraStreams | None = None
    ) -> None:
        """As `LoggedIn`; with `extra` only as many streams are used as it lends."""
        super().__init__(settings, as_user=as_user)
        self._extra = extra

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

    def put_bytes(
        self,
        path: str,
        data: wire.Buffer,
        *,
        checksum: str,
        resource: str | None,
        overwrite: bool,
        metadata: Sequence[AVU] = (),
        acl: Sequence[Access] = (),
    ) -> None:
        """Put a small file in one call (606) whose bytes the server re-reads and compares with `checksum`; metadata and
        access come along in it.

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
            resources=self._zone.known(resource),
            metadata=metadata,
            acl=acl,
        )

    def annotate(self, path: str, *, metadata: Sequence[AVU] = (), acl: Sequence[Access] = ()) -> None:
        """Set metadata (20002, at once or not at all) and access (707) of an object, after a stream, a bundle or a
        registration. Set, not added: other values of the attributes given go, and nothing is there twice."""
        annotate(self._session, path, metadata, acl)

    def put_stream(
        self,
        path: str,
        read_at: stream.ReadAt,
        size: int,
        *,
        resource: str | None,
        overwrite: bool,
        progress: stream.Progress | None = None,
        streams: int | None = None,
    ) -> str:
        """Put a file of any size in bounded memory and return the SHA-256 of the bytes read, stored in the catalogue
        too.

        `read_at(offset, length)` gives bytes of the source, and is called from another thread. `Changed` when it ends
        before `size`; else as `put_bytes`. `streams` is that of the settings when not given.
        """
        paths.check_logical(path)
        with self._streams(streams, size) as count:
            return stream.put_stream(
                self._session,
                path,
                read_at,
                size,
                resource=resource,
                overwrite=overwrite,
                resources=self._zone.known(resource),
                progress=progress,
                streams=count,
            )

    def append(
        self, path: str, read_at: stream.ReadAt, size: int, *, resource: str | None, streams: int | None = None
    ) -> Appended:
        """Send only what was added to a file whose beginning iRODS is proven to hold (open, lseek, write, close); else
        put it whole and say why.

        An attempt that died in the middle is found by size and checksum at the next one. Errors are those of
        `put_stream`; nothing is ever `errors.Exists`.
        """
        paths.check_logical(path)
        with self._streams(streams, size) as count:
            return append(
                self._session,
                path,
                read_at,
                size,
                resource=resource,
                resources=self._zone.known(resource),
                streams=count,
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
        register.register(self._session, row, self._zone.resource(resource))

    def register_as_replica(
        self, path: str, physical_path: str, size: int, modified_at: int, *, resource: str, checksum: str | None = None
    ) -> None:
        """Register a file as one more replica of an object, on that leaf or below that root (20008 with regRepl), or
        update the replica registered from there before (622); a plain registration where there is no object.

        Afterwards the new replica is good, and older ones whose bytes are not known to be the same are stale. `Permanent`
        of class wrong_path when the resource has a replica from another file already, and of class wrong_resource when
        the resource is neither leaf nor root.
        """
        paths.check_logical(path)
        row = Registration(path, physical_path, size, modified_at, checksum)
        as_replica.register_as_replica(self._session, row, *self._place(resource))

    def register_as_replica_many(self, rows: Sequence[Registration], *, resource: str) -> list[Outcome]:
        """Register many files as further replicas, each as `register_as_replica` does; one outcome a row, in order.

        Registrations share round trips (20008, on a leaf and for new objects 619), and so do looks at the catalogue and
        changes (622). What cannot be done so is done row by row.
        """

        def work() -> list[Outcome]:
            where = self._place(resource)
            outcomes = as_replica.register_as_replica_many(self._session, rows, *where, self._features)
            return annotate_done(self._session, [(row.path, row) for row in rows], outcomes)

        return batches.all_at_once(rows, work)

    def _place(self, name: str) -> tuple[Resource, frozenset[int]]:
        """A leaf or root and the leaves below it; `Permanent` of class wrong_resource where there is none."""
        resource, leaves = self._zone.resource(name), self._zone.leaves(name)
        assert resource is not None
        assert leaves is not None
        return resource, leaves

    def register_many(self, rows: Sequence[Registration], *, resource: str | None) -> list[Outcome]:
        """Register many files with size, time and checksum, 50 in one exchange (619) on a leaf; one outcome a row, in
        order.

        Best with rows of one collection. What cannot be done so is done row by row, as `register` does.
        """
        return batches.all_at_once(
            rows,
            lambda: annotate_done(
                self._session,
                [(row.path, row) for row in rows],
                bulk.register_many(self._session, rows, self._zone.resource(resource), self._features),
            ),
        )

    def put_bundle(
        self, collection: str, files: Sequence[SmallFile], *, resource: str | None, overwrite: bool
    ) -> list[Outcome]:
        """Put many small files below `collection` straight into the vault (518, 688) or as tars that the server unpacks (606,
        665, 688); one outcome a file.

        Their bytes are in memory; one bundle has at most `irods.single_buffer_bytes`. `Skipped` where an object with other
        bytes is there and `overwrite` is not set. What a bundle cannot do is done as `put_bytes` does.
        """

        def work() -> list[Outcome]:
            settings, known = self._settings, self._zone.known(resource)
            how = Bundling(
                self._staging,
                resource,
                overwrite,
                settings.single_buffer_bytes,
                known,
                settings.bundle_checksums,
            )
            outcomes = bundle.put_bundle(self._session, collection, files, how, self._features)
            return annotate_done(self._session, [(f"{collection}/{file.relative}", file) for file in files], outcomes)

        return batches.all_at_once(files, work)

    def clean_staging(self, before: int) -> int:
        """Remove what dead clients left in our user's staging collection before that time (microseconds since 1970), packs
        left locked among it; how many tars that were. What cannot be removed is raised after the rest."""
        return bundle.remove_stale(self._session, self.staging, before)

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

    @contextmanager
    def _streams(self, wanted: int | None, size: int) -> Iterator[int]:
        """How many connections a file of this size gets: `wanted`, or what the settings say and can be lent."""
        count = wanted or self._settings.streams
        if self._extra is None:
            yield count
            return
        with self._extra.lent(min(count, stream.most_streams(size)) - 1) as more:
            yield 1 + more
