"""The queue of files: claim, finish, release. Each transition is one guarded statement.

A claim takes a batch of one shard, in the order of (directory_id, name), so that a batch is mostly one collection. A finish names
the state it leaves, the owner and the generation: what a worker sends after it was declared dead matches no row, and is
counted as fenced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from sqlalchemy import Connection, text

from core import metrics
from core.outcome import Changed, Dead, Done, Mismatched, Outcome, Released, Retry, Skipped, Vanished
from inventory import activity, flight
from inventory.directories import unlearn
from inventory.engine import Database, array_of
from inventory.flight import Cap
from inventory.workers import ALIVE

Stage = Literal["load", "verify", "delete"]
Key = tuple[int, str]
"""Where a file stands in the order of its shard: directory and name."""
SUSPECT_REAPS = 2
"""A file over which so many workers have died is run by itself, so that the next death shows whether it is the cause."""
AGAIN = "coalesce(f.verified_before_at >= f.load_finished_at, false)"
"""Whether a file was verified since it was loaded: what is loaded again after that is not, whatever it was before."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ClaimedFile:
    """A file this worker owns until it finishes or releases it.

    `directory` is the escaped path relative to the job's source and `name` the escaped name in it; `modified_at` is in
    microseconds since 1970. `fresh` means that no worker can have written anything for it yet, `collection_made` that its
    collection is known to exist, `suspect` that workers have died over it. `tag` is the source's change mark, `attempts` are
    those of this stage that failed. `again` means that it was verified since it was loaded, and is verified once more because
    that was long ago.
    """

    job_id: int
    shard: int
    directory_id: int
    directory: str
    name: str
    generation: int
    size: int
    modified_at: int
    checksum: str | None
    fresh: bool
    collection_made: bool
    suspect: bool = False
    tag: str | None = None
    attempts: int = 0
    again: bool = False

    @property
    def key(self) -> Key:
        """Where it stands in the order of its shard."""
        return (self.directory_id, self.name)

    def told(self, stage: str, job: str) -> dict[str, object]:
        """What a log line says of it; the attempt is the one that this worker makes, counted from 1."""
        return {
            "stage": "reverify" if self.again and stage == "verify" else stage,
            "job": job,
            "file": self.path,
            "generation": self.generation,
            "attempt": self.attempts + 1,
        }

    @property
    def is_reload(self) -> bool:
        """Whether this version of the file was loaded before, so that what it brought is known to have been found wrong."""
        return self.checksum is not None

    @property
    def path(self) -> str:
        """The escaped path relative to the job's source."""
        return f"{self.directory}/{self.name}" if self.directory else self.name

    def __str__(self) -> str:
        return self.path


class Result(NamedTuple):
    """An outcome, and how many seconds ago this worker began and ended the file."""

    file: ClaimedFile
    outcome: Outcome
    began_seconds_ago: float = 0.0
    ended_seconds_ago: float = 0.0


@dataclass(frozen=True)
class Limits:
    """When a failing file is a dead letter, and how it backs off: min(longest, first * 2^(attempt-1)), 10 % either way."""

    max_attempts: int = 8
    max_reloads: int = 2
    retry_seconds: float = 30
    retry_max_seconds: float = 21_600


class _Words(NamedTuple):
    """What a stage is called in the table: its states, its counter, what a claim sets and what a finish stamps."""

    ready: str
    busy: str
    done: str
    attempts: str
    begin: str
    stamps: str


_WHEN = """
    {stage}_started_at = clock_timestamp() - make_interval(secs => r.began),
    {stage}_finished_at = clock_timestamp() - make_interval(secs => r.ended), {by} = :worker
"""
_BEGIN = ", {stage}_started_at = now(), {stage}_finished_at = NULL"
STATES: dict[Stage, _Words] = {
    "load": _Words(
        "discovered", "loading", "loaded", "load_attempts",
        _BEGIN.format(stage="load"), _WHEN.format(stage="load", by="loaded_by"),
    ),
    "verify": _Words(
        "loaded", "verifying", "verified", "verify_attempts",
        _BEGIN.format(stage="verify"), _WHEN.format(stage="verify", by="verified_by"),
    ),
    # a deletion counts its attempts where loading did: the file has no loading left to do
    "delete": _Words("vanished", "deleting", "deleted", "load_attempts", "", "deleted_at = clock_timestamp()"),
}  # fmt: skip


