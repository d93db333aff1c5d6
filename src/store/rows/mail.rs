//! Message-IDs, held mail, notifications and outbox entries as rows.

use rusqlite::{Connection, Result, Row};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    address, execute_one, first, json, message_hash, message_id, optional_address, time, to_json, trace, word,
};
use crate::domain::address::Mailbox;
use crate::domain::fate::SuspensionCause;
use crate::domain::ids::{
    AuditId, CommentId, JournalId, NotificationId, OutboxId, SuspendedId, TicketId, UserId,
};
use crate::domain::mail::MessageId;
use crate::domain::plan::{Notification, NotificationContent, OutboxEntry, RecipientRole};
use crate::domain::snapshot::SuspendedTicket;
use crate::domain::ticket::Visibility;
use crate::domain::time::Timestamp;

/// Of a mail that we send.
pub fn insert_message_id(
    conn: &Connection,
    id: &MessageId,
    ticket: TicketId,
    visibility: Visibility,
) -> Result<()> {
    execute_one(
        conn,
        "INSERT INTO message_ids (hash, message_id, ticket, visibility) VALUES (?1, ?2, ?3, ?4)",
        (message_hash(id), &id.0, ticket.0, visibility.word()),
    )
}

pub fn insert_suspended(conn: &Connection, held: &SuspendedTicket) -> Result<()> {
    execute_one(
        conn,
        "INSERT INTO suspended_tickets (id, journal, cause, detail, author, author_name, subject, ticket,
             created_at, trace)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        (
            held.id.0,
            held.journal.0,
            held.cause.name(),
            &held.detail,
            held.author.as_ref().map(ToString::to_string),
            &held.author_name,
            &held.subject,
            held.ticket.map(|id| id.0),
            held.created_at.0,
            trace::column(conn, &held.trace)?,
        ),
    )
}

pub(in crate::store) fn suspended_columns(conn: &Connection, row: &Row<'_>) -> Result<SuspendedTicket> {
    Ok(SuspendedTicket {
        id: SuspendedId(row.get("id")?),
        journal: JournalId(row.get("journal")?),
        cause: word(row, "cause", SuspensionCause::from_name)?,
        detail: row.get("detail")?,
        author: optional_address(row, "author")?,
        author_name: row.get("author_name")?,
        subject: row.get("subject")?,
        ticket: row.get::<_, Option<i64>>("ticket")?.map(TicketId),
        created_at: time(row, "created_at")?,
        trace: trace::read(conn, row)?,
    })
}

pub fn notification(conn: &Connection, id: NotificationId) -> Result<Option<Notification>> {
    first(conn, "SELECT * FROM notifications WHERE id = ?1", [id.0], notification_columns)
}

pub fn insert_notification(conn: &Connection, notification: &Notification) -> Result<()> {
    let headers = Headers {
        from: notification.from.clone(),
        to: notification.to.clone(),
        cc: notification.cc.clone(),
        in_reply_to: notification.in_reply_to.clone(),
        references: notification.references.clone(),
    };
    let comments: Vec<i64> = notification.comments.iter().map(|id| id.0).collect();
    let (rendered, unrendered) = content_columns(&notification.content)?;
    execute_one(
        conn,
        "INSERT INTO notifications (id, ticket, audit, rule, headers, subject, text, html, unrendered,
             visibility, comments, automatic, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        (
            notification.id.0,
            notification.ticket.0,
            notification.audit.0,
            &notification.rule,
            to_json(&headers)?,
            rendered.map(|parts| parts.subject),
            rendered.map(|parts| parts.text),
            rendered.map(|parts| parts.html),
            unrendered,
            notification.visibility.word(),
            to_json(&comments)?,
            notification.automatic,
            notification.created_at.0,
        ),
    )
}

/// Promises a mail: due now, unless its text is still owed, or it follows from a mail that a restore found pending: the
/// process before the restore may have decided that mail and sent this one.
pub fn insert_outbox(conn: &Connection, entry: &OutboxEntry, now: Timestamp) -> Result<()> {
    execute_one(
        conn,
        "INSERT INTO outbox (id, notification, ticket, user, recipient, recipient_key, role, message_id,
             reply_to, body_token, reverse_path, automatic, created_at, due_at, state, detail)
         SELECT ?1, id, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, automatic, ?12, ?12,
             CASE WHEN unrendered IS NOT NULL THEN 'unrendered' WHEN restored THEN 'held' ELSE 'queued' END,
             iif(restored, 'restored', NULL)
         FROM (SELECT n.*, (SELECT journal FROM audits WHERE id = n.audit) < (SELECT held_below FROM account)
                   AND NOT EXISTS (SELECT 1 FROM suspended_tickets s JOIN audits a ON a.journal = s.journal
                                   WHERE a.id = n.audit) AS restored
               FROM notifications n WHERE n.id = ?2)",
        (
            entry.id.0,
            entry.notification.0,
            entry.ticket.0,
            entry.user.0,
            entry.recipient.to_string(),
            entry.recipient.key(),
            role_word(entry.as_role),
            &entry.message_id.0,
            to_json(&entry.reply_to)?,
            &entry.body_token,
            // Mail systems fold local parts, so a bounce is looked up by the folded form.
            entry.reverse_path.key(),
            now.0,
        ),
    )
}

