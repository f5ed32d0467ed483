"""Directories that are listed as soon as they are found, by whoever claimed the one above them.

A directory that waits for a scan costs a row, a claim and a finish; one that is found and listed in the same step is inserted
scanned, with its files, in the transaction of the claimed directory. Its id and shard are known before: its rows are made where
no SQL is spoken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from inventory.directories import ClaimedDirectory
from inventory.engine import Database, array_of
from inventory.rows import Found, Listing


@dataclass
class Reserve:
    """Ids that no directory has yet, and the shards of a job that take new directories."""

    job: int
    ids: deque[int]
    shards: Sequence[int]

    def directory(self, parent: ClaimedDirectory, name: str) -> ClaimedDirectory:
        """A directory below `parent` that the inventory does not know yet. Raises IndexError when no id is left."""
        path = parent.below(name)
        shard = self.shards[crc32(path.encode()) % len(self.shards)]
        return ClaimedDirectory(self.ids.popleft(), self.job, shard, path, 0, True)


def reserve(database: Database, job: int, ids: deque[int], count: int) -> Reserve:
    """A reserve of the ids that are left, and of `count` more from the sequence; what is never used is lost, of 2^63."""
    with database.begin() as connection:
        row = connection.execute(
            text("""
                SELECT ARRAY(SELECT nextval('inventory.directory_id_seq')
                             FROM generate_series(1, :count)) AS ids,
                       ARRAY(SELECT id FROM inventory.shard WHERE job_id = :job AND accepting ORDER BY id) AS shards"""),
            {"job": job, "count": count},
        ).one()
    ids.extend(row.ids)
    return Reserve(job, ids if row.shards else deque(), row.shards)


def insert(connection: Connection, listings: Sequence[Listing], next_scan_seconds: float | None) -> bool:
    """Insert directories as scanned, due again in so many seconds. False, and none of them, when one is there already.

    The caller owns the claimed directories that they were found in, which nobody ever listed before: so nobody else inserts
    below them. Only a source that names a directory twice could have one there already.
    """
    try:
        with connection.begin_nested():
            connection.execute(
                text("""
                    INSERT INTO inventory.directory (id, job_id, parent_id, shard, path, state, scan_started_at,
                        scan_finished_at, next_scan_at, listing_digest, modified_at)
                    OVERRIDING SYSTEM VALUE
                    SELECT l.id, l.job_id, l.parent_id, l.shard, l.path, 'scanned', now(), now(),
                        now() + make_interval(secs => CAST(:next AS float)), l.digest, l.modified_at
                    FROM unnest(CAST(:ids AS bigint[]), CAST(:jobs AS int[]), CAST(:parents AS bigint[]), CAST(:shards AS int[]),
                        CAST(:paths AS text[]), CAST(:digests AS bigint[]), CAST(:times AS bigint[]))
                        AS l(id, job_id, parent_id, shard, path, digest, modified_at)"""),
                {
                    "ids": array_of(one.directory.id for one in listings),
                    "jobs": array_of(one.directory.job_id for one in listings),
                    "parents": array_of(_found(one).parent_id for one in listings),
                    "shards": array_of(one.directory.shard for one in listings),
                    "paths": [one.directory.path for one in listings],
                    "digests": array_of(one.digest for one in listings),
                    "times": array_of(one.modified_at for one in listings),
                    "next": next_scan_seconds,
                },
            )
    except IntegrityError:
        return False
    return True


def _found(listing: Listing) -> Found:
    assert listing.found is not None
    return listing.found
