-- Most traces say the same sentences in the same order. Such a run of steps is kept once; the column `trace` of audits and
-- suspended_tickets is a list in which a number stands for a run, and a list of four words for a step that is not in one.

CREATE TABLE trace_runs (
    id    INTEGER PRIMARY KEY,
    key   BLOB NOT NULL UNIQUE,                    -- the first half of the SHA-256 of steps
    steps TEXT NOT NULL                            -- JSON: a list of steps, each a list of four words
) STRICT;