def ready_state(stage: Stage) -> str:
    """The state of a file in which a stage may claim it."""
    return STATES[stage].ready


_MADE = """
    AND EXISTS (SELECT FROM inventory.directory d WHERE d.id = f.directory_id
                AND (d.collection_made_at IS NOT NULL OR d.collection_dead))
"""

# the first of what is due, as far as it may be taken; the locks on the others end with the claim
_AHEAD = """
    (SELECT directory_id, name FROM (
        SELECT directory_id, name, row_number() OVER ordered AS number,
            sum(size) OVER (ordered ROWS UNBOUNDED PRECEDING) - size AS before
        FROM due WINDOW ordered AS (ORDER BY directory_id, name)) AS d
     WHERE before < :most_bytes OR number <= :least_files) AS due
"""


def claim(
    database: Database,
    worker: int,
    stage: Stage,
    shard: int,
    limit: int,
    *,
    after: Key | None = None,
    cap: Cap | None = None,
    made_only: bool = False,
    ahead: tuple[int, int] | None = None,
) -> list[ClaimedFile]:
    """Claim up to `limit` due files of one shard; an empty list when it is dry or this worker was declared dead.

    With a `cap` no more than the job's files in flight allow, which may be none.

    `after` passes over all files up to that one, and with them over what they left in the index: while any transaction is
    older than them, the dead entries of claimed files cannot be removed, and a claim from the start reads them all.
    `made_only` leaves files until the collection of their directory was made, or could not be. `ahead` takes files only until
    so many bytes are reached, and so many files in any case.
    """
    words = STATES[stage]
    beyond = "AND (f.directory_id, f.name) > (:directory, :name)" if after else ""
    ready = _MADE if made_only else ""
    size, due = (", f.size", _AHEAD) if ahead else ("", "due")
    most_bytes, least_files = ahead or (0, 0)
    directory, name = after or (0, "")
    with database.begin() as connection:
        if cap is not None and (limit := min(limit, flight.room(connection, cap, stage))) <= 0:
            return []
        rows = connection.execute(
            text(f"""
                WITH alive AS MATERIALIZED ({ALIVE}), due AS MATERIALIZED (
                    SELECT f.directory_id, f.name {size} FROM inventory.file f
                    WHERE f.shard = :shard AND f.state = '{words.ready}' AND f.retry_at IS NULL AND EXISTS (SELECT FROM alive)
                      {beyond} {ready}
                    ORDER BY f.directory_id, f.name LIMIT :limit FOR UPDATE SKIP LOCKED),
                claimed AS (
                    UPDATE inventory.file f
                    SET state = '{words.busy}', claimed_by = :worker {words.begin}
                    FROM {due} WHERE f.shard = :shard AND f.directory_id = due.directory_id AND f.name = due.name
                    RETURNING f.shard, f.directory_id, f.name, f.generation, f.size, f.modified_at, f.checksum,
                        f.loaded_by IS NULL AND f.reaps = 0 AS fresh, f.reaps >= {SUSPECT_REAPS} AS suspect,
                        f.source_tag, f.{words.attempts} AS attempts, {AGAIN} AS again)
                SELECT d.job_id, c.shard, c.directory_id, d.path, c.name, c.generation, c.size,
                    (extract(epoch FROM c.modified_at) * 1000000)::bigint, c.checksum, c.fresh,
                    d.collection_made_at IS NOT NULL, c.suspect, c.source_tag, c.attempts, c.again
                FROM claimed c JOIN inventory.directory d ON d.id = c.directory_id
                ORDER BY c.directory_id, c.name"""),
            {
                "worker": worker,
                "shard": shard,
                "limit": limit,
                "directory": directory,
                "name": name,
                "most_bytes": most_bytes,
                "least_files": least_files,
            },
        )
        return [ClaimedFile(*row) for row in rows]


