"""Compute to data: the rules in force, and a row for each Kubernetes Job that is wanted.

A file that is verified asks for its Job in the very statement that verifies it: there is nothing to scan for, and nothing to miss.
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TABLES = """
CREATE TYPE inventory.compute_state AS ENUM (
    'waiting',     -- a collection of which not all files are verified yet
    'requested',   -- to be prepared and given to Kubernetes; also between two attempts
    'submitted',   -- Kubernetes has the Job
    'running',     -- its pod is at work
    'succeeded',   -- output and metadata are in iRODS (final)
    'dead'         -- out of attempts; waits for a person
);
CREATE TABLE inventory.compute_rule (
    name text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('file', 'collection', 'avu')),
    absolute boolean NOT NULL,            -- the pattern is for the whole logical path
    pattern text NOT NULL,                -- regular expression that the whole path must match
    job text,                             -- NULL: files of all jobs
    source text NOT NULL,                 -- where the rule stands, for people
    rule jsonb NOT NULL,                  -- as core.rules.Rule reads it
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE inventory.compute_job (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    generation bigint NOT NULL,           -- of the input: another one is another task
    directory_id bigint,                  -- of a file or collection of the inventory
    requested_at timestamptz NOT NULL DEFAULT now(),
    check_at timestamptz NOT NULL DEFAULT now(),  -- when it is looked at next
    submitted_at timestamptz,             -- of the last attempt
    finished_at timestamptz,
    claimed_by int,                       -- the compute pod that looks at it
    exit_code int,                        -- of the last attempt
    attempts smallint NOT NULL DEFAULT 0, -- failed ones
    state inventory.compute_state NOT NULL,
    replica_made boolean NOT NULL DEFAULT false,
    rule text NOT NULL,
    input text COLLATE "C" NOT NULL,      -- logical path of an object or a collection
    k8s_name text NOT NULL UNIQUE,        -- of its Jobs, with the number of the attempt behind it
    settings jsonb NOT NULL,              -- the rule as it was when this was requested
    output text COLLATE "C",              -- the collection
    resource text,                        -- where the input is read
    image_digest text,
    error text,
    message text,
    log text,                             -- the last lines of the container that failed
    UNIQUE (rule, input, generation),
    CONSTRAINT claimed_means_wanted CHECK (claimed_by IS NULL OR state IN ('requested', 'submitted', 'running'))
);
CREATE UNIQUE INDEX compute_waiting ON inventory.compute_job (rule, input) WHERE state = 'waiting';
CREATE INDEX compute_due ON inventory.compute_job (state, check_at)
    WHERE state IN ('waiting', 'requested', 'submitted', 'running') AND claimed_by IS NULL;
CREATE INDEX compute_claimed ON inventory.compute_job (claimed_by) WHERE claimed_by IS NOT NULL;
CREATE FUNCTION inventory.compute_name(rule text, input text, generation bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'ic-' || rule || '-'
        || left(encode(sha256(convert_to(rule || E'\\n' || input || E'\\n' || generation::text, 'UTF8')), 'hex'), 16)
$$;
"""

# A file that was verified already, and is only verified again, asks for nothing.
# A verified file with rules in force costs one index look-up of its directory a row; without rules it costs one look at a page.
TRIGGER = """
CREATE FUNCTION inventory.request_compute() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM inventory.compute_rule WHERE kind <> 'avu') THEN
        RETURN NULL;
    END IF;
    INSERT INTO inventory.compute_job (rule, input, generation, directory_id, state, settings, k8s_name)
    SELECT w.rule, w.input, w.generation, w.directory_id, 'requested', w.settings,
           inventory.compute_name(w.rule, w.input, w.generation)
    FROM (SELECT r.name AS rule, r.rule AS settings, n.generation::bigint, n.directory_id,
                 rtrim(j.target_collection, '/') || CASE d.path WHEN '' THEN '' ELSE '/' || d.path END || '/' || n.name AS input,
                 CASE d.path WHEN '' THEN n.name ELSE d.path || '/' || n.name END AS path, r.absolute, r.pattern
          FROM new_rows n JOIN inventory.directory d ON d.id = n.directory_id JOIN inventory.job j ON j.id = d.job_id
          JOIN inventory.compute_rule r ON r.kind = 'file' AND (r.job IS NULL OR r.job = j.name)
          WHERE n.state = 'verified' AND NOT coalesce(n.verified_before_at >= n.load_finished_at, false)) AS w
    WHERE (CASE WHEN w.absolute THEN w.input ELSE w.path END) ~ ('^(?:' || w.pattern || ')$')
    ORDER BY w.rule, w.input ON CONFLICT DO NOTHING;
    INSERT INTO inventory.compute_job (rule, input, generation, directory_id, state, settings, k8s_name)
    SELECT w.rule, w.input, w.generation, w.directory_id, 'waiting', w.settings,
           inventory.compute_name(w.rule, w.input, w.generation)
    FROM (SELECT x.*, 1 + coalesce((SELECT max(c.generation) FROM inventory.compute_job c
                                    WHERE c.rule = x.rule AND c.input = x.input), 0) AS generation
          FROM (SELECT DISTINCT r.name AS rule, r.rule AS settings, n.directory_id, d.path, r.absolute, r.pattern,
                       rtrim(j.target_collection, '/') || CASE d.path WHEN '' THEN '' ELSE '/' || d.path END AS input
                FROM new_rows n JOIN inventory.directory d ON d.id = n.directory_id JOIN inventory.job j ON j.id = d.job_id
                JOIN inventory.compute_rule r ON r.kind = 'collection' AND (r.job IS NULL OR r.job = j.name)
                WHERE n.state = 'verified' AND NOT coalesce(n.verified_before_at >= n.load_finished_at, false)) AS x
          WHERE (CASE WHEN x.absolute THEN x.input ELSE x.path END) ~ ('^(?:' || x.pattern || ')$')
            AND NOT EXISTS (SELECT FROM inventory.compute_job c
                            WHERE c.rule = x.rule AND c.input = x.input AND c.state = 'waiting')) AS w
    ORDER BY w.rule, w.input ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER file_verified AFTER UPDATE ON inventory.file REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION inventory.request_compute();
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(TRIGGER)


def downgrade() -> None:
    raise NotImplementedError("the inventory is never migrated backwards; restore a backup")
