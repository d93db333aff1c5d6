use super::*;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use std::convert::Infallible;

use crate::domain::address::{Address, Mailbox};
use crate::domain::mail::{InboundMessage, MessageId};

/// Accepted, and looked at, at once.
const AT: (Timestamp, Timestamp) = (Timestamp(0), Timestamp(0));
const SEATS: usize = 8;
const LATEST: Timestamp = Timestamp(GRACE);

fn ties(author: &str, mentioned: &[&str], thread: &[&str]) -> Ties {
    let mailbox = |text: &str| {
        let address = Address::parse(&format!("{text}@x.example")).unwrap();
        Mailbox { name: None, address }
    };
    Ties::of(&InboundMessage {
        from: vec![mailbox(author)],
        to: mentioned.iter().map(|text| mailbox(text)).collect(),
        references: thread.iter().map(|id| MessageId((*id).to_owned())).collect(),
        ..InboundMessage::default()
    })
}

fn with_ticket_7(mut ties: Ties) -> Ties {
    ties.add_tickets([TicketId(7)].into());
    ties
}

fn none() -> Result<BTreeSet<TicketId>, Infallible> {
    Ok(BTreeSet::new())
}

fn seven() -> Result<BTreeSet<TicketId>, Infallible> {
    Ok([TicketId(7)].into())
}

fn small(row: i64) -> Pending {
    Pending { row: JournalId(row), size: 1_000 }
}

/// A scheduler with these rows in work, the first ones about what is said here.
fn in_work(rows: i64, said: &[Ties]) -> Arc<Scheduler<()>> {
    let scheduler = Arc::new(Scheduler::<()>::new(SEATS, []));
    scheduler.queue((1..=rows).map(small));
    for row in 1..=rows {
        assert_eq!(take(&scheduler), Some(row));
    }
    for (row, ties) in (1..).zip(said) {
        scheduler.lock().know(JournalId(row), ties.clone());
    }
    scheduler
}

/// The next row to be read.
fn take(scheduler: &Scheduler<()>) -> Option<i64> {
    match scheduler.take()? {
        Task::Read(row) => Some(row.0),
        Task::Resume(row, ()) => panic!("row {row} is resumed"),
    }
}

