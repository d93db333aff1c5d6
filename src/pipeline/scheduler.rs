//! Which mail is decided when (DESIGN §2 *Order*).
//!
//! Mails are parsed side by side. A mail that shares a person with an earlier undecided one, refers to it, or is about the
//! same ticket waits for it; so the tickets come out as if every mail had been decided alone, in order of acceptance.
//!
//! Which tickets a mail is about is only partly known: a Message-ID may be that of a mail not yet decided. So a mail that
//! belongs to the conversation of an earlier one takes over what that one is about.
//!
//! A mail that refers to a failed one gives it some time to be mended, and is parked: no decider is held up by it, and
//! no mail but those that are tied to it.
//!
//! **Invariant:** a row waits for earlier rows only, so the earliest row in work waits for nobody: there is no deadlock.
//! **Invariant:** a parked row waits until a moment that was known when it was parked, at the latest.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::domain::address::{Address, Mailbox};
use crate::domain::ids::{JournalId, TicketId};
use crate::domain::mail::{InboundMessage, MessageId};
use crate::domain::snapshot::JournalEntry;
use crate::domain::time::{MINUTE, Timestamp};
use crate::store::Pending;

/// Bytes of the large mails that may be in work together: each takes several times its size while it is.
const MAX_IN_WORK: u64 = 64 << 20;
/// Smaller ones are not counted.
const LARGE: u64 = 256 << 10;

/// Mails in work at once, those included whose commit is awaited.
const MAX_MAILS: usize = 32;

/// Bytes of waiting mails that are kept in memory; others are read from the store when their turn comes.
const MAX_BYTES: usize = 8 << 20;

/// How long after its acceptance a mail waits for a failed one that it refers to (DESIGN §2).
const GRACE: i64 = 15 * MINUTE;

/// What a mail shares with others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ties {
    authors: BTreeSet<Address>,
    /// People in To and Cc, who become known by this mail if nobody knew them.
    mentioned: BTreeSet<Address>,
    /// The mail's own Message-ID and those it refers to.
    thread: BTreeSet<MessageId>,
    tickets: BTreeSet<TicketId>,
}

impl Ties {
    #[must_use]
    pub fn of(message: &InboundMessage) -> Self {
        let addresses =
            |mailboxes: &[Mailbox]| mailboxes.iter().map(|mailbox| mailbox.address.clone()).collect();
        let thread = message.message_id.iter().chain(&message.in_reply_to).chain(&message.references);
        Self {
            authors: addresses(&[message.from.as_slice(), &message.reply_to].concat()),
            mentioned: addresses(&[message.to.as_slice(), &message.cc].concat()),
            thread: thread.cloned().collect(),
            tickets: BTreeSet::new(),
        }
    }

    /// Of a mail of which no more is known than what names its conversation.
    #[must_use]
    pub fn of_conversation(message: &InboundMessage, tickets: BTreeSet<TicketId>) -> Self {
        let whole = Self::of(message);
        Self { thread: whole.thread, tickets, ..Self::default() }
    }

    fn shares_people_with(&self, earlier: &Self) -> bool {
        !self.authors.is_disjoint(&earlier.authors)
            || !self.authors.is_disjoint(&earlier.mentioned)
            || !self.mentioned.is_disjoint(&earlier.authors)
    }

    fn is_tied_to(&self, earlier: &Self) -> bool {
        self.shares_conversation_with(earlier) || self.shares_people_with(earlier)
    }

    fn shares_conversation_with(&self, earlier: &Self) -> bool {
        !self.tickets.is_disjoint(&earlier.tickets) || !self.thread.is_disjoint(&earlier.thread)
    }
}

/// Whether a mail may be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Turn {
    Now,
    /// Not before this moment, unless what it waits for is settled earlier. It comes up again by itself.
    Parked(Timestamp),
}

#[derive(Debug)]
struct Parked {
    ties: Ties,
    until: Timestamp,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<JournalId>,
    /// Rows in work; the ties are unknown until the row is parsed.
    in_work: BTreeMap<JournalId, Option<Ties>>,
    /// Rows that were given up, even while a person has them tried again.
    failed: BTreeMap<JournalId, Ties>,
    parked: BTreeMap<JournalId, Parked>,
    /// What rows are about that were in work before and are to be tried again: later ones do not overtake them.
    again: BTreeMap<JournalId, Ties>,
    /// The sizes of large mails.
    large: BTreeMap<JournalId, u64>,
    /// Waiting mails that were handed over as they were accepted.
    entries: BTreeMap<JournalId, JournalEntry>,
    /// The bytes of their messages.
    bytes: usize,
    /// Mails that are accepted now may be handed over: all before them are queued.
    caught_up: bool,
    /// Counts the mails that were not taken when they were handed over: they are to be found in the store.
    missed: u64,
    /// Deciders that are at work, less those that wait for rows in work or for the disk.
    busy: usize,
    /// Threads that wait for a row to take.
    idle: usize,
    /// Threads that wait for rows in work.
    watching: usize,
    /// Rows that were in work when the process died before. At most one of them is in work at a time, so that the next
    /// crash names the culprit.
    suspects: BTreeSet<JournalId>,
    /// The newest row that was ever queued; 0 before the first.
    newest: i64,
    stopping: bool,
}

