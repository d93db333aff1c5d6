//! Read-only connections, and short transactions on them.
//!
//! A read transaction keeps the WAL from being reset, so one that is in the way when the WAL is full is ended: its
//! next statement fails with SQLITE_INTERRUPT, and the caller may read again.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{lock, open};

/// Connections that are kept open while nobody reads.
const KEPT: usize = 8;

/// How many steps of SQLite's machine a statement may run before it looks whether it was ended.
const STEPS: std::ffi::c_int = 100;

#[derive(Debug)]
pub(super) struct Readers {
    dir: PathBuf,
    idle: Mutex<Vec<Reader>>,
    /// The flags of all connections there are; set while one reads, it ends the read.
    flags: Mutex<Vec<Weak<AtomicBool>>>,
}

#[derive(Debug)]
struct Reader {
    conn: Connection,
    ended: Arc<AtomicBool>,
}

impl Readers {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), idle: Mutex::default(), flags: Mutex::default() }
    }

    /// Runs `question` in one read transaction: all it sees is of one instant.
    pub(super) fn read<T, E: From<rusqlite::Error>>(
        &self,
        question: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let idle = lock(&self.idle).pop();
        let reader = match idle {
            Some(reader) => reader,
            None => self.connect()?,
        };
        reader.ended.store(false, Ordering::Relaxed);
        let answer = Transaction::new_unchecked(&reader.conn, TransactionBehavior::Deferred)
            .map_err(E::from)
            .and_then(
                // The transaction is dropped here, and with it what it holds of the WAL.
                |tx| question(&tx),
            );
        let mut idle = lock(&self.idle);
        if idle.len() < KEPT {
            idle.push(reader);
        }
        answer
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
        lock(&self.idle).clear();
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
