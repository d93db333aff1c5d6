-- The first schema. Times are i64 microseconds UTC. Numbered migrations are never edited after a release.

CREATE TABLE account (
    id                INTEGER PRIMARY KEY CHECK (id = 1),
    epoch             INTEGER NOT NULL,            -- counts up when a backup is restored
    directory_version INTEGER NOT NULL,            -- counts up when agents, groups or organizations change
    created_at        INTEGER NOT NULL
) STRICT;

-- Ids are reserved in blocks and never used twice; `next` is the first id that was not reserved yet.
CREATE TABLE sequences (
    name TEXT PRIMARY KEY,
    next INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Objects that files own: their stable key, mapped once to an id.
CREATE TABLE config_objects (
    kind   TEXT NOT NULL,                          -- user | group | organization
    key    TEXT NOT NULL,
    object INTEGER NOT NULL,
    active INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE organizations (
    id              INTEGER PRIMARY KEY,
    name            TEXT NOT NULL,
    domains         TEXT NOT NULL,                 -- JSON array of A-labels
    shared_tickets  INTEGER NOT NULL,
    shared_comments INTEGER NOT NULL,
    active          INTEGER NOT NULL
) STRICT;

CREATE TABLE groups (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL,
    private INTEGER NOT NULL,
    active  INTEGER NOT NULL
) STRICT;

CREATE TABLE users (
    id           INTEGER PRIMARY KEY,
    version      INTEGER NOT NULL,
    name         TEXT NOT NULL,
    role         TEXT NOT NULL,                    -- the role as JSON: key and powers
    internal     INTEGER NOT NULL,                 -- 1 for agents of every kind
    organization INTEGER REFERENCES organizations (id),
    suspended    INTEGER NOT NULL,
    active       INTEGER NOT NULL,
    created_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX users_internal ON users (id) WHERE internal = 1;

CREATE TABLE identities (
    address_key TEXT PRIMARY KEY,                  -- the form that addresses compare by
    address     TEXT NOT NULL,
    user        INTEGER NOT NULL REFERENCES users (id),
    position    INTEGER NOT NULL                   -- 0 is the primary address
) STRICT, WITHOUT ROWID;
CREATE INDEX identities_user ON identities (user, position);

CREATE TABLE memberships (
    user     INTEGER NOT NULL REFERENCES users (id),
    "group"  INTEGER NOT NULL REFERENCES groups (id),
    position INTEGER NOT NULL,                     -- 0 is the default group
    PRIMARY KEY (user, "group")
) STRICT, WITHOUT ROWID;

-- One row per accepted DATA. Retention removes bytes and leaves the row.
CREATE TABLE journal (
    id           INTEGER PRIMARY KEY,
    accepted_at  INTEGER NOT NULL,
    envelope     TEXT NOT NULL,                    -- JSON: entrance, trust, client, HELO, reverse-path, recipients
    size         INTEGER NOT NULL,
    blob         BLOB,                             -- SHA-256 of the raw mail if it lies in blobs/
    state        TEXT NOT NULL CHECK (state IN ('pending', 'done', 'suspended', 'discarded', 'failed')),
    detail       TEXT,                             -- cause, reason or error
    ticket       INTEGER,
    comment      INTEGER,
    attempts     INTEGER NOT NULL DEFAULT 0,
    decided_at   INTEGER,
    -- What a second delivery of the mail would share (NULL until decided).
    author_key   TEXT,
    message_id   TEXT,
    message_hash INTEGER,                          -- 64-bit hash of message_id, checked against the text
    digest       BLOB,
    digest_hash  INTEGER,                          -- first 64 bits of digest
    trust        TEXT,
    token_ticket INTEGER
) STRICT;
CREATE INDEX journal_pending ON journal (id) WHERE state = 'pending';
CREATE INDEX journal_digest ON journal (digest_hash) WHERE digest_hash IS NOT NULL;
CREATE INDEX journal_message ON journal (message_hash) WHERE message_hash IS NOT NULL;

CREATE TABLE journal_raw (
    journal INTEGER PRIMARY KEY REFERENCES journal (id),
    bytes   BLOB NOT NULL
) STRICT;

CREATE TABLE tickets (
    id              INTEGER PRIMARY KEY,
    version         INTEGER NOT NULL,
    salt            BLOB NOT NULL,
    subject         TEXT NOT NULL,
    status          TEXT NOT NULL,
    requester       INTEGER NOT NULL REFERENCES users (id),
    submitter       INTEGER NOT NULL REFERENCES users (id),
    assignee        INTEGER REFERENCES users (id),
    "group"         INTEGER REFERENCES groups (id),
    organization    INTEGER REFERENCES organizations (id),
    priority        TEXT,
    type            TEXT,
    recipient       TEXT,
    via             TEXT NOT NULL,
    follow_up_of    INTEGER,
    merged_into     INTEGER,
    comments        INTEGER NOT NULL,
    public_comments INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    solved_at       INTEGER
) STRICT;
CREATE INDEX tickets_merged ON tickets (merged_into) WHERE merged_into IS NOT NULL;

CREATE TABLE tags (
    ticket INTEGER NOT NULL REFERENCES tickets (id),
    tag    TEXT NOT NULL,
    PRIMARY KEY (ticket, tag)
) STRICT, WITHOUT ROWID;

CREATE TABLE collaborators (
    ticket INTEGER NOT NULL REFERENCES tickets (id),
    user   INTEGER NOT NULL REFERENCES users (id),
    kind   TEXT NOT NULL CHECK (kind IN ('cc', 'follower')),
    PRIMARY KEY (ticket, kind, user)
) STRICT, WITHOUT ROWID;

CREATE TABLE comments (
    id         INTEGER PRIMARY KEY,
    ticket     INTEGER NOT NULL REFERENCES tickets (id),
    author     INTEGER NOT NULL REFERENCES users (id),
    visibility TEXT NOT NULL CHECK (visibility IN ('public', 'private')),
    was_public INTEGER NOT NULL DEFAULT 0,         -- a note that once was public may not become public again
    rule       TEXT NOT NULL,
    flags      TEXT NOT NULL,                      -- JSON array of words
    text       TEXT NOT NULL,
    via        TEXT NOT NULL,
    journal    INTEGER REFERENCES journal (id),
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX comments_ticket ON comments (ticket, id);

CREATE TABLE blobs (
    sha256     BLOB PRIMARY KEY,
    size       INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE attachments (
    comment    INTEGER NOT NULL REFERENCES comments (id),
    position   INTEGER NOT NULL,
    name       TEXT,
    media_type TEXT NOT NULL,
    inline     INTEGER NOT NULL,
    content_id TEXT,
    sha256     BLOB NOT NULL,
    size       INTEGER NOT NULL,
    PRIMARY KEY (comment, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE private_fingerprints (
    comment     INTEGER PRIMARY KEY REFERENCES comments (id),
    ticket      INTEGER NOT NULL REFERENCES tickets (id),
    windows     BLOB NOT NULL,                     -- u64, little endian, ascending
    whole_chars INTEGER,
    whole_hash  INTEGER,
    attachments BLOB NOT NULL                      -- SHA-256 digests, one after another
) STRICT;
CREATE INDEX private_fingerprints_ticket ON private_fingerprints (ticket);

CREATE TABLE audits (
    id         INTEGER PRIMARY KEY,
    ticket     INTEGER NOT NULL REFERENCES tickets (id),
    actor      TEXT NOT NULL,                      -- JSON
    via        TEXT NOT NULL,
    journal    INTEGER REFERENCES journal (id),
    created_at INTEGER NOT NULL,
    trace      TEXT NOT NULL                       -- JSON
) STRICT;
CREATE INDEX audits_ticket ON audits (ticket, id);
CREATE INDEX audits_journal ON audits (journal) WHERE journal IS NOT NULL;

CREATE TABLE events (
    audit    INTEGER NOT NULL REFERENCES audits (id),
    position INTEGER NOT NULL,
    type     TEXT NOT NULL,
    event    TEXT NOT NULL,                        -- JSON, with who caused it
    PRIMARY KEY (audit, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE message_ids (
    hash       INTEGER NOT NULL,                   -- 64-bit hash of message_id, checked against the text
    message_id TEXT NOT NULL,
    ticket     INTEGER NOT NULL REFERENCES tickets (id),
    direction  TEXT NOT NULL CHECK (direction IN ('received', 'sent')),
    visibility TEXT NOT NULL CHECK (visibility IN ('public', 'private'))
) STRICT;
CREATE INDEX message_ids_hash ON message_ids (hash);
CREATE INDEX message_ids_ticket ON message_ids (ticket);

-- Held mail. `released_at` is set when a person let it in or deleted it.
CREATE TABLE suspended_tickets (
    id          INTEGER PRIMARY KEY,
    journal     INTEGER NOT NULL REFERENCES journal (id),
    cause       TEXT NOT NULL,
    detail      TEXT NOT NULL,
    author      TEXT,
    author_name TEXT,
    subject     TEXT NOT NULL,
    ticket      INTEGER,
    created_at  INTEGER NOT NULL,
    trace       TEXT NOT NULL,                     -- JSON
    released_at INTEGER
) STRICT;
CREATE INDEX suspended_held ON suspended_tickets (id) WHERE released_at IS NULL;
CREATE INDEX suspended_journal ON suspended_tickets (journal);

-- One per firing, rendered once.
CREATE TABLE notifications (
    id         INTEGER PRIMARY KEY,
    ticket     INTEGER NOT NULL REFERENCES tickets (id),
    audit      INTEGER NOT NULL REFERENCES audits (id),
    rule       TEXT NOT NULL,
    headers    TEXT NOT NULL,                      -- JSON: from, to, cc, in_reply_to, references
    subject    TEXT,
    text       TEXT,
    html       TEXT,
    unrendered TEXT,                               -- JSON: error, templates, frozen values
    visibility TEXT NOT NULL CHECK (visibility IN ('public', 'private')),
    comments   TEXT NOT NULL,                      -- JSON array of the comment ids it shows
    automatic  INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- One per envelope recipient.
CREATE TABLE outbox (
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
    state         TEXT NOT NULL CHECK (state IN ('queued', 'unrendered', 'sending', 'sent', 'dead', 'cancelled')),
    detail        TEXT,                            -- the last error, or why it was cancelled
    attempts      INTEGER NOT NULL DEFAULT 0,
    automatic     INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    due_at        INTEGER NOT NULL,
    finished_at   INTEGER,
    bounced_at    INTEGER
) STRICT;
CREATE INDEX outbox_due ON outbox (due_at) WHERE state IN ('queued', 'sending');
CREATE INDEX outbox_recipient ON outbox (recipient_key, finished_at); -- the budget counts what was sent of late
CREATE UNIQUE INDEX outbox_reverse_path ON outbox (reverse_path);
