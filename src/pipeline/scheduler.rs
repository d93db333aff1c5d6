//! Which mail is decided when (DESIGN §2 *Order*).
//!
//! Mails are parsed side by side. A mail that shares a person with an earlier undecided one, refers to it, or is about the
//! same ticket waits for it; so the tickets come out as if every mail had been decided alone, in order of acceptance.
//!
//! Which tickets a mail is about is only partly known: a Message-ID may be that of a mail not yet decided. So a mail that
//! belongs to the conversation of an earlier one takes over what that one is about.
//!
//! A mail that refers to a failed one gives it some time to be mended, and is parked. One whose turn has not come is shelved, as
//! far as it was read. No decider is held up by either, and no mail but those that are tied to it.
//!
//! **Invariant:** a row waits for earlier rows only, so the earliest row in work waits for nobody: there is no deadlock.
//! **Invariant:** a parked row waits until a moment that was known when it was parked, at the latest.

mod state;
mod ties;

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::domain::ids::{JournalId, TicketId};
use crate::domain::snapshot::JournalEntry;
use crate::domain::time::{MINUTE, Timestamp};
use crate::store::Pending;

use state::{Parked, State, pick};
pub use ties::Ties;

/// Bytes of waiting mails that are kept in memory; others are read from the store when their turn comes.
const MAX_BYTES: usize = 8 << 20;

/// How long after its acceptance a mail waits for a failed one that it refers to (DESIGN §2).
const GRACE: i64 = 15 * MINUTE;

/// Whether a mail may be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Turn {
    Now,
    /// When an earlier row has moved: shelve it until then.
    Later,
    /// Not before this moment, unless what it waits for is settled earlier. It comes up again by itself.
    Parked(Timestamp),
}

/// What there is to do about a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task<M> {
    /// It was not read yet.
    Read(JournalId),
    /// It was shelved, and its turn may have come.
    Resume(JournalId, M),
}

#[derive(Debug)]
pub struct Scheduler<M> {
    /// How many deciders may be at work: more threads than that would only take turns on the same cores. Those that wait for
    /// the disk do not count.
    seats: usize,
    state: Mutex<State<M>>,
    /// A row in work was settled or parked.
    moved: Condvar,
}

impl<M> Scheduler<M> {
    /// `M` is a mail as far as a decider has read it.
    #[must_use]
    pub fn new(seats: usize, suspects: impl IntoIterator<Item = JournalId>) -> Self {
        let state = State::new(suspects);
        Self { seats, state: Mutex::new(state), moved: Condvar::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State<M>> {
        // A worker that panicked held the lock only to move ids about: the state is sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until this thread is called.
    fn wait_for_a_row<'a>(&self, mut state: MutexGuard<'a, State<M>>) -> MutexGuard<'a, State<M>> {
        thread_local!(static CALLED: Arc<Condvar> = Arc::default());
        let called = CALLED.with(Arc::clone);
        state.idle.push(Arc::clone(&called));
        while state.idle.iter().any(|idle| Arc::ptr_eq(idle, &called)) {
            state = called.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    fn wait_for_a_move<'a>(&self, mut state: MutexGuard<'a, State<M>>) -> MutexGuard<'a, State<M>> {
        state.watching += 1;
        let mut state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.watching -= 1;
        state
    }

    /// Wakes those whom a change may concern, and no more: with all threads woken for each step, waking is a good part of the
    /// work.
    fn tell(&self, mut state: MutexGuard<'_, State<M>>) {
        let watching = state.watching > 0;
        let could_work = state.idle.len().min(self.seats.saturating_sub(state.busy));
        let to_do = |state: &State<M>| usize::from(state.first_ready().is_some()) + state.waiting.len();
        let wanted = if could_work > 0 { could_work.min(to_do(&state)) } else { 0 };
        let call_from = state.idle.len() - wanted;
        let called = state.idle.split_off(call_from);
        drop(state);
        if watching {
            self.moved.notify_all();
        }
        called.iter().for_each(|idle| idle.notify_one());
    }

    /// The newest row that was queued: ask the store for those after it.
    #[must_use]
    pub fn newest(&self) -> JournalId {
        JournalId(self.lock().newest)
    }

    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// Queues rows in order of acceptance; rows that were queued before are left out.
    pub fn queue(&self, rows: impl IntoIterator<Item = Pending>) {
        let mut state = self.lock();
        for pending in rows {
            state.queue(pending);
        }
        self.tell(state);
    }

    /// Queues a mail as it is accepted, if all before it are queued; else it is to be found in the store.
    pub fn hand_over(&self, entry: JournalEntry) -> bool {
        let mut state = self.lock();
        if !state.caught_up {
            state.missed += 1;
            return false;
        }
        let size = entry.raw.len();
        // One that the loader met first may be decided by now.
        let new = state.queue(Pending { row: entry.id, size: size as u64 });
        if new && state.bytes + size <= MAX_BYTES {
            state.bytes += size;
            state.entries.insert(entry.id, entry);
        }
        self.tell(state);
        true
    }

    /// Counts the mails that were not taken when they were handed over.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.lock().missed
    }

