//! Read-only connections, and short transactions on them.
//!
//! A read transaction keeps the WAL from being reset, so one that is in the way when the WAL is full is ended: its
//! next statement fails with SQLITE_INTERRUPT, and the caller may read again.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

use rusqlite::Connection;

use super::{lock, open};

/// Connections there are at most; each has a cache of its own. Reads are short, so a wait for one is too.
const CONNECTIONS: usize = 8;

/// How many steps of SQLite's machine a statement may run before it looks whether it was ended.
const STEPS: std::ffi::c_int = 100;

#[derive(Debug)]
pub(super) struct Readers {
    dir: PathBuf,
    pool: Mutex<Pool>,
    /// A connection became free.
    freed: Condvar,
    /// The flags of all connections there are; set while one reads, it ends the read.
    flags: Mutex<Vec<Weak<AtomicBool>>>,
    /// Long reads that are going on, and must not be ended.
    long: AtomicUsize,
}

#[derive(Debug, Default)]
struct Pool {
    idle: Vec<Reader>,
    in_use: usize,
}
/// While this lives, the WAL may grow further than otherwise.
#[derive(Debug)]
pub(super) struct LongRead<'a>(&'a AtomicUsize);

#[derive(Debug)]
struct Reader {
    conn: Connection,
    ended: Arc<AtomicBool>,
}

impl Readers {
    pub(super) fn new(dir: &Path) -> Self {
        let (pool, freed, long) = (Mutex::default(), Condvar::new(), AtomicUsize::new(0));
        Self { dir: dir.to_owned(), pool, freed, flags: Mutex::default(), long }
    }

    /// Runs `question` in one read transaction: all it sees is of one instant. `question` must not read in turn: all
    /// connections could be waiting for one another.
    pub(super) fn read<T, E: From<rusqlite::Error>>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let place = self.take_place();
        let reader = match place.idle() {
            Some(reader) => reader,
            None => self.connect()?,
        };
        reader.ended.store(false, Ordering::Relaxed);
        let answer = OneInstant::of(&reader.conn).map_err(E::from).and_then(|instant| question(instant.0));
        // What is still in a transaction holds on to the WAL: it is closed instead.
        if reader.conn.is_autocommit() {
            lock(&self.pool).idle.push(reader);
        }
        answer
    }

    fn take_place(&self) -> Place<'_> {
        let mut pool = lock(&self.pool);
        while pool.in_use >= CONNECTIONS {
            pool = self.freed.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
        pool.in_use += 1;
        Place(self)
    }

    /// For a read on a connection of its own that takes its time: a backup.
    pub(super) fn long_read(&self) -> LongRead<'_> {
        self.long.fetch_add(1, Ordering::AcqRel);
        LongRead(&self.long)
    }

    pub(super) fn has_long_read(&self) -> bool {
        self.long.load(Ordering::Acquire) > 0
    }

    /// Ends the reads that are going on.
    pub(super) fn end_all(&self) {
        for flag in lock(&self.flags).iter().filter_map(Weak::upgrade) {
            flag.store(true, Ordering::Relaxed);
        }
    }

    /// Ends the reads that are going on, and closes the connections that nobody uses.
    pub(super) fn close(&self) {
        self.end_all();
        lock(&self.pool).idle.clear();
    }

    fn connect(&self) -> rusqlite::Result<Reader> {
        let mut conn = open::connect_read_only(&self.dir)?;
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        conn.progress_handler(STEPS, Some(move || flag.load(Ordering::Relaxed)))?;
        let mut flags = lock(&self.flags);
        flags.retain(|flag| flag.strong_count() > 0);
        flags.push(Arc::downgrade(&ended));
        Ok(Reader { conn, ended })
    }
}

/// A read transaction. rusqlite's own would have its two statements parsed for each read.
struct OneInstant<'a>(&'a Connection);

impl<'a> OneInstant<'a> {
    fn of(conn: &'a Connection) -> rusqlite::Result<Self> {
        conn.prepare_cached("BEGIN")?.execute([])?;
        Ok(Self(conn))
    }
}

impl Drop for OneInstant<'_> {
    /// Lets go of the WAL, even if the question panics.
    fn drop(&mut self) {
        let _ = self.0.prepare_cached("ROLLBACK").and_then(|mut rollback| rollback.execute([]));
    }
}

/// The right to use one connection; given back even if the question panics.
struct Place<'a>(&'a Readers);

impl Place<'_> {
    fn idle(&self) -> Option<Reader> {
        lock(&self.0.pool).idle.pop()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(&self.0.pool).in_use -= 1;
        self.0.freed.notify_one();
    }
}

impl Drop for LongRead<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_is_ended_as_it_lets_go_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let database = Connection::open(dir.path().join(open::DATABASE)).unwrap();
        database.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n)").unwrap();
        let readers = Readers::new(dir.path());
        // The flag is looked at every so many steps: often enough it is then that the transaction is to end.
        for number in 0..10 * STEPS {
            let count = readers.read(|db| {
                let count = db.query_row("SELECT COUNT(*) FROM t", [], |row| row.get::<_, i64>(0));
                readers.end_all();
                count
            });
            assert_eq!(count, Ok(0), "read {number}");
        }
        database.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        let busy: i64 = database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
        assert_eq!(busy, 0, "somebody still reads");
    }
}
