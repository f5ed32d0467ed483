"""When a file that is verified again was verified before, and where the walk that finds such files goes on."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # neither rewrites a row: a column without values costs nothing, and a constant default is kept in the catalogue
    op.execute("""
        ALTER TABLE inventory.file ADD COLUMN verified_before_at timestamptz;
        ALTER TABLE inventory.shard
            ADD COLUMN reverify_directory bigint NOT NULL DEFAULT 0,
            ADD COLUMN reverify_name text COLLATE "C" NOT NULL DEFAULT '',
            ADD COLUMN reverify_at timestamptz NOT NULL DEFAULT now();
    """)


def downgrade() -> None:
    raise NotImplementedError("the inventory is never migrated backwards; restore a backup")
