//! What the scheduler knows of the rows: which wait, which are in work, and which must let others go first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar};

use super::ties::Ties;
use super::{GRACE, Task};
use crate::domain::ids::JournalId;
use crate::domain::snapshot::JournalEntry;
use crate::domain::time::Timestamp;
use crate::store::Pending;

/// Bytes of the large mails that may be in work together: each takes several times its size while it is.
const MAX_IN_WORK: u64 = 64 << 20;
/// Smaller ones are not counted.
const LARGE: u64 = 256 << 10;
/// Mails in work at once, those included whose commit is awaited.
const MAX_MAILS: usize = 64;

#[derive(Debug)]
pub(super) struct Known {
    pub(super) ties: Ties,
    /// The earlier rows that it must wait for.
    pub(super) waits_for: Vec<JournalId>,
}

#[derive(Debug)]
pub(super) struct Parked {
    pub(super) ties: Ties,
    pub(super) until: Timestamp,
}

#[derive(Debug)]
pub(super) struct State<M> {
    pub(super) waiting: VecDeque<JournalId>,
    /// Rows in work that are not parsed yet, so that nobody knows what they are about.
    pub(super) unread: BTreeSet<JournalId>,
    /// The other rows in work.
    pub(super) known: BTreeMap<JournalId, Known>,
    /// Rows that were given up, even while a person has them tried again.
    pub(super) failed: BTreeMap<JournalId, Ties>,
    pub(super) parked: BTreeMap<JournalId, Parked>,
    /// Rows in work whose turn has not come, as far as they were read.
    pub(super) shelf: BTreeMap<JournalId, M>,
    /// What rows are about that were in work before and are to be tried again: later ones do not overtake them.
    pub(super) again: BTreeMap<JournalId, Ties>,
    /// The sizes of large mails.
    pub(super) large: BTreeMap<JournalId, u64>,
    /// Waiting mails that were handed over as they were accepted.
    pub(super) entries: BTreeMap<JournalId, JournalEntry>,
    /// The bytes of their messages.
    pub(super) bytes: usize,
    /// Mails that are accepted now may be handed over: all before them are queued.
    pub(super) caught_up: bool,
    /// Counts the mails that were not taken when they were handed over: they are to be found in the store.
    pub(super) missed: u64,
    /// Deciders that are at work, less those that wait for the disk.
    pub(super) busy: usize,
    /// Threads that wait for something to do. The last one is called first: its caches are warm.
    pub(super) idle: Vec<Arc<Condvar>>,
    /// Threads that wait for rows in work.
    pub(super) watching: usize,
    /// Rows that were in work when the process died before. At most one of them is in work at a time, so that the next
    /// crash names the culprit.
    pub(super) suspects: BTreeSet<JournalId>,
    /// The newest row that was ever queued; 0 before the first.
    pub(super) newest: i64,
    pub(super) stopping: bool,
}

impl<M> State<M> {
    pub(super) fn new(suspects: impl IntoIterator<Item = JournalId>) -> Self {
        Self {
            waiting: VecDeque::new(),
            unread: BTreeSet::new(),
            known: BTreeMap::new(),
            failed: BTreeMap::new(),
            parked: BTreeMap::new(),
            shelf: BTreeMap::new(),
            again: BTreeMap::new(),
            large: BTreeMap::new(),
            entries: BTreeMap::new(),
            bytes: 0,
            caught_up: false,
            missed: 0,
            busy: 0,
            idle: Vec::new(),
            watching: 0,
            suspects: suspects.into_iter().collect(),
            newest: 0,
            stopping: false,
        }
    }

    pub(super) fn is_in_work(&self, row: JournalId) -> bool {
        self.known.contains_key(&row) || self.unread.contains(&row)
    }

    fn in_work(&self) -> impl Iterator<Item = &JournalId> {
        self.unread.iter().chain(self.known.keys())
    }

    pub(super) fn count_in_work(&self) -> usize {
        self.known.len() + self.unread.len()
    }

