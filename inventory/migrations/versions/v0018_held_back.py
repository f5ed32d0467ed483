"""Why a worker takes no work: the service that it needs is away. Written with the heartbeat, for people."""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE inventory.worker
            ADD COLUMN held_back text,
            ADD COLUMN held_back_since timestamptz;
    """)


def downgrade() -> None:
    raise NotImplementedError("the inventory is never migrated backwards; restore a backup")
