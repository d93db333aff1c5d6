-- Counting must stay cheap however many mails there are: what waits, what is held and what failed is counted by indexes that hold
-- nothing else. A mail that becomes a comment, and a notification that is sent, leave no entry in any of them.

CREATE INDEX journal_suspended ON journal (id) WHERE state = 'suspended';
CREATE INDEX journal_discarded ON journal (id) WHERE state = 'discarded';

-- As before, with what the metrics ask of the same rows.
DROP INDEX outbox_due;
CREATE INDEX outbox_due ON outbox (due_at, id, state, created_at) WHERE state IN ('queued', 'sending');
CREATE INDEX outbox_unsent ON outbox (state) WHERE state IN ('unrendered', 'held', 'dead', 'cancelled');
