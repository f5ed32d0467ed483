"""Compute tasks: rules in force, claims, and what became of each attempt. Every transition is one guarded statement."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection, Row, text

from core.rules import Rule
from inventory.engine import Database
from inventory.jobs import note
from inventory.workers import ALIVE

WAIT_SECONDS = 1
"""How often a collection is looked at for files that are not verified yet; less often as time goes by."""
_COLUMNS = """
    id, rule, input, generation, state, k8s_name, attempts, settings, output, resource, replica_made, outages,
    EXISTS (SELECT FROM inventory.compute_job o WHERE o.input = c.input AND o.id <> c.id
            AND o.state IN ('requested', 'submitted', 'running')
            AND o.settings ->> 'resource_role' = c.settings ->> 'resource_role'
            AND coalesce(o.resource, c.resource) IS NOT DISTINCT FROM c.resource) AS replica_shared,
    (SELECT j.settings ->> 'as_user' FROM inventory.directory d JOIN inventory.job j ON j.id = d.job_id
     WHERE d.id = directory_id) AS as_user
"""


@dataclass(slots=True)
class Task:
    """A claimed row of `compute_job`; `progress` is what its worker found out, to be written by `finish`."""

    id: int
    rule: Rule
    input: str
    generation: int
    state: str
    k8s_name: str
    attempts: int
    output: str | None
    resource: str | None
    replica_made: bool
    replica_shared: bool = False
    """Another task that is not over reads the same input on the same resource, or may choose it."""
    outages: int = 0
    """Jobs of this attempt, in a row, that could not reach iRODS."""
    as_user: str | None = None
    """For whom the ingest job loads, as `name` or `name#zone`."""
    progress: Progress | Failure | None = field(default=None, compare=False)

    @property
    def owner(self) -> tuple[str, str] | None:
        """Name and zone of whom this is done for, '' for the zone of who logs in; None for the user of the configuration."""
        name, _, zone = (self.rule.owner or self.as_user or "").partition("#")
        return (name, zone) if name else None

    @property
    def job_name(self) -> str:
        """The name of this attempt's Job: the same for whoever asks, so that it is made once."""
        return f"{self.k8s_name}-{self.attempts}"

    def __str__(self) -> str:
        return f"{self.rule.name} of {self.input}"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a task is now. None leaves what is known as it is."""

    state: str
    """submitted, running or succeeded; requested when its Job is to be made again later."""
    check_seconds: float = 0
    """When to look again."""
    output: str | None = None
    resource: str | None = None
    replica_made: bool | None = None
    image_digest: str | None = None
    exit_code: int | None = None
    message: str | None = None
    """Why it does not get on, or None when all is well."""
    outage: bool = False
    """Its Job could not reach iRODS, and is to be made again."""


class Failure(NamedTuple):
    """Why an attempt failed."""

    error: str
    message: str
    permanent: bool = False
    exit_code: int | None = None
    log: str | None = None
    trimmed: bool = False
    """The replicas that were made for it are gone."""


def _task(row: Row[tuple[object, ...]]) -> Task:
    return Task(
        id=row.id,
        rule=Rule.model_validate(row.settings),
        input=row.input,
        generation=row.generation,
        state=row.state,
        k8s_name=row.k8s_name,
        attempts=row.attempts,
        output=row.output,
        resource=row.resource,
        replica_made=row.replica_made,
        replica_shared=row.replica_shared,
        outages=row.outages,
        as_user=row.as_user,
    )


def set_rules(database: Database, rules: Sequence[tuple[Rule, str]]) -> list[str]:
    """Put these rules, each with where it stands, in force instead of all others. Returns the names of those that changed."""
    changed: list[str] = []
    with database.begin() as connection:
        gone = connection.execute(
            text("DELETE FROM inventory.compute_rule WHERE NOT (name = ANY(CAST(:names AS text[]))) RETURNING name"),
            {"names": [rule.name for rule, _ in rules]},
        )
        changed += gone.scalars()
        for rule, source in sorted(rules, key=lambda one: one[0].name):
            done = connection.execute(
                text("""
                    INSERT INTO inventory.compute_rule AS r (name, kind, absolute, pattern, job, source, rule)
                    VALUES (:name, :kind, :absolute, :pattern, :job, :source, CAST(:rule AS jsonb))
                    ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, absolute = excluded.absolute,
                        pattern = excluded.pattern, job = excluded.job, source = excluded.source, rule = excluded.rule,
                        changed_at = now()
                    WHERE (r.rule, r.source) IS DISTINCT FROM (excluded.rule, excluded.source)
                    RETURNING name"""),
                {
                    "name": rule.name,
                    "kind": rule.trigger,
                    "absolute": rule.match.startswith("/"),
                    "pattern": rule.pattern,
                    "job": rule.job,
                    "source": source,
                    "rule": rule.model_dump_json(),
                },
            )
            changed += done.scalars()
    return sorted(changed)


def rules_from(database: Database, source: str) -> list[tuple[Rule, str]]:
    """The rules in force that stand in one place."""
    with database.begin() as connection:
        rows = connection.execute(
            text("SELECT rule, source FROM inventory.compute_rule WHERE source = :source ORDER BY name"),
            {"source": source},
        )
        return [(Rule.model_validate(row.rule), row.source) for row in rows]


def request(database: Database, rule: Rule, inputs: Sequence[tuple[str, int]]) -> int:
    """Ask for a task for each (logical path, generation) that has none; returns how many are new."""
    with database.begin() as connection:
        done = connection.execute(
            text("""
                INSERT INTO inventory.compute_job (rule, input, generation, state, settings, k8s_name)
                SELECT :rule, i.input, i.generation, 'requested', CAST(:settings AS jsonb),
                       inventory.compute_name(:rule, i.input, i.generation)
                FROM unnest(CAST(:inputs AS text[]), CAST(:generations AS bigint[])) AS i(input, generation)
                ORDER BY i.input ON CONFLICT DO NOTHING"""),
            {
                "rule": rule.name,
                "settings": rule.model_dump_json(),
                "inputs": [path for path, _ in inputs],
                "generations": [generation for _, generation in inputs],
            },
        )
        return done.rowcount


def release_complete(database: Database) -> int:
    """Request the tasks of collections of which all files are verified by now; returns how many.

    A file counts as long as it is on its way or dead; one that was skipped, has vanished or was deleted does not.
    """
    with database.begin() as connection:
        rows = connection.execute(
            text("""
                WITH due AS MATERIALIZED (
                    SELECT id, directory_id FROM inventory.compute_job
                    WHERE state = 'waiting' AND claimed_by IS NULL AND check_at <= now()
                    ORDER BY check_at LIMIT 500 FOR UPDATE SKIP LOCKED),
                judged AS MATERIALIZED (
                    SELECT due.id, d.state IN ('scanned', 'vanished') AND NOT EXISTS (
                        SELECT FROM inventory.file f WHERE f.shard = d.shard AND f.directory_id = d.id
                        AND f.state IN ('discovered', 'loading', 'loaded', 'verifying', 'dead')) AS complete
                    FROM due JOIN inventory.directory d ON d.id = due.directory_id)
                UPDATE inventory.compute_job c
                SET state = CASE WHEN j.complete THEN 'requested' ELSE 'waiting' END::inventory.compute_state,
                    check_at = now() + CASE WHEN j.complete THEN 0 ELSE
                        least(600, greatest(:wait, extract(epoch FROM now() - c.requested_at) / 10)) END * interval '1 second'
                FROM judged j WHERE c.id = j.id AND c.state = 'waiting' RETURNING c.state::text"""),
            {"wait": WAIT_SECONDS},
        )
        return sum(state == "requested" for state in rows.scalars())


def claim(database: Database, worker: int, limit: int, max_running: int) -> list[Task]:
    """Claim tasks that are due to be looked at; new ones only while fewer than `max_running` are at work."""
    with database.begin() as connection:
        rows = connection.execute(
            text(f"""
                WITH alive AS MATERIALIZED ({ALIVE}), looked AS MATERIALIZED (
                    SELECT id FROM inventory.compute_job
                    WHERE state IN ('submitted', 'running') AND claimed_by IS NULL AND check_at <= now()
                      AND EXISTS (SELECT FROM alive)
                    ORDER BY check_at LIMIT :limit FOR UPDATE SKIP LOCKED),
                fresh AS MATERIALIZED (
                    SELECT id FROM inventory.compute_job
                    WHERE state = 'requested' AND claimed_by IS NULL AND check_at <= now() AND EXISTS (SELECT FROM alive)
                    ORDER BY check_at
                    LIMIT least(:limit, greatest(0, :most - (
                        SELECT count(*) FROM inventory.compute_job
                        WHERE state IN ('submitted', 'running') AND claimed_by IS NULL) - (
                        SELECT count(*) FROM inventory.compute_job WHERE claimed_by IS NOT NULL)))
                    FOR UPDATE SKIP LOCKED)
                UPDATE inventory.compute_job c SET claimed_by = :worker
                WHERE id IN (SELECT id FROM looked UNION ALL SELECT id FROM fresh)
                RETURNING {_COLUMNS}"""),
            {"worker": worker, "limit": limit, "most": max_running},
        )
        return [_task(row) for row in rows]


def advance(database: Database, worker: int, task: Task, to: Progress) -> bool:
    """Write down where a claimed task is and give it back. False when it is no longer this worker's."""
    with database.begin() as connection:
        done = connection.execute(
            text("""
                UPDATE inventory.compute_job SET claimed_by = NULL, state = CAST(:state AS inventory.compute_state),
                    check_at = now() + make_interval(secs => :wait),
                    submitted_at = CASE WHEN state = 'requested' THEN now() ELSE submitted_at END,
                    finished_at = CASE WHEN :state = 'succeeded' THEN now() END,
                    output = coalesce(:output, output), resource = coalesce(:resource, resource),
                    replica_made = coalesce(CAST(:replica_made AS boolean), replica_made),
                    image_digest = coalesce(:image_digest, image_digest),
                    exit_code = coalesce(CAST(:exit_code AS int), exit_code),
                    error = CASE WHEN :state = 'succeeded' THEN NULL ELSE error END, message = :message,
                    outages = CASE WHEN :state = 'succeeded' THEN 0 ELSE outages + CAST(:outage AS int) END,
                    log = CASE WHEN :state = 'succeeded' THEN NULL ELSE log END
                WHERE id = :id AND claimed_by = :worker AND state = CAST(:was AS inventory.compute_state)"""),
            {
                "id": task.id,
                "worker": worker,
                "was": task.state,
                "state": to.state,
                "wait": to.check_seconds,
                "output": to.output,
                "resource": to.resource,
                "replica_made": to.replica_made,
                "image_digest": to.image_digest,
                "exit_code": to.exit_code,
                "message": to.message,
                "outage": to.outage,
            },
        )
        if done.rowcount and to.state == "succeeded":
            _hand_over(connection, task)
        return done.rowcount == 1


