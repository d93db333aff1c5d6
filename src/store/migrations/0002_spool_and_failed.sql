-- Mail that came by way of the spool: a file that is met again after a crash was taken in before.

CREATE TABLE spooled (
    name    TEXT PRIMARY KEY,                      -- of the file, which is never given twice
    journal INTEGER NOT NULL REFERENCES journal (id)
) STRICT, WITHOUT ROWID;

-- Failed mail is listed for people, and remembered at the start, without a walk through the journal.
CREATE INDEX journal_failed ON journal (id) WHERE state = 'failed';
