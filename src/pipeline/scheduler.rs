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
use crate::domain::time::{MINUTE, Timestamp};

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

    /// Until when the row must be parked: for a failed row while its grace lasts, or as long as a parked one.
    fn parked_until(&self, row: JournalId, ties: &Ties, grace: Option<Timestamp>) -> Option<Timestamp> {
        let failed = || self.failed.range(..row).any(|(_, failed)| ties.shares_conversation_with(failed));
        let parked = self.parked.range(..row).filter(|(_, parked)| ties.is_tied_to(&parked.ties));
        grace.filter(|_| failed()).into_iter().chain(parked.map(|(_, parked)| parked.until)).max()
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
        state.make_wait(row);
        drop(state);
        self.changed.notify_all();
    }

    /// Remembers a row that was given up: later ones that refer to it give it some time.
    pub fn fail(&self, row: JournalId, ties: Ties) {
        let mut state = self.lock();
        state.in_work.remove(&row);
        state.suspects.remove(&row);
        state.failed.insert(row, ties);
        drop(state);
        self.changed.notify_all();
    }

    /// Queues a row again that was given up, as a suspect. One that was never queued comes with the pending ones.
    pub fn retry(&self, row: JournalId) {
        let mut state = self.lock();
        while state.in_work.contains_key(&row) {
            state = self.wait(state);
        }
        if row.0 <= state.newest && !state.waiting.contains(&row) {
            state.suspects.insert(row);
            state.make_wait(row);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Queues the parked rows again whose time has come.
    pub fn release(&self, now: Timestamp) {
        self.lock().release(|parked| parked.until <= now);
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
        state.in_work.insert(row, Some(ties.clone()));
        self.changed.notify_all();
        loop {
            // Asked again each time: what this row waited for may be parked now, or have failed.
            if let Some(until) = state.parked_until(row, &ties, grace) {
                state.in_work.remove(&row);
                state.parked.insert(row, Parked { ties, until });
                self.changed.notify_all();
                return Ok(Turn::Parked(until));
            }
            if !waits_for.iter().any(|earlier| state.in_work.contains_key(earlier)) {
                return Ok(Turn::Now);
            }
            state = self.wait(state);
        }
    }

    /// The row is settled.
    pub fn finish(&self, row: JournalId) {
        let mut state = self.lock();
        state.in_work.remove(&row);
        state.suspects.remove(&row);
        if state.failed.remove(&row).is_some() {
            state.release(|_| true);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Lets every worker end after the row it has.
    pub fn stop(&self) {
        self.lock().stopping = true;
        self.changed.notify_all();
    }

    /// Blocks until nothing is waiting or in work; parked rows are left alone.
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

    /// Accepted, and looked at, at once.
    const AT: (Timestamp, Timestamp) = (Timestamp(0), Timestamp(0));
    const LATEST: Timestamp = Timestamp(GRACE);

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
    ) -> mpsc::Receiver<Turn> {
        let (tell, told) = mpsc::channel();
        let scheduler = Arc::clone(scheduler);
        std::thread::spawn(move || {
            let Ok(turn) = scheduler.wait_for_turn(JournalId(row), ties, AT, tickets);
            let _ = tell.send(turn);
        });
        told
    }

    fn answer(told: &mpsc::Receiver<Turn>) -> Option<Turn> {
        told.recv_timeout(Duration::from_secs(5)).ok()
    }

    fn has_turn(told: &mpsc::Receiver<Turn>) -> bool {
        answer(told) == Some(Turn::Now)
    }

    fn waits(told: &mpsc::Receiver<Turn>) -> bool {
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
        let Ok(turn) = scheduler.wait_for_turn(JournalId(2), ties("b", &[], &["2", "1"]), AT, tickets);
        assert_eq!(turn, Turn::Now);
        assert_eq!(asked.into_inner(), 2);
    }

    #[test]
    fn what_the_store_cannot_say_is_an_error() {
        let scheduler = in_work(1, &[]);
        let answer =
            scheduler.wait_for_turn(JournalId(1), ties("a", &[], &[]), AT, || Err("the disk is gone"));
        assert_eq!(answer, Err("the disk is gone"));
    }

    #[test]
    fn a_mail_that_refers_to_a_failed_one_is_parked_and_holds_up_only_what_is_tied_to_it() {
        let scheduler = in_work(5, &[]);
        scheduler.fail(JournalId(1), ties("a", &[], &["1"]));
        let parked = Some(Turn::Parked(LATEST));
        assert_eq!(answer(&ask(&scheduler, 2, ties("b", &[], &["2", "1"]), none)), parked, "answers it");
        assert_eq!(
            answer(&ask(&scheduler, 3, ties("b", &[], &["3"]), none)),
            parked,
            "by the author of row 2"
        );
        assert_eq!(
            answer(&ask(&scheduler, 4, ties("a", &[], &["4"]), none)),
            Some(Turn::Now),
            "only shares its author"
        );
        assert_eq!(answer(&ask(&scheduler, 5, ties("c", &[], &["5"]), none)), Some(Turn::Now));
        scheduler.release(Timestamp(GRACE - 1));
        assert!(scheduler.lock().waiting.is_empty());
        scheduler.release(LATEST);
        assert_eq!(scheduler.lock().waiting, [JournalId(2), JournalId(3)], "in order of acceptance");
    }

    #[test]
    fn a_failed_mail_that_was_mended_lets_the_others_go_at_once() {
        let about_7 = Ties { tickets: [TicketId(7)].into(), ..Ties::default() };
        let scheduler = in_work(2, &[]);
        scheduler.fail(JournalId(1), about_7);
        let parked = Some(Turn::Parked(LATEST));
        assert_eq!(
            answer(&ask(&scheduler, 2, ties("b", &[], &["2"]), seven)),
            parked,
            "is about the same ticket"
        );
        scheduler.retry(JournalId(1));
        assert_eq!(scheduler.take(), Some(JournalId(1)));
        assert!(scheduler.lock().waiting.is_empty(), "row 2 waits until row 1 is settled");
        scheduler.finish(JournalId(1));
        assert_eq!(scheduler.take(), Some(JournalId(2)));
        assert!(has_turn(&ask(&scheduler, 2, ties("b", &[], &["2"]), seven)));
    }

    #[test]
    fn a_mail_that_waits_for_one_that_fails_is_parked() {
        let scheduler = in_work(2, &[ties("a", &[], &["1"])]);
        let second = ask(&scheduler, 2, ties("b", &[], &["2", "1"]), none);
        assert!(waits(&second));
        scheduler.fail(JournalId(1), ties("a", &[], &["1"]));
        assert_eq!(answer(&second), Some(Turn::Parked(LATEST)));
    }

    #[test]
    fn a_mail_that_is_old_enough_waits_for_no_failed_one() {
        let scheduler = in_work(2, &[]);
        scheduler.fail(JournalId(1), ties("a", &[], &["1"]));
        let Ok(turn) =
            scheduler.wait_for_turn(JournalId(2), ties("b", &[], &["2", "1"]), (Timestamp(0), LATEST), none);
        assert_eq!(turn, Turn::Now);
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
