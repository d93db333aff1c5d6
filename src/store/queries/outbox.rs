//! Mails we have promised, and what became of them.

use rusqlite::{Connection, Result, Row};
use serde::Serialize;

use super::{moment, optional_moment};
use crate::domain::address::Mailbox;
use crate::domain::ids::{CommentId, NotificationId, OutboxId, TicketId};
use crate::domain::plan::NotificationContent;
use crate::domain::ticket::Visibility;
use crate::store::outbox::OutboxState;
use crate::store::rows::{all, first, mail, word};

/// One promised mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutboxView {
    pub id: OutboxId,
    pub notification: NotificationId,
    pub ticket: TicketId,
    /// The trigger's key, `follower` or `stayed-internal`.
    pub rule: String,
    pub recipient: String,
    pub role: &'static str,
    pub state: &'static str,
    /// The last error, or why it was cancelled.
    pub detail: Option<String>,
    pub attempts: u32,
    pub automatic: bool,
    pub message_id: String,
    pub created_at: String,
    pub due_at: String,
    pub finished_at: Option<String>,
    pub bounced_at: Option<String>,
}

/// One promised mail with what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutboxDetail {
    #[serde(flatten)]
    pub mail: OutboxView,
    pub visibility: Visibility,
    pub comments: Vec<CommentId>,
    pub from: Mailbox,
    pub to: Vec<Mailbox>,
    pub cc: Vec<Mailbox>,
    /// None while the text is owed.
    pub subject: Option<String>,
    pub text: Option<String>,
    /// Why the template failed.
    pub error: Option<String>,
}

/// Newest first.
///
/// # Errors
/// If the database cannot be read.
pub fn outbox_list(conn: &Connection, state: Option<OutboxState>, limit: u32) -> Result<Vec<OutboxView>> {
    let sql = "SELECT outbox.*, notifications.rule AS rule FROM outbox
               JOIN notifications ON notifications.id = outbox.notification
               WHERE ?1 IS NULL OR state = ?1 ORDER BY outbox.id DESC LIMIT ?2";
    all(conn, sql, (state.map(OutboxState::word), limit), view)
}

const SELECT_ONE: &str = "SELECT outbox.*, notifications.rule AS rule FROM outbox
    JOIN notifications ON notifications.id = outbox.notification WHERE outbox.id = ?1";

/// # Errors
/// If the database cannot be read.
pub fn outbox_show(conn: &Connection, id: OutboxId) -> Result<Option<OutboxDetail>> {
    let Some(view) = first(conn, SELECT_ONE, [id.0], view)? else {
        return Ok(None);
    };
    let Some(notification) = mail::notification(conn, view.notification)? else { return Ok(None) };
    let (subject, text, error) = match notification.content {
        NotificationContent::Rendered { subject, text, .. } => (Some(subject), Some(text), None),
        NotificationContent::Unrendered { error, .. } => (None, None, Some(error)),
    };
    Ok(Some(OutboxDetail {
        mail: view,
        visibility: notification.visibility,
        comments: notification.comments,
        from: notification.from,
        to: notification.to,
        cc: notification.cc,
        subject,
        text,
        error,
    }))
}

fn view(row: &Row<'_>) -> Result<OutboxView> {
    let entry = mail::outbox_columns(row)?;
    Ok(OutboxView {
        id: entry.id,
        notification: entry.notification,
        ticket: entry.ticket,
        rule: row.get("rule")?,
        recipient: entry.recipient.to_string(),
        role: mail::role_word(entry.as_role),
        state: word(row, "state", OutboxState::from_word)?.word(),
        detail: row.get("detail")?,
        attempts: row.get("attempts")?,
        automatic: row.get("automatic")?,
        message_id: entry.message_id.0,
        created_at: moment(row, "created_at")?,
        due_at: moment(row, "due_at")?,
        finished_at: optional_moment(row, "finished_at")?,
        bounced_at: optional_moment(row, "bounced_at")?,
    })
}