pub(in crate::store) fn outbox_columns(row: &Row<'_>) -> Result<OutboxEntry> {
    Ok(OutboxEntry {
        id: OutboxId(row.get("id")?),
        notification: NotificationId(row.get("notification")?),
        ticket: TicketId(row.get("ticket")?),
        user: UserId(row.get("user")?),
        recipient: address(row, "recipient")?,
        message_id: message_id(row, "message_id")?,
        reply_to: json(row, "reply_to")?,
        body_token: row.get("body_token")?,
        reverse_path: address(row, "reverse_path")?,
        as_role: word(row, "role", role_from_word)?,
    })
}

#[must_use]
pub fn role_word(role: RecipientRole) -> &'static str {
    match role {
        RecipientRole::Requester => "requester",
        RecipientRole::Cc => "cc",
        RecipientRole::Follower => "follower",
        RecipientRole::Assignee => "assignee",
        RecipientRole::GroupMember => "group_member",
        RecipientRole::Agent => "agent",
        RecipientRole::Author => "author",
    }
}

const ROLES: [RecipientRole; 7] = [
    RecipientRole::Requester,
    RecipientRole::Cc,
    RecipientRole::Follower,
    RecipientRole::Assignee,
    RecipientRole::GroupMember,
    RecipientRole::Agent,
    RecipientRole::Author,
];

fn role_from_word(word: &str) -> Option<RecipientRole> {
    ROLES.into_iter().find(|role| role_word(*role) == word)
}

/// The column `headers` of a notification.
#[derive(Serialize, Deserialize)]
struct Headers {
    from: Mailbox,
    to: Vec<Mailbox>,
    cc: Vec<Mailbox>,
    in_reply_to: Option<MessageId>,
    references: Vec<MessageId>,
}

/// The column `unrendered` of a notification.
#[derive(Serialize, Deserialize)]
struct Unrendered {
    error: String,
    subject_template: String,
    body_template: String,
    values: Value,
}

#[derive(Clone, Copy)]
struct Parts<'a> {
    subject: &'a str,
    text: &'a str,
    html: &'a str,
}

fn content_columns(content: &NotificationContent) -> Result<(Option<Parts<'_>>, Option<String>)> {
    match content {
        NotificationContent::Rendered { subject, text, html } => {
            Ok((Some(Parts { subject, text, html }), None))
        }
        NotificationContent::Unrendered { error, subject_template, body_template, values } => {
            let column = Unrendered {
                error: error.clone(),
                subject_template: subject_template.clone(),
                body_template: body_template.clone(),
                values: values.clone(),
            };
            Ok((None, Some(to_json(&column)?)))
        }
    }
}

fn content(row: &Row<'_>) -> Result<NotificationContent> {
    if row.get_ref("unrendered")? == rusqlite::types::ValueRef::Null {
        return Ok(NotificationContent::Rendered {
            subject: row.get("subject")?,
            text: row.get("text")?,
            html: row.get("html")?,
        });
    }
    let Unrendered { error, subject_template, body_template, values } = json(row, "unrendered")?;
    Ok(NotificationContent::Unrendered { error, subject_template, body_template, values })
}

fn notification_columns(row: &Row<'_>) -> Result<Notification> {
    let headers: Headers = json(row, "headers")?;
    let comments: Vec<i64> = json(row, "comments")?;
    Ok(Notification {
        id: NotificationId(row.get("id")?),
        ticket: TicketId(row.get("ticket")?),
        audit: AuditId(row.get("audit")?),
        rule: row.get("rule")?,
        from: headers.from,
        to: headers.to,
        cc: headers.cc,
        content: content(row)?,
        in_reply_to: headers.in_reply_to,
        references: headers.references,
        visibility: word(row, "visibility", Visibility::from_word)?,
        comments: comments.into_iter().map(CommentId).collect(),
        automatic: row.get("automatic")?,
        created_at: time(row, "created_at")?,
    })
}
