//! Numbers that are never used twice.
//!
//! Ids are drawn from memory, without waiting for anything. **Invariant:** no commit holds an id that is not below
//! `sequences.next` of the same commit: before each COMMIT the writer covers what was drawn, a block ahead. An id
//! that was drawn and never committed was seen by nobody. A clean close gives the rest of the blocks back, so only a
//! crash leaves gaps.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::Connection;

use crate::domain::ids::{
    AuditId, CommentId, Fresh, GroupId, JournalId, NotificationId, OrganizationId, OutboxId, Salt,
    SuspendedId, TicketId, UserId,
};

/// How far ahead of the ids drawn the durable mark is set: one more row write in as many ids.
const BLOCK: i64 = 100;

#[derive(Clone, Copy, Debug)]
enum Sequence {
    Audit,
    Comment,
    Group,
    Journal,
    Notification,
    Organization,
    Outbox,
    Suspended,
    Ticket,
    User,
}

const NAMES: [&str; 10] = [
    "audit",
    "comment",
    "group",
    "journal",
    "notification",
    "organization",
    "outbox",
    "suspended",
    "ticket",
    "user",
];

/// The first id of each sequence that is not durably taken.
pub(super) type Covered = [i64; NAMES.len()];

/// The next id of each sequence, shared by all who draw.
#[derive(Debug)]
pub(super) struct Sequences {
    next: [AtomicI64; NAMES.len()],
}

/// Hands out ids and salts for plans; each decider has its own.
#[derive(Clone, Debug)]
pub struct FreshIds {
    sequences: Arc<Sequences>,
}

impl Sequences {
    /// Goes on where the database stands, which also is what is covered so far.
    pub(super) fn load(conn: &Connection) -> rusqlite::Result<(Self, Covered)> {
        let covered = durable(conn)?;
        Ok((Self { next: covered.map(AtomicI64::new) }, covered))
    }

    /// Makes sure, in the transaction that `conn` is in, that every id drawn so far is taken for good.
    pub(super) fn cover(&self, conn: &Connection, covered: &Covered) -> rusqlite::Result<Covered> {
        let mut marks = durable(conn)?;
        for (((name, next), before), mark) in NAMES.iter().zip(&self.next).zip(covered).zip(&mut marks) {
            if *mark > *before {
                // A job took ids by SQL: nobody draws those from memory.
                next.fetch_max(*mark, Ordering::AcqRel);
            }
            let drawn = next.load(Ordering::Acquire);
            if drawn > *mark {
                *mark = drawn.saturating_add(BLOCK);
                set(conn, name, *mark)?;
            }
        }
        Ok(marks)
    }

    /// Gives back what no one drew. Only for the last transaction before the store closes.
    pub(super) fn give_back(&self, conn: &Connection) -> rusqlite::Result<()> {
        for (name, next) in NAMES.iter().zip(&self.next) {
            set(conn, name, next.load(Ordering::Acquire))?;
        }
        Ok(())
    }

    /// Journal ids are drawn by the writer inside the job, so that they ascend in the order of commits.
    pub(super) fn journal(&self) -> JournalId {
        JournalId(self.draw(Sequence::Journal))
    }

    fn draw(&self, sequence: Sequence) -> i64 {
        // The array has a place for every variant; `get` keeps the compiler from planting a panic here.
        self.next.get(sequence as usize).map_or(0, |next| next.fetch_add(1, Ordering::AcqRel))
    }
}

/// The first id of each sequence that is not taken for good.
fn durable(conn: &Connection) -> rusqlite::Result<Covered> {
    let mut marks = [1; NAMES.len()];
    let mut select = conn.prepare_cached("SELECT name, next FROM sequences")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let name = row.get_ref(0)?.as_str()?;
        if let Some((_, mark)) = NAMES.iter().zip(&mut marks).find(|(known, _)| **known == name) {
            *mark = row.get(1)?;
        }
    }
    Ok(marks)
}

fn set(conn: &Connection, name: &str, next: i64) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO sequences (name, next) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET next = excluded.next",
    )?
    .execute((name, next))
    .map(drop)
}

/// Lets all sequences go on so much further on: ids up to there may have been given out.
pub(super) fn jump(conn: &Connection, by: i64) -> rusqlite::Result<()> {
    for (name, next) in NAMES.iter().zip(durable(conn)?) {
        set(conn, name, next.saturating_add(by))?;
    }
    Ok(())
}

