//! The read door: one lookup answered from one read transaction of the caller's.
//!
//! **Invariant:** nothing is guessed. What cannot be read is an error, and the mail waits.
//! **Invariant:** hashes only find candidates; a Message-ID or digest counts when its full value is equal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, Row};

use super::rows::{self, all, message_id, people, tickets, word};
use crate::domain::ids::{JournalId, Salt, TicketId, UserId};
use crate::domain::mail::MessageId;
use crate::domain::snapshot::{
    Directory, EarlierMail, KnownMessage, Lookup, MailKey, SenderTrust, Snapshot, TicketFile,
};
use crate::domain::ticket::Visibility;
use crate::domain::time::DAY;

/// How far back a second delivery is looked for (DESIGN §1 *Duplicate*).
pub const DUPLICATE_WINDOW: i64 = 30 * DAY;

const NEWEST_COMMENTS: u32 = 100;
const NEWEST_THREAD_IDS: usize = 20;
const MERGE_HOPS: usize = 10;
/// Octets of comment text in one snapshot. Beyond it comments are left out, the oldest first: what a decision does not see
/// of public comments can only make it more private.
const MAX_TEXT: usize = 16 << 20;

/// Answers the lookup. `directory` is the caller's copy; its version is what plans check.
///
/// # Errors
/// If the database cannot be read, or holds what no version of this program wrote.
pub fn load(conn: &Connection, lookup: &Lookup, directory: Arc<Directory>) -> Result<Snapshot> {
    let mut snapshot = Snapshot { directory, ..Snapshot::default() };
    for id in &lookup.message_ids {
        if let Some(known) = known_message(conn, id)? {
            snapshot.message_ids.insert(id.clone(), known);
        }
    }
    let known_tickets = snapshot.message_ids.values().map(|known| known.ticket);
    let mut room = MAX_TEXT;
    for ticket in lookup.tickets.iter().copied().chain(known_tickets).collect::<BTreeSet<_>>() {
        load_merge_chain(conn, ticket, &mut room, &mut snapshot)?;
    }
    let mut wanted = lookup.users.clone();
    for address in &lookup.addresses {
        if let Some(owner) = people::owner(conn, address)? {
            snapshot.by_address.insert(address.clone(), owner);
            wanted.insert(owner);
        }
    }
    wanted.extend(snapshot.tickets.values().flat_map(people_of));
    for id in wanted {
        if let Some(user) = people::user(conn, id)? {
            snapshot.users.insert(id, user);
        }
    }
    if let Some(key) = &lookup.mail {
        snapshot.earlier = earlier_mails(conn, key)?;
    }
    Ok(snapshot)
}

/// The salts of those of these tickets that exist.
///
/// # Errors
/// If the database cannot be read.
pub fn salts(conn: &Connection, wanted: &BTreeSet<TicketId>) -> Result<BTreeMap<TicketId, Salt>> {
    let mut select = conn.prepare_cached("SELECT salt FROM tickets WHERE id = ?1")?;
    let mut salts = BTreeMap::new();
    for id in wanted {
        let salt = select.query_row([id.0], |row| row.get(0).map(Salt)).optional()?;
        salts.extend(salt.map(|salt| (*id, salt)));
    }
    Ok(salts)
}

/// The tickets that the lookup names, by number or by Message-ID, and those they were merged into.
///
/// # Errors
/// If the database cannot be read.
pub fn tickets_named(conn: &Connection, lookup: &Lookup) -> Result<BTreeSet<TicketId>> {
    let mut named = lookup.tickets.clone();
    for id in &lookup.message_ids {
        named.extend(known_message(conn, id)?.map(|known| known.ticket));
    }
    let mut merged = conn.prepare_cached("SELECT merged_into FROM tickets WHERE id = ?1")?;
    let mut next: Vec<TicketId> = named.iter().copied().collect();
    while let Some(id) = next.pop() {
        let into = merged.query_row([id.0], |row| row.get::<_, Option<i64>>(0)).optional()?.flatten();
        next.extend(into.map(TicketId).filter(|into| named.insert(*into)));
    }
    Ok(named)
}

/// The account's agents, groups and organizations. Inactive groups and organizations stay: tickets refer to them.
///
/// # Errors
/// If the database cannot be read.
pub fn directory(conn: &Connection) -> Result<Directory> {
    let agents = all(conn, "SELECT id FROM users WHERE internal = 1 AND active = 1", [], |row| row.get(0))?;
    let mut directory = Directory { version: directory_version(conn)?, ..Directory::default() };
    for id in agents.into_iter().map(UserId) {
        if let Some(user) = people::user(conn, id)? {
            directory.agents.insert(id, user);
        }
    }
    directory.groups = people::groups(conn)?.into_iter().map(|group| (group.id, group)).collect();
    directory.organizations = people::organizations(conn)?
        .into_iter()
        .map(|organization| (organization.id, organization))
        .collect();
    Ok(directory)
}

