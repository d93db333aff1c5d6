//! The one thread that writes, and commits for many at once.
//!
//! It takes the jobs that wait (those of the journal first), runs them in one transaction, commits once and then answers
//! all of them. Jobs that can be run again are run as they are, and only if one fails each again in a savepoint of its own: a
//! savepoint makes SQLite keep a copy of each page that is changed. **Invariants:** nobody is answered, woken or told anything before COMMIT has returned; a job that
//! fails or panics leaves nothing behind and takes no other with it; if the transaction is lost, every job of the
//! group failed; if nobody can say whether a COMMIT is kept, no further job is run and the process ends.
//!
//! The trap in plain group commit (a mail that arrives while a commit runs waits for two syncs) is met by a short wait
//! before the COMMIT, set from the measured sync time, and only while other sessions have a mail under way. What no
//! session waits for (a decision, a notification that was sent) waits longer, for a commit that has to be made anyway.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::checkpoint::WalKeeper;
use super::errors::is_full;
use super::queue::{JobQueue, Priority, Work};
use super::sequences::{Covered, Sequences};
use super::{StoreError, lock};
use crate::telemetry;

/// Bounds of one group.
const GROUP_JOBS: usize = 64;
const GROUP_TIME: Duration = Duration::from_millis(5);

/// The wait for more while a session waits for its reply: a quarter of a sync, at most `LONGEST`, and none where it would be
/// shorter than `SHORTEST`. On a fast disk the sessions do better in two halves that take turns, one being served while the
/// other's commit is on the way (docs/performance.md), unless the half is a small part: see `FEW`.
const LONGEST_PATIENCE: Duration = Duration::from_micros(2_500);
const SHORTEST_PATIENCE: Duration = Duration::from_micros(500);

/// A group with less than one in so many of the sessions that send waits half of a sync, on a fast disk too.
const FEW: usize = 4;

/// Below this a timer costs more than the sync it saves.
const SHORTEST_TIMER: Duration = Duration::from_micros(100);

/// A group that no session waits for stays open for some syncs' time, so that the next mail's commit carries it along. With
/// so many jobs it is large enough.
const CARRIED_SYNCS: u32 = 20;
const CARRIED_JOBS: usize = 48;

/// Counters of the writer, for metrics and tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Commits that wrote something.
    pub commits: u64,
    /// Jobs that were kept.
    pub jobs: u64,
    /// Running mean of the time a COMMIT takes.
    pub mean_sync: Duration,
}

/// The writer thread, seen from outside.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Arc<JobQueue>,
    counters: Arc<Counters>,
    thread: Mutex<Option<JoinHandle<Option<Connection>>>>,
}

/// What the thread owns.
pub(super) struct Setup {
    pub(super) conn: Connection,
    pub(super) sequences: Arc<Sequences>,
    pub(super) covered: Covered,
    pub(super) wal: WalKeeper,
    /// Called when it is not known whether a commit is kept. The process should end.
    pub(super) on_in_doubt: fn(&str),
}

