-- A second delivery has the Message-ID of the first, or none as the first had none: only mail without one is looked for by its
-- digest. One entry less at a random place of an index for nearly every mail.

DROP INDEX journal_digest;
CREATE INDEX journal_digest ON journal (digest_hash) WHERE message_hash IS NULL AND digest_hash IS NOT NULL;
