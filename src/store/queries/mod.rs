//! Reads for people and programs: what the command line and the API show (DESIGN §10).
//!
//! The view structs are public shapes; they change only by new keys. They hold no token, no return address and
//! no salt (a Message-ID is all they show of a promised mail): reading a view is no way to speak for a recipient.

mod failed;
mod journal;
mod outbox;
mod suspended;
mod tickets;

use rusqlite::{Connection, Result, Row};

use super::rows::{first, optional_address, time};
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;

pub use failed::{FailedView, failed_list, failed_show};
pub use journal::{JournalView, event_names, journal_show};
pub use outbox::{OutboxDetail, OutboxView, outbox_list, outbox_show};
pub use suspended::{SuspendedView, suspended_list, suspended_show};
pub use tickets::{
    AttachmentView, AuditView, CommentView, ExplainView, TicketFilter, TicketLine, TicketView,
    audits_of_ticket, comment_explain, ticket_list, ticket_show,
};

/// People are shown by their primary address; somebody without one as `user 12`.
fn person(conn: &Connection, id: UserId) -> Result<String> {
    let sql = "SELECT address FROM identities WHERE user = ?1 ORDER BY position LIMIT 1";
    let address = first(conn, sql, [id.0], |row| optional_address(row, "address"))?.flatten();
    Ok(address.map_or_else(|| format!("user {id}"), |address| address.to_string()))
}

fn moment(row: &Row<'_>, column: &str) -> Result<String> {
    time(row, column).map(Timestamp::rfc3339)
}

fn optional_moment(row: &Row<'_>, column: &str) -> Result<Option<String>> {
    let micros: Option<i64> = row.get(column)?;
    Ok(micros.map(|micros| Timestamp(micros).rfc3339()))
}
