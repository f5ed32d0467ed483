"""Which suspects were begun: a file over which workers have died is marked right before it is run."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # a constant default is kept in the catalogue: no row is rewritten
    op.execute("ALTER TABLE inventory.file ADD COLUMN begun boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    raise NotImplementedError("the inventory is never migrated backwards; restore a backup")
