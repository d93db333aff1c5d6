//! The write door: every write of one plan, if what the plan was made from is still so.
//!
//! **Invariant:** all preconditions are asked before the first write; a plan that conflicts writes nothing.
//! **Invariant:** a database error may leave writes behind: the caller takes them back, by a savepoint or with the transaction.
//! **Invariant:** a mail is settled once. A row that is done, discarded or failed is never settled again.

mod preconditions;

use rusqlite::{Connection, Result};

use super::rows::{self, execute_one, mail, people, tickets};
use super::{outbox, rows::FateColumns};
use crate::domain::fate::Fate;
use crate::domain::ids::{JournalId, SuspendedId};
use crate::domain::people::RoleKind;
use crate::domain::plan::{MailRecord, Plan, Precondition, Write};
use crate::domain::time::Timestamp;

/// What the plan was made from has changed: it must be made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub precondition: Precondition,
}

/// Makes a plan true, inside the caller's transaction.
///
/// # Errors
/// The outer error is the database's; the inner one names the precondition that no longer holds.
pub fn apply(conn: &Connection, plan: &Plan, now: Timestamp) -> Result<Result<(), Conflict>> {
    for precondition in &plan.preconditions {
        if !preconditions::holds(conn, precondition, now)? {
            return Ok(Err(Conflict { precondition: precondition.clone() }));
        }
    }
    for write in &plan.writes {
        perform(conn, write, now)?;
    }
    Ok(Ok(()))
}

fn perform(conn: &Connection, write: &Write, now: Timestamp) -> Result<()> {
    match write {
        Write::InsertUser(user) => {
            people::insert_user(conn, user, now)?;
            match user.role.kind {
                RoleKind::Agent => people::bump_directory_version(conn),
                RoleKind::EndUser => Ok(()),
            }
        }
        Write::PutTicket(ticket) => tickets::put_ticket(conn, ticket),
        Write::InsertComment(comment) => tickets::insert_comment(conn, comment, now),
        Write::MakeCommentPrivate(comment) => tickets::make_comment_private(conn, *comment),
        Write::InsertPrivatePrint { ticket, print } => tickets::insert_private_print(conn, *ticket, print),
        Write::InsertAudit(audit) => tickets::insert_audit(conn, audit),
        Write::InsertMessageId { message_id, ticket, visibility } => {
            mail::insert_message_id(conn, message_id, *ticket, *visibility)
        }
        Write::InsertNotification(notification) => mail::insert_notification(conn, notification),
        Write::InsertOutbox(entry) => mail::insert_outbox(conn, entry, now),
        Write::InsertSuspended(held) => mail::insert_suspended(conn, held),
        Write::ReleaseSuspended(id) => release_suspended(conn, *id, now),
        Write::SettleJournal { journal, record, fate } => match record {
            Some(record) => settle_with_record(conn, record, fate, now),
            None => settle_journal(conn, *journal, fate, now),
        },
        Write::MarkBounced { reverse_path } => match outbox::find_by_reverse_path(conn, reverse_path)? {
            Some(id) => outbox::record_bounced(conn, id, now),
            None => Ok(()),
        },
    }
}

fn release_suspended(conn: &Connection, id: SuspendedId, now: Timestamp) -> Result<()> {
    let sql = "UPDATE suspended_tickets SET released_at = ?2 WHERE id = ?1 AND released_at IS NULL";
    execute_one(conn, sql, (id.0, now.0))
}

fn settle_journal(conn: &Connection, journal: JournalId, fate: &Fate, now: Timestamp) -> Result<()> {
    let FateColumns { state, detail, ticket, comment } = rows::fate_columns(fate);
    execute_one(
        conn,
        "UPDATE journal SET state = ?2, detail = ?3, ticket = ?4, comment = ?5, decided_at = ?6
         WHERE id = ?1 AND state IN ('pending', 'suspended')",
        (journal.0, state, detail, ticket, comment, now.0),
    )
}

/// The same, with what a second delivery of the mail would share with it.
fn settle_with_record(conn: &Connection, record: &MailRecord, fate: &Fate, now: Timestamp) -> Result<()> {
    let FateColumns { state, detail, ticket, comment } = rows::fate_columns(fate);
    execute_one(
        conn,
        "UPDATE journal SET state = ?2, detail = ?3, ticket = ?4, comment = ?5, decided_at = ?6, author_key = ?7,
             message_id = ?8, message_hash = ?9, digest = ?10, digest_hash = ?11, trust = ?12, token_ticket = ?13
         WHERE id = ?1 AND state IN ('pending', 'suspended')",
        (
            record.journal.0,
            state,
            detail,
            ticket,
            comment,
            now.0,
            record.author.as_ref().map(|author| author.key()),
            record.message_id.as_ref().map(|id| &id.0),
            record.message_id.as_ref().map(rows::message_hash),
            record.digest,
            rows::digest_hash(&record.digest),
            record.trust.word(),
            record.token_ticket.map(|id| id.0),
        ),
    )
}
