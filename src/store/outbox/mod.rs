//! The mails we have promised, one row per recipient: claim, record, retry.
//!
//! ```text
//! unrendered ─► queued ─► sending ─► sent | queued again | dead
//!                  ├─► cancelled(reason)
//!                  └─► held, by a restore ─► queued, by a person
//! ```
//!
//! **Invariant:** a row is claimed by one sender at a time. A claim is a lease: a row whose sender died is due
//! again when the lease ends or the next process starts, with the same Message-ID.
//! **Invariant:** whether the recipient may still see the mail is asked in the transaction that claims it
//! (DESIGN §2), so a comment made private while its mail waits is not sent.

mod budget;
mod claim;

use rusqlite::{Connection, Result};

use super::rows::{execute, execute_one, first, word};
use crate::domain::address::Address;
use crate::domain::ids::{NotificationId, OutboxId};
use crate::domain::time::Timestamp;

pub use budget::Budget;
pub use claim::{Cancelled, Claimed, Claims, Terms, claim};

/// Where a promised mail stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboxState {
    Queued,
    /// Its text is still owed: the template failed.
    Unrendered,
    /// It may have been sent after the backup that was restored: a person says.
    Held,
    Sending,
    Sent,
    Dead,
    Cancelled,
}

impl OutboxState {
    pub const ALL: [Self; 7] =
        [Self::Queued, Self::Unrendered, Self::Held, Self::Sending, Self::Sent, Self::Dead, Self::Cancelled];

    /// The word used in the database and shown to operators.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Unrendered => "unrendered",
            Self::Held => "held",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// # Errors
/// If the row is not being sent, or the database fails.
pub fn record_sent(conn: &Connection, id: OutboxId, now: Timestamp) -> Result<()> {
    execute_one(
        conn,
        "UPDATE outbox SET state = 'sent', detail = NULL, finished_at = ?2 WHERE id = ?1 AND state = 'sending'",
        (id.0, now.0),
    )
}

/// The delivery failed and is tried again at `due_at`.
///
/// # Errors
/// If the row is not being sent, or the database fails.
pub fn record_retry(conn: &Connection, id: OutboxId, error: &str, due_at: Timestamp) -> Result<()> {
    execute_one(
        conn,
        "UPDATE outbox SET state = 'queued', detail = ?2, due_at = ?3 WHERE id = ?1 AND state = 'sending'",
        (id.0, error, due_at.0),
    )
}

/// The delivery failed for good.
///
/// # Errors
/// If the row is not being sent, or the database fails.
pub fn record_dead(conn: &Connection, id: OutboxId, error: &str, now: Timestamp) -> Result<()> {
    execute_one(
        conn,
        "UPDATE outbox SET state = 'dead', detail = ?2, finished_at = ?3 WHERE id = ?1 AND state = 'sending'",
        (id.0, error, now.0),
    )
}

/// A fault of the site, not of the mails: they are due again at `due_at` and the attempt does not count.
///
/// # Errors
/// If a row is not being sent, or the database fails.
pub fn release(conn: &Connection, ids: &[OutboxId], due_at: Timestamp, why: &str) -> Result<()> {
    let sql = "UPDATE outbox SET state = 'queued', attempts = max(attempts - 1, 0), due_at = ?2, detail = ?3
               WHERE id = ?1 AND state = 'sending'";
    ids.iter().try_for_each(|id| execute_one(conn, sql, (id.0, due_at.0, why)))
}

/// Makes mails due at once whose sender died with its process while it tried them for the first time; others wait for
/// their lease to end, so that a mail that kills its sender does not do so at every start.
///
/// # Errors
/// If the database fails.
pub fn release_orphans(conn: &Connection, now: Timestamp) -> Result<()> {
    let sql = "UPDATE outbox SET due_at = ?1 WHERE state = 'sending' AND attempts = 1 AND due_at > ?1";
    execute(conn, sql, [now.0]).map(drop)
}

/// The mail came back. The first time counts.
///
/// # Errors
/// If there is no such row, or the database fails.
pub fn record_bounced(conn: &Connection, id: OutboxId, now: Timestamp) -> Result<()> {
    execute_one(conn, "UPDATE outbox SET bounced_at = coalesce(bounced_at, ?2) WHERE id = ?1", (id.0, now.0))
}

/// What came of a person's wish to send a mail again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It is due now; the claim asks again whether it may be sent.
    Queued,
    /// Its text is still owed: [`set_rendered`] comes first.
    Unrendered(NotificationId),
    /// It was sent, or is being sent.
    Refused,
    Unknown,
}

/// Makes a dead, cancelled, held or waiting mail due now, with its attempts forgotten.
///
/// # Errors
/// If the database fails.
pub fn retry(conn: &Connection, id: OutboxId, now: Timestamp) -> Result<Retry> {
    let sql = "SELECT state, notification FROM outbox WHERE id = ?1";
    let found = first(conn, sql, [id.0], |row| {
        Ok((word(row, "state", OutboxState::from_word)?, NotificationId(row.get("notification")?)))
    })?;
    let Some((state, notification)) = found else { return Ok(Retry::Unknown) };
    match state {
        OutboxState::Unrendered => return Ok(Retry::Unrendered(notification)),
        OutboxState::Sent | OutboxState::Sending => return Ok(Retry::Refused),
        OutboxState::Queued | OutboxState::Held | OutboxState::Dead | OutboxState::Cancelled => {}
    }
    execute_one(
        conn,
        "UPDATE outbox SET state = 'queued', detail = NULL, attempts = 0, due_at = ?2, finished_at = NULL
         WHERE id = ?1",
        (id.0, now.0),
    )?;
    Ok(Retry::Queued)
}

/// Gives a notification the text it owed; all of its waiting copies are due.
///
/// # Errors
/// If the notification has a text already, does not exist, or the database fails.
pub fn set_rendered(
    conn: &Connection,
    notification: NotificationId,
    subject: &str,
    text: &str,
    html: &str,
) -> Result<()> {
    execute_one(
        conn,
        "UPDATE notifications SET subject = ?2, text = ?3, html = ?4, unrendered = NULL
         WHERE id = ?1 AND unrendered IS NOT NULL",
        (notification.0, subject, text, html),
    )?;
    let sql = "UPDATE outbox SET state = 'queued' WHERE notification = ?1 AND state = 'unrendered'";
    execute(conn, sql, [notification.0])?;
    Ok(())
}

/// When the next row is due: a waiting one, or one whose sender may have died.
///
/// # Errors
/// If the database fails.
pub fn next_due(conn: &Connection) -> Result<Option<Timestamp>> {
    let sql = "SELECT min(due_at) AS due FROM outbox WHERE state IN ('queued', 'sending')";
    let due = first(conn, sql, [], |row| row.get::<_, Option<i64>>("due"))?;
    Ok(due.flatten().map(Timestamp))
}

/// The row whose mails had this SMTP sender, in any case.
///
/// # Errors
/// If the database fails.
pub fn find_by_reverse_path(conn: &Connection, address: &Address) -> Result<Option<OutboxId>> {
    let sql = "SELECT id FROM outbox WHERE reverse_path = ?1";
    first(conn, sql, [address.key()], |row| row.get(0).map(OutboxId))
}