impl Writer {
    pub(super) fn start(setup: Setup) -> std::io::Result<Self> {
        let queue = Arc::new(JobQueue::default());
        let counters = Arc::new(Counters::default());
        let thread = Thread { queue: Arc::clone(&queue), counters: Arc::clone(&counters), setup };
        let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(move || thread.guarded())?;
        Ok(Self { queue, counters, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn queue(&self) -> &Arc<JobQueue> {
        &self.queue
    }

    pub(super) fn stats(&self) -> WriterStats {
        WriterStats {
            // With this count go the commits it counts: what is read after it shows them.
            commits: self.counters.commits.load(Ordering::Acquire),
            jobs: self.counters.jobs.load(Ordering::Relaxed),
            mean_sync: self.counters.mean_sync(),
        }
    }

    /// Takes no more jobs, finishes those that wait, and returns the connection; `None` if a commit was in doubt
    /// before, or if this is called twice or by the writer itself.
    pub(super) fn stop(&self) -> Option<Connection> {
        self.queue.stop(StoreError::Closed);
        let thread = lock(&self.thread).take()?;
        if thread.thread().id() == std::thread::current().id() {
            return None;
        }
        thread.join().ok().flatten()
    }
}

#[derive(Debug, Default)]
struct Counters {
    commits: AtomicU64,
    jobs: AtomicU64,
    mean_sync_nanos: AtomicU64,
}

impl Counters {
    fn mean_sync(&self) -> Duration {
        Duration::from_nanos(self.mean_sync_nanos.load(Ordering::Relaxed))
    }

    fn count(&self, sync: Duration, kept: usize) {
        self.commits.fetch_add(1, Ordering::Release);
        self.jobs.fetch_add(kept as u64, Ordering::Relaxed);
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
    setup: Setup,
}

impl Thread {
    /// A writer that panics must not leave a process behind in which everybody waits for it.
    fn guarded(self) -> Option<Connection> {
        let (queue, on_in_doubt) = (Arc::clone(&self.queue), self.setup.on_in_doubt);
        catch_unwind(AssertUnwindSafe(|| self.run())).unwrap_or_else(|_| {
            let why = StoreError::InDoubt("the writer panicked".to_owned());
            queue.stop(why.clone());
            queue.refuse_waiting(&why);
            on_in_doubt(&why.to_string());
            None
        })
    }

    /// Works until the store closes; returns the connection unless a commit was in doubt.
    fn run(mut self) -> Option<Connection> {
        while self.queue.wait_for_work() {
            if !self.setup.wal.has_room(&self.setup.conn) {
                self.queue.refuse_waiting(&StoreError::Full);
                continue;
            }
            let mut group = Group::new(Patience::of(self.counters.mean_sync()));
            let ended = self.commit(&mut group);
            if let Err(why @ StoreError::InDoubt(_)) = &ended {
                self.queue.stop(why.clone());
            }
            for done in std::mem::take(&mut group.done) {
                done.work.answer(ended.clone());
            }
            match ended {
                Ok(()) => self.setup.wal.after_commit(&self.setup.conn),
                Err(why @ StoreError::InDoubt(_)) => {
                    self.queue.refuse_waiting(&why);
                    (self.setup.on_in_doubt)(&why.to_string());
                    return None;
                }
                Err(why) => telemetry::store_trouble("committing a group", &why.to_string()),
            }
        }
        if let Err(error) = self.give_back_ids() {
            telemetry::store_trouble("giving back unused ids", &error.to_string());
        }
        Some(self.setup.conn)
    }

    /// Runs the jobs that wait, in one transaction. Every error means that nothing of the group is kept, unless it
    /// says that this is in doubt.
    fn commit(&mut self, group: &mut Group) -> Result<(), StoreError> {
        let conn = &self.setup.conn;
        let tx = match Transaction::new_unchecked(conn, TransactionBehavior::Immediate) {
            Ok(tx) => tx,
            Err(error) => {
                let why = StoreError::from(error);
                self.queue.refuse_waiting(&why);
                return Err(why);
            }
        };
        while let Some(work) = group.next(&self.queue) {
            group.run(&tx, work)?;
        }
        let kept = group.done.iter().filter(|done| done.keep).count();
        if kept == 0 {
            return Ok(());
        }
        let covered = self.setup.sequences.cover(&tx, &self.setup.covered)?;
        let started = Instant::now();
        if let Err(error) = tx.execute_batch("COMMIT") {
            // A full disk stops the write of the commit record itself, and a transaction that still stands was not
            // committed: neither leaves a doubt. Anything else (an fsync, a write error) does.
            return Err(match is_full(&error) || !tx.is_autocommit() {
                true => error.into(),
                false => StoreError::InDoubt(error.to_string()),
            });
        }
        self.setup.covered = covered;
        self.counters.count(started.elapsed(), kept);
        Ok(())
    }

    fn give_back_ids(&self) -> rusqlite::Result<()> {
        let tx = Transaction::new_unchecked(&self.setup.conn, TransactionBehavior::Immediate)?;
        self.setup.sequences.give_back(&tx)?;
        tx.commit()
    }
}

/// The jobs that share one transaction.
struct Group {
    opened: Instant,
    done: Vec<Done>,
    /// Each job is run in a savepoint from now on: one that cannot be run again is in the group, or one has failed.
    careful: bool,
    /// How many of them some session waits for.
    from_sessions: usize,
    /// The most sessions that had a mail under way since the group was opened.
    senders: usize,
    patience: Patience,
    waits_until: Option<Instant>,
}

impl Group {
    fn new(patience: Patience) -> Self {
        let done = Vec::with_capacity(GROUP_JOBS);
        Self {
            opened: Instant::now(),
            done,
            careful: false,
            from_sessions: 0,
            senders: 0,
            patience,
            waits_until: None,
        }
    }

    /// Runs a job. An error is the group's.
    fn run(&mut self, tx: &Transaction<'_>, mut work: Work) -> Result<(), StoreError> {
        self.careful |= !work.is_repeatable();
        if self.careful {
            self.done.push(Done { work, keep: false });
            return self.done.last_mut().map_or(Ok(()), |done| done.run_in_savepoint(tx));
        }
        let keep = work.run(tx);
        // Before anything else can fail: whoever is in the group is answered.
        self.done.push(Done { work, keep });
        if keep || tx.is_autocommit() {
            return still_open(tx);
        }
        self.careful = true;
        self.start_over(tx)
    }

    /// What a failed job may have left behind is undone with all the rest; the rest is done again.
    fn start_over(&mut self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        tx.execute_batch("ROLLBACK; BEGIN IMMEDIATE")?;
        self.done.iter_mut().try_for_each(|done| done.run_in_savepoint(tx))
    }

    /// The next job of the group, or `None` when it is time to commit.
    fn next(&mut self, queue: &JobQueue) -> Option<Work> {
        if self.done.len() >= GROUP_JOBS || self.opened.elapsed() >= GROUP_TIME {
            return None;
        }
        let (priority, work) = queue.next(|in_mail| self.patience_left(in_mail, Instant::now()))?;
        self.from_sessions += usize::from(priority == Priority::Journal);
        Some(work)
    }

    /// How much longer to wait for the sessions that are sending. Those answered a moment ago count too: they are
    /// about to send the next mail.
    fn patience_left(&mut self, in_mail: usize, now: Instant) -> Duration {
        self.senders = self.senders.max(in_mail);
        if self.from_sessions == 0 && self.done.len() < CARRIED_JOBS {
            return (self.opened + self.patience.without_sessions).saturating_duration_since(now);
        }
        let wait = match self.from_sessions * FEW < self.senders {
            true => self.patience.for_most_sessions,
            false => self.patience.for_sessions,
        };
        if wait.is_zero() || self.from_sessions >= self.senders {
            return Duration::ZERO;
        }
        let until = *self.waits_until.get_or_insert(now + wait);
        until.min(self.opened + GROUP_TIME).saturating_duration_since(now)
    }
}

/// How long it pays to wait for more jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Patience {
    /// While a session waits for its reply, and others are sending.
    for_sessions: Duration,
    /// The same, while most of those that send have not come.
    for_most_sessions: Duration,
    /// While no session waits.
    without_sessions: Duration,
}

impl Patience {
    /// From how long a sync takes.
    fn of(mean_sync: Duration) -> Self {
        let at_least =
            |shortest: Duration, wait: Duration| if wait < shortest { Duration::ZERO } else { wait };
        let without_sessions = (at_least(SHORTEST_TIMER, mean_sync) * CARRIED_SYNCS).min(GROUP_TIME);
        let for_sessions = at_least(SHORTEST_PATIENCE, mean_sync / 4).min(LONGEST_PATIENCE);
        let for_most_sessions = at_least(SHORTEST_TIMER, mean_sync / 2).min(LONGEST_PATIENCE);
        Self { for_sessions, for_most_sessions, without_sessions }
    }
}

/// A job that was run.
struct Done {
    work: Work,
    /// What it wrote is to be kept.
    keep: bool,
}

impl Done {
    /// Runs the job so that it leaves nothing behind if it fails. An error is the group's.
    fn run_in_savepoint(&mut self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        execute(tx, "SAVEPOINT job")?;
        self.keep = self.work.run(tx);
        still_open(tx)?;
        if !self.keep {
            execute(tx, "ROLLBACK TO job")?;
        }
        Ok(execute(tx, "RELEASE job")?)
    }
}

fn still_open(tx: &Transaction<'_>) -> Result<(), StoreError> {
    match tx.is_autocommit() {
        true => Err(StoreError::Failed("another job lost the transaction".to_owned())),
        false => Ok(()),
    }
}

fn execute(tx: &Transaction<'_>, sql: &str) -> rusqlite::Result<()> {
    tx.prepare_cached(sql)?.execute([]).map(drop)
}

#[cfg(test)]
mod tests;
