//! `kill -9` at random moments while several clients send: what was answered with 250 is there once, and the books
//! balance after every restart.
//!
//! `POSTERN_CRASH_ROUNDS` says how often (default 4), `POSTERN_CRASH_SEED` which moments.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use postern::domain::ids::{JournalId, TicketId};
use postern::store::Store;
use postern::store::queries::{self, JournalView, OutboxView};

use support::mail::{SUPPORT, Sent, compose};
use support::{Desk, wait_for};

const CLIENTS: usize = 4;

/// A start after a crash takes less than this, on a busy machine too.
const QUICK: Duration = Duration::from_secs(10);

/// SplitMix64: small, seeded, and good enough to choose moments.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }
}

/// A mail as its sender keeps it until it was taken.
#[derive(Clone, Debug)]
struct Letter {
    message_id: String,
    from: String,
    to: String,
    text: String,
    /// The ticket it answers.
    ticket: Option<i64>,
}

/// What all clients know together.
#[derive(Default)]
struct Senders {
    /// Answered with 250: the letter, by the number it was kept as.
    kept: Mutex<BTreeMap<i64, Letter>>,
    /// Sent, and the connection was gone before the answer: as a mail server would, sent again.
    unsure: Mutex<Vec<Letter>>,
    /// Where customers can answer: address, reply address, ticket.
    threads: Mutex<Vec<(String, String, i64)>>,
    written: AtomicUsize,
    answered: AtomicUsize,
}

impl Senders {
    /// What a client sends next: something unsure, something new, an answer, or what it has sent before.
    fn next(&self, random: &mut Random) -> Letter {
        if let Some(letter) = self.unsure.lock().unwrap().pop() {
            return letter;
        }
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let threads = self.threads.lock().unwrap();
        let kept = self.kept.lock().unwrap();
        let letter = |from: &str, to: &str, ticket| {
            let message_id = format!("{number}@customer.example");
            let filler = "A line of what a customer has to say.\n".repeat(if number.is_multiple_of(17) {
                3_000
            } else {
                3
            });
            let text =
                compose(from, to, &message_id, &format!("Letter {number}"), &format!("{number}\n{filler}"));
            Letter { message_id, from: from.to_owned(), to: to.to_owned(), text, ticket }
        };
        match random.below(4) {
            0 if !threads.is_empty() => {
                let (customer, reply_to, ticket) = &threads[random.below(threads.len())];
                letter(customer, reply_to, Some(*ticket))
            }
            1 if !kept.is_empty() => kept.values().nth(random.below(kept.len())).unwrap().clone(),
            _ => letter(&format!("c{number}@customer.example"), SUPPORT, None),
        }
    }

    /// Sends until the daemon is gone.
    fn send(&self, daemon: SocketAddr, seed: u64) {
        let mut random = Random(seed);
        let Ok(mut client) = support::client::Client::connect(daemon) else { return };
        loop {
            let letter = self.next(&mut random);
            match client.mail(&letter.from, &letter.to, &letter.text) {
                Ok(reply) => {
                    let id = reply.strip_prefix("250 2.0.0 kept as ").unwrap_or_else(|| panic!("{reply}"));
                    let before = self.kept.lock().unwrap().insert(id.parse().unwrap(), letter);
                    assert!(before.is_none(), "{id} was given twice");
                    self.answered.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => return self.unsure.lock().unwrap().push(letter),
            }
        }
    }

    /// Reads where customers can answer from the mails they got.
    fn read_answers(&self, desk: &Desk) {
        let promised = outbox(desk);
        let ticket_of: BTreeMap<_, _> =
            promised.iter().map(|mail| (format!("<{}>", mail.message_id), mail.ticket.0)).collect();
        let sent = support::mail::sent(&desk.data().join("outgoing"));
        let threads = sent.iter().filter(|mail| mail.to().ends_with("@customer.example"));
        *self.threads.lock().unwrap() = threads
            .map(|mail| (mail.to(), mail.reply_to(), ticket_of[&mail.field("Message-ID").unwrap()]))
            .collect();
    }
}

fn outbox(desk: &Desk) -> Vec<OutboxView> {
    let store = Store::open_read_only(desk.data()).unwrap();
    store.ask(|db| queries::outbox_list(db, None, u32::MAX)).unwrap()
}

fn number_from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[test]
fn what_was_answered_with_250_is_there_once_after_every_kill() {
    let rounds = number_from_environment("POSTERN_CRASH_ROUNDS", 4);
    let seed = number_from_environment("POSTERN_CRASH_SEED", 1);
    println!("{rounds} rounds, seed {seed}");
    let mut random = Random(seed);
    let desk = Desk::new();
    let senders = Senders::default();
    let mut daemon = desk.start();
    for round in 1..=rounds {
        let enough = senders.answered.load(Ordering::Relaxed) + 1 + random.below(80);
        let moment = Duration::from_micros(random.next() % 5_000);
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                let seed = random.next();
                let (senders, address) = (&senders, daemon.address);
                scope.spawn(move || senders.send(address, seed));
            }
            wait_for("mails to be taken", || {
                (senders.answered.load(Ordering::Relaxed) >= enough).then_some(())
            });
            std::thread::sleep(moment);
            daemon.kill();
        });
        daemon = desk.start();
        assert!(daemon.start_time < QUICK, "round {round}: the start took {:?}", daemon.start_time);
        if random.below(3) == 0 {
            // Again, while it takes up what the first kill left.
            std::thread::sleep(moment);
            daemon.kill();
            daemon = desk.start();
        }
        desk.settled();
        check(&desk, &senders);
        senders.read_answers(&desk);
    }
    // What was unsure is sent again, as a mail server does.
    for letter in std::mem::take(&mut *senders.unsure.lock().unwrap()) {
        let reply = daemon.connect().mail(&letter.from, &letter.to, &letter.text).unwrap();
        let id = reply.strip_prefix("250 2.0.0 kept as ").unwrap().parse().unwrap();
        assert!(senders.kept.lock().unwrap().insert(id, letter).is_none());
    }
    desk.settled();
    check(&desk, &senders);
    check_outbox(&desk);
    daemon.stop();
    let deep = desk.json(&["audit", "--deep"]);
    assert_eq!(deep["balanced"], true, "{deep:#}");
    println!("{} mails were answered", senders.kept.lock().unwrap().len());
}

