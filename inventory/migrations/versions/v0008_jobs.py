"""Jobs that are cancelled, and how many attempts of a job failed without reading all that ever failed."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        ALTER TYPE inventory.job_state ADD VALUE 'cancelled';  -- stopped for good
        CREATE INDEX failure_of_shard ON inventory.failure (shard, permanent) WHERE error <> 'skipped';
        CREATE INDEX directory_dead ON inventory.directory (job_id) WHERE state = 'dead' OR collection_dead;
    """)


def downgrade() -> None:
    raise NotImplementedError("the inventory is never migrated backwards; restore a backup")