/// Counts up when agents, groups or organizations change; 0 before the account is made.
///
/// # Errors
/// If the database cannot be read.
pub fn directory_version(conn: &Connection) -> Result<i64> {
    let mut statement = conn.prepare_cached("SELECT directory_version FROM account WHERE id = 1")?;
    Ok(statement.query_row([], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// The ticket, and those it was merged into, one after another.
fn load_merge_chain(
    conn: &Connection,
    first: TicketId,
    room: &mut usize,
    snapshot: &mut Snapshot,
) -> Result<()> {
    let mut next = Some(first);
    for _ in 0..=MERGE_HOPS {
        let Some(id) = next else { return Ok(()) };
        if snapshot.tickets.contains_key(&id) {
            return Ok(());
        }
        let Some(ticket) = tickets::ticket(conn, id)? else { return Ok(()) };
        next = ticket.merged_into;
        let comments = tickets::newest_comments(conn, id, NEWEST_COMMENTS, *room)?;
        *room -= comments.iter().map(|comment| comment.text.len()).sum::<usize>().min(*room);
        let file = TicketFile {
            ticket,
            comments,
            private_prints: tickets::private_prints(conn, id)?,
            thread: thread(conn, id)?,
        };
        snapshot.tickets.insert(id, file);
    }
    Ok(())
}

/// The Message-IDs of the mails that became the newest public comments of a ticket, oldest first, each once. A customer must not learn of
/// a private mail, nor anybody the ids of mails that we sent to others.
fn thread(conn: &Connection, ticket: TicketId) -> Result<Vec<MessageId>> {
    let sql = "SELECT message_id
               FROM (SELECT id, journal, visibility FROM comments WHERE ticket = ?1 ORDER BY id DESC LIMIT ?2) AS newest
               JOIN journal ON journal.id = newest.journal
               WHERE newest.visibility = 'public' AND message_id IS NOT NULL ORDER BY newest.id DESC";
    let mut ids: Vec<MessageId> = Vec::new();
    for id in all(conn, sql, (ticket.0, NEWEST_COMMENTS), |row| message_id(row, "message_id"))? {
        if ids.len() < NEWEST_THREAD_IDS && !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids.reverse();
    Ok(ids)
}

fn people_of(file: &TicketFile) -> BTreeSet<UserId> {
    let ticket = &file.ticket;
    let named = [ticket.requester, ticket.submitter].into_iter().chain(ticket.assignee);
    let authors = file.comments.iter().map(|comment| comment.author);
    named.chain(ticket.ccs.iter().copied()).chain(ticket.followers.iter().copied()).chain(authors).collect()
}

/// A Message-ID may be known of several tickets, since anybody can send any Message-ID. A mail of ours wins over
/// one received, and the one known longer over the newer, so that nobody takes over a conversation by repeating its ids: not by
/// a mail either that was accepted before and let in by a person after.
/// If any mail of ours about that ticket with this id showed a private comment, the id counts as private.
fn known_message(conn: &Connection, id: &MessageId) -> Result<Option<KnownMessage>> {
    let key = (rows::message_hash(id), &id.0);
    let sql = "SELECT ticket, visibility FROM message_ids WHERE hash = ?1 AND message_id = ?2 ORDER BY rowid";
    let sent = all(conn, sql, key, |row| {
        Ok((row.get(0).map(TicketId)?, word(row, "visibility", Visibility::from_word)?))
    })?;
    if let Some((ticket, _)) = sent.first().copied() {
        let showed_private = sent.contains(&(ticket, Visibility::Private));
        let visibility = if showed_private { Visibility::Private } else { Visibility::Public };
        return Ok(Some(KnownMessage { ticket, sent: Some(visibility) }));
    }
    // The first is looked for here: to put them in order SQLite would make a table, which costs more than the whole question.
    let sql = "SELECT decided_at, id, ticket FROM journal
               WHERE message_hash = ?1 AND message_id = ?2 AND state = 'done'";
    let mut select = conn.prepare_cached(sql)?;
    let found = select.query_map(key, |row| {
        Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, i64>(1)?, row.get(2).map(TicketId)?))
    })?;
    let longest_known = found.reduce(|one, other| Ok(one?.min(other?))).transpose()?;
    Ok(longest_known.map(|(.., ticket)| KnownMessage { ticket, sent: None }))
}

/// Mails that were accepted after this one count too: if such a copy was decided first, this one is the second
/// delivery of the two.
fn earlier_mails(conn: &Connection, key: &MailKey) -> Result<Vec<EarlierMail>> {
    let (author, since) = (key.author.key(), key.accepted_at.plus(-DUPLICATE_WINDOW).0);
    match &key.message_id {
        Some(id) => all(
            conn,
            "SELECT *, author_key IS ?3 AS by_author FROM journal
             WHERE message_hash = ?1 AND message_id = ?2 AND accepted_at >= ?4 AND id <> ?5 AND state <> 'pending'
             ORDER BY accepted_at DESC, id DESC",
            (rows::message_hash(id), &id.0, author, since, key.journal.0),
            earlier_mail_columns,
        ),
        None => all(
            conn,
            "SELECT *, 1 AS by_author FROM journal
             WHERE digest_hash = ?1 AND message_hash IS NULL AND digest = ?2 AND author_key = ?3
                 AND accepted_at >= ?4 AND id <> ?5 AND state <> 'pending'
             ORDER BY accepted_at DESC, id DESC",
            (rows::digest_hash(&key.digest), key.digest, author, since, key.journal.0),
            earlier_mail_columns,
        ),
    }
}

fn earlier_mail_columns(row: &Row<'_>) -> Result<EarlierMail> {
    Ok(EarlierMail {
        journal: JournalId(row.get("id")?),
        by_author: row.get("by_author")?,
        message_id: row.get::<_, Option<String>>("message_id")?.map(MessageId),
        digest: row.get("digest")?,
        fate: rows::fate(row)?,
        trust: word(row, "trust", SenderTrust::from_word)?,
        token_ticket: row.get::<_, Option<i64>>("token_ticket")?.map(TicketId),
    })
}