def _hand_over(connection: Connection, task: Task) -> None:
    """The replica that was made for a task that is over is from now on another one's, which trims it when it is done."""
    if not (task.replica_made and task.replica_shared):
        return
    connection.execute(
        text("""
            UPDATE inventory.compute_job SET replica_made = true, resource = :resource WHERE id = (
                SELECT id FROM inventory.compute_job
                WHERE input = :input AND id <> :id AND state IN ('requested', 'submitted', 'running')
                  AND settings ->> 'resource_role' = CAST(:role AS text)
                  AND coalesce(resource, CAST(:resource AS text)) = CAST(:resource AS text)
                ORDER BY settings ->> 'trim' DESC, id LIMIT 1)"""),
        {"input": task.input, "id": task.id, "role": task.rule.resource_role, "resource": task.resource},
    )


def fail(database: Database, worker: int, task: Task, why: Failure, longest_seconds: float) -> str | None:
    """Count a failed attempt: again after a back-off, or dead. Returns the new state, or None when it was fenced."""
    with database.begin() as connection:
        found = connection.execute(
            text("""
                UPDATE inventory.compute_job SET claimed_by = NULL, attempts = attempts + 1, outages = 0,
                    state = CASE WHEN :permanent OR attempts >= :retries THEN 'dead' ELSE 'requested'
                            END::inventory.compute_state,
                    check_at = now() + make_interval(secs => least(:longest, :shortest * power(2, least(attempts, 30)))
                                                             * (0.9 + 0.2 * random())),
                    finished_at = CASE WHEN :permanent OR attempts >= :retries THEN now() END,
                    replica_made = replica_made AND NOT :trimmed,
                    error = :error, message = :message, exit_code = CAST(:exit_code AS int), log = :log
                WHERE id = :id AND claimed_by = :worker AND state = CAST(:was AS inventory.compute_state)
                RETURNING state"""),
            {
                "id": task.id,
                "worker": worker,
                "was": task.state,
                "permanent": why.permanent,
                "retries": task.rule.retries,
                "longest": longest_seconds,
                "shortest": task.rule.retry_seconds,
                "error": why.error,
                "message": why.message,
                "exit_code": why.exit_code,
                "log": why.log,
                "trimmed": why.trimmed,
            },
        ).scalar()
        if found == "dead":
            _hand_over(connection, task)
        return found if found is None else str(found)


