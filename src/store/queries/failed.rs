//! Mail that could not be decided: poison, or damaged.

use rusqlite::{Connection, Result, Row};
use serde::Serialize;

use super::moment;
use crate::domain::ids::JournalId;
use crate::domain::mail::Envelope;
use crate::domain::time::{SECOND, Timestamp};
use crate::store::rows::{all, first, json, time};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedView {
    pub id: JournalId,
    /// `crashed`, or what could not be read.
    pub error: String,
    /// Unclean ends of tries to decide it.
    pub attempts: u32,
    pub accepted_at: String,
    pub failed_at: String,
    /// Seconds since it was accepted.
    pub age_s: i64,
    pub size: i64,
    pub envelope: Envelope,
}

/// Failed mail, oldest first.
///
/// # Errors
/// If the database cannot be read.
pub fn failed_list(conn: &Connection, limit: u32, now: Timestamp) -> Result<Vec<FailedView>> {
    let sql = "SELECT * FROM journal WHERE state = 'failed' ORDER BY id LIMIT ?1";
    all(conn, sql, [limit], |row| view(row, now))
}

/// # Errors
/// If the database cannot be read.
pub fn failed_show(conn: &Connection, id: JournalId, now: Timestamp) -> Result<Option<FailedView>> {
    let sql = "SELECT * FROM journal WHERE id = ?1 AND state = 'failed'";
    first(conn, sql, [id.0], |row| view(row, now))
}

fn view(row: &Row<'_>, now: Timestamp) -> Result<FailedView> {
    let accepted_at = time(row, "accepted_at")?;
    Ok(FailedView {
        id: JournalId(row.get("id")?),
        error: row.get("detail")?,
        attempts: row.get("attempts")?,
        accepted_at: accepted_at.rfc3339(),
        failed_at: moment(row, "decided_at")?,
        age_s: now.0.saturating_sub(accepted_at.0) / SECOND,
        size: row.get("size")?,
        envelope: json(row, "envelope")?,
    })
}
