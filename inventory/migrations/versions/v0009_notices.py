"""What is to be told of passes that are over, written by the transaction that ends them."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

NOTICES = """
CREATE TABLE inventory.notice (           -- an outbox: kept until it was taken
    pass_id int NOT NULL REFERENCES inventory.pass ON DELETE CASCADE,
    channel text NOT NULL,                -- webhook, mail
    created_at timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,                  -- taken, or not wanted by notify.passes
    attempts int NOT NULL DEFAULT 0,
    error text,                           -- of the last attempt
    PRIMARY KEY (pass_id, channel)
);
CREATE INDEX notice_due ON inventory.notice (due_at) WHERE sent_at IS NULL;
CREATE FUNCTION inventory.note_pass() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO inventory.notice (pass_id, channel) VALUES (NEW.id, 'webhook'), (NEW.id, 'mail') ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER pass_ended AFTER UPDATE OF post_done_at ON inventory.pass FOR EACH ROW
    WHEN (OLD.post_done_at IS NULL AND NEW.post_done_at IS NOT NULL) EXECUTE FUNCTION inventory.note_pass();
"""


def upgrade() -> None:
    op.execute(NOTICES)


def downgrade() -> None:
    raise NotImplementedError("the inventory is never migrated backwards; restore a backup")
