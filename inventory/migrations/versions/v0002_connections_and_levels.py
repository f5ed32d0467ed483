"""A cap on the connections of all pods together, the level at which a file was verified, collections to be removed."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE inventory.worker ADD COLUMN connections int NOT NULL DEFAULT 0;  -- granted to it just now
        CREATE TABLE inventory.connection_limit (  -- one row: how many connections all pods may have together
            single boolean PRIMARY KEY DEFAULT true CHECK (single),
            connections int NOT NULL,
            changed_at timestamptz NOT NULL DEFAULT now()
        );
        CREATE INDEX collection_gone ON inventory.directory (job_id, id)
            WHERE state = 'vanished' AND collection_made_at IS NOT NULL;
        ALTER TABLE inventory.file ADD COLUMN verify_level "char";  -- r rehash, s stat, c catalog
    """)


def downgrade() -> None:
    raise NotImplementedError("the inventory is never migrated backwards; restore a backup")
