//! Which mail is decided when (DESIGN §2 *Order*).
//!
//! Mails are parsed side by side. A mail that shares a person with an earlier undecided one, refers to it, or is about the
//! same ticket waits for it; so the tickets come out as if every mail had been decided alone, in order of acceptance.
//!
//! Which tickets a mail is about is only partly known: a Message-ID may be that of a mail not yet decided. So a mail that
//! belongs to the conversation of an earlier one takes over what that one is about.
//!
//! **Invariant:** a row waits for earlier rows only, so the earliest row in work waits for nobody: there is no deadlock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::domain::address::{Address, Mailbox};
use crate::domain::ids::{JournalId, TicketId};
use crate::domain::mail::{InboundMessage, MessageId};

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

    fn shares_people_with(&self, earlier: &Self) -> bool {
        !self.authors.is_disjoint(&earlier.authors)
            || !self.authors.is_disjoint(&earlier.mentioned)
            || !self.mentioned.is_disjoint(&earlier.authors)
    }

    fn shares_conversation_with(&self, earlier: &Self) -> bool {
        !self.tickets.is_disjoint(&earlier.tickets) || !self.thread.is_disjoint(&earlier.thread)
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

impl State {
    fn earlier_than(&self, row: JournalId) -> Vec<JournalId> {
        self.in_work.range(..row).map(|(id, _)| *id).collect()
    }
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

    /// Says what the row in work is about, and blocks until no earlier row in work ties it down. `tickets` asks the store
    /// which tickets the mail names; it is asked again if an earlier row was settled meanwhile.
    ///
    /// # Errors
    /// If `tickets` cannot say.
    pub fn wait_for_turn<E>(
        &self,
        row: JournalId,
        mut ties: Ties,
        tickets: impl Fn() -> Result<BTreeSet<TicketId>, E>,
    ) -> Result<(), E> {
        let mut state = self.lock();
        loop {
            while state.in_work.range(..row).any(|(_, earlier)| earlier.is_none()) {
                state = self.wait(state);
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
        state.in_work.insert(row, Some(ties));
        self.changed.notify_all();
        while waits_for.iter().any(|earlier| state.in_work.contains_key(earlier)) {
            state = self.wait(state);
        }
        Ok(())
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

    use std::convert::Infallible;

    fn ties(author: &str, mentioned: &[&str], thread: &[&str]) -> Ties {
        let address = |text: &str| Address::parse(&format!("{text}@x.example")).unwrap();
        Ties {
            authors: [address(author)].into(),
            mentioned: mentioned.iter().map(|text| address(text)).collect(),
            thread: thread.iter().map(|id| MessageId((*id).to_owned())).collect(),
            tickets: BTreeSet::new(),
        }
    }

    fn none() -> Result<BTreeSet<TicketId>, Infallible> {
        Ok(BTreeSet::new())
    }

    fn seven() -> Result<BTreeSet<TicketId>, Infallible> {
        Ok([TicketId(7)].into())
    }

    /// A scheduler with these rows in work, the first ones about what is said here.
    fn in_work(rows: i64, said: &[Ties]) -> Arc<Scheduler> {
        let scheduler = Arc::new(Scheduler::default());
        scheduler.queue((1..=rows).map(JournalId));
        for row in 1..=rows {
            assert_eq!(scheduler.take(), Some(JournalId(row)));
        }
        for (row, ties) in (1..).zip(said) {
            scheduler.lock().in_work.insert(JournalId(row), Some(ties.clone()));
        }
        scheduler
    }

    /// Asks for the row's turn on a thread of its own; the answer comes when it is there.
    fn ask(
        scheduler: &Arc<Scheduler>,
        row: i64,
        ties: Ties,
        tickets: fn() -> Result<BTreeSet<TicketId>, Infallible>,
    ) -> mpsc::Receiver<()> {
        let (tell, told) = mpsc::channel();
        let scheduler = Arc::clone(scheduler);
        std::thread::spawn(move || {
            let Ok(()) = scheduler.wait_for_turn(JournalId(row), ties, tickets);
            let _ = tell.send(());
        });
        told
    }

    fn has_turn(told: &mpsc::Receiver<()>) -> bool {
        told.recv_timeout(Duration::from_secs(5)).is_ok()
    }

    fn waits(told: &mpsc::Receiver<()>) -> bool {
        told.recv_timeout(Duration::from_millis(20)).is_err()
    }

    #[test]
    fn mails_tie_each_other_by_people_ticket_and_message_id() {
        let first = Ties { tickets: [TicketId(7)].into(), ..ties("a", &["c"], &["1", "0"]) };
        let about_7 = |ties: Ties| Ties { tickets: [TicketId(7)].into(), ..ties };
        let tied = |ties: Ties| ties.shares_people_with(&first) || ties.shares_conversation_with(&first);
        assert!(tied(ties("a", &[], &["2"])), "same author");
        assert!(tied(ties("c", &[], &["2"])), "a person whom it mentions");
        assert!(tied(ties("b", &["a"], &["2"])), "mentions its author");
        assert!(tied(ties("b", &[], &["2", "1"])), "answers it");
        assert!(tied(ties("b", &[], &["1"])), "carries its Message-ID");
        assert!(tied(ties("b", &[], &["2", "0"])), "answers the same mail");
        assert!(tied(about_7(ties("b", &[], &["2"]))), "same ticket");
        assert!(!tied(ties("b", &["c"], &["2", "9"])), "both mention somebody, as both mention us");
    }

    #[test]
    fn a_tied_mail_waits_and_an_untied_one_overtakes() {
        let scheduler = in_work(3, &[ties("a", &[], &["1"])]);
        let second = ask(&scheduler, 2, ties("a", &[], &["2"]), none);
        assert!(has_turn(&ask(&scheduler, 3, ties("c", &[], &["3"]), none)));
        assert!(waits(&second), "row 2 must wait for row 1");
        scheduler.finish(JournalId(1));
        assert!(has_turn(&second));
    }

    #[test]
    fn a_mail_that_answers_an_undecided_one_is_about_its_ticket() {
        let about_7 = Ties { tickets: [TicketId(7)].into(), ..ties("a", &[], &["1"]) };
        let scheduler = in_work(3, &[about_7]);
        let answer = ask(&scheduler, 2, ties("b", &[], &["2", "1"]), none);
        let by_token = ask(&scheduler, 3, ties("c", &[], &["3"]), seven);
        assert!(waits(&answer) && waits(&by_token));
        scheduler.finish(JournalId(1));
        assert!(has_turn(&answer));
        assert!(waits(&by_token), "row 3 must wait for row 2, which is about the same ticket");
        scheduler.finish(JournalId(2));
        assert!(has_turn(&by_token));
    }

    #[test]
    fn the_store_is_asked_again_if_an_earlier_row_was_settled_meanwhile() {
        let scheduler = in_work(2, &[ties("a", &[], &["1"])]);
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let tickets = || {
            asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            scheduler.finish(JournalId(1));
            none()
        };
        let Ok(()) = scheduler.wait_for_turn(JournalId(2), ties("b", &[], &["2", "1"]), tickets);
        assert_eq!(asked.into_inner(), 2);
    }

    #[test]
    fn what_the_store_cannot_say_is_an_error() {
        let scheduler = in_work(1, &[]);
        let answer = scheduler.wait_for_turn(JournalId(1), ties("a", &[], &[]), || Err("the disk is gone"));
        assert_eq!(answer, Err("the disk is gone"));
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
