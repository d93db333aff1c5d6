//! Keeps the WAL short without stopping the writer.
//!
//! A thread copies the bulk of the WAL into the database (PASSIVE: it waits for nobody and nobody waits for it). When
//! little is left, the writer copies the rest between two groups and starts the WAL anew. **Invariant:** the WAL never
//! grows past its cap by more than one group: at the cap the writer ends the reads that hold it, and while a reader in
//! another process holds it, takes no more jobs. Only while a backup copies the database the cap is higher.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::wal::CheckpointMode;

use super::readers::Readers;
use super::{Durability, OpenError, lock, open};
use crate::telemetry;

/// From here on the thread copies, or from a quarter of the cap on. The more pages there are, the more of them are the same page
/// again, which is copied once.
const START_PAGES: u32 = 4_000;

/// This much the writer copies itself, in a few milliseconds, to start the WAL anew.
const REST_PAGES: u32 = 256;

/// After a try that did not end it, the next comes this many pages later.
const RETRY_PAGES: u32 = 64;

/// How much longer the WAL may become while the database is copied for a backup: its read cannot be ended.
const LONG_READ_FACTOR: u32 = 8;

/// How long the writer waits for readers to start the WAL anew, when it is worth it and when it must be.
const SHORT_WAIT: Duration = Duration::from_millis(5);
const LONG_WAIT: Duration = Duration::from_secs(1);

/// What it waits otherwise: only a foreign program could hold the write lock.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// How long the WAL is: set by SQLite after each commit.
#[derive(Clone, Debug, Default)]
pub(super) struct WalPages(Arc<AtomicU32>);

impl WalPages {
    pub(super) fn watch(conn: &mut Connection) -> rusqlite::Result<Self> {
        let pages = Self::default();
        let set = pages.clone();
        conn.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            set.set(u32::try_from(pages).unwrap_or(0));
            Ok(())
        }))?;
        Ok(pages)
    }

    pub(super) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, pages: u32) {
        self.0.store(pages, Ordering::Relaxed);
    }
}

/// The thread that copies.
#[derive(Debug)]
pub(super) struct Checkpointer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wanted: Condvar,
}

#[derive(Debug, Default)]
struct State {
    wanted: bool,
    running: bool,
    stopping: bool,
    /// Pages of the WAL that are in the database, after the last pass.
    copied: u32,
}

impl Checkpointer {
    pub(super) fn start(dir: &Path, durability: Durability) -> Result<Self, OpenError> {
        let conn = open::connect(dir, durability)?;
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new().name("checkpoint".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run(&conn)
        })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn stop(&self) {
        lock(&self.shared.state).stopping = true;
        self.shared.wanted.notify_one();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, conn: &Connection) {
        loop {
            let mut state = lock(&self.state);
            while !state.wanted && !state.stopping {
                state = self.wanted.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.stopping {
                return;
            }
            state.wanted = false;
            state.running = true;
            drop(state);
            let pass = conn.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE);
            let mut state = lock(&self.state);
            state.running = false;
            match pass {
                Ok((_, copied)) => state.copied = u32::try_from(copied).unwrap_or(0),
                Err(error) => {
                    telemetry::store_trouble("copying the WAL into the database", &error.to_string())
                }
            }
        }
    }
}

/// The writer's part: what it does for the WAL between two groups.
#[derive(Debug)]
pub(super) struct WalKeeper {
    pages: WalPages,
    cap: u32,
    start: u32,
    readers: Arc<Readers>,
    shared: Arc<Shared>,
    /// Nothing is tried again before the WAL is that long.
    again_at: u32,
    /// A long read let the WAL grow past its cap; the thread copies the excess, not the writer.
    outgrown: bool,
}

impl WalKeeper {
    pub(super) fn new(
        pages: WalPages,
        cap_bytes: u64,
        readers: Arc<Readers>,
        checkpointer: &Checkpointer,
        conn: &Connection,
    ) -> rusqlite::Result<Self> {
        let page: u32 = conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
        // A frame is a page and its header of 24 bytes.
        let cap = u32::try_from(cap_bytes / u64::from(page + 24)).unwrap_or(u32::MAX);
        conn.pragma_update(None, "journal_size_limit", i64::try_from(cap_bytes).unwrap_or(i64::MAX))?;
        let shared = Arc::clone(&checkpointer.shared);
        let start = START_PAGES.min(cap / 4);
        Ok(Self { pages, cap, start, readers, shared, again_at: start, outgrown: false })
    }

    pub(super) fn cap(&self) -> u32 {
        self.cap
    }

    /// Called when nobody waits for the writer: after a group was committed and its flush has begun.
    pub(super) fn after_commit(&mut self, conn: &Connection) {
        let pages = self.pages.get();
        if pages < self.start {
            self.again_at = self.start;
        }
        if pages < self.again_at {
            return;
        }
        let copied = {
            let mut state = lock(&self.shared.state);
            if state.running || state.wanted {
                return;
            }
            // Fewer pages than were copied: the WAL began anew since.
            if state.copied > pages {
                state.copied = 0;
            }
            state.copied
        };
        if pages.saturating_sub(copied) <= REST_PAGES && self.restart(conn, SHORT_WAIT) {
            return;
        }
        self.again_at = pages.saturating_add(RETRY_PAGES);
        lock(&self.shared.state).wanted = true;
        self.shared.wanted.notify_one();
    }

    /// Whether there is room for a group. At the cap, makes room or says no.
    pub(super) fn has_room(&mut self, conn: &Connection) -> bool {
        let pages = self.pages.get();
        if pages < self.cap {
            self.outgrown = false;
            return true;
        }
        self.outgrown |= self.readers.has_long_read();
        if self.outgrown && pages < self.cap.saturating_mul(LONG_READ_FACTOR) {
            return true;
        }
        self.readers.end_all();
        let room = self.restart(conn, LONG_WAIT);
        if !room {
            telemetry::store_wal_full(u64::from(self.pages.get()), u64::from(self.cap));
        }
        room
    }

    /// Copies what is left and begins the WAL anew, unless readers hold it longer than `wait`.
    fn restart(&mut self, conn: &Connection, wait: Duration) -> bool {
        let restarted = conn
            .busy_timeout(wait)
            .and_then(|()| conn.wal_checkpoint_v2(None::<&str>, CheckpointMode::RESTART))
            .inspect_err(|error| {
                if error.sqlite_error_code() != Some(rusqlite::ErrorCode::DatabaseBusy) {
                    telemetry::store_trouble("emptying the WAL", &error.to_string());
                }
            })
            .is_ok();
        if let Err(error) = conn.busy_timeout(BUSY_WAIT) {
            telemetry::store_trouble("setting how long to wait for readers", &error.to_string());
        }
        if restarted {
            self.pages.set(0);
            lock(&self.shared.state).copied = 0;
            self.again_at = self.start;
        }
        restarted
    }
}
