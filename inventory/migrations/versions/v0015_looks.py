"""Directories that are looked at without a claim: most have not changed, and those then cost one write instead of two.

A look is a stretch of the index of due directories, so that other watchers pass over it. It owns nothing: whatever follows from a
look asks whether the directory is still as it was.
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE inventory.look (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            first_due_at timestamptz NOT NULL,    -- the stretch: from this next_scan_at and id
            last_due_at timestamptz NOT NULL,     -- to these
            first_id bigint NOT NULL,
            last_id bigint NOT NULL,
            began_at timestamptz NOT NULL DEFAULT now(),
            worker_id int NOT NULL,
            job_id int NOT NULL
        );
        CREATE INDEX look_of_job ON inventory.look (job_id);
        CREATE INDEX look_of_worker ON inventory.look (worker_id);
    """)


def downgrade() -> None:
    raise NotImplementedError("the inventory is never migrated backwards; restore a backup")
