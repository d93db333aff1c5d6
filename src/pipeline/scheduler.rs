//! Which mail is decided when (DESIGN §2 *Order*).
//!
//! Mails are parsed side by side. A mail that has the author of an earlier undecided one, refers to it, or names the
//! same ticket waits for it; so the tickets come out as if every mail had been decided alone, in order of acceptance.
//!
//! **Invariant:** rows are taken in order, so the earliest row in work waits for nobody: there is no deadlock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::domain::address::Address;
use crate::domain::ids::{JournalId, TicketId};
use crate::domain::mail::{InboundMessage, MessageId};

/// What a mail shares with others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ties {
    authors: BTreeSet<Address>,
    message_id: Option<MessageId>,
    refers_to: BTreeSet<MessageId>,
    tickets: BTreeSet<TicketId>,
}

impl Ties {
    #[must_use]
    pub fn of(message: &InboundMessage, tickets: BTreeSet<TicketId>) -> Self {
        let mailboxes = message.from.iter().chain(&message.reply_to);
        Self {
            authors: mailboxes.map(|mailbox| mailbox.address.clone()).collect(),
            message_id: message.message_id.clone(),
            refers_to: message.in_reply_to.iter().chain(&message.references).cloned().collect(),
            tickets,
        }
    }

    /// Must `self` wait for the earlier mail?
    fn depends_on(&self, earlier: &Self) -> bool {
        let named = |id: &MessageId| self.message_id.as_ref() == Some(id) || self.refers_to.contains(id);
        !self.authors.is_disjoint(&earlier.authors)
            || !self.tickets.is_disjoint(&earlier.tickets)
            || !self.refers_to.is_disjoint(&earlier.refers_to)
            || earlier.message_id.as_ref().is_some_and(named)
            || self.message_id.as_ref().is_some_and(|id| earlier.refers_to.contains(id))
    }
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<JournalId>,
    /// Rows in work; the ties are unknown until the row is parsed.
    in_work: BTreeMap<JournalId, Option<Ties>>,
    /// Rows that were in work when the process died before. At most one of them is in work at a time, so that the next
    /// crash names the culprit.
    suspects: BTreeSet<JournalId>,
    /// The newest row that was ever queued; 0 before the first.
    newest: i64,
    stopping: bool,
}

#[derive(Debug, Default)]
pub struct Scheduler {
    state: Mutex<State>,
    changed: Condvar,
}

