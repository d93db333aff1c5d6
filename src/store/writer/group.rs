//! The jobs that share one transaction: how they are run, and how long more are waited for.
//!
//! The trap in plain group commit (a mail that arrives while a commit runs waits for two syncs) is met by a short wait
//! before the COMMIT, set from the measured sync time, and only while other sessions have a mail under way. What no
//! session waits for (a decision, a notification that was sent) waits longer, for a flush that has to be made anyway: in
//! an open group while several sessions send, since a commit of its own would write more pages; committed while at most one
//! does, since the reply to the next mail would wait for the writing.

use std::time::{Duration, Instant};

use rusqlite::Transaction;

use super::super::StoreError;
use super::super::queue::{JobQueue, Pause, Priority, Work};

/// Bounds of one group.
const GROUP_JOBS: usize = 64;
const GROUP_TIME: Duration = Duration::from_millis(5);

/// The wait for more while a session waits for its reply: a quarter of a sync, at most `LONGEST`, and none where it would be
/// shorter than `SHORTEST`. On a fast disk the sessions do better in two halves that take turns, one being served while the
/// other's commit is on the way (docs/performance.md), unless the half is a small part: see `FEW`.
const LONGEST_PATIENCE: Duration = Duration::from_micros(2_500);
const SHORTEST_PATIENCE: Duration = Duration::from_micros(500);

/// A group with less than one in so many of the sessions that send waits half of a sync, on a fast disk too.
const FEW: usize = 2;

/// Below this a timer costs more than the sync it saves.
const SHORTEST_TIMER: Duration = Duration::from_micros(100);

/// A group that no session waits for stays open, or unflushed, for some syncs' time, so that the next mail's flush carries it
/// along. With so many jobs it is large enough.
const CARRIED_SYNCS: u32 = 20;
const CARRIED_JOBS: usize = 48;

/// The jobs that share one transaction.
pub(super) struct Group {
    /// When it was opened, or the flush of the group before ended: since then it could be committed.
    opened: Instant,
    /// That flush had not ended when last asked.
    held_up: bool,
    pub(super) done: Vec<Done>,
    /// Each job is run in a savepoint from now on: one that cannot be run again is in the group, or one has failed.
    careful: bool,
    /// How many of them some session waits for.
    pub(super) from_sessions: usize,
    /// The most sessions that had a mail under way since the group was opened.
    senders: usize,
    patience: Patience,
    waits_until: Option<Instant>,
    /// It is to be committed, and flushed this much later, unless it can be flushed with another until then.
    pub(super) carried_for: Option<Duration>,
}

impl Group {
    pub(super) fn new(patience: Patience) -> Self {
        let done = Vec::with_capacity(GROUP_JOBS);
        Self {
            opened: Instant::now(),
            held_up: false,
            done,
            careful: false,
            from_sessions: 0,
            senders: 0,
            patience,
            waits_until: None,
            carried_for: None,
        }
    }

    /// Runs a job. An error is the group's.
    pub(super) fn run(&mut self, tx: &Transaction<'_>, mut work: Work) -> Result<(), StoreError> {
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

    /// The next job of the group, or `None` when it is time to commit. Until the flush of the group before has ended there can
    /// be no next one, and so no hurry.
    pub(super) fn next(&mut self, queue: &JobQueue, flusher_is_busy: impl Fn() -> bool) -> Option<Work> {
        let now = Instant::now();
        self.see_flush(now, flusher_is_busy());
        if now >= self.opened + GROUP_TIME || self.done.len() >= GROUP_JOBS {
            return None;
        }
        let (priority, work) = queue.next(|in_mail| {
            let (now, busy) = (Instant::now(), flusher_is_busy());
            self.see_flush(now, busy);
            if busy { Pause::UntilCalled } else { self.pause(in_mail, now) }
        })?;
        self.from_sessions += usize::from(priority == Priority::Journal);
        Some(work)
    }

    /// The time of the group begins when the flush before has ended.
    fn see_flush(&mut self, now: Instant, flusher_is_busy: bool) {
        if flusher_is_busy || self.held_up {
            self.opened = now;
        }
        self.held_up = flusher_is_busy;
    }

    /// How much longer to wait for the sessions that are sending. Those answered a moment ago count too: they are
    /// about to send the next mail.
    fn pause(&mut self, in_mail: usize, now: Instant) -> Pause {
        self.senders = self.senders.max(in_mail);
        if self.from_sessions == 0 && self.done.len() < CARRIED_JOBS {
            let wait = self.patience.without_sessions;
            if in_mail <= 1 && !wait.is_zero() {
                self.carried_for = Some(wait);
                return Pause::Over;
            }
            return Pause::until(self.opened + wait, now);
        }
        let wait = match self.from_sessions * FEW < self.senders {
            true => self.patience.for_most_sessions,
            false => self.patience.for_sessions,
        };
        if wait.is_zero() || self.from_sessions >= self.senders {
            return Pause::Over;
        }
        let until = *self.waits_until.get_or_insert(now + wait);
        Pause::until(until.min(self.opened + GROUP_TIME), now)
    }
}

/// How long it pays to wait for more jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Patience {
    /// While a session waits for its reply, and others are sending.
    for_sessions: Duration,
    /// The same, while most of those that send have not come.
    for_most_sessions: Duration,
    /// While no session waits.
    without_sessions: Duration,
}

impl Patience {
    /// From how long a sync takes.
    pub(super) fn of(mean_sync: Duration) -> Self {
        let at_least =
            |shortest: Duration, wait: Duration| if wait < shortest { Duration::ZERO } else { wait };
        let without_sessions = (at_least(SHORTEST_TIMER, mean_sync) * CARRIED_SYNCS).min(GROUP_TIME);
        let for_sessions = at_least(SHORTEST_PATIENCE, mean_sync / 4).min(LONGEST_PATIENCE);
        let for_most_sessions = at_least(SHORTEST_TIMER, mean_sync / 2).min(LONGEST_PATIENCE);
        Self { for_sessions, for_most_sessions, without_sessions }
    }
}

/// A job that was run.
pub(super) struct Done {
    pub(super) work: Work,
    /// What it wrote is to be kept.
    pub(super) keep: bool,
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

pub(super) fn execute(tx: &Transaction<'_>, sql: &str) -> rusqlite::Result<()> {
    tx.prepare_cached(sql)?.execute([]).map(drop)
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
