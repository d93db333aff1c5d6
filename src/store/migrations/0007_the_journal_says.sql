-- What the journal says is not kept a second time: three entries less in indexes for nearly every mail.

-- The Message-ID of a mail that we received stands beside the comment it became. Here are those of the mails that we sent.
DELETE FROM message_ids WHERE direction = 'received';
DROP INDEX message_ids_ticket;
ALTER TABLE message_ids DROP COLUMN direction;

-- The update that a mail caused is found by its ticket.
DROP INDEX audits_journal;
