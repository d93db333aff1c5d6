//! Tickets, their comments, and why each is as it is.

use std::collections::BTreeSet;

use rusqlite::{Connection, Result};
use serde::Serialize;

use super::person;
use crate::domain::event::{Actor, Audit, AuditEvent};
use crate::domain::ids::{AuditId, CommentId, GroupId, JournalId, TicketId};
use crate::domain::ticket::{
    AttachmentRef, Channel, Comment, Flag, Priority, Status, Ticket, TicketType, Visibility,
};
use crate::domain::time::Timestamp;
use crate::domain::trace::Trace;
use crate::store::rows::{all, first, json, tickets, word};

/// One ticket with its whole conversation: `postern ticket show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TicketView {
    pub id: TicketId,
    pub subject: String,
    pub status: Status,
    pub is_public: bool,
    pub requester: String,
    pub assignee: Option<String>,
    pub group: Option<String>,
    pub priority: Option<Priority>,
    #[serde(rename = "type")]
    pub ticket_type: Option<TicketType>,
    pub tags: BTreeSet<String>,
    pub ccs: Vec<String>,
    pub followers: Vec<String>,
    pub via: Channel,
    pub follow_up_of: Option<TicketId>,
    pub merged_into: Option<TicketId>,
    pub created_at: String,
    pub updated_at: String,
    pub solved_at: Option<String>,
    /// Oldest first.
    pub comments: Vec<CommentView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CommentView {
    pub id: CommentId,
    pub author: String,
    pub visibility: Visibility,
    pub rule: String,
    pub flags: BTreeSet<Flag>,
    pub text: String,
    pub created_at: String,
    pub attachments: Vec<AttachmentView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttachmentView {
    pub name: Option<String>,
    pub media_type: String,
    pub inline: bool,
    pub size: u64,
    pub sha256: String,
}

/// One line of a list of tickets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TicketLine {
    pub id: TicketId,
    pub subject: String,
    pub status: Status,
    pub is_public: bool,
    pub requester: String,
    pub assignee: Option<String>,
    pub group: Option<String>,
    pub priority: Option<Priority>,
    pub comments: u32,
    pub updated_at: String,
}

/// Which tickets to list, newest first.
#[derive(Clone, Copy, Debug)]
pub struct TicketFilter {
    pub status: Option<Status>,
    pub limit: u32,
}

/// One update of a ticket: what happened, and every check that looked at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditView {
    pub id: AuditId,
    pub ticket: TicketId,
    pub actor: Actor,
    pub via: Channel,
    pub journal: Option<JournalId>,
    pub created_at: String,
    pub events: Vec<AuditEvent>,
    pub trace: Trace,
}

/// Why a comment is seen by whom it is seen by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainView {
    pub comment: CommentId,
    pub ticket: TicketId,
    pub visibility: Visibility,
    /// It was public once; it may not become public again.
    pub was_public: bool,
    pub rule: String,
    pub flags: BTreeSet<Flag>,
    /// The update that added the comment.
    pub audit: AuditView,
}

/// # Errors
/// If the database cannot be read.
pub fn ticket_show(conn: &Connection, id: TicketId) -> Result<Option<TicketView>> {
    let Some(ticket) = tickets::ticket(conn, id)? else { return Ok(None) };
    let comments = tickets::newest_comments(conn, id, u32::MAX, usize::MAX)?;
    Ok(Some(TicketView {
        is_public: ticket.is_public(),
        requester: person(conn, ticket.requester)?,
        assignee: ticket.assignee.map(|user| person(conn, user)).transpose()?,
        group: group_name(conn, ticket.group)?,
        ccs: ticket.ccs.iter().map(|user| person(conn, *user)).collect::<Result<_>>()?,
        followers: ticket.followers.iter().map(|user| person(conn, *user)).collect::<Result<_>>()?,
        created_at: ticket.created_at.rfc3339(),
        updated_at: ticket.updated_at.rfc3339(),
        solved_at: ticket.solved_at.map(Timestamp::rfc3339),
        comments: comments.into_iter().map(|comment| comment_view(conn, comment)).collect::<Result<_>>()?,
        id,
        subject: ticket.subject,
        status: ticket.status,
        priority: ticket.priority,
        ticket_type: ticket.ticket_type,
        tags: ticket.tags,
        via: ticket.via,
        follow_up_of: ticket.follow_up_of,
        merged_into: ticket.merged_into,
    }))
}

