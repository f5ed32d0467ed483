"""Passes of a job over its source, and the event handler of a job.

A directory also keeps whether its collection was begun and whether it has changed since: what decides between the events of making
and of changing a collection.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

PASSES = """
CREATE TABLE inventory.pass (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id int NOT NULL REFERENCES inventory.job,
    number int NOT NULL,                  -- 1 is the job's first
    since timestamptz NOT NULL DEFAULT now(),  -- a directory whose scan ended since then was looked at in this pass
    started_at timestamptz,               -- NULL: waits until a directory is due
    pre_done_at timestamptz,              -- pre_job has returned, or there is none
    finished_at timestamptz,              -- all was looked at, loaded and verified
    post_done_at timestamptz,             -- post_job has returned or was given up, or there is none
    hook_claimed_by int,                  -- the loader that runs pre_job or post_job
    hook_attempts smallint NOT NULL DEFAULT 0,
    hook_retry_at timestamptz,
    error text,                           -- of the last attempt of pre_job or post_job that failed
    failed bigint,                        -- files and directories that were given up during the pass
    retried bigint,                       -- attempts that failed and were tried again
    counts jsonb,                         -- files and bytes of the job by state, when it finished
    UNIQUE (job_id, number),
    CONSTRAINT finished_after_start CHECK (finished_at IS NULL OR started_at IS NOT NULL AND pre_done_at IS NOT NULL)
);
CREATE UNIQUE INDEX pass_open ON inventory.pass (job_id) WHERE finished_at IS NULL;
CREATE INDEX pass_hook_claimed ON inventory.pass (hook_claimed_by) WHERE hook_claimed_by IS NOT NULL;
CREATE INDEX failure_when ON inventory.failure USING brin (failed_at);
"""
HANDLERS = """
ALTER TABLE inventory.job ADD COLUMN handler jsonb;  -- file, sha256 and overrides of its event handler; NULL: none
ALTER TABLE inventory.directory
    ADD COLUMN collection_begun boolean NOT NULL DEFAULT false,    -- a loader was about to make it
    ADD COLUMN collection_changed boolean NOT NULL DEFAULT false;  -- the directory has, and its event is still due
CREATE INDEX collection_changed ON inventory.directory (job_id, id) WHERE collection_changed;
CREATE TABLE inventory.handler_note (     -- what event handlers keep from one call to another
    job_id int NOT NULL REFERENCES inventory.job,
    key text NOT NULL,
    value jsonb NOT NULL,
    PRIMARY KEY (job_id, key)
);
"""


def upgrade() -> None:
    for part in (PASSES, HANDLERS):
        op.execute(part)


def downgrade() -> None:
    raise NotImplementedError("the inventory is never migrated backwards; restore a backup")
