"""The first schema: jobs, shards, workers, directories, files, failures, events and folded counts.

`file` is one row a file and its key is (directory_id, name, shard): no path text and no surrogate id, which is what billions
of rows can afford. Its columns are ordered widest first, so that no byte is lost to padding.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TYPES = """
CREATE TYPE inventory.file_state AS ENUM (
    'discovered',  -- seen at the source; a loader may claim it
    'loading',     -- claimed by a loader
    'loaded',      -- in iRODS; a verifier may claim it
    'verifying',   -- claimed by a verifier
    'verified',    -- checksum agreed (final)
    'vanished',    -- gone from the source; rests, or is claimed for deletion where the job deletes
    'deleting',    -- claimed for deletion
    'deleted',     -- removed from iRODS (final)
    'skipped',     -- by the job's rules there is nothing to do (final)
    'dead'         -- dead letter: waits for a person
);
CREATE TYPE inventory.directory_state AS ENUM (
    'pending',     -- never scanned, or wanted again
    'scanning',    -- claimed by a watcher
    'scanned',     -- listed completely; due again at next_scan_at, when that is set
    'vanished',    -- gone from the source
    'dead'         -- could not be scanned; waits for a person
);
CREATE TYPE inventory.job_state AS ENUM ('running', 'paused', 'stopped', 'finished');
CREATE TYPE inventory.worker_kind AS ENUM ('watcher', 'loader', 'verifier', 'compute');
"""

JOBS = """
CREATE TABLE inventory.job (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    state inventory.job_state NOT NULL DEFAULT 'running',
    source_url text NOT NULL,             -- file:///archive or s3://bucket/prefix
    target_collection text NOT NULL,      -- /tempZone/home/ingest
    settings jsonb NOT NULL DEFAULT '{}', -- the job section of config.yml as it was at the start
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE TABLE inventory.shard (            -- a shard belongs to one job and is one partition of file
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id int NOT NULL REFERENCES inventory.job
);
CREATE INDEX shard_of_job ON inventory.shard (job_id);
"""

WORKERS = """
CREATE TABLE inventory.worker (           -- the lease: rows stay, so claimed_by never dangles
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind inventory.worker_kind NOT NULL,
    pod text NOT NULL,                    -- for people; never the owner of anything
    version text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    stopped_at timestamptz,               -- said goodbye
    expired_at timestamptz,               -- declared dead by housekeeping; the fence
    reaped_at timestamptz                 -- nothing is claimed by it any more
);
CREATE INDEX worker_alive ON inventory.worker (heartbeat_at) WHERE stopped_at IS NULL AND expired_at IS NULL;
CREATE INDEX worker_unreaped ON inventory.worker (id)
    WHERE reaped_at IS NULL AND (stopped_at IS NOT NULL OR expired_at IS NOT NULL);
"""

DIRECTORIES = """
CREATE TABLE inventory.directory (        -- a directory or S3 prefix; the unit of the distributed scan
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    parent_id bigint REFERENCES inventory.directory,
    scan_started_at timestamptz,
    scan_finished_at timestamptz,
    next_scan_at timestamptz DEFAULT now(),  -- NULL: not again
    collection_made_at timestamptz,
    collection_retry_at timestamptz,
    claimed_by int,                       -- the watcher that scans it
    collection_claimed_by int,            -- the loader that makes its collection
    shard int NOT NULL REFERENCES inventory.shard,
    job_id int NOT NULL REFERENCES inventory.job,
    state inventory.directory_state NOT NULL DEFAULT 'pending',
    attempts smallint NOT NULL DEFAULT 0,
    collection_attempts smallint NOT NULL DEFAULT 0,
    collection_dead boolean NOT NULL DEFAULT false,
    path text COLLATE "C" NOT NULL,       -- relative to the job's source_url, escaped as in core.paths; '' is the root
    UNIQUE (job_id, path),
    CONSTRAINT claimed_means_scanning CHECK ((claimed_by IS NOT NULL) = (state = 'scanning'))
);
CREATE INDEX directory_due ON inventory.directory (job_id, next_scan_at)
    WHERE state IN ('pending', 'scanned') AND next_scan_at IS NOT NULL;
CREATE INDEX directory_claimed ON inventory.directory (claimed_by) WHERE claimed_by IS NOT NULL;
CREATE INDEX directory_of_parent ON inventory.directory (parent_id);
CREATE INDEX collection_wanted ON inventory.directory (job_id, id)
    WHERE collection_made_at IS NULL AND NOT collection_dead;
CREATE INDEX collection_claimed ON inventory.directory (collection_claimed_by) WHERE collection_claimed_by IS NOT NULL;
"""

FILES = """
CREATE TABLE inventory.file (
    -- 8 bytes each
    directory_id bigint NOT NULL,
    size bigint NOT NULL,
    modified_at timestamptz NOT NULL,     -- at the source
    discovered_at timestamptz NOT NULL DEFAULT now(),  -- of this generation
    load_started_at timestamptz,
    load_finished_at timestamptz,
    verify_started_at timestamptz,
    verify_finished_at timestamptz,
    deleted_at timestamptz,
    retry_at timestamptz,                 -- NULL: due. 'infinity': waits for the settle rule
    -- 4 bytes each
    claimed_by int,                       -- worker.id while claimed
    loaded_by int,
    verified_by int,
    shard int NOT NULL,
    generation int NOT NULL DEFAULT 1,    -- bumped when the source file changes
    state inventory.file_state NOT NULL DEFAULT 'discovered',
    -- 2 bytes each
    load_attempts smallint NOT NULL DEFAULT 0,
    verify_attempts smallint NOT NULL DEFAULT 0,
    reloads smallint NOT NULL DEFAULT 0,  -- loaded again because a checksum disagreed
    reaps smallint NOT NULL DEFAULT 0,    -- workers that died over it
    kind "char" NOT NULL DEFAULT 'f',     -- f regular, l link, s socket, p pipe, c and b device, ? unknown
    name text COLLATE "C" NOT NULL,       -- escaped as in core.paths
    source_tag text,                      -- S3 ETag
    checksum text,                        -- of the source's bytes, in iRODS notation
    PRIMARY KEY (directory_id, name, shard),
    CONSTRAINT claimed_means_busy CHECK ((claimed_by IS NOT NULL) = (state IN ('loading', 'verifying', 'deleting'))),
    CONSTRAINT retry_means_ready CHECK (retry_at IS NULL OR state IN ('discovered', 'loaded', 'vanished')),
    CONSTRAINT loaded_is_stamped CHECK (state NOT IN ('loaded', 'verifying', 'verified') OR load_finished_at IS NOT NULL),
    CONSTRAINT verified_is_stamped CHECK (state <> 'verified' OR verify_finished_at IS NOT NULL),
    CONSTRAINT load_stamps_ordered CHECK (load_finished_at >= load_started_at),
    CONSTRAINT verify_stamps_ordered CHECK (verify_finished_at >= verify_started_at)
) PARTITION BY LIST (shard);
CREATE INDEX file_to_load   ON inventory.file (directory_id, name) WHERE state = 'discovered' AND retry_at IS NULL;
CREATE INDEX file_to_verify ON inventory.file (directory_id, name) WHERE state = 'loaded'     AND retry_at IS NULL;
CREATE INDEX file_to_delete ON inventory.file (directory_id, name) WHERE state = 'vanished'   AND retry_at IS NULL;
CREATE INDEX file_retry     ON inventory.file (retry_at)           WHERE retry_at IS NOT NULL;
CREATE INDEX file_claimed   ON inventory.file (claimed_by)         WHERE claimed_by IS NOT NULL;
CREATE INDEX file_dead      ON inventory.file (directory_id, name) WHERE state = 'dead';
"""

RECORDS = """
CREATE TABLE inventory.failure (          -- why an attempt failed; the last one explains a dead letter
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    failed_at timestamptz NOT NULL DEFAULT now(),
    directory_id bigint NOT NULL,
    worker_id int NOT NULL,
    shard int NOT NULL,
    generation int NOT NULL DEFAULT 0,
    attempt smallint NOT NULL,
    permanent boolean NOT NULL,
    stage text NOT NULL,                  -- scan, collection, load, verify, reap
    name text COLLATE "C",                -- NULL: the directory itself
    error text NOT NULL,                  -- class: an iRODS, S3 or errno name, or a word of ours
    message text NOT NULL
);
CREATE INDEX failure_of_file ON inventory.failure (directory_id, name, id);
CREATE TABLE inventory.event (            -- audit: what people and housekeeping did
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    kind text NOT NULL,
    job_id int,
    detail jsonb NOT NULL DEFAULT '{}'
);
"""

PROGRESS = """
CREATE TABLE inventory.progress (         -- folded counts; no dashboard ever counts file
    shard int NOT NULL,
    state inventory.file_state NOT NULL,
    files bigint NOT NULL,
    bytes numeric NOT NULL,
    PRIMARY KEY (shard, state)
);
CREATE TABLE inventory.progress_delta (   -- one row a statement, shard and state; not one a file
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shard int NOT NULL,
    state inventory.file_state NOT NULL,
    files bigint NOT NULL,
    bytes numeric NOT NULL
);
CREATE VIEW inventory.progress_now AS
    SELECT shard, state, sum(files)::bigint AS files, sum(bytes) AS bytes
    FROM (SELECT shard, state, files, bytes FROM inventory.progress
          UNION ALL SELECT shard, state, files, bytes FROM inventory.progress_delta) AS parts
    GROUP BY shard, state;
CREATE FUNCTION inventory.note_progress() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO inventory.progress_delta (shard, state, files, bytes)
        SELECT shard, state, count(*), sum(size) FROM new_rows GROUP BY shard, state;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO inventory.progress_delta (shard, state, files, bytes)
        SELECT shard, state, -count(*), -sum(size) FROM old_rows GROUP BY shard, state;
    ELSE
        INSERT INTO inventory.progress_delta (shard, state, files, bytes)
        SELECT shard, state, sum(one), sum(size)
        FROM (SELECT shard, state, 1 AS one, size FROM new_rows
              UNION ALL SELECT shard, state, -1, -size FROM old_rows) AS moved
        GROUP BY shard, state
        HAVING sum(one) <> 0 OR sum(size) <> 0;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER file_inserted AFTER INSERT ON inventory.file REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION inventory.note_progress();
CREATE TRIGGER file_updated AFTER UPDATE ON inventory.file REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION inventory.note_progress();
CREATE TRIGGER file_deleted AFTER DELETE ON inventory.file REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION inventory.note_progress();
"""


def upgrade() -> None:
    for part in (TYPES, JOBS, WORKERS, DIRECTORIES, FILES, RECORDS, PROGRESS):
        op.execute(part)


def downgrade() -> None:
    raise NotImplementedError("the inventory is never migrated backwards; restore a backup")