/// # Errors
/// If the database cannot be read.
pub fn ticket_list(conn: &Connection, filter: TicketFilter) -> Result<Vec<TicketLine>> {
    let sql = "SELECT id FROM tickets WHERE ?1 IS NULL OR status = ?1 ORDER BY id DESC LIMIT ?2";
    let ids =
        all(conn, sql, (filter.status.map(Status::word), filter.limit), |row| row.get(0).map(TicketId))?;
    let mut lines = Vec::new();
    for id in ids {
        if let Some(ticket) = tickets::ticket(conn, id)? {
            lines.push(line(conn, ticket)?);
        }
    }
    Ok(lines)
}

/// All updates of a ticket, oldest first.
///
/// # Errors
/// If the database cannot be read.
pub fn audits_of_ticket(conn: &Connection, ticket: TicketId) -> Result<Vec<AuditView>> {
    Ok(tickets::audits(conn, ticket)?.into_iter().map(audit_view).collect())
}

/// # Errors
/// If the database cannot be read.
pub fn comment_explain(conn: &Connection, comment: CommentId) -> Result<Option<ExplainView>> {
    let Some(audit) = tickets::audit_of_comment(conn, comment)? else { return Ok(None) };
    first(conn, "SELECT * FROM comments WHERE id = ?1", [comment.0], |row| {
        Ok(ExplainView {
            comment,
            ticket: TicketId(row.get("ticket")?),
            visibility: word(row, "visibility", Visibility::from_word)?,
            was_public: row.get("was_public")?,
            rule: row.get("rule")?,
            flags: json(row, "flags")?,
            audit: audit_view(audit),
        })
    })
}

fn line(conn: &Connection, ticket: Ticket) -> Result<TicketLine> {
    Ok(TicketLine {
        id: ticket.id,
        is_public: ticket.is_public(),
        requester: person(conn, ticket.requester)?,
        assignee: ticket.assignee.map(|user| person(conn, user)).transpose()?,
        group: group_name(conn, ticket.group)?,
        subject: ticket.subject,
        status: ticket.status,
        priority: ticket.priority,
        comments: ticket.comments,
        updated_at: ticket.updated_at.rfc3339(),
    })
}

fn comment_view(conn: &Connection, comment: Comment) -> Result<CommentView> {
    Ok(CommentView {
        id: comment.id,
        author: person(conn, comment.author)?,
        visibility: comment.visibility,
        rule: comment.rule,
        flags: comment.flags,
        text: comment.text,
        created_at: comment.created_at.rfc3339(),
        attachments: comment.attachments.into_iter().map(attachment_view).collect(),
    })
}

fn attachment_view(attachment: AttachmentRef) -> AttachmentView {
    AttachmentView {
        name: attachment.name,
        media_type: attachment.media_type,
        inline: attachment.inline,
        size: attachment.size,
        sha256: data_encoding::HEXLOWER.encode(&attachment.sha256),
    }
}

fn audit_view(audit: Audit) -> AuditView {
    AuditView {
        id: audit.id,
        ticket: audit.ticket,
        actor: audit.actor,
        via: audit.via,
        journal: audit.journal,
        created_at: audit.created_at.rfc3339(),
        events: audit.events,
        trace: audit.trace,
    }
}

fn group_name(conn: &Connection, group: Option<GroupId>) -> Result<Option<String>> {
    let Some(group) = group else { return Ok(None) };
    first(conn, "SELECT name FROM groups WHERE id = ?1", [group.0], |row| row.get("name"))
}
