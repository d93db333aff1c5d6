-- Mails that a restore found queued are held for a person: the state `held`.

ALTER TABLE account ADD COLUMN held_below INTEGER NOT NULL DEFAULT 0; -- journal rows before it came before the last restore

-- As before, with one more state.
CREATE TABLE outbox_with_held (
    id            INTEGER PRIMARY KEY,
    notification  INTEGER NOT NULL REFERENCES notifications (id),
    ticket        INTEGER NOT NULL REFERENCES tickets (id),
    user          INTEGER NOT NULL REFERENCES users (id),
    recipient     TEXT NOT NULL,
    recipient_key TEXT NOT NULL,
    role          TEXT NOT NULL,
    message_id    TEXT NOT NULL,
    reply_to      TEXT NOT NULL,                   -- JSON mailbox
    body_token    TEXT NOT NULL,
    reverse_path  TEXT NOT NULL,                   -- folded: mail systems fold local parts of return addresses
    state         TEXT NOT NULL
                  CHECK (state IN ('queued', 'unrendered', 'held', 'sending', 'sent', 'dead', 'cancelled')),
    detail        TEXT,                            -- the last error, or why it was cancelled or is held
    attempts      INTEGER NOT NULL DEFAULT 0,
    automatic     INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    due_at        INTEGER NOT NULL,
    finished_at   INTEGER,
    bounced_at    INTEGER
) STRICT;
INSERT INTO outbox_with_held SELECT * FROM outbox;
DROP TABLE outbox;
ALTER TABLE outbox_with_held RENAME TO outbox;
CREATE INDEX outbox_due ON outbox (due_at) WHERE state IN ('queued', 'sending');
CREATE INDEX outbox_recipient ON outbox (recipient_key, finished_at); -- the budget counts what was sent of late
CREATE UNIQUE INDEX outbox_reverse_path ON outbox (reverse_path);
