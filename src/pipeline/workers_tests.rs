use crate::clock::Clock;
use crate::domain::mail::{Entrance, Envelope, TrustSource};
use crate::domain::settings::Settings;
use crate::domain::time::Timestamp;
use crate::pipeline::{Account, key_ring};
use crate::store::{Depth, Durability, Options, Store};

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

/// Decides as ever, and panics over a poison mail.
fn sensitive(pipeline: &Pipeline, scheduler: &Scheduler, row: JournalId) -> Result<(), Undecided> {
    let entry = pipeline.store.entry(row).unwrap().unwrap();
    assert!(!entry.raw.windows(POISON.len()).any(|window| window == POISON.as_bytes()), "poisoned");
    decide(pipeline, scheduler, row)
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
fn in_fours(pipeline: &Pipeline, scheduler: &Scheduler, row: JournalId) -> Result<(), Undecided> {
    BEGUN.lock().unwrap().push(row);
    TOGETHER.wait();
    decide(pipeline, scheduler, row)
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
