//! How full everything is: what metrics show.
//!
//! **Invariant:** no question here reads a whole table, but once after a start and then in small steps: what has been counted is not
//! counted again.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};
use tokio::time::{sleep, timeout};

use super::{Priority, Store, StoreError, WriteError, open};
use crate::domain::time::Timestamp;

/// The writer's queue is full: so much later it has moved, if the writer works.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Rows of the journal that one step counts: some milliseconds.
const STEP: u64 = 20_000;
/// Steps that one call makes. Two million mails are counted at the first.
const STEPS: usize = 100;

/// What is where, as of one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// Accepted mails by state. `done` is missing until all rows have been counted.
    pub journal: BTreeMap<&'static str, u64>,
    /// When the oldest undecided mail was accepted.
    pub oldest_pending: Option<Timestamp>,
    /// Notifications promised and not sent, by state.
    pub outbox: BTreeMap<&'static str, u64>,
    /// When the oldest notification that is to be sent was promised.
    pub oldest_queued: Option<Timestamp>,
    pub wal_pages: u32,
    /// The most pages the WAL may have.
    pub wal_cap: u32,
    pub database_bytes: u64,
    /// What the file system has left for us.
    pub disk_free: u64,
}

/// How far the journal has been counted. Its rows are never deleted, and their ids ascend in the order of commits.
#[derive(Debug, Default)]
pub struct Tally {
    last: i64,
    rows: u64,
}

impl Store {
    /// Reads off all levels. Blocks, for a few milliseconds after the first time.
    ///
    /// # Errors
    /// If the database or its directory cannot be read.
    pub fn levels(&self, tally: &mut Tally) -> Result<Levels, StoreError> {
        for _ in 0..STEPS {
            if self.ask(|db| tally.step(db))? < STEP {
                break;
            }
        }
        let mut levels =
            self.read(|tx| count(tx, tally)).map_err(|error: rusqlite::Error| StoreError::from(error))?;
        levels.wal_pages = self.wal_pages();
        levels.wal_cap = self.write_side()?.wal_cap;
        levels.database_bytes = std::fs::metadata(self.dir().join(open::DATABASE)).map_err(unreadable)?.len();
        levels.disk_free = self.free_bytes().map_err(unreadable)?;
        Ok(levels)
    }

    /// Bytes that a process without special rights may still write to the file system of the data directory.
    ///
    /// # Errors
    /// If the file system does not say.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let told = rustix::fs::statvfs(self.dir())?;
        Ok(told.f_bavail.saturating_mul(told.f_frsize))
    }

    /// Bytes of large mails and attachments in files. Reads a whole table: not for every scrape.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn blob_bytes(&self) -> Result<u64, StoreError> {
        let bytes: i64 =
            self.ask(|db| db.query_row("SELECT COALESCE(SUM(size), 0) FROM blobs", [], |row| row.get(0)))?;
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    /// What the writer answers to a job that does nothing: an error is the reason why it could not keep a mail now.
    /// `None` if it does not answer for so long. A full queue is an answer only if the writer works on it.
    pub async fn ask_writer(&self, patience: Duration) -> Option<Result<(), StoreError>> {
        let before = self.writer_stats();
        let asking = async {
            loop {
                match self.ask_writer_once().await {
                    Err(StoreError::Busy) if self.writer_stats() == before => sleep(ASK_AGAIN).await,
                    answer => return answer,
                }
            }
        };
        timeout(patience, asking).await.ok()
    }

    async fn ask_writer_once(&self) -> Result<(), StoreError> {
        // A job that fails leaves nothing to commit.
        match self.write_async(Priority::Journal, |_| Err::<(), ()>(())).await {
            Ok(()) | Err(WriteError::Job(())) => Ok(()),
            Err(WriteError::Store(error)) => Err(error),
        }
    }
}