def finish(database: Database, worker: int, stage: Stage, results: Sequence[Result], limits: Limits) -> int:
    """Write down what became of claimed files, in one transaction. Returns how many were fenced: no longer this worker's.

    Safe to repeat after a lost connection: what was written already matches no row the second time.
    """
    by_shard: dict[tuple[int, type], list[Result]] = {}
    for result in results:
        by_shard.setdefault((result.file.shard, type(result.outcome)), []).append(result)
    # these rows no longer agree with what the last scan listed
    otherwise = [r.file.directory_id for r in results if isinstance(r.outcome, Vanished | Changed)]
    applied = 0
    with database.begin() as connection:
        if otherwise:
            unlearn(connection, otherwise)
        for (shard, kind), group in sorted(by_shard.items(), key=lambda item: (item[0][0], item[0][1].__name__)):
            applied += _WRITERS[kind](connection, worker, stage, shard, group, limits)
        if applied:
            activity.note(connection, worker, _deeds(stage, results))
    _tell(stage, results, len(results) - applied)
    return len(results) - applied


def _tell(stage: Stage, results: Sequence[Result], fenced: int) -> None:
    for result in results:
        metrics.FILES.labels(stage, type(result.outcome).__name__.lower()).inc()
        if isinstance(result.outcome, Done):
            metrics.BYTES.labels(stage).inc(result.file.size)
    metrics.FENCED.labels(stage).inc(fenced)


def _deeds(stage: Stage, results: Sequence[Result]) -> list[activity.Deed]:
    by_job: dict[int, list[Result]] = {}
    for result in results:
        if not isinstance(result.outcome, Released):
            by_job.setdefault(result.file.job_id, []).append(result)
    return [_deed(job, stage, group) for job, group in by_job.items()]


def _deed(job: int, stage: Stage, group: Sequence[Result]) -> activity.Deed:
    done = [result for result in group if isinstance(result.outcome, Done)]
    # files that travelled together have the same times, and one thread
    runs = {(result.began_seconds_ago, result.ended_seconds_ago) for result in group}
    return activity.Deed(
        job=job,
        stage=stage,
        files=len(group),
        failed=len(group) - len(done),
        bytes=sum(result.file.size for result in done),
        began=max(began for began, _ in runs),
        ended=min(ended for _, ended in runs),
        busy=sum(max(0.0, began - ended) for began, ended in runs),
    )


def release(database: Database, worker: int, stage: Stage, files: Sequence[ClaimedFile]) -> int:
    """Give back uncounted what was not begun. Returns how many were fenced."""
    return finish(database, worker, stage, [Result(file, Released()) for file in files], Limits())


# Each row of a result travels as one element in parallel arrays; `mine` is the guard of every finish. The conditions on the
# rows are always true, and what the planner cannot know of is taken for rare: so it expects one row and looks each up by its
# key. Expecting 500 it reads the whole key instead, and joins each row that this worker holds with each result.
_ROWS = """
    (SELECT * FROM unnest(CAST(:directories AS bigint[]), CAST(:names AS text[]), CAST(:generations AS int[]),
                          CAST(:began AS float[]), CAST(:ended AS float[]), CAST(:first AS text[]), CAST(:second AS text[]),
                          CAST(:tags AS text[]), CAST(:waits AS float[]))
     AS r(directory_id, name, generation, began, ended, first, second, tag, wait)
     WHERE coalesce(r.directory_id, 0) = r.directory_id AND coalesce(r.generation, 0) = r.generation OFFSET 0) AS r
"""
# The owner is hidden in coalesce, so that the rows are found by their key: the index of claimed rows holds as many of this
# worker's as there are results, and a planner without statistics joined each of them with each result (5 000 files a second).
_MINE = """
    f.shard = :shard AND f.directory_id = r.directory_id AND f.name = r.name AND f.generation = r.generation
    AND coalesce(f.claimed_by, 0) = :worker AND f.state = '{busy}'
"""


