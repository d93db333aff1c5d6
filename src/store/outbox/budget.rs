//! How much automatic mail one person gets (DESIGN §7): what stops a mail loop.
//!
//! Automatic mails sent, or on their way, within the last hour count, and only those since the last mail to the
//! same person that a human agent's update caused: that mail refills the budget.

use rusqlite::{Connection, Result};

use crate::domain::ids::{OutboxId, TicketId};
use crate::domain::plan::OutboxEntry;
use crate::domain::time::{HOUR, Timestamp};
use crate::store::rows::all;

/// The most automatic mails per hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// To one recipient about one ticket.
    pub per_ticket: usize,
    /// To one recipient who is no agent, about all tickets.
    pub per_recipient: usize,
}

/// Whether one more automatic mail would be too many.
pub(super) fn exceeded(
    conn: &Connection,
    entry: &OutboxEntry,
    recipient_is_agent: bool,
    budget: Budget,
    now: Timestamp,
) -> Result<bool> {
    let recent = recent_mails(conn, entry, now)?;
    let about_ticket: Vec<_> = recent.iter().filter(|mail| mail.ticket == entry.ticket).copied().collect();
    Ok(since_refill(&about_ticket) >= budget.per_ticket
        || (!recipient_is_agent && since_refill(&recent) >= budget.per_recipient))
}

/// How many automatic mails went out after the last refill.
fn since_refill(mails: &[RecentMail]) -> usize {
    let refill = mails.iter().filter(|mail| !mail.automatic).map(|mail| mail.promised).max();
    mails.iter().filter(|mail| mail.automatic && refill.is_none_or(|refill| mail.left > refill)).count()
}

#[derive(Clone, Copy)]
struct RecentMail {
    ticket: TicketId,
    automatic: bool,
    promised: Instant,
    left: Instant,
}

/// A time, made total by the row's number: updates of one instant keep their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Instant {
    at: Timestamp,
    id: OutboxId,
}

/// Other mails to the same recipient of the last hour: automatic ones that went out, and all that refill.
fn recent_mails(conn: &Connection, entry: &OutboxEntry, now: Timestamp) -> Result<Vec<RecentMail>> {
    // Two ranges of one index; written with OR, SQLite would read all mail the recipient ever got.
    let sql = "SELECT id, ticket, automatic, created_at, finished_at FROM outbox
               WHERE id <> ?2 AND (automatic = 0 OR state IN ('sent', 'sending')) AND id IN (
                   SELECT id FROM outbox WHERE recipient_key = ?1 AND finished_at > ?3
                   UNION ALL SELECT id FROM outbox WHERE recipient_key = ?1 AND finished_at IS NULL)";
    let params = (entry.recipient.key(), entry.id.0, now.plus(-HOUR).0);
    all(conn, sql, params, |row| {
        let id = OutboxId(row.get("id")?);
        let left = row.get::<_, Option<i64>>("finished_at")?.map_or(now, Timestamp);
        Ok(RecentMail {
            ticket: TicketId(row.get("ticket")?),
            automatic: row.get("automatic")?,
            promised: Instant { at: Timestamp(row.get("created_at")?), id },
            left: Instant { at: left, id },
        })
    })
}