    /// The store holds nothing that is not queued, but for what was missed since `missed` was counted: if that is nothing, mail
    /// may be handed over from now on. Answers whether it may.
    pub fn catch_up(&self, missed: u64) -> bool {
        let mut state = self.lock();
        state.caught_up |= state.missed == missed;
        state.caught_up
    }

    /// The mail that was handed over for this row, if its bytes were kept.
    pub fn entry(&self, row: JournalId) -> Option<JournalEntry> {
        let mut state = self.lock();
        let entry = state.entries.remove(&row)?;
        state.bytes -= entry.raw.len();
        Some(entry)
    }

    /// Puts a row back that could not be decided just now.
    pub fn put_back(&self, row: JournalId, as_suspect: bool) {
        let mut state = self.lock();
        let ties = state.leave(row);
        state.again.extend(ties.map(|ties| (row, ties)));
        if as_suspect {
            state.suspects.insert(row);
        }
        state.make_wait(row);
        self.tell(state);
    }

    /// Remembers what a suspect is about, before it is parsed again.
    pub fn remember_suspect(&self, row: JournalId, ties: Ties) {
        let mut state = self.lock();
        // It may have been settled already.
        if state.suspects.contains(&row) {
            state.again.insert(row, ties);
        }
    }

    /// Remembers a row that was given up: later ones that refer to it give it some time.
    pub fn fail(&self, row: JournalId, ties: Ties) {
        let mut state = self.lock();
        state.leave(row);
        state.suspects.remove(&row);
        state.again.remove(&row);
        state.failed.insert(row, ties);
        state.release(|_| true);
        self.tell(state);
    }

    /// Queues a row again that was given up, as a suspect. One that was never queued comes with the pending ones.
    pub fn retry(&self, row: JournalId) {
        let mut state = self.lock();
        while state.is_in_work(row) {
            state = self.wait_for_a_move(state);
        }
        // Before all others are queued, the loader comes upon it; after that nobody looks for rows that old.
        if (row.0 <= state.newest || state.caught_up) && !state.waiting.contains(&row) {
            state.newest = state.newest.max(row.0);
            state.suspects.insert(row);
            state.make_wait(row);
        }
        self.tell(state);
    }

    /// Queues the parked rows again whose time has come.
    pub fn release(&self, now: Timestamp) {
        let mut state = self.lock();
        state.release(|parked| parked.until <= now);
        self.tell(state);
    }

    /// The next thing to do, or none when the scheduler stops. Blocks. The decider is at work from then on until
    /// [`Scheduler::rest`].
    pub fn take(&self) -> Option<Task<M>> {
        let mut state = self.lock();
        loop {
            if state.stopping {
                return None;
            }
            if state.busy < self.seats
                && let Some(task) = pick(&mut state)
            {
                state.busy += 1;
                return Some(task);
            }
            state = self.wait_for_a_row(state);
        }
    }

