"""Very large directories in parts, each a row of its own that any watcher may list.

A part holds the names beyond keys_after, up to and with keys_until, in the order of their UTF-8 bytes ("C"). Names are the
source's own: relative to the directory, not escaped. The parts of a directory always hold every name once.
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # constant defaults are kept in the catalogue: no row is rewritten
    op.execute("""
        ALTER TABLE inventory.directory
            ADD COLUMN keys_after text COLLATE "C" NOT NULL DEFAULT '',
            ADD COLUMN keys_until text COLLATE "C",  -- NULL: to the end
            DROP CONSTRAINT directory_job_id_path_key,
            ADD CONSTRAINT directory_job_id_path_key UNIQUE (job_id, path, keys_after)
    """)


def downgrade() -> None:
    raise NotImplementedError("the inventory is never migrated backwards; restore a backup")
