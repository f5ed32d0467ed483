"""Whose turn it is to do what one pod does for all outside of the inventory."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

CHORE = """
CREATE TABLE inventory.chore (
    name text PRIMARY KEY,
    begun_at timestamptz NOT NULL         -- when a pod last took it on
)
"""


def upgrade() -> None:
    op.execute(CHORE)


def downgrade() -> None:
    raise NotImplementedError("the inventory is never migrated backwards; restore a backup")
