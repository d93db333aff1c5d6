//! Deciding side by side gives what deciding one by one gives (DESIGN §2 *Order*).
//!
//! Random streams of mail are accepted into two stores and decided by one thread in one, by four in the other. Tokens,
//! ids and salts differ between the two; the tickets, told without them, must not.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use postern::clock::{Clock, parse_instant};
use postern::config::{self, Config};
use postern::daemon;
use postern::domain::address::Address;
use postern::domain::ids::{Salt, TicketId, UserId};
use postern::domain::mail::{Entrance, Envelope, TrustSource};
use postern::domain::snapshot::Lookup;
use postern::domain::token::{Purpose, Rendered, TicketRef};
use postern::pipeline::Pipeline;
use postern::pipeline::workers::Workers;
use postern::store::{Depth, Durability, Options, Store, queries};
use proptest::prelude::*;

/// Two agents, customers who opened the first tickets, and people nobody knows yet.
const AUTHORS: [&str; 8] = [
    "ada@acme.example",
    "ben@acme.example",
    "rita@example.net",
    "carl@example.net",
    "cora@example.net",
    "otto@example.org",
    "nina@new.example",
    "stan@stranger.example",
];

/// Tickets there are before the stream begins.
const OLD_TICKETS: usize = 3;

#[derive(Clone, Debug)]
enum Mail {
    New {
        author: usize,
        cc: Option<usize>,
    },
    /// By the token of an old ticket.
    ByToken {
        author: usize,
        ticket: usize,
        cc: Option<usize>,
        command: Option<&'static str>,
    },
    /// By In-Reply-To only: of an earlier mail of the stream (counted back), or of the one that opened an old ticket.
    ByHeader {
        author: usize,
        back: usize,
        cc: Option<usize>,
    },
    /// The same mail once more.
    Again {
        back: usize,
    },
}

