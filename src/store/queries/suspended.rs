//! Mail held for a person.

use rusqlite::{Connection, Result, Row};
use serde::Serialize;

use super::{moment, optional_moment};
use crate::domain::fate::SuspensionCause;
use crate::domain::ids::{JournalId, SuspendedId, TicketId};
use crate::domain::trace::Trace;
use crate::store::rows::{all, first, mail};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SuspendedView {
    pub id: SuspendedId,
    pub journal: JournalId,
    pub cause: SuspensionCause,
    /// The published number of the cause.
    pub cause_id: i64,
    pub detail: String,
    pub author: Option<String>,
    pub author_name: Option<String>,
    pub subject: String,
    /// The ticket it would have updated.
    pub ticket: Option<TicketId>,
    pub created_at: String,
    /// When a person let it in or deleted it.
    pub released_at: Option<String>,
    /// Every check that looked at it, up to the one that held it.
    pub trace: Trace,
}

/// What is still held, newest first.
///
/// # Errors
/// If the database cannot be read.
pub fn suspended_list(conn: &Connection, limit: u32) -> Result<Vec<SuspendedView>> {
    let sql = "SELECT * FROM suspended_tickets WHERE released_at IS NULL
               ORDER BY created_at DESC, id DESC LIMIT ?1";
    all(conn, sql, [limit], |row| view(conn, row))
}

/// One held mail, released or not.
///
/// # Errors
/// If the database cannot be read.
pub fn suspended_show(conn: &Connection, id: SuspendedId) -> Result<Option<SuspendedView>> {
    first(conn, "SELECT * FROM suspended_tickets WHERE id = ?1", [id.0], |row| view(conn, row))
}

fn view(conn: &Connection, row: &Row<'_>) -> Result<SuspendedView> {
    let held = mail::suspended_columns(conn, row)?;
    Ok(SuspendedView {
        id: held.id,
        journal: held.journal,
        cause: held.cause,
        cause_id: held.cause.id(),
        detail: held.detail,
        author: held.author.map(|address| address.to_string()),
        author_name: held.author_name,
        subject: held.subject,
        ticket: held.ticket,
        created_at: moment(row, "created_at")?,
        released_at: optional_moment(row, "released_at")?,
        trace: held.trace,
    })
}
