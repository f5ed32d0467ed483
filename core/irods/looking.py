"""The verbs of a gateway that look: who and what is there, whether a job can begin, and whether objects are right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.compare import Held
from core.irods import batches, collections, inspect, replicas, resources, targets, verify
from core.irods.annotate import AVU, read_metadata
from core.irods.foresee import Foresight
from core.irods.inspect import Stored
from core.irods.logged_in import LoggedIn
from core.irods.probe import probe
from core.irods.replicas import Replica
from core.irods.targets import Server
from core.irods.verify import Verified, Wanted
from core.irods.verify_many import Expected, How, verify_many
from core.outcome import Outcome
from core.settings import Operation, VerifyLevel


class Looking(LoggedIn):
    """Verbs that change no object, but that a verifier who may stores a missing checksum."""

    def server(self) -> Server:
        """Who answers and who we are there (one or two round trips, then none); `Unavailable` when nobody answers."""
        with targets.at_start():
            version = self._session.version
            who = self._session
            return Server(version, who.zone, who.user, self._is_admin, self._features.names())

    def features(self) -> dict[str, str]:
        """The fast calls by name, each `available`, `forbidden by the settings` or `refused by the server: …`; found
        by asking for what does not exist, so that nothing changes. `Unavailable` when nobody answers."""
        with targets.at_start():
            return probe(self._session, self._features)

    def check_target(self, collection: str) -> None:
        """Whether files can be brought below `collection`, which need not exist yet; makes nothing.

        `UsageError`: it is '/', malformed, in an unknown or remote zone, or its deepest existing ancestor may not be
        written. `Unavailable`: iRODS is away or refuses the login.
        """
        targets.check_target(self._session, collection)

    def check_readable(self, collection: str) -> None:
        """Whether there is such a collection that this user may see, for verifying what is below it; errors as of
        `check_target`."""
        targets.check_readable(self._session, collection)

    def check_user(self) -> None:
        """Whether there is a user that we act for, and who logs in may do so; `UsageError` when not."""
        targets.check_user(self._session)

    def check_resource(self, name: str, operation: str) -> None:
        """Whether `operation` (a job's) can use that resource; `UsageError` when it is unknown, or not a root for
        put, or neither leaf nor root for registration."""
        with targets.at_start():
            resources.check(self._zone.known(name), name, operation)

    def has_collection(self, path: str) -> bool:
        """Whether a collection has that path (702)."""
        return collections.exists(self._session, path)

    def is_empty_collection(self, path: str) -> bool:
        """Whether there is a collection of that path with nothing in it (702)."""
        return collections.is_empty(self._session, path)

    def metadata(self, path: str) -> list[AVU]:
        """The metadata of an object, in order (702)."""
        return read_metadata(self._session, path)

    def replicas(self, path: str) -> list[Replica]:
        """The replicas of one data object by number; [] when there is none (702)."""
        return replicas.replicas(self._session, path)

    def collections_below(self, collection: str) -> Iterator[str]:
        """The paths of a collection and all below it, sorted, in bounded memory (702)."""
        return inspect.collections_below(self._session, collection)

    def objects_in(self, collection: str) -> Iterator[Held]:
        """The data objects of one collection in the order of their names, in bounded memory (702)."""
        return inspect.objects_in(self._session, collection)

    def stored_in(self, collection: str) -> Iterator[Stored]:
        """The data objects of one collection with their replicas, in the order of their names, in bounded memory (702)."""
        return inspect.stored_in(self._session, collection)

    def tally(self, collection: str) -> dict[str, tuple[int, int]]:
        """Good replicas below a collection and their bytes, by resource hierarchy (702)."""
        return inspect.tally(self._session, collection)

    def foresight(self, operation: Operation, resource: str | None) -> Foresight:
        """What an operation of a job would do with a file, by what iRODS has; changes nothing. `Permanent` for a wrong
        resource."""
        registers = operation.startswith("register")
        on = self._zone.resource(resource) if registers else None
        return Foresight(operation, resource, on, self._zone.known(resource), self._zone.leaves(resource))

    def verify(
        self,
        path: str,
        *,
        size: int,
        checksum: str | None,
        level: VerifyLevel = "rehash",
        resource: str | None = None,
        as_admin: bool = False,
    ) -> Verified:
        """Prove that all good replicas are what the source has; `Mismatch` when not.

        catalog: as the catalogue says (702): a good replica, its size, its checksum if it has one. stat: and the vault
        files have that size (629 with no_compute). rehash: and their bytes, read again, have the checksum. With
        `resource` a good replica must lie on it or below it. `checksum` may be None below rehash. A user who may only
        read can verify at every level, and with `as_admin` a rodsadmin who was given no access, by what the server reads.
        """
        wanted = Wanted(size, checksum, self._zone.leaves(resource), as_admin and self._is_admin)
        return verify.verify(self._session, path, wanted, level)

    def verify_many(
        self,
        collection: str,
        files: Sequence[Expected],
        *,
        level: VerifyLevel = "rehash",
        resource: str | None = None,
        packs: bool = True,
        as_admin: bool = False,
    ) -> list[Outcome]:
        """Verify many files below `collection` as `verify` does each; one outcome a file: `Done`, `Mismatched`…

        catalog: bulk pages of the catalogue (702). stat and rehash: 50 checks (629) in a round trip. rehash of many small
        files, where at least half of what lies below the collection is wanted: a pack of it (666), read and hashed here;
        without `packs` never: it is not to be said of a collection that gets objects on other resources meanwhile, for the
        server would replicate them. Whether a pack pays is asked for all that lies below the collection.
        """

        def work() -> list[Outcome]:
            admin = as_admin and self._is_admin
            leaves = self._zone.leaves(resource)
            how = How(level, lambda: self._staging, self._zone.known(), leaves, packs and not admin, admin)
            return verify_many(self._session, collection, files, how, self._features)

        return batches.all_at_once(files, work)
