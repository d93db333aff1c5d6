//! The one thread that writes, and commits for many at once.
//!
//! It takes the jobs that wait (those of the journal first), runs them in one transaction and commits once; when that is on the
//! disk, all of them are answered (`flusher`). Jobs that can be run again are run as they are, and only if one fails each again in a savepoint of its own: a
//! savepoint makes SQLite keep a copy of each page that is changed. **Invariants:** nobody is answered, woken or told anything
//! before it is on the disk; a job that fails or panics leaves nothing behind and takes no other with it; if the
//! transaction is lost, every job of the group failed; if nobody can say whether a COMMIT is kept, no further job is run and the process ends.
//!
//! A read sees a commit as soon as it is made, a flush before it is on the disk. So what leaves the process rests on what the
//! writer has answered, and never on a read alone.
//!
//! How long a group waits for more jobs: `group`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use self::flusher::{Doubt, Flusher};
use self::group::{Done, Group, Patience};
use super::checkpoint::WalKeeper;
use super::errors::is_full;
use super::queue::{JobQueue, Woken};
use super::sequences::{Covered, Sequences};
use super::{StoreError, lock};
use crate::telemetry;

pub(super) use self::flusher::WalFile;

mod flusher;
mod group;

/// Counters of the writer, for metrics and tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Commits that wrote something.
    pub commits: u64,
    /// Times that what was committed was brought to the disk.
    pub flushes: u64,
    /// Jobs that were kept.
    pub jobs: u64,
    /// Running mean of the time that a flush takes.
    pub mean_sync: Duration,
}

/// The writer thread, seen from outside.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Arc<JobQueue>,
    counters: Arc<Counters>,
    thread: Mutex<Option<JoinHandle<Option<Connection>>>>,
    /// The thread that flushes.
    flusher: ThreadId,
}

/// What the thread owns.
pub(super) struct Setup {
    pub(super) conn: Connection,
    pub(super) sequences: Arc<Sequences>,
    pub(super) covered: Covered,
    pub(super) wal: WalFile,
    pub(super) keeper: WalKeeper,
    /// Called when it is not known whether a commit is kept. The process should end.
    pub(super) on_in_doubt: fn(&str),
}

impl Writer {
    pub(super) fn start(setup: Setup) -> std::io::Result<Self> {
        let queue = Arc::new(JobQueue::default());
        let counters = Arc::new(Counters::default());
        let doubt = Arc::new(Doubt::new(Arc::clone(&queue), setup.on_in_doubt));
        let flusher =
            Flusher::start(setup.wal, Arc::clone(&queue), Arc::clone(&counters), Arc::clone(&doubt))?;
        let flushes = flusher.thread_id();
        let thread = Thread {
            queue: Arc::clone(&queue),
            counters: Arc::clone(&counters),
            doubt,
            flusher,
            conn: setup.conn,
            sequences: setup.sequences,
            covered: setup.covered,
            keeper: setup.keeper,
            unflushed: Vec::new(),
            flush_by: None,
        };
        let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(move || thread.guarded())?;
        Ok(Self { queue, counters, thread: Mutex::new(Some(thread)), flusher: flushes })
    }

    pub(super) fn queue(&self) -> &Arc<JobQueue> {
        &self.queue
    }

    pub(super) fn stats(&self) -> WriterStats {
        WriterStats {
            // With this count go the commits it counts: what is read after it shows them.
            commits: self.counters.commits.load(Ordering::Acquire),
            flushes: self.counters.flushes.load(Ordering::Relaxed),
            jobs: self.counters.jobs.load(Ordering::Relaxed),
            mean_sync: self.counters.mean_sync(),
        }
    }

    /// Takes no more jobs, finishes those that wait, and returns the connection; `None` if a commit was in doubt
    /// before, or if this is called twice or by one of its own threads.
    pub(super) fn stop(&self) -> Option<Connection> {
        self.queue.stop(StoreError::Closed);
        let thread = lock(&self.thread).take()?;
        if [thread.thread().id(), self.flusher].contains(&std::thread::current().id()) {
            return None;
        }
        thread.join().ok().flatten()
    }
}

#[derive(Debug, Default)]
struct Counters {
    commits: AtomicU64,
    flushes: AtomicU64,
    jobs: AtomicU64,
    mean_sync_nanos: AtomicU64,
}

impl Counters {
    fn mean_sync(&self) -> Duration {
        Duration::from_nanos(self.mean_sync_nanos.load(Ordering::Relaxed))
    }

    fn committed(&self, kept: usize) {
        self.jobs.fetch_add(kept as u64, Ordering::Relaxed);
        self.commits.fetch_add(1, Ordering::Release);
    }

    fn flushed(&self, sync: Duration) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        let sync = u64::try_from(sync.as_nanos()).unwrap_or(u64::MAX);
        let mean = match self.mean_sync_nanos.load(Ordering::Relaxed) {
            0 => sync,
            mean => mean - mean / 8 + sync / 8,
        };
        self.mean_sync_nanos.store(mean, Ordering::Relaxed);
    }
}

