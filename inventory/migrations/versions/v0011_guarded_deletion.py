"""Guarded deletion: what has vanished waits until the whole pass was looked at and found to be within the job's limits."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE inventory.file
            ADD COLUMN vanished_at timestamptz;  -- a complete scan of its directory did not find it; NULL: only a loader did not
        CREATE INDEX file_held ON inventory.file (vanished_at) WHERE state = 'vanished' AND retry_at = 'infinity';
        ALTER TABLE inventory.job
            ADD COLUMN deletes_cleared_at timestamptz,  -- what vanished up to then may be deleted
            ADD COLUMN deletes_judged_to timestamptz,   -- what vanished up to then was counted by the last judgement
            ADD COLUMN deletes_held bigint NOT NULL DEFAULT 0;  -- so many were too many then, and wait for a person
        ALTER TABLE inventory.pass
            ADD COLUMN deletes_judged_at timestamptz;   -- all of its directories had been looked at
    """)


def downgrade() -> None:
    raise NotImplementedError("the inventory is never migrated backwards; restore a backup")
