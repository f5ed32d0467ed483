"""Files that somebody names, rather than a listing of their directory: from a manifest, or from a bucket's notices.

Their directories are inserted as far as they are missing. What is named is compared with its row as a listing is, under the same
locks; what is not named is not touched, and nothing vanishes by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from core.errors import UsageError
from core.sources.base import Entry, Keys
from inventory import endings
from inventory.directories import ClaimedDirectory, unlearn
from inventory.engine import Database, array_of
from inventory.listing import LOOK_AGAIN_SECONDS, Merge
from inventory.rows import Listing


class Named(NamedTuple):
    """A file by its place: `directory` is escaped, '' for the root; `key` is its own name there, as `Keys` compares it."""

    directory: str
    key: str
    entry: Entry


class Added(NamedTuple):
    """What became of named files: `busy` directories have one that a worker has at the moment; `later` are to be named again."""

    busy: int
    later: list[Named]


def add(
    database: Database, job: int, named: Sequence[Named], *, shared_suffix: str, settle_seconds: float = 0
) -> Added:
    """Insert files of a job whose source is listed as well, or send back those that have changed; safe to repeat.

    Directories that were missing are to be listed, and those with a file that a worker had are listed again. A directory that is
    being listed for the first time may just be cut into parts: what is in it is `later`. `shared_suffix` is added to the name of
    a file that has the path of a directory.
    """
    with database.begin() as connection:
        _insert_missing(connection, job, {one.directory for one in named}, listed_too=True)
        listings, later = _locked(connection, job, _apart(connection, job, named, shared_suffix))
        busy = Merge(connection, 0, settle_seconds).add_named(listings)
        again = busy | {listing.directory.id for listing in listings} if settle_seconds else busy
        _look_again(connection, again, max(settle_seconds, LOOK_AGAIN_SECONDS))
    return Added(len(busy), later)


def add_of_manifest(database: Database, job: int, named: Sequence[Named], *, shared_suffix: str) -> int:
    """Insert files of a job whose source is never listed, or send back those that have changed; safe to repeat.

    The job runs from then on, and cannot end before `end_of_manifest`. Returns how many directories have a file that has changed
    while a worker has it: the worker sees that by itself. Raises UsageError when the job is cancelled or gone.
    """
    with database.begin() as connection:
        _hold_open(connection, job)
        _insert_missing(connection, job, {one.directory for one in named}, listed_too=False)
        listings, _ = _locked(connection, job, _apart(connection, job, named, shared_suffix))
        return len(Merge(connection, 0).add_named(listings))


def end_of_manifest(database: Database, job: int) -> None:
    """Note that a manifest is read to its end."""
    with database.begin() as connection:
        connection.execute(
            text("""
                UPDATE inventory.directory SET state = 'scanned', next_scan_at = NULL,
                    scan_started_at = coalesce(scan_started_at, now()), scan_finished_at = now()
                WHERE job_id = :job AND path = '' AND state = 'pending' AND next_scan_at = 'infinity'"""),
            {"job": job},
        )


def look_at(database: Database, job: int, named: Iterable[tuple[str, str]]) -> int:
    """Have the directories, or parts of them, of these (directory, key) listed soon; returns how many."""
    with database.begin() as connection:
        directories = {row.id for row in _places(connection, job, list(named)) if row.id is not None}
        unlearn(connection, sorted(directories))
        return _look_again(connection, directories, 0)


def _hold_open(connection: Connection, job: int) -> None:
    """Let the job's root wait for the end of the manifest, and so the job."""
    endings.hold_off(connection)
    running = connection.execute(
        text("""
            UPDATE inventory.job SET state = CASE state WHEN 'finished' THEN 'running' ELSE state END,
                finished_at = CASE WHEN state <> 'finished' THEN finished_at END
            WHERE id = :job AND state <> 'cancelled'"""),
        {"job": job},
    )
    if running.rowcount == 0:
        raise UsageError("the job is cancelled or deleted", "start another one")
    connection.execute(
        text("""
            UPDATE inventory.directory SET state = 'pending', next_scan_at = 'infinity'
            WHERE job_id = :job AND path = '' AND state IN ('pending', 'scanned') AND next_scan_at IS DISTINCT FROM 'infinity'"""),
        {"job": job},
    )


