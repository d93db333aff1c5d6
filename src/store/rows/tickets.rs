//! Tickets, comments, fingerprints and audits as rows.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Result, Row};
use serde::Deserialize;

use super::{
    all, execute_one, first, json, optional_address, optional_word, signed, time, to_json, trace, word,
};
use crate::domain::event::Audit;
use crate::domain::ids::{AuditId, CommentId, GroupId, JournalId, OrganizationId, Salt, TicketId, UserId};
use crate::domain::snapshot::{PrivatePrint, WholePrint};
use crate::domain::ticket::{
    AttachmentRef, Channel, Comment, Priority, Status, Ticket, TicketType, Visibility,
};
use crate::domain::time::Timestamp;
use crate::store::blobs::record_blob;

pub fn ticket(conn: &Connection, id: TicketId) -> Result<Option<Ticket>> {
    let sql = "SELECT * FROM tickets WHERE id = ?1";
    let Some(ticket) = first(conn, sql, [id.0], ticket_columns)? else { return Ok(None) };
    Ok(Some(Ticket {
        tags: tags(conn, id)?,
        ccs: collaborators(conn, id, CC)?,
        followers: collaborators(conn, id, FOLLOWER)?,
        ..ticket
    }))
}

/// Inserts the ticket at version 1, or makes the stored one equal to it, one version later.
pub fn put_ticket(conn: &Connection, ticket: &Ticket) -> Result<()> {
    execute_one(
        conn,
        r#"INSERT INTO tickets (id, version, salt, subject, status, requester, submitter, assignee, "group",
               organization, priority, type, recipient, via, follow_up_of, merged_into, comments,
               public_comments, created_at, updated_at, solved_at)
           VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)
           ON CONFLICT (id) DO UPDATE SET version = version + 1, subject = excluded.subject,
               status = excluded.status, requester = excluded.requester, submitter = excluded.submitter,
               assignee = excluded.assignee, "group" = excluded."group",
               organization = excluded.organization, priority = excluded.priority, type = excluded.type,
               recipient = excluded.recipient, via = excluded.via, follow_up_of = excluded.follow_up_of,
               merged_into = excluded.merged_into, comments = excluded.comments,
               public_comments = excluded.public_comments, updated_at = excluded.updated_at,
               solved_at = excluded.solved_at"#,
        rusqlite::params![
            ticket.id.0,
            ticket.salt.0,
            ticket.subject,
            ticket.status.word(),
            ticket.requester.0,
            ticket.submitter.0,
            ticket.assignee.map(|id| id.0),
            ticket.group.map(|id| id.0),
            ticket.organization.map(|id| id.0),
            ticket.priority.map(Priority::word),
            ticket.ticket_type.map(TicketType::word),
            ticket.recipient.as_ref().map(ToString::to_string),
            ticket.via.word(),
            ticket.follow_up_of.map(|id| id.0),
            ticket.merged_into.map(|id| id.0),
            ticket.comments,
            ticket.public_comments,
            ticket.created_at.0,
            ticket.updated_at.0,
            ticket.solved_at.map(|at| at.0),
        ],
    )?;
    put_tags(conn, ticket)?;
    put_collaborators(conn, ticket.id, CC, &ticket.ccs)?;
    put_collaborators(conn, ticket.id, FOLLOWER, &ticket.followers)
}

