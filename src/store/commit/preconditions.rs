//! What a plan relied on, asked again at the commit.

use std::fmt;

use rusqlite::{Connection, Params, Result};

use super::Conflict;
use crate::domain::address::Address;
use crate::domain::ids::JournalId;
use crate::domain::mail::MessageId;
use crate::domain::plan::Precondition;
use crate::domain::time::Timestamp;
use crate::store::rows::{digest_hash, first, message_hash, people};
use crate::store::snapshot::{self, DUPLICATE_WINDOW};

pub(super) fn holds(conn: &Connection, precondition: &Precondition, now: Timestamp) -> Result<bool> {
    match precondition {
        Precondition::TicketVersion { ticket, version } => {
            let sql = "SELECT version FROM tickets WHERE id = ?1";
            Ok(first(conn, sql, [ticket.0], |row| row.get(0))?.unwrap_or(0) == *version)
        }
        Precondition::UserVersion { user, version } => {
            let sql = "SELECT version FROM users WHERE id = ?1";
            Ok(first(conn, sql, [user.0], |row| row.get(0))?.unwrap_or(0) == *version)
        }
        Precondition::DirectoryVersion(version) => Ok(snapshot::directory_version(conn)? == *version),
        Precondition::AddressUnknown(address) => Ok(people::owner(conn, address)?.is_none()),
        Precondition::JournalPending(journal) => {
            exists(conn, "SELECT 1 FROM journal WHERE id = ?1 AND state = 'pending'", [journal.0])
        }
        Precondition::SuspendedHeld(suspended) => exists(
            conn,
            "SELECT 1 FROM suspended_tickets WHERE id = ?1 AND released_at IS NULL",
            [suspended.0],
        ),
        Precondition::NotDeliveredSince { author, message_id, digest, newest_known } => {
            let since = now.plus(-DUPLICATE_WINDOW);
            Ok(!delivered_since(conn, author, message_id.as_ref(), digest, *newest_known, since)?)
        }
    }
}

/// Looks no further back than the snapshot does: an older mail can never become known by deciding again.
fn delivered_since(
    conn: &Connection,
    author: &Address,
    message_id: Option<&MessageId>,
    digest: &[u8; 32],
    newest_known: Option<JournalId>,
    since: Timestamp,
) -> Result<bool> {
    let newest_known = newest_known.map_or(0, |journal| journal.0);
    match message_id {
        Some(id) => exists(
            conn,
            "SELECT 1 FROM journal WHERE message_hash = ?1 AND message_id = ?2 AND digest = ?3 AND author_key = ?4
                 AND state = 'done' AND id > ?5 AND accepted_at >= ?6",
            (message_hash(id), &id.0, digest, author.key(), newest_known, since.0),
        ),
        None => exists(
            conn,
            "SELECT 1 FROM journal WHERE digest_hash = ?1 AND message_hash IS NULL AND digest = ?2 AND author_key = ?3
                 AND state = 'done' AND id > ?4 AND accepted_at >= ?5",
            (digest_hash(digest), digest, author.key(), newest_known, since.0),
        ),
    }
}

fn exists(conn: &Connection, sql: &str, params: impl Params) -> Result<bool> {
    conn.prepare_cached(sql)?.exists(params)
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.precondition {
            Precondition::TicketVersion { ticket, version } => {
                write!(f, "ticket `{ticket}` is no longer at version {version}")
            }
            Precondition::UserVersion { user, version } => {
                write!(f, "user `{user}` is no longer at version {version}")
            }
            Precondition::DirectoryVersion(version) => {
                write!(f, "the directory is no longer at version {version}")
            }
            Precondition::AddressUnknown(address) => {
                write!(f, "`{}` belongs to somebody by now", address.masked())
            }
            Precondition::JournalPending(journal) => write!(f, "mail `{journal}` is no longer pending"),
            Precondition::SuspendedHeld(suspended) => {
                write!(f, "suspended ticket `{suspended}` is no longer held")
            }
            Precondition::NotDeliveredSince { author, .. } => {
                write!(f, "the same mail from `{}` was delivered meanwhile", author.masked())
            }
        }
    }
}

impl std::error::Error for Conflict {}