struct Thread {
    queue: Arc<JobQueue>,
    counters: Arc<Counters>,
    doubt: Arc<Doubt>,
    flusher: Flusher,
    conn: Connection,
    sequences: Arc<Sequences>,
    covered: Covered,
    keeper: WalKeeper,
    /// Committed, and to be flushed with the next group that somebody waits for, or when it is time.
    unflushed: Vec<Done>,
    flush_by: Option<Instant>,
}

impl Thread {
    /// A writer that panics must not leave a process behind in which everybody waits for it.
    fn guarded(self) -> Option<Connection> {
        let doubt = Arc::clone(&self.doubt);
        catch_unwind(AssertUnwindSafe(|| self.run())).unwrap_or_else(|_| {
            doubt.raise("the writer panicked", Vec::new());
            None
        })
    }

    /// Works until the store closes; returns the connection unless a commit was in doubt.
    fn run(mut self) -> Option<Connection> {
        loop {
            match self.queue.wait_for_work(self.flush_by) {
                Woken::ForWork if self.keeper.has_room(&self.conn) => self.work(),
                Woken::ForWork => self.queue.refuse_waiting(&StoreError::Full),
                Woken::InTime => self.flush(true),
                Woken::ToStop => break,
            }
        }
        self.flush(true);
        self.flusher.stop();
        if self.doubt.why().is_some() {
            return None;
        }
        if let Err(error) = give_back_ids(&self.conn, &self.sequences) {
            telemetry::store_trouble("giving back unused ids", &error.to_string());
        }
        Some(self.conn)
    }

    /// Runs, commits and settles one group.
    fn work(&mut self) {
        let mut group = Group::new(Patience::of(self.counters.mean_sync()));
        match self.commit(&mut group) {
            Ok(true) => {
                self.unflushed.append(&mut group.done);
                let now = Instant::now();
                let flush_by = group.carried_for.map(|time| *self.flush_by.get_or_insert(now + time));
                if flush_by.is_none_or(|by| by <= now) {
                    // Here if nobody could make use of this thread meanwhile.
                    self.flush(self.queue.in_mail() <= group.from_sessions);
                }
                self.keeper.after_commit(&self.conn);
            }
            Ok(false) => group.done.into_iter().for_each(|done| done.work.answer(Ok(()))),
            Err(StoreError::InDoubt(why)) => {
                let unflushed = std::mem::take(&mut self.unflushed);
                self.doubt.raise(&why, unflushed.into_iter().chain(group.done).collect());
            }
            Err(why) => {
                group.done.into_iter().for_each(|done| done.work.answer(Err(why.clone())));
                telemetry::store_trouble("committing a group", &why.to_string());
            }
        }
    }

    /// Flushes and answers what is committed.
    fn flush(&mut self, here: bool) {
        self.flush_by = None;
        self.queue.wait_while(|| self.flusher.is_busy());
        let batch = std::mem::take(&mut self.unflushed);
        if !batch.is_empty() {
            self.flusher.flush(batch, here);
        }
    }

    /// Runs the jobs that wait, in one transaction, and commits it when the group before is on the disk; answers whether there was anything to
    /// commit. Every error means that nothing of the group is kept, unless it says that this is in doubt.
    fn commit(&mut self, group: &mut Group) -> Result<bool, StoreError> {
        let conn = &self.conn;
        let tx = match Transaction::new_unchecked(conn, TransactionBehavior::Immediate) {
            Ok(tx) => tx,
            Err(error) => {
                let why = StoreError::from(error);
                self.queue.refuse_waiting(&why);
                return Err(why);
            }
        };
        while let Some(work) = group.next(&self.queue, || self.flusher.is_busy()) {
            group.run(&tx, work)?;
        }
        self.queue.wait_while(|| self.flusher.is_busy());
        if let Some(why) = self.doubt.why() {
            return Err(StoreError::InDoubt(why.to_owned()));
        }
        let kept = group.done.iter().filter(|done| done.keep).count();
        if kept == 0 {
            return Ok(false);
        }
        let covered = self.sequences.cover(&tx, &self.covered)?;
        if let Err(error) = group::execute(&tx, "COMMIT") {
            // A full disk stops the write of the commit record itself, and a transaction that still stands was not
            // committed: neither leaves a doubt. Anything else (an fsync, a write error) does.
            return Err(match is_full(&error) || !tx.is_autocommit() {
                true => error.into(),
                false => StoreError::InDoubt(error.to_string()),
            });
        }
        self.covered = covered;
        self.counters.committed(kept);
        Ok(true)
    }
}

fn give_back_ids(conn: &Connection, sequences: &Sequences) -> rusqlite::Result<()> {
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    sequences.give_back(&tx)?;
    tx.commit()
}

#[cfg(test)]
mod tests;
