"""The queue of directories: claimed by watchers, ended by a merge, given back, or failed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, text

from core.sources.base import WHOLE, Keys
from inventory.engine import Database
from inventory.workers import ALIVE, MAY_RUN

Place = tuple[str, int]
"""Where a directory stands among those that are due: when it became due, as the inventory writes it, and its id."""
SUSPECT_REAPS = 2
"""A directory over which so many watchers have died is scanned by itself."""
WRAP_SECONDS = 60.0
"""How long a directory that was passed over waits at most for a watcher to begin at the start again."""
WRAP_SHARE = 20
"""A claim from the start may be slow; the next one waits so many times as long as it took."""
_CLAIM_LOCK = 0x10AD_0200
"""Advisory locks of the claims, one a job."""


class Look(NamedTuple):
    """Directories that a watcher looks at without having claimed them (`inventory.looks`): its row, and when it began."""

    id: int
    began_at: str


class ClaimedDirectory(NamedTuple):
    """A directory to scan.

    `path` is escaped and relative to the job's source, '' for its root. `first` means that no scan of it was ever begun
    before, so that nothing in the inventory can have changed or vanished. `digest` is that of its last listing, where the
    rows agree with it. `steady_at` is the directory's own time in microseconds since 1970, where the last two scans found
    the same time and the same listing. `suspect` means that watchers have died over it: it is scanned with nothing else
    claimed, so that the next death shows whether it is the cause. `part` is what of its names this row stands for. With a
    `look` it is not claimed, but only looked at, being due since `due_at`.
    """

    id: int
    job_id: int
    shard: int
    path: str
    attempts: int
    first: bool
    digest: int | None = None
    steady_at: int | None = None
    suspect: bool = False
    part: Keys = WHOLE
    look: Look | None = None
    due_at: str = ""

    def below(self, name: str) -> str:
        """The path of a directory in this one."""
        return f"{self.path}/{name}" if self.path else name


class Places:
    """How far a watcher has come in the due directories of each job.

    A claim goes on there: what was claimed leaves dead entries at the start of the index for as long as any transaction is older
    than they are. What becomes due later stands behind, and what was missed is found from the start, when a job is dry and
    every WRAP_SECONDS, or WRAP_SHARE times as long as such a claim took.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._after: dict[int, tuple[Place, float]] = {}

    def after(self, job: int) -> Place | None:
        """Where to go on; None for the start."""
        place, until = self._after.get(job, (None, 0.0))
        return place if self._clock() < until else None

    def came_to(self, job: int, place: Place | None, began: float) -> None:
        """Note the last that was claimed by a claim from the start, begun at `began`, or that there was none."""
        ended = self._clock()
        if place is None:
            self._after.pop(job, None)
        else:
            self._after[job] = (place, ended + max(WRAP_SECONDS, WRAP_SHARE * (ended - began)))

    def went_on(self, job: int, place: Place) -> None:
        """Note the last that was claimed by a claim that went on."""
        self._after[job] = (place, self._after[job][1])

    def now(self) -> float:
        """The time by this clock."""
        return self._clock()


def claim(
    database: Database,
    worker: int,
    jobs: Sequence[int],
    limit: int,
    places: Places | None = None,
    *,
    looking: bool = False,
) -> list[ClaimedDirectory]:
    """Claim up to `limit` directories that are due, the longest overdue of a job first; jobs come in any order.

    With `looking` those of which the last listing is known are not claimed, but handed out for a look.
    """
    claimed: list[ClaimedDirectory] = []
    places = places or Places()
    with database.begin() as connection:
        lock = "pg_advisory_xact_lock"
        for job in random.sample(list(jobs), len(jobs)):  # so that none waits for another one's end
            if len(claimed) < limit:
                # who waits holds no other lock: watchers take those of the jobs in any order
                got = connection.execute(text(f"SELECT {lock}(:all, :job)"), {"all": _CLAIM_LOCK, "job": job}).scalar()
                lock = "pg_try_advisory_xact_lock"
                if got is not False:
                    claimed += _claim_of(connection, worker, job, limit - len(claimed), places, looking)
    return claimed


def _claim_of(
    connection: Connection, worker: int, job: int, limit: int, places: Places, looking: bool
) -> list[ClaimedDirectory]:
    if (after := places.after(job)) is not None:
        claimed, last = _claim_after(connection, worker, job, limit, after, looking)
        if last is not None:
            places.went_on(job, last)
            return claimed
    began = places.now()
    claimed, last = _claim_after(connection, worker, job, limit, None, looking)
    places.came_to(job, last, began)
    return claimed


