"""Discovery: listings merged into the inventory.

A directory that was never scanned goes by COPY straight into `file`. Any other listing whose digest is new goes by COPY into a
temporary table and from there by one index lookup a name, so that only what differs is written. A listing whose digest is the
last one's is not even sent. Only what is not claimed is ever changed here: a file that changes while it is being loaded keeps its
row, with the old size and time, until the loader is done with it, so that the next scan sees the difference.

Every statement asks whether this worker still owns the directory: a watcher that was taken for dead changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import IntegrityError

from core.errors import Unavailable
from core.sources.base import Entry
from inventory import below, rows
from inventory.directories import ClaimedDirectory, claim, fail, has_children, leave_out, release, unlearn
from inventory.engine import array_of, copy
from inventory.rows import Listing

__all__ = ["ClaimedDirectory", "Listing", "Merge", "claim", "fail", "has_children", "leave_out", "release"]

_KNOWN = """
    SELECT size, modified_at, kind, source_tag, state, claimed_by, retry_at FROM inventory.file
    WHERE shard = :shard AND directory_id = l.directory_id AND name = l.name OFFSET 0
"""
_HELD_BACK = "l.kind = 'f' AND :settle > 0"
# The fence (OFFSET 0) makes `found` one index lookup a name, whatever the planner believes of a table that was just filled
# and never analysed. A claimed file is left alone; that it differs is told, so that the listing is not taken for merged.
_MERGE = f"""
    WITH found AS MATERIALIZED (
        SELECT l.*, f.size IS NULL AS new, f.claimed_by IS NOT NULL AS busy,
            (f.size, f.modified_at, f.kind) IS DISTINCT FROM (l.size, l.modified_at, l.kind)
            OR f.source_tag IS DISTINCT FROM l.source_tag OR f.state IN ('vanished', 'deleting', 'deleted') AS changed,
            f.state = 'discovered' AND f.retry_at = 'infinity' AS held
        FROM listing l LEFT JOIN LATERAL ({_KNOWN}) f ON true WHERE l.shard = :shard),
    inserted AS (
        INSERT INTO inventory.file ({rows.COLUMNS}, retry_at)
        SELECT {rows.COLUMNS}, CASE WHEN {_HELD_BACK} AND modified_at > now() - make_interval(secs => :settle)
                                    THEN 'infinity'::timestamptz END
        FROM found l WHERE new
        ON CONFLICT DO NOTHING),
    changed AS (
        UPDATE inventory.file f
        SET state = l.state, retry_at = CASE WHEN {_HELD_BACK} THEN 'infinity'::timestamptz END,
            generation = f.generation + 1, discovered_at = now(), kind = l.kind,
            size = l.size, modified_at = l.modified_at, source_tag = l.source_tag, checksum = NULL,
            load_attempts = 0, verify_attempts = 0, reloads = 0, reaps = 0,
            load_started_at = NULL, load_finished_at = NULL, verify_started_at = NULL, verify_finished_at = NULL,
            verified_by = NULL, deleted_at = NULL, vanished_at = NULL
        FROM found l WHERE l.changed AND NOT l.new AND NOT l.busy
            AND f.shard = :shard AND f.directory_id = l.directory_id AND f.name = l.name AND f.claimed_by IS NULL
        RETURNING f.directory_id),
    settled AS (
        UPDATE inventory.file f SET retry_at = NULL
        FROM found l WHERE l.held AND NOT l.changed AND :settle > 0
            AND f.shard = :shard AND f.directory_id = l.directory_id AND f.name = l.name AND f.claimed_by IS NULL
            AND f.state = 'discovered' AND NOT isfinite(f.retry_at)
            AND f.discovered_at <= now() - make_interval(secs => :settle))
    SELECT directory_id FROM (
        SELECT directory_id, 1 AS files FROM found WHERE changed AND NOT new
        UNION ALL SELECT directory_id, -1 FROM changed) AS left_alone
    GROUP BY directory_id HAVING sum(files) <> 0
"""
# The conditions on k are always true: so the planner expects one row, as in inventory.claims.
_MARK_VANISHED = """
    UPDATE inventory.file f SET state = 'vanished', retry_at = 'infinity', vanished_at = now()
    FROM (SELECT * FROM unnest(CAST(:directories AS bigint[]), CAST(:names AS text[])) AS k(directory_id, name)
          WHERE coalesce(k.directory_id, 0) = k.directory_id AND coalesce(k.name, '') = k.name OFFSET 0) AS k
    WHERE f.shard = :shard AND f.directory_id = k.directory_id AND f.name = k.name AND f.claimed_by IS NULL
      AND f.discovered_at <= (SELECT scan_started_at FROM inventory.directory WHERE id = k.directory_id)
