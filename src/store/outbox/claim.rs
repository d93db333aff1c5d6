//! Takes what is due, and asks once more whether each recipient may still be told (DESIGN §2, §7).

use rusqlite::{Connection, Result};

use super::budget::{self, Budget};
use crate::domain::address::Address;
use crate::domain::ids::{CommentId, OutboxId, TicketId};
use crate::domain::people::User;
use crate::domain::plan::{Notification, OutboxEntry, RecipientRole};
use crate::domain::ticket::{Ticket, Visibility};
use crate::domain::time::Timestamp;
use crate::store::rows::{all, execute_one, first, mail, people, tickets, word};

/// A mail that is its claimer's to send until the lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    pub entry: OutboxEntry,
    pub notification: Notification,
    /// This one included.
    pub attempts: u32,
}

/// What came of one look at the rows that are due. Each row looked at is in one of the three, so that all are empty
/// only if nothing is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    pub claimed: Vec<Claimed>,
    pub cancelled: Vec<Cancelled>,
    /// Rows that nobody can read, and why. They are dead, for a person to see.
    pub unreadable: Vec<(OutboxId, String)>,
}

impl Claims {
    /// How many rows were looked at.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.claimed.len() + self.cancelled.len() + self.unreadable.len()
    }
}

/// A promised mail that is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancelled {
    pub id: OutboxId,
    pub ticket: TicketId,
    pub recipient: Address,
    pub reason: &'static str,
}

/// What a claim may take, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Rows to look at.
    pub limit: u32,
    /// Microseconds that a claimed row stays its sender's. Longer than any one delivery may take: when the lease
    /// ends the mail is sent again.
    pub lease: i64,
    pub budget: Budget,
}

/// Looks at the rows that are due longest. Those that may be sent are claimed; the others end `cancelled`.
///
/// # Errors
/// If the database fails.
pub fn claim(conn: &Connection, now: Timestamp, terms: Terms) -> Result<Claims> {
    let mut claims = Claims::default();
    let sql = "SELECT id FROM outbox WHERE state IN ('queued', 'sending') AND due_at <= ?1
               ORDER BY due_at, id LIMIT ?2";
    for id in all(conn, sql, (now.0, terms.limit), |row| row.get(0).map(OutboxId))? {
        match judge(conn, id, terms.budget, now) {
            Ok((candidate, None)) => claims.claimed.push(lease(conn, candidate, now.plus(terms.lease))?),
            Ok((Candidate { entry, .. }, Some(objection))) => {
                let reason = objection.word();
                finish(conn, id, "cancelled", reason, now)?;
                let OutboxEntry { ticket, recipient, .. } = entry;
                claims.cancelled.push(Cancelled { id, ticket, recipient, reason });
            }
            Err(error @ rusqlite::Error::SqliteFailure(..)) => return Err(error),
            // One row that nobody can read must not hold up every other mail.
            Err(error) => {
                let why = format!("the row cannot be read: {error}");
                finish(conn, id, "dead", &why, now)?;
                claims.unreadable.push((id, why));
            }
        }
    }
    Ok(claims)
}

fn judge(
    conn: &Connection,
    id: OutboxId,
    budget: Budget,
    now: Timestamp,
) -> Result<(Candidate, Option<Objection>)> {
    let candidate = read(conn, id)?;
    let objection = objection(conn, &candidate, budget, now)?;
    Ok((candidate, objection))
}

/// Why a promised mail is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Objection {
    Undeliverable,
    Private,
    CommentMadePrivate,
    NoLongerConcerned,
    Loop,
}

impl Objection {
    fn word(self) -> &'static str {
        match self {
            Self::Undeliverable => "undeliverable",
            Self::Private => "private",
            Self::CommentMadePrivate => "comment_made_private",
            Self::NoLongerConcerned => "no_longer_concerned",
            Self::Loop => "loop",
        }
    }
}

/// All that the questions need, as of the claim.
struct Candidate {
    entry: OutboxEntry,
    attempts: u32,
    notification: Notification,
    recipient: User,
    ticket: Ticket,
}

