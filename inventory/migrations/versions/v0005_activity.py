"""What each worker did when: one row a worker, stage, job and ten seconds, for charts; kept for hours, not for ever."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ACTIVITY = """
CREATE TABLE inventory.activity (
    tick_at timestamptz NOT NULL,         -- the beginning of the ten seconds in which the results were written down
    began_at timestamptz NOT NULL,        -- of the first of them
    ended_at timestamptz NOT NULL,        -- of the last of them
    bytes bigint NOT NULL,                -- of what was done
    busy_seconds real NOT NULL,           -- of all threads together
    worker_id int NOT NULL,
    job_id int NOT NULL,
    files int NOT NULL,                   -- with any outcome
    failed int NOT NULL,                  -- of these, those that were not done
    stage text NOT NULL,                  -- load, verify, delete, scan
    PRIMARY KEY (tick_at, worker_id, job_id, stage)
) WITH (fillfactor = 50)
"""


def upgrade() -> None:
    op.execute(ACTIVITY)


def downgrade() -> None:
    raise NotImplementedError("the inventory is never migrated backwards; restore a backup")