"""
# what only a loader has not found is not known to be gone before a complete scan says so
_NOT_GONE = (
    "(state NOT IN ('vanished', 'deleted') OR state = 'vanished' AND vanished_at IS NULL AND retry_at = 'infinity')"
)
VANISHED_AT_A_TIME = 10_000
LOOK_AGAIN_SECONDS = 10.0
"""A directory in which a difference was left to a file's worker is scanned again so soon, also when it is not to be rescanned."""
_INSERT_DIRECTORIES = """
    WITH shards AS MATERIALIZED (
        SELECT job_id, array_agg(id ORDER BY id) AS ids FROM inventory.shard
        WHERE job_id = ANY(:jobs) AND accepting GROUP BY job_id),
    child AS MATERIALIZED (
        SELECT c.*, known.id AS known FROM unnest(CAST(:parents AS bigint[]), CAST(:jobs AS int[]), CAST(:paths AS text[]))
            AS c(parent_id, job_id, path)
        LEFT JOIN LATERAL (SELECT id FROM inventory.directory d WHERE d.job_id = c.job_id AND d.path = c.path OFFSET 0) known
            ON true),
    back AS (
        UPDATE inventory.directory SET state = 'pending', next_scan_at = now(), collection_made_at = NULL
        WHERE id IN (SELECT known FROM child) AND state = 'vanished')
    INSERT INTO inventory.directory (job_id, parent_id, shard, path)
    SELECT c.job_id, c.parent_id, s.ids[1 + (hashtext(c.path)::bigint & 2147483647) % cardinality(s.ids)], c.path
    FROM child c JOIN shards s USING (job_id) WHERE c.known IS NULL
    ON CONFLICT DO NOTHING
"""
_TEMPORARY = """
    CREATE TEMP TABLE IF NOT EXISTS listing (directory_id bigint, size bigint, modified_at timestamptz, shard int,
        state inventory.file_state, kind "char", name text COLLATE "C", source_tag text) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE IF NOT EXISTS listed_child (directory_id bigint, name text COLLATE "C") ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE IF NOT EXISTS seen (directory_id bigint, name text COLLATE "C") ON COMMIT PRESERVE ROWS
"""
_PAIRS = "INSERT INTO {table} SELECT * FROM unnest(CAST(:directories AS bigint[]), CAST(:names AS text[]))"
_INTO = f"COPY {{table}} ({rows.COLUMNS}) FROM STDIN (FORMAT binary)"


Protects = Callable[[str, bool], bool]


def _protects_nothing(path: str, is_directory: bool) -> bool:
    return False


