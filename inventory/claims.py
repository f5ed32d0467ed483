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

from core.outcome import Changed, Dead, Done, Mismatched, Outcome, Released, Retry, Skipped, Vanished
from inventory.engine import Database
from inventory.workers import ALIVE

Stage = Literal["load", "verify", "delete"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ClaimedFile:
    """A file this worker owns until it finishes or releases it.

    `directory` is the escaped path relative to the job's source and `name` the escaped name in it; `modified_at` is in
    microseconds since 1970. `fresh` means that no worker can have written anything for it yet, `collection_made` that its
    collection is known to exist.
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
_STATES: dict[Stage, _Words] = {
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


def claim(database: Database, worker: int, stage: Stage, shard: int, limit: int) -> list[ClaimedFile]:
    """Claim up to `limit` due files of one shard; an empty list when it is dry or this worker was declared dead."""
    words = _STATES[stage]
    with database.begin() as connection:
        rows = connection.execute(
            text(f"""
                WITH alive AS MATERIALIZED ({ALIVE}), due AS MATERIALIZED (
                    SELECT f.directory_id, f.name FROM inventory.file f
                    WHERE f.shard = :shard AND f.state = '{words.ready}' AND f.retry_at IS NULL AND EXISTS (SELECT FROM alive)
                    ORDER BY f.directory_id, f.name LIMIT :limit FOR UPDATE SKIP LOCKED),
                claimed AS (
                    UPDATE inventory.file f
                    SET state = '{words.busy}', claimed_by = :worker {words.begin}
                    FROM due WHERE f.shard = :shard AND f.directory_id = due.directory_id AND f.name = due.name
                    RETURNING f.*)
                SELECT c.*, d.job_id, d.path, d.collection_made_at IS NOT NULL AS made,
                       extract(epoch FROM c.modified_at) * 1000000 AS modified_us
                FROM claimed c JOIN inventory.directory d ON d.id = c.directory_id
                ORDER BY c.directory_id, c.name"""),
            {"worker": worker, "shard": shard, "limit": limit},
        )
        return [
            ClaimedFile(
                job_id=r.job_id,
                shard=r.shard,
                directory_id=r.directory_id,
                directory=r.path,
                name=r.name,
                generation=r.generation,
                size=r.size,
                modified_at=int(r.modified_us),
                checksum=r.checksum,
                fresh=r.loaded_by is None and r.reaps == 0,
                collection_made=r.made,
            )
            for r in rows
        ]


def finish(database: Database, worker: int, stage: Stage, results: Sequence[Result], limits: Limits) -> int:
    """Write down what became of claimed files, in one transaction. Returns how many were fenced: no longer this worker's.

    Safe to repeat after a lost connection: what was written already matches no row the second time.
    """
    by_shard: dict[tuple[int, type], list[Result]] = {}
    for result in results:
        by_shard.setdefault((result.file.shard, type(result.outcome)), []).append(result)
    applied = 0
    with database.begin() as connection:
        for (shard, kind), group in sorted(by_shard.items(), key=lambda item: (item[0][0], item[0][1].__name__)):
            applied += _WRITERS[kind](connection, worker, stage, shard, group, limits)
    return len(results) - applied


def release(database: Database, worker: int, stage: Stage, files: Sequence[ClaimedFile]) -> int:
    """Give back uncounted what was not begun. Returns how many were fenced."""
    return finish(database, worker, stage, [Result(file, Released()) for file in files], Limits())


# Each row of a result travels as one element in parallel arrays; `mine` is the guard of every finish.
_ROWS = """
    (SELECT * FROM unnest(CAST(:directories AS bigint[]), CAST(:names AS text[]), CAST(:generations AS int[]),
                          CAST(:began AS float[]), CAST(:ended AS float[]), CAST(:first AS text[]), CAST(:second AS text[]))
     AS r(directory_id, name, generation, began, ended, first, second)) AS r
"""
_MINE = """
    f.shard = :shard AND f.directory_id = r.directory_id AND f.name = r.name AND f.generation = r.generation
    AND f.claimed_by = :worker AND f.state = '{busy}'
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
    words = _STATES[stage]
    guard = _MINE.format(busy=words.busy)
    changes = assignments.replace("STAMPS", words.stamps).replace("ATTEMPTS", words.attempts)
    statement = f"UPDATE inventory.file f SET claimed_by = NULL, {changes} FROM {_ROWS} WHERE {guard}"
    if returning:
        statement = f"WITH failed AS ({statement} RETURNING f.*, r.first AS error, r.second AS message) {returning}"
    pairs = texts or [(None, None)] * len(group)
    done = connection.execute(
        text(statement),
        {
            "worker": worker,
            "shard": shard,
            "directories": [r.file.directory_id for r in group],
            "names": [r.file.name for r in group],
            "generations": [r.file.generation for r in group],
            "began": [max(r.began_seconds_ago, r.ended_seconds_ago) for r in group],
            "ended": [r.ended_seconds_ago for r in group],
            "first": [first for first, _ in pairs],
            "second": [second for _, second in pairs],
            **values,
        },
    )
    return done.rowcount


# The reason of a failure is written by the very statement that fails the row.
_FAILURE = """
    INSERT INTO inventory.failure
        (directory_id, worker_id, shard, generation, attempt, permanent, stage, name, error, message)
    SELECT directory_id, :worker, shard, generation, {attempts}, state = 'dead', '{stage}', name, error, message
    FROM failed
"""


def _failure(stage: Stage) -> str:
    return _FAILURE.format(stage=stage, attempts=_STATES[stage].attempts)


_CHANGED_FAILURE = """
    INSERT INTO inventory.failure
        (directory_id, worker_id, shard, generation, attempt, permanent, stage, name, error, message)
    SELECT directory_id, :worker, shard, generation, load_attempts, state = 'dead', 'load', name, 'changed',
           'the source changed while it was being read: now ' || error || ' bytes of ' || message
    FROM failed
"""
_BACKOFF = "least(:longest, :shortest * power(2, least(f.ATTEMPTS, 30))) * (0.9 + 0.2 * random())"


def _done(c: Connection, worker: int, stage: Stage, shard: int, group: Sequence[Result], limits: Limits) -> int:
    words = _STATES[stage]
    texts = [(r.outcome.checksum if isinstance(r.outcome, Done) else None, None) for r in group]
    return _run(
        c, worker, stage, shard, group,
        f"state = '{words.done}', ATTEMPTS = f.ATTEMPTS + 1, checksum = coalesce(r.first, f.checksum), STAMPS",
        texts=texts,
    )  # fmt: skip


def _retry(c: Connection, worker: int, stage: Stage, shard: int, group: Sequence[Result], limits: Limits) -> int:
    words = _STATES[stage]
    dead = "f.ATTEMPTS + 1 >= :max_attempts"
    return _run(
        c, worker, stage, shard, group,
        f"""state = CASE WHEN {dead} THEN 'dead' ELSE '{words.ready}' END::inventory.file_state,
            ATTEMPTS = f.ATTEMPTS + 1,
            retry_at = CASE WHEN NOT {dead} THEN now() + make_interval(secs => {_BACKOFF}) END,
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
        f"state = 'dead', ATTEMPTS = f.ATTEMPTS + 1, STAMPS",
        texts=[_why(r.outcome) for r in group],
        returning=_failure(stage),
    )  # fmt: skip


def _mismatched(c: Connection, worker: int, stage: Stage, shard: int, group: Sequence[Result], limits: Limits) -> int:
    return _run(
        c, worker, stage, shard, group,
        f"""state = CASE WHEN f.reloads >= :max_reloads THEN 'dead' ELSE 'discovered' END::inventory.file_state,
            reloads = f.reloads + 1, ATTEMPTS = f.ATTEMPTS + 1, STAMPS""",
        texts=[_why(r.outcome) for r in group],
        returning=_failure(stage),
        max_reloads=limits.max_reloads,
    )  # fmt: skip


def _vanished(c: Connection, worker: int, stage: Stage, shard: int, group: Sequence[Result], limits: Limits) -> int:
    return _run(c, worker, stage, shard, group, "state = 'vanished', STAMPS")


def _changed(c: Connection, worker: int, stage: Stage, shard: int, group: Sequence[Result], limits: Limits) -> int:
    # a change is a new generation, but attempts go on counting: a file that never rests ends as a dead letter
    stats = [(str(r.outcome.size), _stamp(r.outcome.modified_at)) for r in group if isinstance(r.outcome, Changed)]
    dead = "f.load_attempts + 1 >= :max_attempts"
    return _run(
        c, worker, stage, shard, group,
        f"""state = CASE WHEN {dead} THEN 'dead' ELSE 'discovered' END::inventory.file_state,
            generation = f.generation + 1, discovered_at = now(), load_attempts = f.load_attempts + 1,
            size = CAST(r.first AS bigint), modified_at = CAST(r.second AS timestamptz), checksum = NULL,
            retry_at = CASE WHEN NOT {dead} THEN now() + make_interval(secs => {_BACKOFF}) END,
            verify_attempts = 0, reloads = 0, reaps = 0,
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
    return _run(c, worker, stage, shard, group, f"state = '{_STATES[stage].ready}' {undo}")


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
