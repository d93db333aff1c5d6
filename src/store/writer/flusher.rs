//! Brings to the disk what was committed, and only then says so.
//!
//! A COMMIT writes to the WAL and returns; one flush of the WAL makes it durable, and all commits before it. While the
//! disk is at that, the writer runs the jobs of the next group. **Invariants:** a job is answered after a flush that began when its COMMIT
//! had returned, in the order of commits; once a flush has failed, nobody is told that anything is kept: the
//! next one may succeed and leave a gap, so the process ends and the next start copies the WAL into the database first.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::Instant;

use rusqlite::Connection;

use super::super::queue::JobQueue;
use super::super::{Durability, StoreError, lock};
use super::Counters;
use super::group::Done;

/// The file that commits are written to.
#[derive(Debug)]
pub(in crate::store) struct WalFile(Option<File>);

impl WalFile {
    /// Of a connection that has read or written: its WAL is there, and stays until the last connection is closed.
    pub(in crate::store) fn open(conn: &Connection, durability: Durability) -> io::Result<Self> {
        if durability == Durability::Scratch {
            return Ok(Self(None));
        }
        // The name that SQLite has found, behind any symbolic link.
        let database = conn.path().ok_or(io::ErrorKind::NotFound)?;
        let file = File::options().write(true).open(format!("{database}-wal"))?;
        // Its name must be on the disk as well.
        Path::new(database).parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())?;
        Ok(Self(Some(file)))
    }

    #[cfg(test)]
    pub(super) fn of(file: File) -> Self {
        Self(Some(file))
    }

    fn flush(&self) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), File::sync_data)
    }
}

/// Whether anybody still knows what is kept.
pub(super) struct Doubt {
    queue: Arc<JobQueue>,
    on_in_doubt: fn(&str),
    why: OnceLock<String>,
}

impl Doubt {
    pub(super) fn new(queue: Arc<JobQueue>, on_in_doubt: fn(&str)) -> Self {
        Self { queue, on_in_doubt, why: OnceLock::new() }
    }

    pub(super) fn why(&self) -> Option<&str> {
        self.why.get().map(String::as_str)
    }

    /// Takes no more jobs, answers all with the doubt, and ends the process.
    pub(super) fn raise(&self, why: &str, batch: Vec<Done>) {
        let is_first = self.why.set(why.to_owned()).is_ok();
        let why = StoreError::InDoubt(why.to_owned());
        self.queue.stop(why.clone());
        for done in batch {
            done.work.answer(Err(why.clone()));
        }
        self.queue.refuse_waiting(&why);
        if is_first {
            (self.on_in_doubt)(&why.to_string());
        }
    }
}

/// The thread that flushes, as the writer sees it.
pub(super) struct Flusher {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

struct Shared {
    wal: WalFile,
    queue: Arc<JobQueue>,
    counters: Arc<Counters>,
    doubt: Arc<Doubt>,
    given: Mutex<Given>,
    arrived: Condvar,
    /// A batch is on its way to the disk.
    busy: AtomicBool,
}

#[derive(Default)]
struct Given {
    batch: Option<Vec<Done>>,
    /// The thread has not answered all that it was given.
    answering: bool,
    stopping: bool,
}

impl Flusher {
    pub(super) fn start(
        wal: WalFile,
        queue: Arc<JobQueue>,
        counters: Arc<Counters>,
        doubt: Arc<Doubt>,
    ) -> io::Result<Self> {
        let (given, arrived, busy) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
        let shared = Arc::new(Shared { wal, queue, counters, doubt, given, arrived, busy });
        let beside = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("flusher".to_owned()).spawn(move || {
            if catch_unwind(AssertUnwindSafe(|| beside.run())).is_err() {
                beside.doubt.raise("the flusher panicked", Vec::new());
                let given = lock(&beside.given).batch.take();
                beside.doubt.raise("the flusher panicked", given.unwrap_or_default());
                beside.is_done();
            }
        })?;
        Ok(Self { shared, thread })
    }

    /// Whether a batch is on its way to the disk. The writer is called when it has come there.
    pub(super) fn is_busy(&self) -> bool {
        self.shared.busy.load(Ordering::Acquire)
    }

    /// Flushes and answers, on another thread, or on this one: `here` is quicker if there is nothing else to do. Not while it is busy.
    pub(super) fn flush(&self, batch: Vec<Done>, here: bool) {
        let shared = &self.shared;
        shared.busy.store(true, Ordering::Release);
        let mut given = lock(&shared.given);
        // In doubt, the thread may be gone.
        if here && !given.answering || shared.doubt.why().is_some() {
            drop(given);
            return shared.flush(batch);
        }
        given.answering = true;
        given.batch = Some(batch);
        drop(given);
        shared.arrived.notify_one();
    }

    pub(super) fn thread_id(&self) -> ThreadId {
        self.thread.thread().id()
    }

    /// Ends the thread when it has answered what it was given.
    pub(super) fn stop(self) {
        lock(&self.shared.given).stopping = true;
        self.shared.arrived.notify_one();
        let _ = self.thread.join();
    }
}

impl Shared {
    fn run(&self) {
        while let Some(batch) = self.next() {
            self.flush(batch);
        }
    }

    fn next(&self) -> Option<Vec<Done>> {
        let mut given = lock(&self.given);
        loop {
            if let Some(batch) = given.batch.take() {
                return Some(batch);
            }
            given.answering = false;
            if given.stopping {
                return None;
            }
            given = self.arrived.wait(given).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn flush(&self, batch: Vec<Done>) {
        let began = Instant::now();
        let failed = match self.doubt.why() {
            Some(why) => Some(why.to_owned()),
            None => self.wal.flush().err().map(|error| error.to_string()),
        };
        if let Some(why) = failed {
            self.doubt.raise(&why, batch);
            return self.is_done();
        }
        self.counters.flushed(began.elapsed());
        // First of all: the writer can commit while these are answered.
        self.is_done();
        for done in batch {
            done.work.answer(Ok(()));
        }
    }

    fn is_done(&self) {
        self.busy.store(false, Ordering::Release);
        self.queue.call_writer();
    }
}
