//! How much automatic mail one person gets (DESIGN §7): what stops a mail loop.
//!
//! Automatic mails sent, or on their way, within the last hour count, and only those since the last mail to the
//! same person that a human agent's update caused: that mail refills the budget.

use rusqlite::{Connection, Params, Result};

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

// Each asks two ranges of one index; written with OR, SQLite would read all mail that somebody ever got.
const GOT: &str = "SELECT id, finished_at FROM outbox WHERE automatic = 1 AND state IN ('sent', 'sending')
                       AND recipient_key = ?1 AND id <> ?2 AND finished_at > ?3
                   UNION ALL
                   SELECT id, finished_at FROM outbox WHERE automatic = 1 AND state IN ('sent', 'sending')
                       AND recipient_key = ?1 AND id <> ?2 AND finished_at IS NULL";
const GOT_ABOUT: &str = "SELECT id, finished_at FROM outbox WHERE automatic = 1 AND state IN ('sent', 'sending')
                             AND ticket = ?4 AND recipient_key = ?1 AND id <> ?2 AND finished_at > ?3
                         UNION ALL
                         SELECT id, finished_at FROM outbox WHERE automatic = 1 AND state IN ('sent', 'sending')
                             AND ticket = ?4 AND recipient_key = ?1 AND id <> ?2 AND finished_at IS NULL";

const REFILLS: &str = "SELECT id, ticket, created_at FROM outbox
                       WHERE automatic = 0 AND recipient_key = ?1 AND created_at > ?3 AND id <> ?2";

/// Whether one more automatic mail would be too many.
pub(super) fn exceeded(
    conn: &Connection,
    entry: &OutboxEntry,
    recipient_is_agent: bool,
    budget: Budget,
    now: Timestamp,
) -> Result<bool> {
    let since = now.plus(-HOUR);
    let refills = refills(conn, entry, since)?;
    let key = entry.recipient.key();
    let about_ticket = got(conn, GOT_ABOUT, (&key, entry.id.0, since.0, entry.ticket.0), now)?;
    let refill = refills.iter().filter(|refill| refill.ticket == entry.ticket).map(|refill| refill.at).max();
    if count_since(refill, &about_ticket) >= budget.per_ticket {
        return Ok(true);
    }
    if recipient_is_agent {
        return Ok(false);
    }
    let about_all = got(conn, GOT, (&key, entry.id.0, since.0), now)?;
    let refill = refills.iter().map(|refill| refill.at).max();
    Ok(count_since(refill, &about_all) >= budget.per_recipient)
}

/// How many went out after the last refill.
fn count_since(refill: Option<Instant>, got: &[Instant]) -> usize {
    got.iter().filter(|left| refill.is_none_or(|refill| **left > refill)).count()
}

/// A time, made total by the row's number: updates of one instant keep their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Instant {
    at: Timestamp,
    id: OutboxId,
}

/// A mail to the same recipient that a human agent's update caused.
struct Refill {
    ticket: TicketId,
    /// When it was promised.
    at: Instant,
}

/// Those promised before `since` refill nothing that still counts.
fn refills(conn: &Connection, entry: &OutboxEntry, since: Timestamp) -> Result<Vec<Refill>> {
    all(conn, REFILLS, (entry.recipient.key(), entry.id.0, since.0), |row| {
        let at = Instant { at: Timestamp(row.get("created_at")?), id: OutboxId(row.get("id")?) };
        Ok(Refill { ticket: TicketId(row.get("ticket")?), at })
    })
}

/// When other automatic mails went out, or are about to go.
fn got(conn: &Connection, sql: &str, params: impl Params, now: Timestamp) -> Result<Vec<Instant>> {
    all(conn, sql, params, |row| {
        let at = row.get::<_, Option<i64>>("finished_at")?.map_or(now, Timestamp);
        Ok(Instant { at, id: OutboxId(row.get("id")?) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Durability, open};

    #[test]
    fn no_question_looks_at_mail_that_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let conn = open::open(dir.path(), Durability::Scratch, Timestamp(0)).unwrap().conn;
        let check = |sql: &str, index: &str, ranges: usize| {
            let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let steps = plan.raw_query().mapped(|row| row.get::<_, String>("detail"));
            let reads: Vec<String> =
                steps.map(|step| step.unwrap()).filter(|step| step.contains("outbox")).collect();
            assert_eq!(reads.len(), ranges, "{reads:?}");
            assert!(reads.iter().all(|read| read.starts_with("SEARCH") && read.contains(index)), "{reads:?}");
        };
        check(REFILLS, "outbox_refills (recipient_key=? AND created_at>?)", 1);
        check(GOT, "outbox_got (recipient_key=? AND finished_at", 2);
        check(GOT_ABOUT, "outbox_got_about (ticket=? AND recipient_key=? AND finished_at", 2);
    }
}