impl FreshIds {
    pub(super) fn new(sequences: Arc<Sequences>) -> Self {
        Self { sequences }
    }

    pub fn group(&mut self) -> GroupId {
        GroupId(self.sequences.draw(Sequence::Group))
    }

    pub fn organization(&mut self) -> OrganizationId {
        OrganizationId(self.sequences.draw(Sequence::Organization))
    }
}

impl Fresh for FreshIds {
    fn ticket(&mut self) -> TicketId {
        TicketId(self.sequences.draw(Sequence::Ticket))
    }
    fn user(&mut self) -> UserId {
        UserId(self.sequences.draw(Sequence::User))
    }
    fn comment(&mut self) -> CommentId {
        CommentId(self.sequences.draw(Sequence::Comment))
    }
    fn audit(&mut self) -> AuditId {
        AuditId(self.sequences.draw(Sequence::Audit))
    }
    fn notification(&mut self) -> NotificationId {
        NotificationId(self.sequences.draw(Sequence::Notification))
    }
    fn outbox(&mut self) -> OutboxId {
        OutboxId(self.sequences.draw(Sequence::Outbox))
    }
    fn suspended(&mut self) -> SuspendedId {
        SuspendedId(self.sequences.draw(Sequence::Suspended))
    }

    /// Waits for the kernel's random source, which fails only before it is seeded: a guessable salt would be worse.
    fn salt(&mut self) -> Salt {
        let mut bytes = [0; 16];
        while getrandom::fill(&mut bytes).is_err() {
            std::thread::yield_now();
        }
        Salt(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE sequences (name TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT")
            .unwrap();
        conn
    }

    fn fresh(conn: &Connection) -> (FreshIds, Covered) {
        let (sequences, covered) = Sequences::load(conn).unwrap();
        (FreshIds::new(Arc::new(sequences)), covered)
    }

    #[test]
    fn every_sequence_has_a_name_of_its_own() {
        assert_eq!(Sequence::User as usize, NAMES.len() - 1);
        assert_eq!(NAMES[Sequence::Ticket as usize], "ticket");
        assert_eq!(NAMES[Sequence::Journal as usize], "journal");
    }

    #[test]
    fn ids_start_at_1() {
        let conn = database();
        let (mut ids, _) = fresh(&conn);
        assert_eq!((ids.ticket(), ids.ticket(), ids.user()), (TicketId(1), TicketId(2), UserId(1)));
    }

    #[test]
    fn a_covered_id_is_never_drawn_again_after_a_crash() {
        let conn = database();
        let (mut ids, covered) = fresh(&conn);
        let last = (0..250).map(|_| ids.ticket()).last().unwrap();
        ids.sequences.cover(&conn, &covered).unwrap();
        let (mut ids, _) = fresh(&conn);
        assert!(ids.ticket() > last);
        assert_eq!(ids.user(), UserId(1));
    }

    #[test]
    fn ids_that_a_job_takes_by_sql_are_not_drawn_from_memory() {
        let conn = database();
        let (mut ids, covered) = fresh(&conn);
        ids.user();
        let covered = ids.sequences.cover(&conn, &covered).unwrap();
        let taken: i64 = conn
            .query_row(
                "UPDATE sequences SET next = next + 1 WHERE name = 'user' RETURNING next - 1",
                [],
                |row| row.get(0),
            )
            .unwrap();
        ids.sequences.cover(&conn, &covered).unwrap();
        assert!(ids.user() > UserId(taken));
    }

    #[test]
    fn a_clean_close_leaves_no_gap() {
        let conn = database();
        let (mut ids, covered) = fresh(&conn);
        ids.ticket();
        ids.sequences.cover(&conn, &covered).unwrap();
        ids.sequences.give_back(&conn).unwrap();
        assert_eq!(fresh(&conn).0.ticket(), TicketId(2));
    }

    #[test]
    fn after_a_jump_every_sequence_goes_on_far_ahead() {
        let conn = database();
        let (mut ids, covered) = fresh(&conn);
        ids.ticket();
        ids.sequences.cover(&conn, &covered).unwrap();
        jump(&conn, 1_000).unwrap();
        let (mut ids, _) = fresh(&conn);
        assert!(ids.ticket() > TicketId(1_001));
        assert_eq!(ids.user(), UserId(1_001));
    }

    #[test]
    fn salts_differ() {
        let (mut ids, _) = fresh(&database());
        assert_ne!(ids.salt(), ids.salt());
    }
}
