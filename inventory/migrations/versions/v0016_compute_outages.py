"""How often in a row a compute task's Job could not reach iRODS."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # a constant default is kept in the catalogue: no row is rewritten
    op.execute("ALTER TABLE inventory.compute_job ADD COLUMN outages smallint NOT NULL DEFAULT 0")


def downgrade() -> None:
    raise NotImplementedError("the inventory is never migrated backwards; restore a backup")
