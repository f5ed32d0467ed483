"""Other compute tasks of an input are found by it."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # IF NOT EXISTS: an early 0016 made it too
    op.execute("""
        CREATE INDEX IF NOT EXISTS compute_input ON inventory.compute_job (input)
            WHERE state IN ('requested', 'submitted', 'running')
    """)


def downgrade() -> None:
    raise NotImplementedError("the inventory is never migrated backwards; restore a backup")