def _run(
    connection: Connection,
    worker: int,
    stage: Stage,
    shard: int,
    group: Sequence[Result],
    assignments: str,
    *,
    texts: Sequence[tuple[str | None, str | None]] | None = None,
    returning: str = "",
    **values: object,
) -> int:
    """Run one guarded UPDATE over the rows of a group and return how many rows it matched."""
    words = STATES[stage]
    guard = _MINE.format(busy=words.busy)
    changes = assignments.replace("STAMPS", words.stamps).replace("ATTEMPTS", words.attempts)
    statement = f"UPDATE inventory.file f SET claimed_by = NULL, begun = false, {changes} FROM {_ROWS} WHERE {guard}"
    if returning:
        statement = f"WITH failed AS ({statement} RETURNING f.*, r.first AS error, r.second AS message) {returning}"
    done = connection.execute(
        text(statement),
        {
            "worker": worker,
            "shard": shard,
            "directories": array_of(r.file.directory_id for r in group),
            "names": [r.file.name for r in group],
            "generations": array_of(r.file.generation for r in group),
            "began": array_of(max(r.began_seconds_ago, r.ended_seconds_ago) for r in group),
            "ended": array_of(r.ended_seconds_ago for r in group),
            "first": [first for first, _ in texts] if texts else [],
            "second": [second for _, second in texts] if texts else [],
            "tags": [r.outcome.tag for r in group if isinstance(r.outcome, Changed)],
            "waits": [r.outcome.wait_seconds for r in group if isinstance(r.outcome, Retry)],
            **values,
        },
    )
    return done.rowcount


# The reason of a failure is written by the very statement that fails the row.
_FAILURE = """
    INSERT INTO inventory.failure
        (directory_id, worker_id, shard, generation, attempt, permanent, stage, name, error, message)
    SELECT directory_id, :worker, shard, generation, {attempts}, state = 'dead', {stage}, name, error, message {more}
    FROM failed f
"""


def _failure(stage: Stage) -> str:
    name, more = f"'{stage}'", ""
    if stage == "verify":
        name = f"CASE WHEN {AGAIN} THEN 'reverify' ELSE 'verify' END"
        more = f"|| CASE WHEN {AGAIN} THEN ' (it was right at ' || date_trunc('second', verified_before_at) || ')' ELSE '' END"
    return _FAILURE.format(stage=name, attempts=STATES[stage].attempts, more=more)


_CHANGED_FAILURE = """
    INSERT INTO inventory.failure
        (directory_id, worker_id, shard, generation, attempt, permanent, stage, name, error, message)
    SELECT directory_id, :worker, shard, generation, load_attempts, state = 'dead', 'load', name, 'changed',
           'the source changed while it was being read: now ' || error || ' bytes of ' || message
    FROM failed
"""
_BACKOFF = "least(:longest, :shortest * power(2, least(f.ATTEMPTS, 30))) * (0.9 + 0.2 * random())"


def _done(c: Connection, worker: int, stage: Stage, shard: int, group: Sequence[Result], limits: Limits) -> int:
    outcomes = [r.outcome for r in group if isinstance(r.outcome, Done)]
    level = ', verify_level = left(r.second, 1)::"char"' if stage == "verify" else ""
    return _run(
        c, worker, stage, shard, group,
        f"state = '{STATES[stage].done}', ATTEMPTS = f.ATTEMPTS + 1, checksum = coalesce(r.first, f.checksum), STAMPS {level}",
        texts=[(outcome.checksum, outcome.level) for outcome in outcomes],
    )  # fmt: skip


def _retry(c: Connection, worker: int, stage: Stage, shard: int, group: Sequence[Result], limits: Limits) -> int:
    words = STATES[stage]
    dead = "(r.wait IS NULL AND f.ATTEMPTS + 1 >= :max_attempts)"
    return _run(
        c, worker, stage, shard, group,
        f"""state = CASE WHEN {dead} THEN 'dead' ELSE '{words.ready}' END::inventory.file_state,
            ATTEMPTS = f.ATTEMPTS + 1,
            retry_at = CASE WHEN NOT {dead} THEN now() + make_interval(secs => coalesce(r.wait, {_BACKOFF})) END,
            STAMPS""",
        texts=[_why(r.outcome) for r in group],
        returning=_failure(stage),
        max_attempts=limits.max_attempts,
        longest=limits.retry_max_seconds,
        shortest=limits.retry_seconds,
    )  # fmt: skip