    /// Whether an earlier row may turn out to be one that this row is tied to.
    pub(super) fn may_be_tied(&self, row: JournalId) -> bool {
        self.unread.first().is_some_and(|earliest| *earliest < row)
    }

    pub(super) fn waits(&self, row: JournalId) -> bool {
        match self.known.get(&row) {
            Some(known) => known.waits_for.iter().any(|earlier| self.is_in_work(*earlier)),
            None => self.may_be_tied(row),
        }
    }

    /// The first shelved row whose turn may have come.
    pub(super) fn first_ready(&self) -> Option<JournalId> {
        self.shelf.keys().copied().find(|row| !self.waits(*row))
    }

    /// A row that is not in work any more.
    pub(super) fn leave(&mut self, row: JournalId) -> Option<Ties> {
        self.unread.remove(&row);
        self.known.remove(&row).map(|known| known.ties)
    }

    /// Rows in work before this one whose ties are known.
    pub(super) fn earlier_than(&self, row: JournalId) -> impl Iterator<Item = JournalId> {
        self.known.range(..row).map(|(id, _)| *id)
    }

    /// What a row in work is about is known now.
    pub(super) fn know(&mut self, row: JournalId, mut ties: Ties) {
        let waits_for = self.tie(row, &mut ties);
        self.unread.remove(&row);
        self.known.insert(row, Known { ties, waits_for });
    }

    /// Until when the row must be parked: for a failed row while its grace lasts, for one that is tried again, or as long as
    /// a parked one.
    pub(super) fn parked_until(
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

    /// The earlier rows in work that the row must wait for. It takes over what the conversation is about.
    fn tie(&self, row: JournalId, ties: &mut Ties) -> Vec<JournalId> {
        let mut waits_for = Vec::new();
        for (earlier, Known { ties: its, .. }) in self.known.range(..row) {
            if ties.shares_conversation_with(its) {
                ties.join(its);
                waits_for.push(*earlier);
            } else if ties.shares_people_with(its) {
                waits_for.push(*earlier);
            }
        }
        waits_for
    }

    /// Queues a row behind all others; false if it was queued before.
    pub(super) fn queue(&mut self, Pending { row, size }: Pending) -> bool {
        let new = row.0 > self.newest;
        if new {
            self.newest = row.0;
            self.large.extend((size >= LARGE).then_some((row, size)));
            self.waiting.push_back(row);
        }
        new
    }

    pub(super) fn make_wait(&mut self, row: JournalId) {
        let place = self.waiting.partition_point(|waiting| *waiting < row);
        self.waiting.insert(place, row);
    }

    pub(super) fn release(&mut self, is_due: impl Fn(&Parked) -> bool) {
        let due: Vec<_> =
            self.parked.iter().filter(|(_, parked)| is_due(parked)).map(|(row, _)| *row).collect();
        for row in due {
            self.parked.remove(&row);
            self.make_wait(row);
        }
    }
}

/// What to do next: a shelved row whose turn may have come, else a waiting one.
pub(super) fn pick<M>(state: &mut State<M>) -> Option<Task<M>> {
    if let Some(row) = state.first_ready()
        && let Some(mail) = state.shelf.remove(&row)
    {
        return Some(Task::Resume(row, mail));
    }
    let row = pick_waiting(state)?;
    state.unread.insert(row);
    Some(Task::Read(row))
}

/// The first waiting row that may start: any, or any but a suspect while one is in work. A large one waits until there is
/// room for it, and so do those behind it.
fn pick_waiting<M>(state: &mut State<M>) -> Option<JournalId> {
    let in_work = state.count_in_work();
    if in_work >= MAX_MAILS {
        return None;
    }
    let suspect_in_work = state.suspects.iter().any(|row| state.is_in_work(*row));
    let place = state.waiting.iter().position(|row| !(suspect_in_work && state.suspects.contains(row)))?;
    let size = |row: &JournalId| state.large.get(row).copied().unwrap_or(0);
    let fits = in_work == 0
        || state.large.is_empty()
        || state.in_work().map(size).sum::<u64>() + size(state.waiting.get(place)?) <= MAX_IN_WORK;
    if fits { state.waiting.remove(place) } else { None }
}