impl Tally {
    /// Counts the next rows; answers how many there were.
    fn step(&mut self, db: &Connection) -> rusqlite::Result<u64> {
        let sql = "SELECT COUNT(*), COALESCE(MAX(id), ?1) FROM
                   (SELECT id FROM journal WHERE id > ?1 ORDER BY id LIMIT ?2)";
        let (rows, last): (i64, i64) = db
            .prepare_cached(sql)?
            .query_row((self.last, STEP as i64), |row| Ok((row.get(0)?, row.get(1)?)))?;
        let rows = u64::try_from(rows).unwrap_or(0);
        (self.last, self.rows) = (last, self.rows + rows);
        Ok(rows)
    }
}

const STATES: [(&str, &str); 4] = [
    ("pending", "SELECT COUNT(*) FROM journal WHERE state = 'pending'"),
    ("suspended", "SELECT COUNT(*) FROM journal WHERE state = 'suspended'"),
    ("discarded", "SELECT COUNT(*) FROM journal WHERE state = 'discarded'"),
    ("failed", "SELECT COUNT(*) FROM journal WHERE state = 'failed'"),
];
const OLDEST_PENDING: &str = "SELECT accepted_at FROM journal WHERE state = 'pending' ORDER BY id LIMIT 1";
const QUEUED: &str = "SELECT SUM(state = 'queued'), SUM(state = 'sending'), MIN(created_at) FROM outbox
                      WHERE state IN ('queued', 'sending')";
const UNSENT: &str =
    "SELECT SUM(state = 'unrendered'), SUM(state = 'held'), SUM(state = 'dead'), SUM(state = 'cancelled') FROM outbox
                      WHERE state IN ('unrendered', 'held', 'dead', 'cancelled')";

fn count(tx: &Connection, tally: &mut Tally) -> rusqlite::Result<Levels> {
    let complete = tally.step(tx)? < STEP;
    let mut levels = Levels::default();
    for (state, sql) in STATES {
        let rows: i64 = tx.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        levels.journal.insert(state, u64::try_from(rows).unwrap_or(0));
    }
    if complete {
        // The rest: by far the most, and so without an index.
        let others: u64 = levels.journal.values().sum();
        levels.journal.insert("done", tally.rows.saturating_sub(others));
    }
    let oldest = tx.prepare_cached(OLDEST_PENDING)?.query_row([], |row| row.get(0)).optional()?;
    levels.oldest_pending = oldest.map(Timestamp);
    let (queued, sending, oldest) = tx
        .prepare_cached(QUEUED)?
        .query_row([], |row| Ok((sum(row, 0)?, sum(row, 1)?, row.get::<_, Option<i64>>(2)?)))?;
    levels.oldest_queued = oldest.map(Timestamp);
    let (unrendered, held, dead, cancelled) = tx
        .prepare_cached(UNSENT)?
        .query_row([], |row| Ok((sum(row, 0)?, sum(row, 1)?, sum(row, 2)?, sum(row, 3)?)))?;
    levels.outbox = BTreeMap::from([
        ("queued", queued),
        ("sending", sending),
        ("unrendered", unrendered),
        ("held", held),
        ("dead", dead),
        ("cancelled", cancelled),
    ]);
    Ok(levels)
}

/// The sum over no rows is NULL.
fn sum(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let sum: Option<i64> = row.get(column)?;
    Ok(sum.and_then(|sum| u64::try_from(sum).ok()).unwrap_or(0))
}

