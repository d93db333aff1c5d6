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
    /// Nothing if it cannot be read: then `envelope_error` says why.
    pub envelope: Option<Envelope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envelope_error: Option<String>,
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
    // A damaged row is here for a person to see; it must hide neither itself nor the others.
    let (envelope, envelope_error) = match json(row, "envelope") {
        Ok(envelope) => (Some(envelope), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Ok(FailedView {
        id: JournalId(row.get("id")?),
        error: row.get::<_, Option<String>>("detail")?.unwrap_or_default(),
        attempts: row.get("attempts")?,
        accepted_at: accepted_at.rfc3339(),
        failed_at: moment(row, "decided_at")?,
        age_s: now.0.saturating_sub(accepted_at.0) / SECOND,
        size: row.get("size")?,
        envelope,
        envelope_error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_whose_envelope_cannot_be_read_hides_neither_itself_nor_others() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(include_str!("../migrations/0001_initial.sql")).unwrap();
        let whole = r#"{"entrance":{"name":"smtp","trust":{"kind":"none"}},"client":null,"helo":null,"reverse_path":null,
                        "recipients":[],"accepted_at":1}"#;
        for (id, envelope) in [(1, "{"), (2, whole)] {
            conn.execute(
                "INSERT INTO journal (id, accepted_at, envelope, size, state, detail, attempts, decided_at)
                 VALUES (?1, 1, ?2, 3, 'failed', 'crashed', 3, 2)",
                (id, envelope),
            )
            .unwrap();
        }
        let failed = failed_list(&conn, 10, Timestamp(SECOND)).unwrap();
        let read: Vec<_> = failed.iter().map(|mail| (mail.id.0, mail.envelope.is_some())).collect();
        assert_eq!(read, [(1, false), (2, true)], "{failed:?}");
        assert!(failed[0].envelope_error.as_ref().unwrap().contains("column `envelope`"), "{failed:?}");
        assert_eq!(failed_show(&conn, JournalId(1), Timestamp(0)).unwrap().unwrap().error, "crashed");
    }
}
