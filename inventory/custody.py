"""What a worker holds, beyond the ordinary course: suspects that it begins, and claims that it does not know of."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text

from inventory.claims import STATES, ClaimedFile, Stage
from inventory.engine import Database


def begin(database: Database, worker: int, stage: Stage, file: ClaimedFile) -> bool:
    """Mark a suspect right before it is run. False when it is no longer this worker's."""
    with database.begin() as connection:
        marked = connection.execute(
            text(f"""
                UPDATE inventory.file SET begun = true
                WHERE shard = :shard AND directory_id = :directory AND name = :name AND generation = :generation
                  AND claimed_by = :worker AND state = '{STATES[stage].busy}'"""),
            {
                "shard": file.shard,
                "directory": file.directory_id,
                "name": file.name,
                "generation": file.generation,
                "worker": worker,
            },
        )
        return marked.rowcount == 1


def keep(database: Database, worker: int, stage: Stage, shards: Sequence[int], files: Sequence[ClaimedFile]) -> int:
    """Give back uncounted what this worker has claimed besides these files: claims whose answer was lost.

    Returns how many those were.
    """
    words = STATES[stage]
    undo = "" if stage == "delete" else f", {stage}_started_at = NULL, {stage}_finished_at = NULL"
    given_back = 0
    with database.begin() as connection:
        for shard in shards:
            mine = [file for file in files if file.shard == shard]
            given_back += connection.execute(
                text(f"""
                    UPDATE inventory.file f SET state = '{words.ready}', claimed_by = NULL, begun = false {undo}
                    WHERE f.shard = :shard AND f.claimed_by = :worker AND f.state = '{words.busy}' AND NOT EXISTS (
                        SELECT FROM unnest(CAST(:directories AS bigint[]), CAST(:names AS text[])) AS k(directory_id, name)
                        WHERE k.directory_id = f.directory_id AND k.name = f.name)"""),
                {
                    "shard": shard,
                    "worker": worker,
                    "directories": [file.directory_id for file in mine],
                    "names": [file.name for file in mine],
                },
            ).rowcount
    return given_back
