"""What an operation would do with a file, by the replicas that iRODS has of it: for plans, which change nothing.

Whether loading would be refused is asked of the very functions that refuse it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.errors import Mismatch, Permanent
from core.irods import as_replica, put, register, replicas, verify
from core.irods.register import Registration
from core.irods.replicas import Replica
from core.irods.resources import Resource
from core.irods.verify import Wanted
from core.planned import APPEND_BYTES, Forecast
from core.settings import Operation


@dataclass(frozen=True)
class Foresight:
    """How a job loads: its operation, the resource it names, and what is known of that one and of all others."""

    operation: Operation
    named: str | None
    resource: Resource | None
    resources: Mapping[str, Resource]
    leaves: frozenset[int] | None

    def of(self, file: Registration, rows: Sequence[Replica]) -> Forecast:
        """What would be done with a file of which iRODS has these replicas, none where it has no such object.

        Times are compared in whole seconds, as iRODS has them.
        """
        try:
            match self.operation:
                case "no_op":
                    return Forecast("skip", "no_op", file.size, "operation no_op does nothing with files")
                case "verify":
                    return self._verified(file, rows)
                case "register_sync" | "register_as_replica_sync":
                    return self._registered(file, list(rows))
                case _:
                    return self._put(file, rows)
        except (Permanent, Mismatch) as refused:
            return Forecast("refuse", refused.error, file.size, str(refused))

    def _verified(self, file: Registration, rows: Sequence[Replica]) -> Forecast:
        verify.check_catalogue(file.path, list(rows), Wanted(file.size, None, self.leaves))
        return Forecast("verify", "is_there", file.size)

    def _registered(self, file: Registration, rows: list[Replica]) -> Forecast:
        if not rows:
            return Forecast("register", "new", file.size)
        if self.operation == "register_sync":
            found = register.replica_of(file, self.resource, rows)
        else:
            here = [row for row in rows if self.leaves is None or row.resource_id in self.leaves]
            if not here:
                return Forecast(
                    "register", "further_replica", file.size, f"one more replica beside {rows[0].hierarchy}"
                )
            assert self.resource is not None
            found = as_replica.own_replica(file, self.resource, here)
        if found.size != file.size:
            words = f"{found.size} bytes registered, {file.size} at the source"
            return Forecast("register_again", "size_differs", file.size, words)
        if replicas.stamp(found.modified_at) != replicas.stamp(file.modified_at):
            return Forecast("register_again", "time_differs", file.size)
        if not found.good:
            return Forecast("register_again", "no_good_replica", file.size)
        return Forecast("leave", "registered", file.size, "size and time are those registered")

    def _put(self, file: Registration, rows: Sequence[Replica]) -> Forecast:
        if not rows:
            return Forecast("put", "new", file.size)
        good = [row for row in rows if row.good]
        why, words = _differs(file, good)
        if good and self.operation == "put":
            return Forecast("leave", f"exists_{why}", file.size, f"{words}; put leaves existing objects alone")
        put.refuse_elsewhere(file.path, rows, self.named, self.resources)
        if self.operation == "put_append" and file.size > APPEND_BYTES and good and why in ("same_size", "grown"):
            return Forecast("append", why, file.size - good[0].size, words)
        return Forecast("put_again", why, file.size, words)


def _differs(file: Registration, good: Sequence[Replica]) -> tuple[str, str]:
    """How the good replicas of an object differ from the file, as far as sizes tell, in a word and in words."""
    if not good:
        return "no_good_replica", "iRODS has no good replica of it"
    sizes = {row.size for row in good}
    words = f"{' and '.join(map(str, sorted(sizes)))} bytes in iRODS, {file.size} at the source"
    if sizes == {file.size}:
        return "same_size", f"{file.size} bytes in iRODS too; only reading tells whether they are the same"
    return ("grown" if len(sizes) == 1 and max(sizes) < file.size else "size_differs"), words