    /// The decider that took a row has done its part of the work.
    pub fn rest(&self) {
        let mut state = self.lock();
        state.busy = state.busy.saturating_sub(1);
    }

    /// Lets another decider work while this one waits for the disk.
    pub fn aside<T>(&self, wait: impl FnOnce() -> T) -> T {
        let mut state = self.lock();
        state.busy = state.busy.saturating_sub(1);
        self.tell(state);
        // Also if the wait ends in a panic: the decider that catches it rests later.
        let _back = Back(|| self.lock().busy += 1);
        wait()
    }

    /// Says what the row in work is about, and asks whether it may be decided: not while an earlier row in work ties it down.
    /// `tickets` asks the store which tickets the mail names; it is asked again if an earlier row was settled meanwhile.
    ///
    /// # Errors
    /// If `tickets` cannot say.
    pub fn turn<E>(
        &self,
        row: JournalId,
        ties: impl FnOnce() -> Ties,
        (accepted_at, now): (Timestamp, Timestamp),
        tickets: impl Fn() -> Result<BTreeSet<TicketId>, E>,
    ) -> Result<Turn, E> {
        let mut state = self.lock();
        if !state.known.contains_key(&row) {
            // To and Cc are as long as a stranger likes: nobody waits for the lock while they are read.
            drop(state);
            let mut ties = ties();
            state = self.lock();
            loop {
                if state.may_be_tied(row) {
                    return Ok(Turn::Later);
                }
                let before: Vec<_> = state.earlier_than(row).collect();
                drop(state);
                let found = tickets()?;
                state = self.lock();
                if !state.may_be_tied(row) && state.earlier_than(row).eq(before) {
                    ties.add_tickets(found);
                    break;
                }
            }
            state.know(row, ties);
        }
        // Asked again each time: what this row waited for may be parked now, or have failed.
        let grace = Some(accepted_at.plus(GRACE)).filter(|grace| now < *grace);
        let ties = state.known.get(&row).map(|known| &known.ties);
        let turn = match ties.and_then(|ties| state.parked_until(row, ties, (grace, now))) {
            Some(until) => {
                let ties = state.leave(row).unwrap_or_default();
                state.parked.insert(row, Parked { ties, until });
                Turn::Parked(until)
            }
            None if state.waits(row) => Turn::Later,
            None => Turn::Now,
        };
        self.tell(state);
        Ok(turn)
    }

    /// Keeps a mail in work whose turn comes later.
    pub fn shelve(&self, row: JournalId, mail: M) {
        self.lock().shelf.insert(row, mail);
    }

    /// The row is settled.
    pub fn finish(&self, row: JournalId) {
        let mut state = self.lock();
        state.leave(row);
        state.suspects.remove(&row);
        state.large.remove(&row);
        let was_waited_for =
            [state.failed.remove(&row), state.again.remove(&row)].iter().any(Option::is_some);
        if was_waited_for {
            state.release(|_| true);
        }
        self.tell(state);
    }

    /// Lets every worker end after the row it has.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        let called = std::mem::take(&mut state.idle);
        let shelved = std::mem::take(&mut state.shelf);
        drop(state);
        // They stay pending, and nothing is held against them.
        drop(shelved);
        called.iter().for_each(|idle| idle.notify_one());
        self.moved.notify_all();
    }

    /// Blocks until nothing is waiting or in work; parked rows are left alone.
    pub fn drain(&self) {
        let mut state = self.lock();
        while !(state.stopping || state.waiting.is_empty() && state.count_in_work() == 0) {
            state = self.wait_for_a_move(state);
        }
    }
}

/// Does something when it goes.
struct Back<F: FnMut()>(F);

impl<F: FnMut()> Drop for Back<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