/// The newest comments of a ticket with their attachments, oldest first: at most `limit`, and no more than have
/// `octets` of text together.
pub fn newest_comments(
    conn: &Connection,
    ticket: TicketId,
    limit: u32,
    octets: usize,
) -> Result<Vec<Comment>> {
    let sql = "SELECT * FROM comments WHERE ticket = ?1 ORDER BY id DESC LIMIT ?2";
    let mut select = conn.prepare_cached(sql)?;
    let mut comments = Vec::new();
    let mut room = octets;
    for comment in select.query_map((ticket.0, limit), comment_columns)? {
        let comment = comment?;
        let Some(rest) = room.checked_sub(comment.text.len()) else { break };
        room = rest;
        comments.push(comment);
    }
    comments.reverse();
    let Some(oldest) = comments.first() else { return Ok(comments) };

    let sql = "SELECT a.* FROM comments c JOIN attachments a ON a.comment = c.id
               WHERE c.ticket = ?1 AND c.id >= ?2 ORDER BY a.comment, a.position";
    let mut attachments: BTreeMap<CommentId, Vec<AttachmentRef>> = BTreeMap::new();
    for (comment, attachment) in all(conn, sql, (ticket.0, oldest.id.0), |row| {
        Ok((CommentId(row.get("comment")?), attachment_columns(row)?))
    })? {
        attachments.entry(comment).or_default().push(attachment);
    }
    for comment in &mut comments {
        comment.attachments = attachments.remove(&comment.id).unwrap_or_default();
    }
    Ok(comments)
}

/// The comment's attachments become known blobs. A blob stays as old as its first use.
pub fn insert_comment(conn: &Connection, comment: &Comment, now: Timestamp) -> Result<()> {
    execute_one(
        conn,
        "INSERT INTO comments (id, ticket, author, visibility, rule, flags, text, via, journal, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        (
            comment.id.0,
            comment.ticket.0,
            comment.author.0,
            comment.visibility.word(),
            &comment.rule,
            to_json(&comment.flags)?,
            &comment.text,
            comment.via.word(),
            comment.journal.map(|id| id.0),
            comment.created_at.0,
        ),
    )?;
    for (position, attachment) in (0_i64..).zip(&comment.attachments) {
        insert_attachment(conn, comment.id, position, attachment, now)?;
    }
    Ok(())
}

/// Once private, a comment that was public remembers it: it may not become public again.
pub fn make_comment_private(conn: &Connection, comment: CommentId) -> Result<()> {
    execute_one(
        conn,
        "UPDATE comments SET was_public = max(was_public, visibility = 'public'), visibility = 'private'
         WHERE id = ?1",
        [comment.0],
    )
}

/// Of the private comments of this ticket and of all tickets merged into it, at any distance.
pub fn private_prints(conn: &Connection, ticket: TicketId) -> Result<Vec<PrivatePrint>> {
    all(
        conn,
        "WITH RECURSIVE family (id) AS (
             SELECT ?1 UNION SELECT tickets.id FROM tickets JOIN family ON tickets.merged_into = family.id)
         SELECT * FROM private_fingerprints WHERE ticket IN (SELECT id FROM family) ORDER BY comment",
        [ticket.0],
        private_print_columns,
    )
}

/// # Errors
/// If the print does not name its comment, besides what the database says.
pub fn insert_private_print(conn: &Connection, ticket: TicketId, print: &PrivatePrint) -> Result<()> {
    let Some(comment) = print.comment else {
        let why = "a stored fingerprint must name its comment";
        return Err(rusqlite::Error::ToSqlConversionFailure(why.into()));
    };
    let windows: Vec<u8> = print.windows.iter().flat_map(|window| window.to_le_bytes()).collect();
    execute_one(
        conn,
        "INSERT INTO private_fingerprints (comment, ticket, windows, whole_chars, whole_hash, attachments)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (
            comment.0,
            ticket.0,
            windows,
            print.whole.map(|whole| whole.chars),
            print.whole.map(|whole| signed(whole.hash)),
            print.attachments.concat(),
        ),
    )
}

pub fn audits(conn: &Connection, ticket: TicketId) -> Result<Vec<Audit>> {
    let sql = "SELECT * FROM audits WHERE ticket = ?1 ORDER BY id";
    let found = all(conn, sql, [ticket.0], |row| audit_columns(conn, row))?;
    found.into_iter().map(|audit| with_events(conn, audit)).collect()
}

/// The update that added this comment.
pub fn audit_of_comment(conn: &Connection, comment: CommentId) -> Result<Option<Audit>> {
    let sql = "SELECT audits.* FROM comments
               JOIN audits ON audits.ticket = comments.ticket
               JOIN events ON events.audit = audits.id AND events.type = 'comment_added'
               WHERE comments.id = ?1 AND events.event ->> '$.comment' = ?1";
    first(conn, sql, [comment.0], |row| audit_columns(conn, row))?
        .map(|audit| with_events(conn, audit))
        .transpose()
}