class Merge:
    """One transaction that brings listings into the inventory.

    `settle_seconds` above 0 holds back files younger than that, or changed since the last look, until a later look finds
    them unchanged; their directories are due again so much later.
    """

    def __init__(
        self,
        connection: Connection,
        worker: int,
        settle_seconds: float = 0,
        *,
        heard: bool = False,
        protects: Protects = _protects_nothing,
    ) -> None:
        """`heard` says that an event handler is to be told of collections whose directory has changed, `protects` what is never
        marked as vanished, by its path and whether it is a directory."""
        self._connection = connection
        self._worker = worker
        self._settle = settle_seconds
        self._heard = heard
        self._protects = protects
        self._excluded: list[tuple[int, str]] = []  # listed, and left out by the job's filters
        self._digests: dict[int, tuple[int | None, int | None]] = {}  # by directory: of its listing, and its own time
        self._unchanged: set[int] = set()
        self._left: set[int] = set()  # directories with differences in files that are claimed
        self._temporary = False

    def add(self, listings: Sequence[tuple[ClaimedDirectory, Sequence[Entry]]]) -> int:
        """Merge complete listings given as entries. Returns how many entries were read."""
        return self.add_listings([Listing(d, entries, rows.digest_of(entries)) for d, entries in listings])

    def add_listings(self, listings: Sequence[Listing], next_scan_seconds: float | None = None) -> int:
        """Insert what is new and send back to `discovered` what has changed. Returns how many entries were read.

        Directories that are no longer this worker's are left out, and what was listed together with them. Those that were
        found and listed at once are inserted scanned, and due again in `next_scan_seconds`.
        """
        owned = self._owned([listing.directory.id for listing in listings if not listing.found])
        found = [listing for listing in listings if listing.found and listing.found.claimed_id in owned]
        if found and (self._settle or not below.insert(self._connection, found, next_scan_seconds)):
            found = []  # they are inserted as pending, like all others that are not listed yet
        claimed = [listing for listing in listings if listing.directory.id in owned]
        new = found.copy()
        for listing in claimed:
            directory = listing.directory.id
            self._digests[directory] = (listing.digest, listing.modified_at)
            # the digest of now, not of the claim: meanwhile a loader may have found a file gone that is there again
            if listing.digest is not None and listing.digest == owned[directory]:
                self._unchanged.add(directory)
            else:
                rows.encode(listing)
                new.append(listing)
        straight = [listing for listing in new if listing.directory.first and not self._settle]
        self._insert([listing for listing in straight if listing.rows])
        self._compare([listing for listing in new if not listing.directory.first or self._settle])
        self._excluded += [(listing.directory.id, name) for listing in new for name in listing.excluded]
        self._insert_directories(new, {listing.directory.path for listing in found})
        return sum(map(len, claimed)) + sum(map(len, found))

    def add_named(self, listings: Sequence[Listing]) -> set[int]:
        """Compare files that somebody names, of directories that the caller has locked, whoever scans them; the others stay.

        Returns the directories with differences in files that a worker has at the moment.
        """
        for listing in listings:
            rows.encode(listing)
        self._compare(listings)
        return self._left

    def remember(self, *, first_part: bool) -> None:
        """Keep the names of this part of a directory that is too large for one transaction."""
        self._prepare()
        if first_part:
            self._run("TRUNCATE seen")
        self._run("INSERT INTO seen SELECT directory_id, name FROM listing UNION ALL SELECT * FROM listed_child")
        self._run(_PAIRS.format(table="seen"), **_pairs(self._excluded))

    def finish(
        self, directories: Sequence[ClaimedDirectory], next_scan_seconds: float | None, *, remembered: int = 0
    ) -> list[int]:
        """End the scan of directories listed completely: mark what is gone, make them due again.

        Returns the ids of those that were still this worker's. `remembered` is the number of names in all parts of a
        directory that came in parts, 0 otherwise. Raises Unavailable when the connection broke between the parts, and the
        memory of them with it.
        """
        if remembered:
            self._check_remembered(directories[0], remembered)
        owned = self._owned([directory.id for directory in directories])
        known = [d for d in directories if d.id in owned and not d.first and d.id not in self._unchanged]
        if known:
            self._mark_vanished(known, remembered=bool(remembered))
        unsettled = self._unsettled([directory.id for directory in directories])
        # the owner is hidden in coalesce, as in inventory.claims: the directories are to be found by their key
        digests = [self._digests.get(directory.id, (None, None)) for directory in directories]
        done = self._connection.execute(
            text("""
                UPDATE inventory.directory d SET state = 'scanned', claimed_by = NULL, attempts = 0, reaps = 0,
                    scan_finished_at = now(),
                    steady = coalesce(d.listing_digest = r.digest AND d.modified_at = r.modified_at, false),
                    listing_digest = CASE WHEN NOT d.id = ANY(:unsettled) THEN r.digest END, modified_at = r.modified_at,
                    collection_changed = d.collection_changed OR :heard AND d.collection_made_at IS NOT NULL
                        AND d.scan_finished_at IS NOT NULL AND (r.digest IS NULL OR d.listing_digest IS DISTINCT FROM r.digest),
                    next_scan_at = now() + make_interval(secs => least(
                        CAST(:next AS float), CASE WHEN d.id = ANY(:unsettled) THEN CAST(:settle AS float) END,
                        CASE WHEN d.id = ANY(:left) THEN CAST(:again AS float) END))
                FROM unnest(CAST(:ids AS bigint[]), CAST(:digests AS bigint[]), CAST(:times AS bigint[]))
                    AS r(id, digest, modified_at)
                WHERE d.id = r.id AND coalesce(d.claimed_by, 0) = :worker RETURNING d.id"""),
            {
                "ids": array_of(directory.id for directory in directories),
                "digests": array_of(digest for digest, _ in digests),
                "times": array_of(modified_at for _, modified_at in digests),
                "worker": self._worker,
                "next": next_scan_seconds,
                "settle": self._settle,
                "unsettled": unsettled,
                "left": list(self._left),
                "heard": self._heard,
                "again": LOOK_AGAIN_SECONDS,
            },
        )
        return list(done.scalars())

    def vanish(self, directory: ClaimedDirectory) -> bool:
        """End the scan of a directory that is gone: so is everything below it. False when fenced."""
        # should it come back before its parent is listed again, the parent's listing would be the same as before
        parent = self._connection.execute(
            text("SELECT parent_id FROM inventory.directory WHERE id = :id AND claimed_by = :worker"),
            {"id": directory.id, "worker": self._worker},
        ).scalar()
        if parent is not None:
            unlearn(self._connection, [parent])
        if not self._owned([directory.id]):
            return False
        self._mark_vanished([directory], remembered=False)
        done = self._run(
            """
            UPDATE inventory.directory SET state = CASE WHEN :left THEN 'pending' ELSE 'vanished' END::inventory.directory_state,
                next_scan_at = CASE WHEN :left THEN now() + make_interval(secs => :again) END,
                claimed_by = NULL, attempts = 0, reaps = 0, scan_finished_at = now(), listing_digest = NULL, steady = false
            WHERE id = :id AND claimed_by = :worker""",
            id=directory.id,
            left=directory.id in self._left,
            again=LOOK_AGAIN_SECONDS,
        )
        return done == 1

    def _owned(self, directories: list[int]) -> dict[int, int | None]:
        """Those of them that are this worker's still, each with the digest of its last listing.

        They are locked, so that they stay so until the end of the transaction.
        """
        found = self._connection.execute(
            text("""
                SELECT id, listing_digest FROM inventory.directory WHERE id = ANY(CAST(:ids AS bigint[])) AND claimed_by = :worker
                ORDER BY id FOR NO KEY UPDATE"""),
            {"ids": array_of(directories), "worker": self._worker},
        )
        return {row.id: row.listing_digest for row in found}

    def _insert(self, listings: Sequence[Listing]) -> None:
        """Bring in directories of which the inventory has no file."""
        if not listings:
            return
        try:
            with self._connection.begin_nested():
                self._copy("inventory.file", listings)
        except IntegrityError:
            # a source may name a file twice in one listing, for instance when it is renamed meanwhile
            self._compare(listings)

    def _compare(self, listings: Sequence[Listing]) -> None:
        if not listings:
            return
        self._prepare()
        self._copy("listing", listings)
        self._run(
            "INSERT INTO listed_child SELECT * FROM unnest(CAST(:parents AS bigint[]), CAST(:children AS text[]))",
            parents=[listing.directory.id for listing in listings for _ in listing.children],
            children=[child for listing in listings for child in listing.children],
        )
        for shard in sorted({listing.directory.shard for listing in listings}):
            left = self._connection.execute(text(_MERGE), {"shard": shard, "settle": self._settle})
            self._leave(left.scalars())

    def _copy(self, table: str, listings: Sequence[Listing]) -> None:
        copy(self._connection, _INTO.format(table=table), rows.copy_stream(listings))

    def _prepare(self) -> None:
        if not self._temporary:
            self._run(_TEMPORARY)
            self._temporary = True

    def _run(self, statement: str, **values: object) -> int:
        return self._connection.execute(
            text(statement), values | {"worker": self._worker, "settle": self._settle}
        ).rowcount

    def _check_remembered(self, directory: ClaimedDirectory, remembered: int) -> None:
        self._prepare()
        kept = self._connection.execute(
            text("SELECT count(*) FROM seen WHERE directory_id = :id"), {"id": directory.id}
        )
        if kept.scalar_one() != remembered:
            raise Unavailable("the inventory's connection broke within a listing", "the directory is scanned again")

    def _unsettled(self, directories: list[int]) -> list[int]:
        if not self._settle:
            return []
        waiting = self._connection.execute(
            text("""
                SELECT d.id FROM inventory.directory d WHERE d.id = ANY(:ids) AND EXISTS (
                    SELECT FROM inventory.file f WHERE f.shard = d.shard AND f.directory_id = d.id
                    AND f.state = 'discovered' AND NOT isfinite(f.retry_at))"""),
            {"ids": directories},
        )
        return list(waiting.scalars())

    def _insert_directories(self, listings: Sequence[Listing], inserted: Set[str]) -> None:
        """Insert as pending the directories that listings name, besides those paths."""
        children = [
            (listing.directory, path)
            for listing in listings
            for path in map(listing.directory.below, listing.children)
            if path not in inserted
        ]
        if children:
            self._run(
                _INSERT_DIRECTORIES,
                parents=array_of(parent.id for parent, _ in children),
                jobs=array_of(parent.job_id for parent, _ in children),
                paths=[path for _, path in children],
            )

    def _mark_some_vanished(
        self, shard: int, directories: Mapping[int, str], names: str, left: int
    ) -> tuple[bool, int]:
        """Mark some of the files that are gone; whether there may be more, and how many of them are left as they are.

        Those with a protected name are. Claimed ones are left to their workers, and ones that were found by other means since the
        scan began are younger than its listing: their directories are scanned again. One
        snapshot tells both kinds, or a file that is given back between two statements would be neither; `left` is how many of
        both were met the last time.
        """
        limit = VANISHED_AT_A_TIME + left
        self._for_anti_join(True)
        gone = self._connection.execute(
            text(f"""
                SELECT f.directory_id, f.name, f.busy FROM unnest(CAST(:ids AS bigint[])) AS d(id)
                JOIN LATERAL (
                    SELECT f.directory_id, f.name, f.claimed_by IS NOT NULL OR f.discovered_at > s.scan_started_at AS busy
                    FROM (SELECT scan_started_at FROM inventory.directory WHERE id = d.id OFFSET 0) s, inventory.file f
                    WHERE f.shard = :shard AND f.directory_id = d.id AND {_NOT_GONE} OFFSET 0) f ON true
                WHERE NOT EXISTS (SELECT FROM {names} l WHERE l.directory_id = f.directory_id AND l.name = f.name)
                LIMIT {limit}"""),
            {"shard": shard, "ids": list(directories)},
        ).all()
        self._for_anti_join(False)
        gone_names = [row for row in gone if not self._protects(_below(directories[row.directory_id], row.name), False)]
        free = [row for row in gone_names if not row.busy]
        self._leave(row.directory_id for row in gone_names if row.busy)
        if free and self._run(_MARK_VANISHED, shard=shard, **_keys(free)) < len(free):
            self._leave(row.directory_id for row in free)  # some were claimed meanwhile
        return len(gone) == limit, len(gone) - len(free)

    def _leave(self, directories: Iterable[int]) -> None:
        for directory in directories:
            self._digests[directory] = (None, None)
            self._left.add(directory)

    def _mark_vanished(self, directories: Sequence[ClaimedDirectory], *, remembered: bool) -> None:
        self._prepare()
        names, children = ("seen", "seen") if remembered else ("listing", "listed_child")
        if not remembered and self._excluded:  # only now: what was compared is behind us
            for table in (names, children):
                self._run(_PAIRS.format(table=f"{table} (directory_id, name)"), **_pairs(self._excluded))
        for shard in sorted({directory.shard for directory in directories}):
            paths = {directory.id: directory.path for directory in directories if directory.shard == shard}
            more, busy = True, 0
            while more:
                more, busy = self._mark_some_vanished(shard, paths, names, busy)
        self._mark_children_gone([directory.id for directory in directories], children)

    def _mark_children_gone(self, directories: list[int], children: str) -> None:
        """A child that is gone is scanned once more: the scan finds nothing, and so all below it vanishes the same way.

        It is due since ever: the pass is not over before.
        """
        self._for_anti_join(True)
        gone = self._connection.execute(
            text(f"""
                SELECT c.id, p.path AS parent, c.name FROM inventory.directory p
                JOIN LATERAL (
                    SELECT id, CASE p.path WHEN '' THEN path ELSE substr(path, length(p.path) + 2) END AS name
                    FROM inventory.directory WHERE parent_id = p.id AND state IN ('scanned', 'dead') OFFSET 0) c ON true
                WHERE p.id = ANY(:ids) AND p.claimed_by = :worker
                  AND NOT EXISTS (SELECT FROM {children} l WHERE l.directory_id = p.id AND l.name = c.name)"""),
            {"ids": directories, "worker": self._worker},
        )
        ids = [row.id for row in gone if not self._protects(_below(row.parent, row.name), True)]
        self._for_anti_join(False)
        if ids:
            self._run(
                """
                UPDATE inventory.directory SET state = 'pending', next_scan_at = 'epoch', listing_digest = NULL, steady = false
                WHERE id = ANY(:ids) AND state IN ('scanned', 'dead')""",
                ids=ids,
            )

    def _for_anti_join(self, wanted: bool) -> None:
        """Have the planner hash the names of a listing: they can be millions, and a temporary table has no index.

        What is looked up by index is fenced (LATERAL … OFFSET 0), so that nothing but a nested loop can do it in any case.
        """
        self._run(f"SET LOCAL enable_hashjoin = {'on' if wanted else 'off'}")
        self._run(f"SET LOCAL enable_nestloop = {'off' if wanted else 'on'}")


def _keys(found: Sequence[Row[Any]]) -> dict[str, list[object]]:
    return {"directories": [row.directory_id for row in found], "names": [row.name for row in found]}


def _pairs(names: Sequence[tuple[int, str]]) -> dict[str, list[object]]:
    return {"directories": [directory for directory, _ in names], "names": [name for _, name in names]}


def _below(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name