fn unreadable(error: impl std::fmt::Display) -> StoreError {
    StoreError::Failed(format!("the data directory cannot be looked at: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::mail::{Entrance, Envelope, TrustSource};
    use crate::store::{Depth, Options};

    const PATIENCE: Duration = Duration::from_secs(5);

    fn world() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::new(Timestamp(0))).unwrap();
        (dir, store)
    }

    fn accept(store: &Store, at: i64) {
        let envelope = Envelope {
            entrance: Entrance { name: "test".to_owned(), trust: TrustSource::None },
            client: None,
            helo: None,
            reverse_path: None,
            recipients: Vec::new(),
            accepted_at: Timestamp(at),
        };
        store.accept_blocking(&envelope, b"x".to_vec()).unwrap();
    }

    fn change(store: &Store, sql: &'static str) {
        store.write(Priority::Other, move |tx| tx.execute_batch(sql)).unwrap();
    }

    #[test]
    fn an_empty_store_is_all_zeros() {
        let (_dir, store) = world();
        let levels = store.levels(&mut Tally::default()).unwrap();
        assert!(levels.journal.values().chain(levels.outbox.values()).all(|rows| *rows == 0), "{levels:?}");
        assert_eq!((levels.journal.len(), levels.outbox.len()), (5, 6));
        assert_eq!((levels.oldest_pending, levels.oldest_queued), (None, None));
        assert!(levels.database_bytes > 0 && levels.disk_free > 0 && levels.wal_cap > 0, "{levels:?}");
    }

    #[test]
    fn levels_agree_with_the_books_as_mails_come_and_are_decided() {
        let (_dir, store) = world();
        let mut tally = Tally::default();
        for (round, decided) in [
            "UPDATE journal SET state = 'done' WHERE id = 1",
            "UPDATE journal SET state = 'suspended' WHERE id = 2",
            "UPDATE journal SET state = 'discarded', detail = 'duplicate' WHERE id = 3",
            "UPDATE journal SET state = 'failed' WHERE id = 4",
            "UPDATE journal SET state = 'done' WHERE id IN (2, 4)",
        ]
        .into_iter()
        .enumerate()
        {
            for at in 0..3 {
                accept(&store, at);
            }
            change(&store, decided);
            let (levels, books) = (store.levels(&mut tally).unwrap(), store.books(Depth::Books).unwrap());
            let expected = BTreeMap::from([
                ("pending", books.pending),
                ("done", books.done),
                ("suspended", books.suspended),
                ("discarded", books.discarded.values().sum()),
                ("failed", books.failed),
            ]);
            assert_eq!(levels.journal, expected, "round {round}");
        }
    }

    #[test]
    fn the_oldest_pending_mail_is_the_first_that_is_left() {
        let (_dir, store) = world();
        for at in [5, 7, 9] {
            accept(&store, at);
        }
        change(&store, "UPDATE journal SET state = 'done' WHERE id = 1");
        assert_eq!(store.levels(&mut Tally::default()).unwrap().oldest_pending, Some(Timestamp(7)));
    }

    #[test]
    fn no_question_reads_a_whole_table() {
        let (_dir, store) = world();
        let questions = STATES.iter().map(|(_, sql)| *sql).chain([OLDEST_PENDING, QUEUED, UNSENT]);
        for sql in questions {
            let plan: Vec<String> = store
                .ask(|db| {
                    let mut explain = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
                    explain.query_map([], |row| row.get("detail"))?.collect()
                })
                .unwrap();
            assert!(plan.iter().all(|step| step.contains("INDEX")), "{sql}: {plan:?}");
            if sql != OLDEST_PENDING {
                assert!(plan.iter().any(|step| step.contains("COVERING INDEX")), "{sql}: {plan:?}");
            }
        }
    }

    #[tokio::test]
    async fn the_writer_answers_without_a_commit_until_the_store_is_closed() {
        let (_dir, store) = world();
        let before = store.writer_stats();
        assert_eq!(store.ask_writer(PATIENCE).await, Some(Ok(())));
        assert_eq!(store.writer_stats(), before);
        store.close();
        assert_eq!(store.ask_writer(PATIENCE).await, Some(Err(StoreError::Closed)));
    }

    #[tokio::test]
    async fn a_full_queue_is_an_answer_only_while_the_writer_works_on_it() {
        let (_dir, store) = world();
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        let stuck = store.clone();
        let stuck = std::thread::spawn(move || {
            // An error: the test lets go.
            stuck.write(Priority::Journal, move |_| {
                let _ = held.recv();
                Ok::<_, ()>(())
            })
        });
        while timeout(Duration::ZERO, store.ask_writer_once()).await != Ok(Err(StoreError::Busy)) {}
        assert_eq!(store.ask_writer(ASK_AGAIN * 3).await, None);
        let letting_go = async {
            sleep(ASK_AGAIN).await;
            drop(let_go);
        };
        assert!(tokio::join!(store.ask_writer(PATIENCE), letting_go).0.is_some());
        stuck.join().unwrap().unwrap();
    }
}