impl State {
    fn earlier_than(&self, row: JournalId) -> Vec<JournalId> {
        self.in_work.range(..row).map(|(id, _)| *id).collect()
    }

    /// Until when the row must be parked: for a failed row while its grace lasts, for one that is tried again, or as long as
    /// a parked one.
    fn parked_until(
        &self,
        row: JournalId,
        ties: &Ties,
        (grace, now): (Option<Timestamp>, Timestamp),
    ) -> Option<Timestamp> {
        let again = self.again.range(..row).any(|(_, again)| ties.is_tied_to(again));
        let failed = || self.failed.range(..row).any(|(_, failed)| ties.shares_conversation_with(failed));
        let parked = self.parked.range(..row).filter(|(_, parked)| ties.is_tied_to(&parked.ties));
        let graces = grace.filter(|_| failed()).into_iter().chain(again.then(|| now.plus(GRACE)));
        graces.chain(parked.map(|(_, parked)| parked.until)).max()
    }

    /// Queues a row behind all others; one that was queued before is left out.
    fn queue(&mut self, Pending { row, size }: Pending) {
        if row.0 > self.newest {
            self.newest = row.0;
            self.large.extend((size >= LARGE).then_some((row, size)));
            self.waiting.push_back(row);
        }
    }

    fn make_wait(&mut self, row: JournalId) {
        let place = self.waiting.partition_point(|waiting| *waiting < row);
        self.waiting.insert(place, row);
    }

    fn release(&mut self, is_due: impl Fn(&Parked) -> bool) {
        let due: Vec<_> =
            self.parked.iter().filter(|(_, parked)| is_due(parked)).map(|(row, _)| *row).collect();
        for row in due {
            self.parked.remove(&row);
            self.make_wait(row);
        }
    }
}

#[derive(Debug)]
pub struct Scheduler {
    /// How many deciders may be at work: more threads than that would only take turns on the same cores. Those that wait for
    /// rows in work or for the disk do not count.
    seats: usize,
    state: Mutex<State>,
    /// A row may be there to take.
    arrived: Condvar,
    /// A row in work was settled, parsed or parked.
    moved: Condvar,
}

impl Scheduler {
    #[must_use]
    pub fn new(seats: usize, suspects: impl IntoIterator<Item = JournalId>) -> Self {
        let state = State { suspects: suspects.into_iter().collect(), ..State::default() };
        Self { seats, state: Mutex::new(state), arrived: Condvar::default(), moved: Condvar::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A worker that panicked held the lock only to move ids about: the state is sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_a_row<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.idle += 1;
        let mut state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
        state
    }

    fn wait_for_a_move<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.watching += 1;
        let mut state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.watching -= 1;
        state
    }

