"""Tasks for what was verified before a rule was in force: the inventory is read page by page, and what has a task keeps it."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import text

from core.errors import UsageError
from core.rules import Rule
from inventory.claims import AGAIN
from inventory.engine import Database
from inventory.jobs import Job, note

PAGE_FILES = 20_000
PAGE_DIRECTORIES = 5_000
_PATH = "rtrim(j.target_collection, '/') || CASE d.path WHEN '' THEN '' ELSE '/' || d.path END"
_FITS = "(CASE WHEN w.absolute THEN w.input ELSE w.path END) ~ ('^(?:' || w.pattern || ')$')"

# the very values that the trigger `request_compute` writes, so that a task is the same whoever asks for it
_FILES = f"""
    WITH page AS MATERIALIZED (
        SELECT directory_id, name, generation, state = 'verified' OR state IN ('loaded', 'verifying') AND {AGAIN} AS verified
        FROM inventory.file f
        WHERE shard = :shard AND (directory_id, name) > (:directory, :name) ORDER BY directory_id, name LIMIT :page),
    wanted AS (
        SELECT r.name AS rule, r.rule AS settings, p.generation::bigint, p.directory_id, {_PATH} || '/' || p.name AS input,
               CASE d.path WHEN '' THEN p.name ELSE d.path || '/' || p.name END AS path, r.absolute, r.pattern
        FROM page p JOIN inventory.directory d ON d.id = p.directory_id JOIN inventory.job j ON j.id = d.job_id
        JOIN inventory.compute_rule r ON r.name = :rule WHERE p.verified),
    asked AS (
        INSERT INTO inventory.compute_job (rule, input, generation, directory_id, state, settings, k8s_name)
        SELECT w.rule, w.input, w.generation, w.directory_id, 'requested', w.settings,
               inventory.compute_name(w.rule, w.input, w.generation)
        FROM wanted w WHERE {_FITS} ORDER BY w.input ON CONFLICT DO NOTHING RETURNING 1)
    SELECT (SELECT count(*) FROM asked), directory_id, name FROM page ORDER BY directory_id DESC, name DESC LIMIT 1
"""
_DIRECTORIES = f"""
    WITH page AS MATERIALIZED (
        SELECT id, path, job_id, shard FROM inventory.directory WHERE job_id = :job AND id > :directory ORDER BY id LIMIT :page),
    wanted AS (
        SELECT r.name AS rule, r.rule AS settings, d.id, d.shard, {_PATH} AS input, d.path, r.absolute, r.pattern
        FROM page d JOIN inventory.job j ON j.id = d.job_id JOIN inventory.compute_rule r ON r.name = :rule),
    asked AS (
        INSERT INTO inventory.compute_job (rule, input, generation, directory_id, state, settings, k8s_name)
        SELECT w.rule, w.input, 1, w.id, 'waiting', w.settings, inventory.compute_name(w.rule, w.input, 1)
        FROM wanted w WHERE {_FITS}
            AND NOT EXISTS (SELECT FROM inventory.compute_job c WHERE c.rule = w.rule AND c.input = w.input)
            AND EXISTS (SELECT FROM inventory.file f WHERE f.shard = w.shard AND f.directory_id = w.id AND f.state = 'verified')
        ORDER BY w.input ON CONFLICT DO NOTHING RETURNING 1)
    SELECT (SELECT count(*) FROM asked), max(id), '' FROM page HAVING count(*) > 0
"""


def request_older(database: Database, rule: str, jobs: list[Job], *, actor: str = "cli") -> Iterator[int]:
    """Ask for a task for each verified file, or collection, of these jobs that a rule in force fits and that has none.

    Yields how many are new after each page, each in a transaction of its own: it may end anywhere and be begun again. It reads
    every row of the jobs. Raises UsageError when no such rule is in force, or when it finds its objects by itself.
    """
    found = _in_force(database, rule)
    if found.trigger == "avu":
        raise UsageError(f"{rule} goes by metadata and finds older objects by itself", "attach its AVU to them")
    for job in jobs:
        if found.job is not None and found.job != job.name:
            continue
        total = 0
        places = job.shards if found.trigger == "file" else [0]
        for shard in places:
            for new in _pages(database, found, job, shard):
                total += new
                yield new
        with database.begin() as connection:
            note(connection, actor, "compute_requested", job.id, tasks=total, rule=rule)


def _in_force(database: Database, name: str) -> Rule:
    with database.begin() as connection:
        row = connection.execute(
            text("SELECT rule FROM inventory.compute_rule WHERE name = :name"), {"name": name}
        ).one_or_none()
    if row is None:
        raise UsageError(
            f"no rule {name!r} is in force", "see `ingest compute rules list`; a compute pod writes rules down"
        )
    return Rule.model_validate(row.rule)


def _pages(database: Database, rule: Rule, job: Job, shard: int) -> Iterator[int]:
    directory, name = 0, ""
    of_files = rule.trigger == "file"
    while True:
        with database.begin() as connection:
            row = connection.execute(
                text(_FILES if of_files else _DIRECTORIES),
                {
                    "rule": rule.name,
                    "job": job.id,
                    "shard": shard,
                    "directory": directory,
                    "name": name,
                    "page": PAGE_FILES if of_files else PAGE_DIRECTORIES,
                },
            ).one_or_none()
        if row is None:
            return
        new, directory, name = row
        yield new