AS_IT_WAS = "coalesce(d.claimed_by, 0) = 0 AND coalesce(d.next_scan_at = {}, false)"
"""Whether nobody has claimed a directory, or ended a scan of it, since it was seen to be due at that time.

What is due is in no other state than pending or scanned. The columns are hidden in coalesce: the row is to be found by its key.
"""
DUE = "d.state IN ('pending', 'scanned') AND d.next_scan_at <= now()"
_HANDED_OUT = f"""
    d.id, d.shard, d.path, d.attempts, d.scan_started_at IS NULL AS first, d.listing_digest,
    CASE WHEN d.steady AND d.listing_digest IS NOT NULL THEN d.modified_at END AS steady_at, d.reaps >= {SUSPECT_REAPS} AS suspect,
    d.keys_after, d.keys_until
"""
# Claims of one job come one after the other, so none sees what another one is about to take. What is looked at is not locked:
# for a row of which nothing changes that would be a write.
_CLAIM = f"""
    WITH alive AS MATERIALIZED ({ALIVE}), due AS MATERIALIZED (
        SELECT d.next_scan_at, d.listing_digest IS NOT NULL AND d.reaps = 0 AND d.attempts = 0 AND :looking AS looked, {_HANDED_OUT}
        FROM inventory.directory d
        WHERE d.job_id = :job AND {DUE} {{beyond}}
          AND EXISTS (SELECT FROM alive) AND EXISTS (SELECT FROM inventory.job j WHERE j.id = :job AND {MAY_RUN})
          AND NOT EXISTS (
              SELECT FROM inventory.look l WHERE l.job_id = d.job_id AND (d.next_scan_at, d.id) >= (l.first_due_at, l.first_id)
              AND (d.next_scan_at, d.id) <= (l.last_due_at, l.last_id))
        ORDER BY d.next_scan_at, d.id LIMIT :limit),
    free AS MATERIALIZED (
        SELECT due.next_scan_at, {_HANDED_OUT} FROM due JOIN inventory.directory d ON d.id = due.id
        WHERE NOT due.looked AND {AS_IT_WAS.format("due.next_scan_at")} FOR UPDATE OF d SKIP LOCKED),
    claimed AS (
        UPDATE inventory.directory d SET state = 'scanning', claimed_by = :worker, scan_started_at = now()
        FROM free WHERE d.id = free.id RETURNING free.*),
    look AS (
        INSERT INTO inventory.look (worker_id, job_id, first_due_at, first_id, last_due_at, last_id)
        SELECT :worker, :job, f.next_scan_at, f.id, l.next_scan_at, l.id
        FROM (SELECT next_scan_at, id FROM due WHERE looked ORDER BY next_scan_at, id LIMIT 1) f,
             (SELECT next_scan_at, id FROM due WHERE looked ORDER BY next_scan_at DESC, id DESC LIMIT 1) l
        RETURNING id, began_at)
    SELECT h.next_scan_at::text, h.id, h.shard, h.path, h.attempts, h.first, h.listing_digest, h.steady_at, h.suspect,
        h.keys_after, h.keys_until, h.look, h.began_at::text
    FROM (SELECT claimed.*, NULL::bigint AS look, NULL::timestamptz AS began_at FROM claimed
          UNION ALL SELECT due.next_scan_at, {{columns}}, look.id, look.began_at FROM due, look WHERE due.looked) h
    ORDER BY h.next_scan_at, h.id
"""
_COLUMNS = """
    due.id, due.shard, due.path, due.attempts, due.first, due.listing_digest, due.steady_at, due.suspect,
    due.keys_after, due.keys_until
"""


def _claim_after(
    connection: Connection, worker: int, job: int, limit: int, after: Place | None, looking: bool
) -> tuple[list[ClaimedDirectory], Place | None]:
    """What was claimed, and the place of the last of it."""
    beyond = "AND (d.next_scan_at, d.id) > (CAST(:due_at AS timestamptz), :directory)" if after else ""
    due_at, directory = after or (None, 0)
    # one job at a time: its due directories come in the order of the index, without a sort of all that are due
    rows = connection.execute(
        text(_CLAIM.format(beyond=beyond, columns=_COLUMNS)),
        {"worker": worker, "job": job, "limit": limit, "due_at": due_at, "directory": directory, "looking": looking},
    ).all()
    claimed = []
    look: Look | None = None
    for (
        due,
        number,
        shard,
        path,
        attempts,
        first,
        digest,
        steady_at,
        suspect,
        key_after,
        key_until,
        look_id,
        began_at,
    ) in rows:
        if look_id is not None and look is None:
            look = Look(look_id, began_at)
        claimed.append(
            ClaimedDirectory(
                number, job, shard, path, attempts, first, digest, steady_at, suspect,
                WHOLE if not key_after and key_until is None else Keys(key_after, key_until),
                look if look_id is not None else None, due,
            )
        )  # fmt: skip
    return claimed, ((claimed[-1].due_at, claimed[-1].id) if claimed else None)