/// Every mail that was answered is in the journal under the number that was said; of all copies of a mail one made a
/// comment, on the ticket it answers.
fn check(desk: &Desk, senders: &Senders) {
    let store = Store::open_read_only(desk.data()).unwrap();
    let audit = desk.audit();
    assert_eq!(audit["failed"], 0, "{audit:#}");
    let (rows, comments) = store
        .ask(|db| {
            let ids = |sql: &str| -> rusqlite::Result<Vec<i64>> {
                db.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
            };
            let rows: rusqlite::Result<Vec<JournalView>> = ids("SELECT id FROM journal")?
                .into_iter()
                .filter_map(|id| queries::journal_show(db, JournalId(id)).transpose())
                .collect();
            Ok((rows?, ids("SELECT journal FROM comments ORDER BY journal")?))
        })
        .unwrap();
    let done: Vec<i64> = rows.iter().filter(|row| row.state == "done").map(|row| row.id.0).collect();
    assert_eq!(comments, done, "each mail that is done made one comment");
    assert_eq!(rows.len() as u64, audit["accepted"].as_u64().unwrap());

    let mut made: BTreeMap<&str, Vec<&JournalView>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.state == "done") {
        made.entry(row.message_id.as_deref().unwrap()).or_default().push(row);
    }
    let by_id: BTreeMap<i64, &JournalView> = rows.iter().map(|row| (row.id.0, row)).collect();
    for (id, letter) in &*senders.kept.lock().unwrap() {
        let row = by_id.get(id).unwrap_or_else(|| panic!("{id} was answered and is gone: {letter:?}"));
        assert_eq!(row.message_id.as_deref(), Some(letter.message_id.as_str()), "{id} is another mail");
        let [comment] = &made[letter.message_id.as_str()][..] else { panic!("two comments of {letter:?}") };
        assert!(row.state == "done" || row.detail.as_deref() == Some("duplicate"), "{row:#?}");
        if let Some(ticket) = letter.ticket {
            assert_eq!(comment.ticket, Some(TicketId(ticket)), "{}", letter.message_id);
        }
    }
}

/// Every promised mail was sent under its own Message-ID, or is still owed; each ticket's requester was told once.
fn check_outbox(desk: &Desk) {
    wait_for("the outbox to be worked", || desk.audit()["outbox"]["queued"].is_null().then_some(()));
    let promised = outbox(desk);
    let sent = support::mail::sent(&desk.data().join("outgoing"));
    let files: BTreeMap<String, &Sent> =
        sent.iter().map(|mail| (mail.field("Message-ID").unwrap(), mail)).collect();
    assert_eq!(files.len(), sent.len(), "a Message-ID was used twice");
    let mut told: BTreeMap<i64, usize> = BTreeMap::new();
    for mail in &promised {
        let file = files.get(&format!("<{}>", mail.message_id));
        match mail.state {
            "sent" => assert_eq!(file.unwrap().to(), mail.recipient, "{mail:#?}"),
            // Killed twice while it was being sent: its lease runs.
            "sending" => assert!(mail.attempts > 1, "{mail:#?}"),
            // Some customers answer a lot.
            "cancelled" => assert_eq!(mail.detail.as_deref(), Some("loop"), "{mail:#?}"),
            _ => panic!("{mail:#?}"),
        }
        if mail.rule == "notify-requester-of-received-request" {
            *told.entry(mail.ticket.0).or_default() += 1;
        }
    }
    let store = Store::open_read_only(desk.data()).unwrap();
    let tickets = store
        .ask(|db| queries::ticket_list(db, queries::TicketFilter { status: None, limit: u32::MAX }))
        .unwrap();
    let expected: BTreeMap<i64, usize> = tickets.iter().map(|ticket| (ticket.id.0, 1)).collect();
    assert_eq!(told, expected, "one confirmation for each ticket");
}