def _dead(c: Connection, worker: int, stage: Stage, shard: int, group: Sequence[Result], limits: Limits) -> int:
    return _run(
        c, worker, stage, shard, group,
        "state = 'dead', ATTEMPTS = f.ATTEMPTS + 1, STAMPS",
        texts=[_why(r.outcome) for r in group],
        returning=_failure(stage),
    )  # fmt: skip


def _mismatched(c: Connection, worker: int, stage: Stage, shard: int, group: Sequence[Result], limits: Limits) -> int:
    return _run(
        c, worker, stage, shard, group,
        """state = CASE WHEN f.reloads >= :max_reloads THEN 'dead' ELSE 'discovered' END::inventory.file_state,
            reloads = f.reloads + 1, ATTEMPTS = f.ATTEMPTS + 1, STAMPS""",
        texts=[_why(r.outcome) for r in group],
        returning=_failure(stage),
        max_reloads=limits.max_reloads,
    )  # fmt: skip


def _vanished(c: Connection, worker: int, stage: Stage, shard: int, group: Sequence[Result], limits: Limits) -> int:
    # not due for deletion: only a complete scan of its directory tells that it is gone
    return _run(c, worker, stage, shard, group, "state = 'vanished', retry_at = 'infinity', vanished_at = NULL, STAMPS")


def _changed(c: Connection, worker: int, stage: Stage, shard: int, group: Sequence[Result], limits: Limits) -> int:
    # a change is a new generation, but attempts go on counting: a file that never rests ends as a dead letter
    stats = [(str(r.outcome.size), _stamp(r.outcome.modified_at)) for r in group if isinstance(r.outcome, Changed)]
    dead = "f.load_attempts + 1 >= :max_attempts"
    return _run(
        c, worker, stage, shard, group,
        f"""state = CASE WHEN {dead} THEN 'dead' ELSE 'discovered' END::inventory.file_state,
            generation = f.generation + 1, discovered_at = now(), load_attempts = f.load_attempts + 1,
            size = CAST(r.first AS bigint), modified_at = CAST(r.second AS timestamptz),
            source_tag = r.tag, checksum = NULL, retry_at = CASE WHEN NOT {dead} THEN now() + make_interval(secs => {_BACKOFF}) END,
            verify_attempts = 0, reloads = 0, reaps = 0, vanished_at = NULL,
            load_started_at = NULL, load_finished_at = NULL, verify_started_at = NULL, verify_finished_at = NULL""",
        texts=stats,
        returning=_CHANGED_FAILURE,
        max_attempts=limits.max_attempts,
        longest=limits.retry_max_seconds,
        shortest=limits.retry_seconds,
    )  # fmt: skip


def _skipped(c: Connection, worker: int, stage: Stage, shard: int, group: Sequence[Result], limits: Limits) -> int:
    return _run(
        c, worker, stage, shard, group,
        "state = 'skipped', STAMPS",
        texts=[_why(r.outcome) for r in group],
        returning=_failure(stage),
    )  # fmt: skip


def _released(c: Connection, worker: int, stage: Stage, shard: int, group: Sequence[Result], limits: Limits) -> int:
    # a release leaves no trace of the attempt, so the stamps of an earlier finish must not look like this stage's
    undo = "" if stage == "delete" else f", {stage}_started_at = NULL, {stage}_finished_at = NULL"
    return _run(c, worker, stage, shard, group, f"state = '{STATES[stage].ready}' {undo}")


_WRITERS = {
    Done: _done,
    Retry: _retry,
    Dead: _dead,
    Mismatched: _mismatched,
    Vanished: _vanished,
    Changed: _changed,
    Skipped: _skipped,
    Released: _released,
}


def _why(outcome: Outcome) -> tuple[str, str]:
    match outcome:
        case Retry(error, message) | Dead(error, message) | Mismatched(error, message):
            return error, message
        case Skipped(reason):
            return "skipped", reason
        case _:
            return "", ""


def _stamp(modified_at: int) -> str:
    return (_EPOCH + timedelta(microseconds=modified_at)).isoformat()