def fail(
    database: Database,
    worker: int,
    directory: ClaimedDirectory,
    error: str,
    message: str,
    *,
    retry_seconds: float | None,
) -> bool:
    """Note that a directory could not be scanned; None leaves it to a person. False when fenced."""
    with database.begin() as connection:
        done = connection.execute(
            text("""
                WITH failed AS (
                    UPDATE inventory.directory SET claimed_by = NULL, attempts = attempts + 1,
                        state = CASE WHEN CAST(:retry AS float) IS NULL THEN 'dead' ELSE 'pending' END::inventory.directory_state,
                        next_scan_at = now() + make_interval(secs => :retry)
                    WHERE id = :id AND claimed_by = :worker RETURNING id, shard, attempts)
                INSERT INTO inventory.failure
                    (directory_id, worker_id, shard, attempt, permanent, stage, error, message)
                SELECT id, :worker, shard, attempts, CAST(:retry AS float) IS NULL, 'scan', :error, :message FROM failed"""),
            {"id": directory.id, "worker": worker, "retry": retry_seconds, "error": error, "message": message},
        )
        return done.rowcount == 1


def has_children(database: Database, directory: ClaimedDirectory) -> bool:
    """Whether anything was ever found in a directory."""
    with database.begin() as connection:
        found = connection.execute(
            text("""
                SELECT EXISTS (SELECT FROM inventory.directory WHERE parent_id = :id)
                    OR EXISTS (SELECT FROM inventory.file WHERE shard = :shard AND directory_id = :id)"""),
            {"id": directory.id, "shard": directory.shard},
        )
        return bool(found.scalar())


def release(database: Database, worker: int, directories: Sequence[int]) -> None:
    """Give directories back uncounted."""
    with database.begin() as connection:
        connection.execute(
            text("""
                UPDATE inventory.directory SET claimed_by = NULL, state = 'pending', next_scan_at = now()
                WHERE id = ANY(:ids) AND claimed_by = :worker"""),
            {"ids": list(directories), "worker": worker},
        )


def leave_out(database: Database, worker: int, directories: Sequence[int]) -> None:
    """End the scan of directories that the job's filters leave out: nothing is looked at before the job is scanned anew."""
    with database.begin() as connection:
        connection.execute(
            text("""
                UPDATE inventory.directory SET claimed_by = NULL, state = 'scanned', attempts = 0, next_scan_at = NULL,
                    scan_finished_at = now(), listing_digest = NULL, steady = false
                WHERE id = ANY(:ids) AND claimed_by = :worker"""),
            {"ids": list(directories), "worker": worker},
        )


def release_all(database: Database, worker: int) -> None:
    """Give back uncounted whatever this worker has claimed or looks at, also by a claim whose answer was lost."""
    with database.begin() as connection:
        connection.execute(text("DELETE FROM inventory.look WHERE worker_id = :worker"), {"worker": worker})
        connection.execute(
            text("""
                UPDATE inventory.directory SET claimed_by = NULL, state = 'pending', next_scan_at = now()
                WHERE claimed_by = :worker"""),
            {"worker": worker},
        )


def unlearn(connection: Connection, directories: Sequence[int]) -> None:
    """Forget the listings of directories whose rows no longer agree with them, so that the next scan compares every name.

    To be called before any row of a file is locked: a merge takes the same locks in the same order.
    """
    connection.execute(
        text("""
            WITH these AS MATERIALIZED (
                SELECT id FROM inventory.directory WHERE id = ANY(:ids) AND listing_digest IS NOT NULL
                ORDER BY id FOR NO KEY UPDATE)
            UPDATE inventory.directory d SET listing_digest = NULL, steady = false FROM these WHERE d.id = these.id"""),
        {"ids": sorted(set(directories))},
    )