pub fn insert_audit(conn: &Connection, audit: &Audit) -> Result<()> {
    execute_one(
        conn,
        "INSERT INTO audits (id, ticket, actor, via, journal, created_at, trace)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        (
            audit.id.0,
            audit.ticket.0,
            to_json(&audit.actor)?,
            audit.via.word(),
            audit.journal.map(|id| id.0),
            audit.created_at.0,
            trace::column(conn, &audit.trace)?,
        ),
    )?;
    let sql = "INSERT INTO events (audit, position, type, event) VALUES (?1, ?2, ?3, ?4)";
    for (position, event) in (0_i64..).zip(&audit.events) {
        let event = to_json(event)?;
        execute_one(conn, sql, (audit.id.0, position, event_type(&event)?, &event))?;
    }
    Ok(())
}

const CC: &str = "cc";
const FOLLOWER: &str = "follower";

/// Everything but tags and collaborators, which have tables of their own.
fn ticket_columns(row: &Row<'_>) -> Result<Ticket> {
    Ok(Ticket {
        id: TicketId(row.get("id")?),
        salt: Salt(row.get("salt")?),
        version: row.get("version")?,
        subject: row.get("subject")?,
        status: word(row, "status", Status::from_word)?,
        requester: UserId(row.get("requester")?),
        submitter: UserId(row.get("submitter")?),
        assignee: row.get::<_, Option<i64>>("assignee")?.map(UserId),
        group: row.get::<_, Option<i64>>("group")?.map(GroupId),
        organization: row.get::<_, Option<i64>>("organization")?.map(OrganizationId),
        priority: optional_word(row, "priority", Priority::from_word)?,
        ticket_type: optional_word(row, "type", TicketType::from_word)?,
        tags: BTreeSet::new(),
        ccs: BTreeSet::new(),
        followers: BTreeSet::new(),
        recipient: optional_address(row, "recipient")?,
        via: word(row, "via", Channel::from_word)?,
        follow_up_of: row.get::<_, Option<i64>>("follow_up_of")?.map(TicketId),
        merged_into: row.get::<_, Option<i64>>("merged_into")?.map(TicketId),
        comments: row.get("comments")?,
        public_comments: row.get("public_comments")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
        solved_at: row.get::<_, Option<i64>>("solved_at")?.map(Timestamp),
    })
}

fn tags(conn: &Connection, ticket: TicketId) -> Result<BTreeSet<String>> {
    let found = all(conn, "SELECT tag FROM tags WHERE ticket = ?1", [ticket.0], |row| row.get(0))?;
    Ok(found.into_iter().collect())
}

/// By difference: a ticket keeps most of its tags, and a row left alone costs nothing at the commit.
fn put_tags(conn: &Connection, ticket: &Ticket) -> Result<()> {
    let stored = tags(conn, ticket.id)?;
    for tag in stored.difference(&ticket.tags) {
        execute_one(conn, "DELETE FROM tags WHERE ticket = ?1 AND tag = ?2", (ticket.id.0, tag))?;
    }
    for tag in ticket.tags.difference(&stored) {
        execute_one(conn, "INSERT INTO tags (ticket, tag) VALUES (?1, ?2)", (ticket.id.0, tag))?;
    }
    Ok(())
}

fn collaborators(conn: &Connection, ticket: TicketId, kind: &str) -> Result<BTreeSet<UserId>> {
    let sql = "SELECT user FROM collaborators WHERE ticket = ?1 AND kind = ?2";
    Ok(all(conn, sql, (ticket.0, kind), |row| row.get(0).map(UserId))?.into_iter().collect())
}

