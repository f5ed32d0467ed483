"""How many watchers died over a directory: one whose scan kills whoever scans it is a dead letter at last, as a file is."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # a constant default is kept in the catalogue: no row is rewritten
    op.execute("ALTER TABLE inventory.directory ADD COLUMN reaps smallint NOT NULL DEFAULT 0")


def downgrade() -> None:
    raise NotImplementedError("the inventory is never migrated backwards; restore a backup")
