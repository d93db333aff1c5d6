//! Takes what is due, and asks once more whether each recipient may still be told (DESIGN §2, §7).

use rusqlite::{Connection, Result};

use super::LEASE;
use super::budget::{self, Budget};
use crate::domain::ids::{CommentId, OutboxId};
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

/// Looks at the `limit` rows that are due longest. Those that may be sent are claimed; the others end
/// `cancelled`. So an empty answer does not mean that nothing is due: [`super::next_due`] says that.
///
/// # Errors
/// If the database fails.
pub fn claim(conn: &Connection, now: Timestamp, limit: u32, budget: Budget) -> Result<Vec<Claimed>> {
    let mut claimed = Vec::new();
    let sql = "SELECT id FROM outbox WHERE state IN ('queued', 'sending') AND due_at <= ?1
               ORDER BY due_at, id LIMIT ?2";
    for id in all(conn, sql, (now.0, limit), |row| row.get(0).map(OutboxId))? {
        let candidate = match read(conn, id) {
            Ok(candidate) => candidate,
            // One row that nobody can read must not hold up every other mail.
            Err(error @ rusqlite::Error::FromSqlConversionFailure(..)) => {
                finish(conn, id, "dead", &format!("the row cannot be read: {error}"), now)?;
                continue;
            }
            Err(error) => return Err(error),
        };
        match objection(conn, &candidate, budget, now)? {
            Some(objection) => finish(conn, id, "cancelled", objection.word(), now)?,
            None => claimed.push(lease(conn, candidate, now)?),
        }
    }
    Ok(claimed)
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

fn lease(conn: &Connection, candidate: Candidate, now: Timestamp) -> Result<Claimed> {
    execute_one(
        conn,
        "UPDATE outbox SET state = 'sending', attempts = attempts + 1, due_at = ?2 WHERE id = ?1",
        (candidate.entry.id.0, now.plus(LEASE).0),
    )?;
    let attempts = candidate.attempts.saturating_add(1);
    Ok(Claimed { entry: candidate.entry, notification: candidate.notification, attempts })
}

fn finish(conn: &Connection, id: OutboxId, state: &str, detail: &str, now: Timestamp) -> Result<()> {
    let sql = "UPDATE outbox SET state = ?2, detail = ?3, finished_at = ?4 WHERE id = ?1";
    execute_one(conn, sql, (id.0, state, detail, now.0))
}
