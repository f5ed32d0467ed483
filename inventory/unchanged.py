"""The end of a scan that found a directory as it was: one statement, guarded by its owner, and no row of a file is looked at."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from inventory.directories import ClaimedDirectory
from inventory.engine import array_of
from inventory.rows import Listing


def same(
    connection: Connection, worker: int, listings: Sequence[Listing], next_scan_seconds: float | None
) -> list[int]:
    """End the scan of directories whose listing is still the last one, and return their ids.

    Those that are left are to be merged, in a transaction of their own: a second lock in this one could meet others that
    lock directories in the order of their ids. The digest asked for is that of now, not of the claim.
    """
    ordered = sorted(listings, key=lambda one: one.directory.id)
    done = connection.execute(
        text("""
            UPDATE inventory.directory d SET state = 'scanned', claimed_by = NULL, attempts = 0, reaps = 0,
                scan_finished_at = now(), steady = coalesce(d.modified_at = r.modified_at, false), modified_at = r.modified_at,
                next_scan_at = now() + make_interval(secs => CAST(:next AS float))
            FROM unnest(CAST(:ids AS bigint[]), CAST(:digests AS bigint[]), CAST(:times AS bigint[]))
                AS r(id, digest, modified_at)
            WHERE d.id = r.id AND coalesce(d.claimed_by, 0) = :worker AND d.listing_digest = r.digest RETURNING d.id"""),
        {
            "ids": array_of(one.directory.id for one in ordered),
            "digests": array_of(one.digest for one in ordered),
            "times": array_of(one.modified_at for one in ordered),
            "worker": worker,
            "next": next_scan_seconds,
        },
    )
    return list(done.scalars())


def trusted(
    connection: Connection, worker: int, directories: Sequence[ClaimedDirectory], next_scan_seconds: float | None
) -> list[int]:
    """End the scan of directories that were not listed, because their own time has not changed.

    Returns the ids of those that were still this worker's. Where a listing was unlearned since the claim the directory
    is due again at once.
    """
    done = connection.execute(
        text("""
            UPDATE inventory.directory d SET claimed_by = NULL, attempts = 0, reaps = 0, scan_finished_at = now(),
                state = CASE WHEN steady THEN 'scanned' ELSE 'pending' END::inventory.directory_state,
                next_scan_at = CASE WHEN steady THEN now() + make_interval(secs => CAST(:next AS float)) ELSE now() END
            WHERE d.id = ANY(CAST(:ids AS bigint[])) AND d.claimed_by = :worker RETURNING d.id"""),
        {
            "ids": array_of(directory.id for directory in directories),
            "worker": worker,
            "next": next_scan_seconds,
        },
    )
    return list(done.scalars())