def _insert_missing(connection: Connection, job: int, directories: Iterable[str], *, listed_too: bool) -> None:
    """Insert directories and those above them, as far as they are missing, parents first; gone ones come back."""
    levels: dict[int, set[str]] = {}
    for directory in directories:
        parts = directory.split("/") if directory else []
        for depth in range(1, len(parts) + 1):
            levels.setdefault(depth, set()).add("/".join(parts[:depth]))
    for depth in sorted(levels):
        paths = sorted(levels[depth])
        connection.execute(
            text("""
                WITH shards AS MATERIALIZED (
                    SELECT array_agg(id ORDER BY id) AS ids FROM inventory.shard WHERE job_id = :job AND accepting),
                back AS (
                    UPDATE inventory.directory d SET state = 'pending', next_scan_at = now(), collection_made_at = NULL
                    WHERE d.job_id = :job AND d.path = ANY(CAST(:paths AS text[])) AND d.state = 'vanished')
                INSERT INTO inventory.directory (job_id, parent_id, shard, path, state, next_scan_at)
                SELECT :job, p.id, s.ids[1 + (hashtext(n.path)::bigint & 2147483647) % cardinality(s.ids)], n.path,
                    CASE WHEN :listed THEN 'pending' ELSE 'scanned' END::inventory.directory_state,
                    CASE WHEN :listed THEN now() END
                FROM unnest(CAST(:paths AS text[]), CAST(:parents AS text[])) AS n(path, parent), shards s, LATERAL (
                    SELECT id FROM inventory.directory WHERE job_id = :job AND path = n.parent ORDER BY keys_after LIMIT 1) p
                WHERE NOT EXISTS (SELECT FROM inventory.directory d WHERE d.job_id = :job AND d.path = n.path)
                ON CONFLICT DO NOTHING"""),
            {
                "job": job,
                "paths": paths,
                "parents": [path.rpartition("/")[0] for path in paths],
                "listed": listed_too,
            },
        )


def _apart(connection: Connection, job: int, named: Sequence[Named], suffix: str) -> list[Named]:
    """The same, where a file that has the path of a directory is given a name of its own."""
    if not suffix:
        return list(named)
    paths = [f"{one.directory}/{one.entry.name}" if one.directory else one.entry.name for one in named]
    taken = connection.execute(
        text("""
            SELECT n.path FROM unnest(CAST(:paths AS text[])) AS n(path), LATERAL (
                SELECT FROM inventory.directory
                WHERE job_id = :job AND path = n.path AND state <> 'vanished' LIMIT 1) d"""),
        {"job": job, "paths": paths},
    )
    shared = set(taken.scalars())
    return [
        one._replace(entry=one.entry._replace(name=one.entry.name + suffix)) if path in shared else one
        for one, path in zip(named, paths, strict=True)
    ]


def _places(connection: Connection, job: int, named: Sequence[tuple[str, str]]) -> Sequence[Any]:
    """The row that stands for each directory, or for the part of it that the key is in; its id is None where there is none."""
    # NUL is in no edge of a part, and nothing below a space: so another such character compares the same
    keys = [key.replace("\0", "\x01") or "\x01" for _, key in named]
    found = connection.execute(
        text("""
            SELECT d.id FROM unnest(CAST(:paths AS text[]), CAST(:keys AS text[])) WITH ORDINALITY AS n(path, key, number)
            LEFT JOIN LATERAL (
                SELECT id FROM inventory.directory
                WHERE job_id = :job AND path = n.path AND keys_after < n.key ORDER BY keys_after DESC LIMIT 1) d ON true
            ORDER BY n.number"""),
        {"job": job, "paths": [directory for directory, _ in named], "keys": keys},
    )
    return found.all()


def _locked(connection: Connection, job: int, named: Sequence[Named]) -> tuple[list[Listing], list[Named]]:
    """The files by their directories, which are locked and compared anew at their next scan; and those that have to wait."""
    ids = [row.id for row in _places(connection, job, [(one.directory, one.key) for one in named])]
    locked = connection.execute(
        text("""
            SELECT id, shard, path, keys_after, keys_until, state = 'scanning' AND scan_finished_at IS NULL AS new
            FROM inventory.directory WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE"""),
        {"ids": array_of(sorted({one for one in ids if one is not None}))},
    )
    rows = {row.id: row for row in locked}
    listings: dict[int, Listing] = {}
    entries: dict[int, dict[str, Entry]] = {}
    later: list[Named] = []
    for one, number in zip(named, ids, strict=True):
        row = rows.get(number)
        if row is None or row.new or (row.keys_until is not None and one.key > row.keys_until):
            later.append(one)  # it is being cut into parts, or was since its row was looked for
            continue
        part = Keys(row.keys_after, row.keys_until)
        listings.setdefault(
            row.id, Listing(ClaimedDirectory(row.id, job, row.shard, row.path, 0, False, part=part), [])
        )
        entries.setdefault(row.id, {})[one.entry.name] = one.entry  # the last word on a file named twice
    for directory, listing in listings.items():
        listing.entries = list(entries[directory].values())
    # what has files is never cut into parts: its first scan is not the first that was heard of it
    connection.execute(
        text("""
            UPDATE inventory.directory SET listing_digest = NULL, steady = false, scan_started_at = coalesce(scan_started_at, now())
            WHERE id = ANY(CAST(:ids AS bigint[])) AND (listing_digest IS NOT NULL OR scan_started_at IS NULL)"""),
        {"ids": array_of(sorted(listings))},
    )
    return list(listings.values()), later


def _look_again(connection: Connection, directories: Iterable[int], seconds: float) -> int:
    return connection.execute(
        text("""
            UPDATE inventory.directory SET next_scan_at = least(next_scan_at, now() + make_interval(secs => :again))
            WHERE id = ANY(CAST(:ids AS bigint[])) AND state IN ('pending', 'scanned')"""),
        {"ids": array_of(sorted(directories)), "again": seconds},
    ).rowcount