fn put_collaborators(
    conn: &Connection,
    ticket: TicketId,
    kind: &str,
    wanted: &BTreeSet<UserId>,
) -> Result<()> {
    let stored = collaborators(conn, ticket, kind)?;
    let delete = "DELETE FROM collaborators WHERE ticket = ?1 AND kind = ?2 AND user = ?3";
    for user in stored.difference(wanted) {
        execute_one(conn, delete, (ticket.0, kind, user.0))?;
    }
    let insert = "INSERT INTO collaborators (ticket, kind, user) VALUES (?1, ?2, ?3)";
    for user in wanted.difference(&stored) {
        execute_one(conn, insert, (ticket.0, kind, user.0))?;
    }
    Ok(())
}

/// Everything but attachments, which have a table of their own.
fn comment_columns(row: &Row<'_>) -> Result<Comment> {
    Ok(Comment {
        id: CommentId(row.get("id")?),
        ticket: TicketId(row.get("ticket")?),
        author: UserId(row.get("author")?),
        visibility: word(row, "visibility", Visibility::from_word)?,
        rule: row.get("rule")?,
        flags: json(row, "flags")?,
        text: row.get("text")?,
        via: word(row, "via", Channel::from_word)?,
        journal: row.get::<_, Option<i64>>("journal")?.map(JournalId),
        created_at: time(row, "created_at")?,
        attachments: Vec::new(),
    })
}

fn attachment_columns(row: &Row<'_>) -> Result<AttachmentRef> {
    Ok(AttachmentRef {
        name: row.get("name")?,
        media_type: row.get("media_type")?,
        inline: row.get("inline")?,
        content_id: row.get("content_id")?,
        sha256: row.get("sha256")?,
        size: row.get::<_, i64>("size")?.cast_unsigned(),
    })
}

fn insert_attachment(
    conn: &Connection,
    comment: CommentId,
    position: i64,
    attachment: &AttachmentRef,
    now: Timestamp,
) -> Result<()> {
    record_blob(conn, &attachment.sha256, attachment.size, now)?;
    execute_one(
        conn,
        "INSERT INTO attachments (comment, position, name, media_type, inline, content_id, sha256, size)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        (
            comment.0,
            position,
            &attachment.name,
            &attachment.media_type,
            attachment.inline,
            &attachment.content_id,
            attachment.sha256,
            signed(attachment.size),
        ),
    )
}

fn private_print_columns(row: &Row<'_>) -> Result<PrivatePrint> {
    let windows: Vec<u8> = row.get("windows")?;
    let attachments: Vec<u8> = row.get("attachments")?;
    let (windows, cut_window) = windows.as_chunks::<8>();
    let (attachments, cut_digest) = attachments.as_chunks::<32>();
    if !cut_window.is_empty() || !cut_digest.is_empty() {
        let why = "a fingerprint is cut short";
        return Err(rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, why.into()));
    }
    let chars: Option<u32> = row.get("whole_chars")?;
    let hash: Option<i64> = row.get("whole_hash")?;
    Ok(PrivatePrint {
        comment: Some(CommentId(row.get("comment")?)),
        windows: windows.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect(),
        whole: chars.zip(hash).map(|(chars, hash)| WholePrint { chars, hash: hash.cast_unsigned() }),
        attachments: attachments.to_vec(),
    })
}

/// Everything but the events, which have a table of their own.
fn audit_columns(conn: &Connection, row: &Row<'_>) -> Result<Audit> {
    Ok(Audit {
        id: AuditId(row.get("id")?),
        ticket: TicketId(row.get("ticket")?),
        actor: json(row, "actor")?,
        via: word(row, "via", Channel::from_word)?,
        journal: row.get::<_, Option<i64>>("journal")?.map(JournalId),
        created_at: time(row, "created_at")?,
        events: Vec::new(),
        trace: trace::read(conn, row)?,
    })
}

fn with_events(conn: &Connection, audit: Audit) -> Result<Audit> {
    let sql = "SELECT event FROM events WHERE audit = ?1 ORDER BY position";
    Ok(Audit { events: all(conn, sql, [audit.id.0], |row| json(row, "event"))?, ..audit })
}

/// The event's public name, as its JSON says it.
fn event_type(event: &str) -> Result<&str> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(rename = "type")]
        name: &'a str,
    }
    serde_json::from_str(event)
        .map(|Named { name }| name)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}