/// Asks for the row's turn on a thread of its own; the answer comes when it is there.
fn ask(
    scheduler: &Arc<Scheduler<()>>,
    row: i64,
    ties: Ties,
    tickets: fn() -> Result<BTreeSet<TicketId>, Infallible>,
) -> mpsc::Receiver<Turn> {
    let (tell, told) = mpsc::channel();
    let scheduler = Arc::clone(scheduler);
    std::thread::spawn(move || {
        let turn = loop {
            let Ok(turn) = scheduler.turn(JournalId(row), || ties.clone(), AT, tickets);
            if turn != Turn::Later {
                break turn;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
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
    let first = with_ticket_7(ties("a", &["c"], &["1", "0"]));
    let tied = |ties: Ties| ties.shares_people_with(&first) || ties.shares_conversation_with(&first);
    assert!(tied(ties("a", &[], &["2"])), "same author");
    assert!(tied(ties("c", &[], &["2"])), "a person whom it mentions");
    assert!(tied(ties("b", &["a"], &["2"])), "mentions its author");
    assert!(tied(ties("b", &[], &["2", "1"])), "answers it");
    assert!(tied(ties("b", &[], &["1"])), "carries its Message-ID");
    assert!(tied(ties("b", &[], &["2", "0"])), "answers the same mail");
    assert!(tied(with_ticket_7(ties("b", &[], &["2"]))), "same ticket");
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
fn an_earlier_mail_that_comes_back_into_work_while_the_store_is_asked_is_not_overtaken() {
    let scheduler = in_work(2, &[]);
    scheduler.put_back(JournalId(1), true);
    let ask = || -> Result<BTreeSet<TicketId>, Infallible> {
        // Once: the first answer is out of date then.
        let mut state = scheduler.lock();
        if state.count_in_work() == 1 {
            assert_eq!(pick(&mut state), Some(Task::Read(JournalId(1))));
        }
        Ok(BTreeSet::new())
    };
    let Ok(turn) = scheduler.turn(JournalId(2), || ties("a", &[], &["2"]), AT, ask);
    assert_eq!(turn, Turn::Later);
}

#[test]
fn a_mail_that_answers_an_undecided_one_is_about_its_ticket() {
    let about_7 = with_ticket_7(ties("a", &[], &["1"]));
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
    let Ok(turn) = scheduler.turn(JournalId(2), || ties("b", &[], &["2", "1"]), AT, tickets);
    assert_eq!(turn, Turn::Now);
    assert_eq!(asked.into_inner(), 2);
}

#[test]
fn what_the_store_cannot_say_is_an_error() {
    let scheduler = in_work(1, &[]);
    let answer = scheduler.turn(JournalId(1), || ties("a", &[], &[]), AT, || Err("the disk is gone"));
    assert_eq!(answer, Err("the disk is gone"));
}

#[test]
fn a_mail_that_refers_to_a_failed_one_is_parked_and_holds_up_only_what_is_tied_to_it() {
    let scheduler = in_work(5, &[]);
    scheduler.fail(JournalId(1), ties("a", &[], &["1"]));
    let parked = Some(Turn::Parked(LATEST));
    assert_eq!(answer(&ask(&scheduler, 2, ties("b", &[], &["2", "1"]), none)), parked, "answers it");
    assert_eq!(answer(&ask(&scheduler, 3, ties("b", &[], &["3"]), none)), parked, "by the author of row 2");
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
    let about_7 = with_ticket_7(Ties::default());
    let scheduler = in_work(2, &[]);
    scheduler.fail(JournalId(1), about_7);
    let parked = Some(Turn::Parked(LATEST));
    assert_eq!(
        answer(&ask(&scheduler, 2, ties("b", &[], &["2"]), seven)),
        parked,
        "is about the same ticket"
    );
    scheduler.retry(JournalId(1));
    assert_eq!(take(&scheduler), Some(1));
    assert!(scheduler.lock().waiting.is_empty(), "row 2 waits until row 1 is settled");
    scheduler.finish(JournalId(1));
    assert_eq!(take(&scheduler), Some(2));
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
    let Ok(turn) = scheduler.turn(JournalId(2), || ties("b", &[], &["2", "1"]), (Timestamp(0), LATEST), none);
    assert_eq!(turn, Turn::Now);
}

#[test]
fn only_one_suspect_is_in_work_at_a_time_and_others_go_on() {
    let scheduler = Scheduler::<()>::new(SEATS, [JournalId(1), JournalId(2)]);
    scheduler.queue([1, 2, 3].map(small));
    assert_eq!(take(&scheduler), Some(1));
    assert_eq!(take(&scheduler), Some(3));
    scheduler.finish(JournalId(1));
    assert_eq!(take(&scheduler), Some(2));
}

#[test]
fn a_row_handed_over_is_queued_once_and_only_when_all_before_it_are() {
    let entry = |row| JournalEntry {
        id: JournalId(row),
        envelope: crate::domain::mail::Envelope {
            entrance: crate::domain::mail::Entrance {
                name: "test".to_owned(),
                trust: crate::domain::mail::TrustSource::None,
            },
            client: None,
            helo: None,
            reverse_path: None,
            recipients: Vec::new(),
            accepted_at: Timestamp(0),
        },
        raw: b"x".to_vec(),
        fate: crate::domain::fate::Fate::Pending,
        attempts: 0,
    };
    let scheduler = Scheduler::<()>::new(SEATS, []);
    let missed = scheduler.missed();
    assert!(!scheduler.hand_over(entry(3)), "rows before it may wait in the store");
    assert!(!scheduler.catch_up(missed), "the store was asked before row 3 was there");
    scheduler.queue([1, 2, 3].map(small));
    assert!(scheduler.catch_up(scheduler.missed()));
    assert!(scheduler.hand_over(entry(3)) && scheduler.hand_over(entry(4)));
    assert_eq!([take(&scheduler), take(&scheduler), take(&scheduler)], [Some(1), Some(2), Some(3)]);
    assert_eq!(scheduler.entry(JournalId(3)), None, "its bytes are in the store");
    assert_eq!(take(&scheduler), Some(4));
    assert_eq!(scheduler.entry(JournalId(4)), Some(entry(4)));
    assert!(scheduler.lock().waiting.is_empty());
}

#[test]
fn a_failed_row_of_before_the_start_that_is_retried_is_queued_whatever_came_since() {
    let scheduler = Scheduler::<()>::new(SEATS, []);
    assert!(scheduler.catch_up(scheduler.missed()));
    scheduler.retry(JournalId(5));
    assert_eq!(take(&scheduler), Some(5));
    scheduler.queue([small(5), small(6)]);
    assert_eq!(take(&scheduler), Some(6));
}

#[test]
fn a_row_put_back_comes_first_again() {
    let scheduler = Scheduler::<()>::new(SEATS, []);
    scheduler.queue([4, 5].map(small));
    assert_eq!(take(&scheduler), Some(4));
    scheduler.put_back(JournalId(4), false);
    assert_eq!(take(&scheduler), Some(4));
}

#[test]
fn a_row_that_is_tried_again_is_not_overtaken_by_what_refers_to_it() {
    let scheduler = in_work(2, &[ties("rita", &[], &["<1@x>"])]);
    scheduler.put_back(JournalId(1), false);
    let answer_to_it = || ties("carl", &[], &["<2@x>", "<1@x>"]);
    let Ok(turn) = scheduler.turn(JournalId(2), answer_to_it, AT, none);
    assert_eq!(turn, Turn::Parked(LATEST));
    assert_eq!(take(&scheduler), Some(1));
    scheduler.finish(JournalId(1));
    assert_eq!(take(&scheduler), Some(2));
    let Ok(turn) = scheduler.turn(JournalId(2), answer_to_it, AT, none);
    assert_eq!(turn, Turn::Now);
}

#[test]
fn a_suspect_of_the_last_run_is_not_overtaken_by_what_refers_to_it() {
    let scheduler = Scheduler::<()>::new(SEATS, [JournalId(1), JournalId(2)]);
    scheduler.remember_suspect(JournalId(1), ties("rita", &[], &["<1@x>"]));
    scheduler.remember_suspect(JournalId(2), ties("otto", &[], &["<2@x>"]));
    scheduler.queue([1, 2, 3].map(small));
    assert_eq!((take(&scheduler), take(&scheduler)), (Some(1), Some(3)));
    scheduler.finish(JournalId(1));
    let Ok(turn) = scheduler.turn(JournalId(3), || ties("carl", &[], &["<2@x>"]), AT, none);
    assert_eq!(turn, Turn::Parked(LATEST));
}

#[test]
fn large_mails_are_in_work_only_as_far_as_there_is_room() {
    let scheduler = Scheduler::<()>::new(SEATS, []);
    let large = |row| Pending { row: JournalId(row), size: 50 << 20 };
    scheduler.queue([large(1), small(2), large(3), small(4)]);
    assert_eq!((take(&scheduler), take(&scheduler)), (Some(1), Some(2)));
    assert_eq!(pick(&mut scheduler.lock()), None, "there is no room for a second, and nobody overtakes it");
    scheduler.finish(JournalId(1));
    assert_eq!((take(&scheduler), take(&scheduler)), (Some(3), Some(4)));
}