fn mail() -> impl Strategy<Value = Mail> {
    let author = || prop_oneof![2 => 0..AUTHORS.len(), 1 => 2..4_usize];
    let cc = || proptest::option::weighted(0.4, 0..AUTHORS.len());
    let command = prop_oneof![
        3 => Just(None),
        1 => Just(Some("#note")),
        1 => Just(Some("#solved")),
        1 => Just(Some("#tags fire")),
    ];
    prop_oneof![
        2 => (author(), cc()).prop_map(|(author, cc)| Mail::New { author, cc }),
        4 => (author(), 0..OLD_TICKETS, cc(), command)
            .prop_map(|(author, ticket, cc, command)| Mail::ByToken { author, ticket, cc, command }),
        4 => (author(), 0..6_usize, cc()).prop_map(|(author, back, cc)| Mail::ByHeader { author, back, cc }),
        1 => (1..6_usize).prop_map(|back| Mail::Again { back }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn four_deciders_leave_the_tickets_that_one_leaves(stream in proptest::collection::vec(mail(), 1..40)) {
        let (one, four) = (decide(&stream, 1), decide(&stream, 4));
        prop_assert_eq!(&one, &four, "\none by one:\n{}\nside by side:\n{}", one, four);
    }
}

#[test]
fn the_tale_of_a_stream_holds_what_it_is_about() {
    let stream = [
        Mail::ByToken { author: 2, ticket: 0, cc: Some(5), command: None },
        Mail::ByHeader { author: 5, back: 1, cc: None },
        Mail::Again { back: 1 },
        Mail::ByHeader { author: 7, back: 3, cc: None },
        Mail::New { author: 6, cc: None },
    ];
    let tale = decide(&stream, 4);
    for part in [
        "old 0: new, of rita@example.net, cc otto@example.org",
        "  rita@example.net public end-user: mail 0",
        "  otto@example.org private cc-drops-requester: mail 1",
        "held: stan@stranger.example, unknown_user_update: mail 3",
        "subject 4: new, of nina@new.example",
        "discarded {\"duplicate\": 1}",
    ] {
        assert!(tale.contains(part), "`{part}` is missing:\n{tale}");
    }
}

/// Accepts the stream, decides it with so many threads, and tells what came of it. One half waits when they start, the
/// other comes in while they work.
fn decide(stream: &[Mail], threads: usize) -> String {
    let directory = tempfile::tempdir().unwrap();
    let desk = Desk::open(directory.path());
    let old: Vec<(TicketId, Salt)> = (0..OLD_TICKETS).map(|number| desk.old_ticket(number)).collect();
    let mut sent = Vec::new();
    let mut workers = None;
    for at in 0..stream.len() {
        if at == stream.len() / 2 {
            workers = Some(Workers::start(&desk.pipeline, threads, Vec::new()).unwrap());
        }
        let mail = desk.compose(stream, at, &old, &sent);
        desk.accept(&mail);
        sent.push(mail);
    }
    let workers = workers.unwrap();
    workers.drain();
    workers.stop();
    let tale = desk.tale();
    desk.pipeline.store.close();
    tale
}

/// A mail as composed: who wrote it, its Message-ID, and its bytes.
#[derive(Clone)]
struct Sent {
    author: &'static str,
    message_id: String,
    raw: String,
}

#[derive(Default)]
struct Parts {
    author: usize,
    cc: Option<usize>,
    command: Option<&'static str>,
    token: Option<String>,
    answers: Option<String>,
}

impl Parts {
    /// A command stands above the text, the token in the quote below it.
    fn compose(&self, at: usize) -> Sent {
        let author = AUTHORS[self.author];
        let message_id = format!("mail-{at}@example.net");
        let mut raw = format!("From: {author}\r\nTo: support@acme.example\r\nSubject: subject {at}\r\n");
        let mut line = |text: String| raw.push_str(&(text + "\r\n"));
        line(format!("Message-ID: <{message_id}>"));
        if let Some(cc) = self.cc {
            line(format!("Cc: {}", AUTHORS[cc]));
        }
        if let Some(answers) = &self.answers {
            line(format!("In-Reply-To: <{answers}>"));
        }
        line(String::new());
        if let Some(command) = self.command {
            line(command.to_owned());
        }
        line(format!("mail {at}"));
        if let Some(token) = &self.token {
            line(format!("\r\n> [{token}]"));
        }
        Sent { author, message_id, raw }
    }
}

struct Desk {
    pipeline: Pipeline,
}

impl Desk {
    fn open(directory: &Path) -> Self {
        let account = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/accounts/acme/postern.toml");
        let config: Config = config::load(Some(&account)).unwrap();
        let now = parse_instant("2026-03-02T10:00:00Z").unwrap();
        let options = Options { durability: Durability::Scratch, ..Options::new(now) };
        let store = Store::open(directory, options).unwrap();
        Self { pipeline: daemon::pipeline(&config, store, Clock::manual(now)).unwrap() }
    }

    /// Rita, Carl and Cora open a ticket each.
    fn old_ticket(&self, number: usize) -> (TicketId, Salt) {
        let author = AUTHORS[2 + number];
        let message_id = format!("old-{number}@example.net");
        let raw = format!(
            "From: {author}\r\nTo: support@acme.example\r\nSubject: old {number}\r\n\
             Message-ID: <{message_id}>\r\n\r\nopens old {number}\r\n"
        );
        let journal = self.accept(&Sent { author, message_id, raw });
        let entry = self.pipeline.store.entry(journal).unwrap().unwrap();
        let ticket = TicketId(self.pipeline.decide(&entry, None).unwrap().ticket.unwrap());
        let lookup = Lookup { tickets: [ticket].into(), ..Lookup::default() };
        let snapshot = self.pipeline.store.snapshot(&lookup).unwrap();
        (ticket, snapshot.tickets[&ticket].ticket.salt)
    }

    fn accept(&self, mail: &Sent) -> postern::domain::ids::JournalId {
        let envelope = Envelope {
            entrance: Entrance { name: "test".into(), trust: TrustSource::Upstream },
            client: None,
            helo: None,
            reverse_path: Some(Address::parse(mail.author).unwrap()),
            recipients: vec![Address::parse("support@acme.example").unwrap()],
            accepted_at: self.pipeline.clock.now(),
        };
        self.pipeline.store.accept_blocking(&envelope, mail.raw.clone().into_bytes()).unwrap()
    }

    fn compose(&self, stream: &[Mail], at: usize, old: &[(TicketId, Salt)], sent: &[Sent]) -> Sent {
        let earlier = |back: usize| at.checked_sub(back).and_then(|place| sent.get(place));
        let mut parts = Parts::default();
        match &stream[at] {
            Mail::Again { back } => match earlier(*back) {
                Some(mail) => return mail.clone(),
                None => parts.author = 2,
            },
            Mail::New { author, cc } => (parts.author, parts.cc) = (*author, *cc),
            Mail::ByHeader { author, back, cc } => {
                let answered = earlier(*back).map(|mail| mail.message_id.clone());
                parts.answers = Some(answered.unwrap_or(format!("old-{}@example.net", back % OLD_TICKETS)));
                (parts.author, parts.cc) = (*author, *cc);
            }
            Mail::ByToken { author, ticket, cc, command } => {
                let (ticket, salt) = old[*ticket];
                let what = TicketRef { ticket, recipient: UserId(1), visibility: Rendered::Public };
                parts.token = Some(self.pipeline.account().keys.mint(Purpose::Body, &what, &salt));
                (parts.author, parts.cc, parts.command) = (*author, *cc, *command);
            }
        }
        parts.compose(at)
    }

    /// Tickets by subject with their comments in order, held mail, and the books: no ids, no times.
    fn tale(&self) -> String {
        let store = &self.pipeline.store;
        let filter = queries::TicketFilter { status: None, limit: 1000 };
        let mut tickets = BTreeSet::new();
        for line in store.ask(|db| queries::ticket_list(db, filter)).unwrap() {
            let ticket = store.ask(|db| queries::ticket_show(db, line.id)).unwrap().unwrap();
            let sorted = |list: &[String]| list.iter().cloned().collect::<BTreeSet<_>>();
            let list = |list: &[String]| sorted(list).into_iter().collect::<Vec<_>>().join(" ");
            let mut tale = format!("{}: {}, of {}", ticket.subject, ticket.status.word(), ticket.requester);
            let _ = write!(tale, ", cc {}, followers {}", list(&ticket.ccs), list(&ticket.followers));
            let _ = writeln!(tale, ", assignee {:?}, tags {:?}", ticket.assignee, ticket.tags);
            for comment in &ticket.comments {
                let flags: Vec<_> = comment.flags.iter().map(|flag| flag.word()).collect();
                let (author, visibility) = (&comment.author, comment.visibility.word());
                let text = comment.text.trim().replace('\n', " / ");
                let _ =
                    writeln!(tale, "  {author} {visibility} {}: {text} {}", comment.rule, flags.join(" "));
            }
            tickets.insert(tale);
        }
        let mut held = BTreeMap::<String, usize>::new();
        for mail in store.ask(|db| queries::suspended_list(db, 1000)).unwrap() {
            let subject = mail.subject.replace("subject", "mail");
            let author = mail.author.unwrap_or_default();
            *held.entry(format!("held: {author}, {}: {subject}", mail.cause.name())).or_default() += 1;
        }
        let books = store.books(Depth::Books).unwrap();
        assert!(books.balanced && books.pending == 0 && books.failed == 0, "{books}");
        let tickets: String = tickets.into_iter().collect();
        let held: String = held.into_iter().map(|(line, count)| format!("{line} ({count})\n")).collect();
        format!(
            "{tickets}{held}done {}, suspended {}, discarded {:?}\n",
            books.done, books.suspended, books.discarded
        )
    }
}