    /// The same for a decider at work; another may work meanwhile.
    fn wait_aside<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.busy = state.busy.saturating_sub(1);
        if state.idle > 0 && !state.waiting.is_empty() {
            self.arrived.notify_one();
        }
        let mut state = self.wait_for_a_move(state);
        state.busy += 1;
        state
    }

    /// Wakes those whom a change may concern, and no more: with all threads woken for each step, waking is a good part of the
    /// work.
    fn tell(&self, state: MutexGuard<'_, State>) {
        let free = self.seats.saturating_sub(state.busy);
        let (watching, wanted) = (state.watching > 0, state.idle.min(state.waiting.len()).min(free));
        drop(state);
        if watching {
            self.moved.notify_all();
        }
        for _ in 0..wanted {
            self.arrived.notify_one();
        }
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
        rows.into_iter().for_each(|pending| state.queue(pending));
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
        state.queue(Pending { row: entry.id, size: size as u64 });
        if state.bytes + size <= MAX_BYTES {
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
        let ties = state.in_work.remove(&row).flatten();
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
        state.in_work.remove(&row);
        state.suspects.remove(&row);
        state.again.remove(&row);
        state.failed.insert(row, ties);
        state.release(|_| true);
        self.tell(state);
    }

    /// Queues a row again that was given up, as a suspect. One that was never queued comes with the pending ones.
    pub fn retry(&self, row: JournalId) {
        let mut state = self.lock();
        while state.in_work.contains_key(&row) {
            state = self.wait_for_a_move(state);
        }
        if row.0 <= state.newest && !state.waiting.contains(&row) {
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

    /// The next row, or none when the scheduler stops. Blocks. The decider is at work from then on until [`Scheduler::rest`].
    pub fn take(&self) -> Option<JournalId> {
        let mut state = self.lock();
        loop {
            if state.stopping {
                return None;
            }
            if state.busy < self.seats
                && let Some(row) = pick(&mut state)
            {
                state.in_work.insert(row, None);
                state.busy += 1;
                return Some(row);
            }
            state = self.wait_for_a_row(state);
        }
    }

    /// The decider that took a row has done its part of the work.
    pub fn rest(&self) {
        self.lock().busy -= 1;
    }

    /// Lets another decider work while this one waits for the disk.
    pub fn aside<T>(&self, wait: impl FnOnce() -> T) -> T {
        let mut state = self.lock();
        state.busy -= 1;
        self.tell(state);
        let waited = wait();
        self.lock().busy += 1;
        waited
    }

    /// Says what the row in work is about, and blocks until no earlier row in work ties it down, or parks it. `tickets`
    /// asks the store which tickets the mail names; it is asked again if an earlier row was settled meanwhile.
    ///
    /// # Errors
    /// If `tickets` cannot say.
    pub fn wait_for_turn<E>(
        &self,
        row: JournalId,
        mut ties: Ties,
        (accepted_at, now): (Timestamp, Timestamp),
        tickets: impl Fn() -> Result<BTreeSet<TicketId>, E>,
    ) -> Result<Turn, E> {
        let grace = Some(accepted_at.plus(GRACE)).filter(|grace| now < *grace);
        let mut state = self.lock();
        loop {
            while state.in_work.range(..row).any(|(_, earlier)| earlier.is_none()) {
                state = self.wait_aside(state);
            }
            let before = state.earlier_than(row);
            drop(state);
            let found = tickets()?;
            state = self.lock();
            if state.earlier_than(row) == before {
                ties.tickets.extend(found);
                break;
            }
        }
        let mut waits_for = Vec::new();
        for (earlier, its) in
            state.in_work.range(..row).filter_map(|(id, its)| its.as_ref().map(|its| (*id, its)))
        {
            if ties.shares_conversation_with(its) {
                ties.thread.extend(its.thread.iter().cloned());
                ties.tickets.extend(&its.tickets);
                waits_for.push(earlier);
            } else if ties.shares_people_with(its) {
                waits_for.push(earlier);
            }
        }
        state.in_work.insert(row, Some(ties.clone()));
        if state.watching > 0 {
            self.moved.notify_all();
        }
        loop {
            // Asked again each time: what this row waited for may be parked now, or have failed.
            if let Some(until) = state.parked_until(row, &ties, (grace, now)) {
                state.in_work.remove(&row);
                state.parked.insert(row, Parked { ties, until });
                self.tell(state);
                return Ok(Turn::Parked(until));
            }
            if !waits_for.iter().any(|earlier| state.in_work.contains_key(earlier)) {
                return Ok(Turn::Now);
            }
            state = self.wait_aside(state);
        }
    }

    /// The row is settled.
    pub fn finish(&self, row: JournalId) {
        let mut state = self.lock();
        state.in_work.remove(&row);
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
        self.lock().stopping = true;
        self.arrived.notify_all();
        self.moved.notify_all();
    }

    /// Blocks until nothing is waiting or in work; parked rows are left alone.
    pub fn drain(&self) {
        let mut state = self.lock();
        while !(state.stopping || state.waiting.is_empty() && state.in_work.is_empty()) {
            state = self.wait_for_a_move(state);
        }
    }
}

/// The first waiting row that may start: any, or any but a suspect while one is in work. A large one waits until there is
/// room for it, and so do those behind it.
fn pick(state: &mut State) -> Option<JournalId> {
    if state.in_work.len() >= MAX_MAILS {
        return None;
    }
    let suspect_in_work = state.in_work.keys().any(|row| state.suspects.contains(row));
    let place = state.waiting.iter().position(|row| !(suspect_in_work && state.suspects.contains(row)))?;
    let size = |row: &JournalId| state.large.get(row).copied().unwrap_or(0);
    let in_work: u64 = state.in_work.keys().map(size).sum();
    let fits = state.in_work.is_empty() || in_work + size(state.waiting.get(place)?) <= MAX_IN_WORK;
    if fits { state.waiting.remove(place) } else { None }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