fn read(conn: &Connection, id: OutboxId) -> Result<Candidate> {
    let sql = "SELECT * FROM outbox WHERE id = ?1";
    let row = first(conn, sql, [id.0], |row| Ok((mail::outbox_columns(row)?, row.get("attempts")?)))?;
    // The foreign keys of the schema make these rows exist.
    let missing = || rusqlite::Error::QueryReturnedNoRows;
    let (entry, attempts) = row.ok_or_else(missing)?;
    Ok(Candidate {
        attempts,
        notification: mail::notification(conn, entry.notification)?.ok_or_else(missing)?,
        recipient: people::user(conn, entry.user)?.ok_or_else(missing)?,
        ticket: tickets::ticket(conn, entry.ticket)?.ok_or_else(missing)?,
        entry,
    })
}

/// The first question that is answered with no.
fn objection(
    conn: &Connection,
    candidate: &Candidate,
    budget: Budget,
    now: Timestamp,
) -> Result<Option<Objection>> {
    let Candidate { entry, notification, recipient, ticket, .. } = candidate;
    if !recipient.is_deliverable() || !recipient.has_address(&entry.recipient) {
        return Ok(Some(Objection::Undeliverable));
    }
    if notification.visibility == Visibility::Private && !recipient.is_agent() {
        return Ok(Some(Objection::Private));
    }
    if !may_see_private(candidate) && shows_private(conn, &notification.comments)? {
        return Ok(Some(Objection::CommentMadePrivate));
    }
    if !still_concerned(entry.as_role, recipient, ticket) {
        return Ok(Some(Objection::NoLongerConcerned));
    }
    if notification.automatic && budget::exceeded(conn, entry, recipient.is_agent(), budget, now)? {
        return Ok(Some(Objection::Loop));
    }
    Ok(None)
}

/// An agent told as requester or CC by a public notification is told as an end user would be (setting S5).
fn may_see_private(candidate: &Candidate) -> bool {
    let as_end_user = matches!(candidate.entry.as_role, RecipientRole::Requester | RecipientRole::Cc)
        && candidate.notification.visibility == Visibility::Public;
    candidate.recipient.is_agent() && !as_end_user
}

/// A comment that is gone counts as private.
fn shows_private(conn: &Connection, comments: &[CommentId]) -> Result<bool> {
    let sql = "SELECT visibility FROM comments WHERE id = ?1";
    for comment in comments {
        let visibility = first(conn, sql, [comment.0], |row| word(row, "visibility", Visibility::from_word))?;
        if visibility != Some(Visibility::Public) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the recipient is still what they were told as. A requester and a CC are told the same things, so one
/// may have become the other. A group member may be told as one of any group, not only of the ticket's.
fn still_concerned(role: RecipientRole, recipient: &User, ticket: &Ticket) -> bool {
    let id = recipient.id;
    match role {
        RecipientRole::Requester | RecipientRole::Cc => ticket.requester == id || ticket.ccs.contains(&id),
        RecipientRole::Follower => ticket.followers.contains(&id),
        RecipientRole::Assignee => ticket.assignee == Some(id),
        RecipientRole::GroupMember => recipient.is_agent() && !recipient.groups.is_empty(),
        // A private notification to somebody who is no agent was refused before.
        RecipientRole::Agent | RecipientRole::Author => true,
    }
}

fn lease(conn: &Connection, candidate: Candidate, until: Timestamp) -> Result<Claimed> {
    execute_one(
        conn,
        "UPDATE outbox SET state = 'sending', attempts = attempts + 1, due_at = ?2 WHERE id = ?1",
        (candidate.entry.id.0, until.0),
    )?;
    let attempts = candidate.attempts.saturating_add(1);
    Ok(Claimed { entry: candidate.entry, notification: candidate.notification, attempts })
}

fn finish(conn: &Connection, id: OutboxId, state: &str, detail: &str, now: Timestamp) -> Result<()> {
    let sql = "UPDATE outbox SET state = ?2, detail = ?3, finished_at = ?4 WHERE id = ?1";
    execute_one(conn, sql, (id.0, state, detail, now.0))
}
