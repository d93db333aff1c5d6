-- How much automatic mail somebody got of late is asked before each mail that is sent. Only what counts is in the indexes, so
-- that a long queue to one person makes no question slow.

DROP INDEX outbox_recipient;
CREATE INDEX outbox_got ON outbox (recipient_key, finished_at) WHERE automatic = 1 AND state IN ('sent', 'sending');
CREATE INDEX outbox_got_about ON outbox (ticket, recipient_key, finished_at)
    WHERE automatic = 1 AND state IN ('sent', 'sending');
CREATE INDEX outbox_refills ON outbox (recipient_key, created_at) WHERE automatic = 0;
