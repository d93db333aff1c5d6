use crate::clock::Clock;
use crate::domain::fate::Fate;
use crate::domain::mail::{Entrance, Envelope, TrustSource};
use crate::domain::settings::Settings;
use crate::domain::time::{MINUTE, Timestamp};
use crate::pipeline::decider::Undecided;
use crate::pipeline::{Account, key_ring};
use crate::store::{Depth, Durability, InWorkGuard, Options, Store};

use super::*;

const NOW: Timestamp = Timestamp(1_795_255_920_000_000);
const POISON: &str = "Subject: poison";

fn pipeline(dir: &std::path::Path) -> Pipeline {
    let options = Options { durability: Durability::Scratch, ..Options::new(NOW) };
    let store = Store::open(dir, options).unwrap();
    let settings = Settings::for_address("support@desk.example").unwrap();
    let account = Account {
        keys: key_ring(&settings, &store.keys(), NOW).unwrap(),
        recall_key: store.keys().recall.0,
        settings,
        triggers: Vec::new(),
        template_texts: Vec::new(),
    };
    Pipeline::new(store, Clock::manual(NOW), account)
}

fn accept(pipeline: &Pipeline, author: &str, subject: &str) -> JournalId {
    let recipient = pipeline.account().settings.support_addresses[0].address.clone();
    let raw = format!("From: {author}\r\nTo: {recipient}\r\n{subject}\r\n\r\nHello.\r\n");
    let envelope = Envelope {
        entrance: Entrance { name: "test".to_owned(), trust: TrustSource::None },
        client: None,
        helo: None,
        reverse_path: None,
        recipients: vec![recipient],
        accepted_at: NOW,
    };
    pipeline.store.accept_blocking(&envelope, raw.into_bytes()).unwrap()
}

fn is_done(pipeline: &Pipeline, row: JournalId) -> bool {
    matches!(pipeline.store.entry(row).unwrap().unwrap().fate, Fate::Done { .. })
}

/// Rings until it is so: the loader looks at the clock when the bell rings.
fn becomes_done(pipeline: &Pipeline, row: JournalId) -> bool {
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while !is_done(pipeline, row) && std::time::Instant::now() < until {
        pipeline.store.subscribe().ring();
        std::thread::sleep(Duration::from_millis(1));
    }
    is_done(pipeline, row)
}

/// A pipeline with a failed mail, an answer to it, another by the answer's author, and one that has nothing to do with
/// them; and deciders that have done what they can.
fn parked(dir: &std::path::Path) -> (Pipeline, Workers, [JournalId; 4]) {
    let pipeline = pipeline(dir);
    let poison = accept(&pipeline, "mallory@example.net", "Message-ID: <p@example.net>\r\nSubject: poison");
    pipeline.store.mark_failed(poison, "crashed".to_owned(), NOW).unwrap();
    let answer =
        accept(&pipeline, "mallory@example.net", "In-Reply-To: <p@example.net>\r\nSubject: Re: poison");
    let tied = accept(&pipeline, "mallory@example.net", "Subject: And another thing");
    let other = accept(&pipeline, "sam@example.net", "Subject: Help");
    // One decider: a mail that waits must not hold it up.
    let workers = Workers::start(&pipeline, 1, Vec::new()).unwrap();
    workers.drain();
    (pipeline, workers, [poison, answer, tied, other])
}

#[test]
fn an_answer_to_a_failed_mail_waits_fifteen_minutes_and_holds_up_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (pipeline, workers, [poison, answer, tied, other]) = parked(dir.path());
    assert_eq!([answer, tied, other].map(|row| is_done(&pipeline, row)), [false, false, true]);

    pipeline.clock.advance_to(NOW.plus(15 * MINUTE - 1));
    let later = accept(&pipeline, "paul@example.net", "Subject: Help");
    assert!(becomes_done(&pipeline, later));
    assert!(!is_done(&pipeline, answer), "a moment before");

    pipeline.clock.advance_to(NOW.plus(15 * MINUTE));
    assert!(becomes_done(&pipeline, answer) && becomes_done(&pipeline, tied));
    assert!(!is_done(&pipeline, poison));
    workers.stop();
}

#[test]
fn an_answer_to_a_failed_mail_goes_on_as_soon_as_that_one_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let (pipeline, workers, [poison, answer, tied, _]) = parked(dir.path());
    pipeline.retry_failed(poison).unwrap();
    assert!([poison, answer, tied].iter().all(|row| becomes_done(&pipeline, *row)));
    let ticket = |row| match pipeline.store.entry(row).unwrap().unwrap().fate {
        Fate::Done { ticket, .. } => ticket,
        other => panic!("{other:?}"),
    };
    assert_eq!(ticket(poison), ticket(answer), "the answer finds the ticket");
    assert!(ticket(poison) < ticket(tied));
    workers.stop();
}

/// Decides as ever, and panics over a poison mail.
fn sensitive(decider: &Decider, row: JournalId, in_work: InWorkGuard) -> Result<(), Undecided> {
    let entry = decider.pipeline.store.entry(row).unwrap().unwrap();
    assert!(!entry.raw.windows(POISON.len()).any(|window| window == POISON.as_bytes()), "poisoned");
    decider::read(decider, row, in_work)
}

#[test]
fn a_mail_that_panics_the_code_is_failed_at_the_third_try_and_all_others_are_decided() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = pipeline(dir.path());
    let poison = accept(&pipeline, "mallory@example.net", POISON);
    let others = ["rita@example.net", "mallory@example.net", "sam@example.net"]
        .map(|author| accept(&pipeline, author, "Subject: Help"));
    let workers = Workers::start_with(sensitive, &pipeline, 2, Vec::new()).unwrap();
    workers.drain();
    workers.stop();

    let entry = pipeline.store.entry(poison).unwrap().unwrap();
    assert_eq!((entry.fate, entry.attempts), (Fate::Failed { error: "crashed".to_owned() }, 3));
    for id in others {
        let fate = pipeline.store.entry(id).unwrap().unwrap().fate;
        assert!(matches!(fate, Fate::Done { .. }), "{fate:?}");
    }
    let books = pipeline.store.books(Depth::Database).unwrap();
    assert!(books.balanced, "{books:?}");
    assert_eq!((books.done, books.failed), (3, 1));
}

/// Rows in the order in which deciders began with them.
static BEGUN: std::sync::Mutex<Vec<JournalId>> = std::sync::Mutex::new(Vec::new());
static TOGETHER: std::sync::Barrier = std::sync::Barrier::new(4);

/// Decides as ever, once three others are at it too.
fn in_fours(decider: &Decider, row: JournalId, in_work: InWorkGuard) -> Result<(), Undecided> {
    BEGUN.lock().unwrap().push(row);
    TOGETHER.wait();
    decider::read(decider, row, in_work)
}

#[test]
fn what_was_pending_at_the_start_is_worked_oldest_first_and_by_all_deciders_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = pipeline(dir.path());
    let author = |number| format!("c{number}@example.net");
    let rows: Vec<_> = (0..20).map(|number| accept(&pipeline, &author(number), "Subject: Help")).collect();
    // Four at a time, or the barrier would hold them for ever.
    let workers = Workers::start_with(in_fours, &pipeline, 4, Vec::new()).unwrap();
    workers.drain();
    workers.stop();

    let mut begun = BEGUN.lock().unwrap().clone();
    // The four that work at once begin in any order.
    begun.chunks_mut(4).for_each(<[_]>::sort);
    assert_eq!(begun, rows);
    assert_eq!(pipeline.store.books(Depth::Books).unwrap().done, 20);
}
