"""What a rescan may pass over, and shards that are added while a job runs.

The index of due directories now ends in the id: children that were found together are due at the same instant, and without it
each claim would sort all of them. `directory` has no foreign keys any more: its rows are inserted by one statement only, which
reads parent, job and shard from the tables themselves, and each key locked the one row of its job for every directory found.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

DIRECTORIES = """
ALTER TABLE inventory.directory
    ADD COLUMN modified_at bigint,           -- microseconds since 1970, as it was before the last scan began
    ADD COLUMN listing_digest bigint,        -- of the last listing; NULL unless the rows were brought to it without remainder
    ADD COLUMN steady boolean NOT NULL DEFAULT false,  -- two scans in a row found the same time and the same listing
    DROP CONSTRAINT directory_parent_id_fkey,
    DROP CONSTRAINT directory_shard_fkey,
    DROP CONSTRAINT directory_job_id_fkey,
    SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,
         autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.1);
DROP INDEX inventory.directory_due;
CREATE INDEX directory_due ON inventory.directory (job_id, next_scan_at, id)
    WHERE state IN ('pending', 'scanned') AND next_scan_at IS NOT NULL;
"""

SHARDS = """
ALTER TABLE inventory.shard
    ADD COLUMN accepting boolean NOT NULL DEFAULT true;  -- new directories go to shards that accept them
"""


def upgrade() -> None:
    for part in (DIRECTORIES, SHARDS):
        op.execute(part)


def downgrade() -> None:
    raise NotImplementedError("the inventory is never migrated backwards; restore a backup")