def release(database: Database, worker: int, tasks: Sequence[Task], wait_seconds: float = 0) -> int:
    """Give back uncounted. Returns how many were no longer this worker's."""
    with database.begin() as connection:
        done = connection.execute(
            text("""
                UPDATE inventory.compute_job SET claimed_by = NULL, check_at = now() + make_interval(secs => :wait)
                WHERE id = ANY(CAST(:ids AS bigint[])) AND claimed_by = :worker"""),
            {"ids": [task.id for task in tasks], "worker": worker, "wait": wait_seconds},
        )
        return len(tasks) - done.rowcount


def keep(database: Database, worker: int, tasks: Sequence[Task]) -> None:
    """Give back whatever this worker has claimed besides these: claims whose answer was lost."""
    with database.begin() as connection:
        connection.execute(
            text("""
                UPDATE inventory.compute_job SET claimed_by = NULL
                WHERE claimed_by = :worker AND NOT (id = ANY(CAST(:ids AS bigint[])))"""),
            {"ids": [task.id for task in tasks], "worker": worker},
        )


def look_now(database: Database, job_names: Collection[str]) -> int:
    """Have the tasks of these Jobs looked at at once, because the cluster told of them."""
    with database.begin() as connection:
        done = connection.execute(
            text("""
                UPDATE inventory.compute_job SET check_at = now()
                WHERE state IN ('submitted', 'running') AND check_at > now()
                  AND k8s_name || '-' || attempts = ANY(CAST(:names AS text[]))
                  AND k8s_name = ANY(CAST(:stems AS text[]))"""),
            {"names": list(job_names), "stems": [name.rpartition("-")[0] for name in job_names]},
        )
        return done.rowcount


def retry(database: Database, ids: Sequence[int], rule: str | None, *, actor: str = "cli") -> int:
    """Give dead tasks all their attempts again: those of `ids`, or all of a rule, or all. Returns how many.

    Their Jobs get a new name: the number of attempts goes on from where Kubernetes may still know one, by a new name's hash.
    """
    with database.begin() as connection:
        done = connection.execute(
            text("""
                UPDATE inventory.compute_job SET state = 'requested', attempts = 0, outages = 0, check_at = now(),
                    resource = CASE WHEN replica_made THEN resource END,
                    finished_at = NULL, requested_at = now(), error = NULL, message = NULL, log = NULL, exit_code = NULL,
                    k8s_name = inventory.compute_name(rule, input || E'\\n' || clock_timestamp()::text, generation)
                WHERE state = 'dead' AND (CAST(:rule AS text) IS NULL OR rule = :rule)
                  AND (:all OR id = ANY(CAST(:ids AS bigint[])))"""),
            {"ids": list(ids), "rule": rule, "all": not ids},
        )
        note(connection, actor, "compute_retried", None, tasks=done.rowcount, rule=rule, ids=list(ids))
        return done.rowcount
