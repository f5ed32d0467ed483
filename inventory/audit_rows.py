"""What the inventory says of a job's directories and files, for an audit: in order, and in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import text

from core.compare import Row
from inventory.engine import Database

PAGE = 1000
_COLUMNS = """f.name, f.state::text, f.kind::text, f.size, (extract(epoch FROM f.modified_at) * 1000000)::bigint, f.source_tag,
    f.checksum, f.generation, f.shard"""


class Directory(NamedTuple):
    """A directory of the job; `path` is escaped and relative, `scan_due` that it is scanned now or will be by itself."""

    id: int
    shard: int
    path: str
    state: str
    scan_due: bool


def directories(database: Database, job: int, root: str = "") -> Iterator[Directory]:
    """A job's directories at and below `root`, in the order of their paths."""
    last: str | None = None
    while True:
        with database.begin() as connection:
            rows = connection.execute(
                text("""
                    SELECT d.id, d.shard, d.path, d.state::text,
                        j.state = 'running' AND (d.claimed_by IS NOT NULL OR d.next_scan_at IS NOT NULL)
                    FROM inventory.directory d JOIN inventory.job j ON j.id = d.job_id
                    WHERE d.job_id = :job AND d.path >= :root AND (CAST(:last AS text) IS NULL OR d.path > :last)
                      AND (:root = '' OR d.path = :root OR starts_with(d.path, :root || '/'))
                    ORDER BY d.path LIMIT :page"""),
                {"job": job, "root": root, "last": last, "page": PAGE},
            ).all()
        for row in rows:
            yield Directory(*row)
        if len(rows) < PAGE:
            return
        last = rows[-1].path


def known_directories(database: Database, job: int, paths: Sequence[str]) -> set[str]:
    """Which of these paths are directories of the job."""
    with database.begin() as connection:
        rows = connection.execute(
            text("SELECT path FROM inventory.directory WHERE job_id = :job AND path = ANY(:paths)"),
            {"job": job, "paths": list(paths)},
        )
        return set(rows.scalars())


def files(database: Database, directory: Directory) -> Iterator[Row]:
    """The files of a directory in the order of their names, all as they were when the first was asked for."""
    with database.stream() as connection:
        rows = connection.execute(
            text(f"""
                SELECT {_COLUMNS} FROM inventory.file f
                WHERE f.shard = :shard AND f.directory_id = :directory ORDER BY f.directory_id, f.name"""),
            {"shard": directory.shard, "directory": directory.id},
        )
        for row in rows:
            yield Row(*row)


def again(database: Database, directory: Directory, names: Sequence[str]) -> tuple[bool, dict[str, Row]]:
    """Whether a directory is to be scanned again, and some of its files, as they are now."""
    with database.begin() as connection:
        due = connection.execute(
            text("""
                SELECT j.state = 'running' AND (d.claimed_by IS NOT NULL OR d.next_scan_at IS NOT NULL)
                FROM inventory.directory d JOIN inventory.job j ON j.id = d.job_id WHERE d.id = :directory"""),
            {"directory": directory.id},
        ).scalar()
        rows = connection.execute(
            text(f"""
                SELECT {_COLUMNS} FROM unnest(CAST(:names AS text[])) AS n(name)
                JOIN LATERAL (SELECT * FROM inventory.file f WHERE f.shard = :shard AND f.directory_id = :directory
                              AND f.name = n.name OFFSET 0) f ON true"""),
            {"shard": directory.shard, "directory": directory.id, "names": list(names)},
        )
        return bool(due), {row[0]: Row(*row) for row in rows}
