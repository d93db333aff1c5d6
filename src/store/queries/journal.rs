//! One accepted mail, and what became of it.

use rusqlite::{Connection, Result, Row};
use serde::Serialize;

use super::{moment, optional_moment};
use crate::domain::ids::{AuditId, CommentId, JournalId, SuspendedId, TicketId};
use crate::domain::mail::Envelope;
use crate::domain::snapshot::SenderTrust;
use crate::store::rows::{all, first, json, optional_word};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JournalView {
    pub id: JournalId,
    pub accepted_at: String,
    pub envelope: Envelope,
    pub size: i64,
    pub state: String,
    /// The cause, reason or error.
    pub detail: Option<String>,
    pub ticket: Option<TicketId>,
    pub comment: Option<CommentId>,
    /// Unclean ends of earlier tries to decide it.
    pub attempts: u32,
    pub decided_at: Option<String>,
    pub message_id: Option<String>,
    pub trust: Option<SenderTrust>,
    /// The ticket a valid token in it named.
    pub token_ticket: Option<TicketId>,
    /// The times it was held, newest last.
    pub suspended: Vec<SuspendedId>,
    /// The updates it caused.
    pub audits: Vec<AuditId>,
}

/// # Errors
/// If the database cannot be read.
pub fn journal_show(conn: &Connection, id: JournalId) -> Result<Option<JournalView>> {
    let Some(view) = first(conn, "SELECT * FROM journal WHERE id = ?1", [id.0], view)? else {
        return Ok(None);
    };
    let held = "SELECT id FROM suspended_tickets WHERE journal = ?1 ORDER BY id";
    let audits = "SELECT id FROM audits
                  WHERE journal = ?1 AND ticket = (SELECT ticket FROM journal WHERE id = ?1) ORDER BY id";
    Ok(Some(JournalView {
        suspended: all(conn, held, [id.0], |row| row.get(0).map(SuspendedId))?,
        audits: all(conn, audits, [id.0], |row| row.get(0).map(AuditId))?,
        ..view
    }))
}

fn view(row: &Row<'_>) -> Result<JournalView> {
    Ok(JournalView {
        id: JournalId(row.get("id")?),
        accepted_at: moment(row, "accepted_at")?,
        envelope: json(row, "envelope")?,
        size: row.get("size")?,
        state: row.get("state")?,
        detail: row.get("detail")?,
        ticket: row.get::<_, Option<i64>>("ticket")?.map(TicketId),
        comment: row.get::<_, Option<i64>>("comment")?.map(CommentId),
        attempts: row.get("attempts")?,
        decided_at: optional_moment(row, "decided_at")?,
        message_id: row.get("message_id")?,
        trust: optional_word(row, "trust", SenderTrust::from_word)?,
        token_ticket: row.get::<_, Option<i64>>("token_ticket")?.map(TicketId),
        suspended: Vec::new(),
        audits: Vec::new(),
    })
}

/// What happened to the ticket because of a mail: the names of the events, in order.
///
/// # Errors
/// If the database cannot be read.
pub fn event_names(conn: &Connection, id: JournalId) -> Result<Vec<String>> {
    let sql = "SELECT e.type FROM audits a JOIN events e ON e.audit = a.id
               WHERE a.journal = ?1 AND a.ticket = (SELECT ticket FROM journal WHERE id = ?1)
               ORDER BY a.id, e.position";
    all(conn, sql, [id.0], |row| row.get(0))
}
