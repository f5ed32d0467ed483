"""Which file it is that has a name in iRODS, where an event handler maps names: the map is asked of what the inventory knows.

A mapped name does not say what it was made of. So one directory after the other is looked at, from the root on, for the child
whose mapped name is the wanted one: a look at the index for each directory in it, and the names of the last one's files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlalchemy import text

from inventory.engine import Database
from inventory.jobs import Job

# one index entry a child, however many directories are below it: '0' is the character after '/', and no name holds U+0001
_CHILDREN = """
    WITH RECURSIVE step (path) AS (
        (SELECT d.path FROM inventory.directory d
         WHERE d.job_id = :job AND d.path > :prefix AND (CAST(:until AS text) IS NULL OR d.path < :until)
         ORDER BY d.path LIMIT 1)
        UNION ALL
        SELECT (SELECT d.path FROM inventory.directory d
                WHERE d.job_id = :job AND (CAST(:until AS text) IS NULL OR d.path < :until)
                  AND d.path >= CASE WHEN strpos(substr(s.path, :cut), '/') > 0
                                     THEN :prefix || split_part(substr(s.path, :cut), '/', 1) || '0'
                                     ELSE s.path || chr(1) END
                ORDER BY d.path LIMIT 1)
        FROM step s WHERE s.path IS NOT NULL)
    SELECT split_part(substr(path, :cut), '/', 1) FROM step WHERE path IS NOT NULL
"""
_FILES = """
    SELECT f.name FROM inventory.directory d JOIN inventory.file f ON f.shard = d.shard AND f.directory_id = d.id
    WHERE d.job_id = :job AND d.path = :path
"""


def original(database: Database, job: Job, mapped: str, names: Callable[[str], str]) -> str | None:
    """The path relative to the source, escaped, that is called `mapped` in iRODS; None when the inventory knows none."""
    *folders, last = mapped.split("/")
    path = ""
    for folder in folders:
        child = _named(_children(database, job, path), folder, names)
        if child is None:
            return None
        path = f"{path}/{child}" if path else child
    found = _named(_files(database, job, path), last, names) or _named(_children(database, job, path), last, names)
    if found is None:
        return None
    return f"{path}/{found}" if path else found


def _named(found: Iterator[str], wanted: str, names: Callable[[str], str]) -> str | None:
    return next((name for name in found if names(name) == wanted), None)


def _children(database: Database, job: Job, path: str) -> Iterator[str]:
    prefix = f"{path}/" if path else ""
    values = {"job": job.id, "prefix": prefix, "until": f"{path}0" if path else None, "cut": len(prefix) + 1}
    with database.stream() as connection:
        yield from connection.execute(text(_CHILDREN), values).scalars()


def _files(database: Database, job: Job, path: str) -> Iterator[str]:
    with database.stream() as connection:
        yield from connection.execute(text(_FILES), {"job": job.id, "path": path}).scalars()