impl Scheduler {
    #[must_use]
    pub fn new(suspects: impl IntoIterator<Item = JournalId>) -> Self {
        let state = State { suspects: suspects.into_iter().collect(), ..State::default() };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A worker that panicked held the lock only to move ids about: the state is sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, guard: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
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
    pub fn queue(&self, rows: impl IntoIterator<Item = JournalId>) {
        let mut state = self.lock();
        for row in rows {
            if row.0 > state.newest {
                state.newest = row.0;
                state.waiting.push_back(row);
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Puts a row back that could not be decided just now.
    pub fn put_back(&self, row: JournalId, as_suspect: bool) {
        let mut state = self.lock();
        state.in_work.remove(&row);
        if as_suspect {
            state.suspects.insert(row);
        }
        let place = state.waiting.partition_point(|waiting| *waiting < row);
        state.waiting.insert(place, row);
        drop(state);
        self.changed.notify_all();
    }

    /// The next row, or none when the scheduler stops. Blocks.
    pub fn take(&self) -> Option<JournalId> {
        let mut state = self.lock();
        loop {
            if state.stopping {
                return None;
            }
            if let Some(row) = pick(&mut state) {
                state.in_work.insert(row, None);
                return Some(row);
            }
            state = self.wait(state);
        }
    }

    /// Says what the row in work is about, and blocks until no earlier row in work ties it down.
    pub fn wait_for_turn(&self, row: JournalId, ties: &Ties) {
        let mut state = self.lock();
        state.in_work.insert(row, Some(ties.clone()));
        self.changed.notify_all();
        while state
            .in_work
            .range(..row)
            .any(|(_, earlier)| earlier.as_ref().is_none_or(|ties_of| ties.depends_on(ties_of)))
        {
            state = self.wait(state);
        }
    }

    /// The row is settled, or given up by this worker.
    pub fn finish(&self, row: JournalId) {
        let mut state = self.lock();
        state.in_work.remove(&row);
        state.suspects.remove(&row);
        drop(state);
        self.changed.notify_all();
    }

    /// Lets every worker end after the row it has.
    pub fn stop(&self) {
        self.lock().stopping = true;
        self.changed.notify_all();
    }

    /// Blocks until nothing is waiting or in work.
    pub fn drain(&self) {
        let mut state = self.lock();
        while !(state.stopping || state.waiting.is_empty() && state.in_work.is_empty()) {
            state = self.wait(state);
        }
    }
}

/// The first waiting row that may start: any, or any but a suspect while one is in work.
fn pick(state: &mut State) -> Option<JournalId> {
    let suspect_in_work = state.in_work.keys().any(|row| state.suspects.contains(row));
    let place = state.waiting.iter().position(|row| !(suspect_in_work && state.suspects.contains(row)))?;
    state.waiting.remove(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc;
    use std::time::Duration;

    fn ties(author: &str, id: Option<&str>, refers: &[&str], tickets: &[i64]) -> Ties {
        Ties {
            authors: [Address::parse(author).unwrap()].into(),
            message_id: id.map(|id| MessageId(id.to_owned())),
            refers_to: refers.iter().map(|id| MessageId((*id).to_owned())).collect(),
            tickets: tickets.iter().map(|id| TicketId(*id)).collect(),
        }
    }

    #[test]
    fn mails_tie_each_other_by_author_ticket_and_message_id() {
        let first = ties("a@x.example", Some("1"), &["0"], &[7]);
        assert!(ties("a@x.example", Some("2"), &[], &[]).depends_on(&first), "same author");
        assert!(ties("b@x.example", Some("2"), &["1"], &[]).depends_on(&first), "answers it");
        assert!(ties("b@x.example", Some("1"), &[], &[]).depends_on(&first), "carries its Message-ID");
        assert!(ties("b@x.example", Some("2"), &["0"], &[]).depends_on(&first), "answers the same mail");
        assert!(ties("b@x.example", Some("2"), &[], &[7]).depends_on(&first), "same ticket");
        assert!(!ties("b@x.example", Some("2"), &["9"], &[8]).depends_on(&first), "nothing in common");
    }

    #[test]
    fn a_tied_mail_waits_and_an_untied_one_overtakes() {
        let scheduler = Arc::new(Scheduler::default());
        scheduler.queue([JournalId(1), JournalId(2), JournalId(3)]);
        assert_eq!(scheduler.take(), Some(JournalId(1)));
        scheduler.wait_for_turn(JournalId(1), &ties("a@x.example", None, &[], &[]));
        assert_eq!(scheduler.take(), Some(JournalId(2)));
        assert_eq!(scheduler.take(), Some(JournalId(3)));
        let (tell, told) = mpsc::channel();
        let waiting = std::thread::spawn({
            let scheduler = Arc::clone(&scheduler);
            move || {
                scheduler.wait_for_turn(JournalId(2), &ties("a@x.example", None, &[], &[]));
                tell.send(2).unwrap();
            }
        });
        // Row 2 is parsed before or after row 3 asks; either way row 3 is free to go and row 2 is not.
        scheduler.wait_for_turn(JournalId(3), &ties("c@x.example", None, &[], &[]));
        assert!(told.recv_timeout(Duration::from_millis(20)).is_err(), "row 2 must wait for row 1");
        scheduler.finish(JournalId(1));
        assert_eq!(told.recv_timeout(Duration::from_secs(5)), Ok(2));
        waiting.join().unwrap();
    }

    #[test]
    fn only_one_suspect_is_in_work_at_a_time_and_others_go_on() {
        let scheduler = Scheduler::new([JournalId(1), JournalId(2)]);
        scheduler.queue([JournalId(1), JournalId(2), JournalId(3)]);
        assert_eq!(scheduler.take(), Some(JournalId(1)));
        assert_eq!(scheduler.take(), Some(JournalId(3)));
        scheduler.finish(JournalId(1));
        assert_eq!(scheduler.take(), Some(JournalId(2)));
    }

    #[test]
    fn a_row_put_back_comes_first_again() {
        let scheduler = Scheduler::default();
        scheduler.queue([JournalId(4), JournalId(5)]);
        assert_eq!(scheduler.take(), Some(JournalId(4)));
        scheduler.put_back(JournalId(4), false);
        assert_eq!(scheduler.take(), Some(JournalId(4)));
    }
}
