//! A whole help desk in a folder that goes away: mails go in, and the mails that would leave are read back as bytes.
//!
//! The account is `fixtures/accounts/acme`. Its customers come by their first mail, except those of [`CUSTOMERS`].

// Each test binary uses a part of this.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod letter;
mod tokens;

use std::collections::BTreeSet;
use std::path::Path;

use postern::clock::Clock;
use postern::config::{self, Config};
use postern::daemon;
use postern::domain::address::Address;
use postern::domain::ids::{CommentId, Fresh, OutboxId, TicketId};
use postern::domain::mail::InboundMessage;
use postern::domain::people::{Role, User};
use postern::domain::plan::{Plan, Write};
use postern::domain::snapshot::{JournalEntry, Lookup, Snapshot};
use postern::domain::time::{MINUTE, Timestamp};
use postern::identify::{self, Identification};
use postern::mailer::Mailer;
use postern::message::{self, stripped};
use postern::pipeline::Pipeline;
use postern::pipeline::report::MailReport;
use postern::store::queries::{self, JournalView, OutboxView, SuspendedView, TicketView};
use postern::store::{Durability, Options, Store};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub use letter::Letter;

/// Monday 2026-03-02, 09:00 UTC.
const START: Timestamp = Timestamp(1_772_442_000_000_000);

/// Who is known before the first mail: name, addresses, suspended.
const CUSTOMERS: [(&str, &[&str], bool); 5] = [
    ("Rita Requester", &["rita@example.net", "rita@home.example.net"], false),
    ("Carl Copied", &["carl@example.net"], false),
    ("Cora Copied", &["cora@example.net"], false),
    ("Otto Outsider", &["otto@example.org"], false),
    ("Sam Suspended", &["sam@example.org"], true),
];

pub struct Desk {
    pub pipeline: Pipeline,
    pub config: Config,
    mailer: Mailer,
    runtime: Runtime,
    /// Files of the outgoing folder that were read.
    read: BTreeSet<String>,
    _folder: TempDir,
}

/// A mail that left, as it would reach its recipient.
#[derive(Clone, Debug)]
pub struct Sent {
    pub row: OutboxView,
    pub reverse_path: Address,
    pub recipient: Address,
    pub raw: Vec<u8>,
    pub message: InboundMessage,
}

impl Sent {
    pub fn html(&self) -> &str {
        self.message.html.as_deref().unwrap_or_default()
    }

    /// The header block as it stands, unfolded.
    pub fn headers(&self) -> String {
        let raw = String::from_utf8_lossy(&self.raw);
        let block = raw.split("\r\n\r\n").next().unwrap_or_default();
        block.replace("\r\n ", " ").replace("\r\n\t", " ")
    }

    pub fn reply_to(&self) -> String {
        self.message.reply_to[0].address.to_string()
    }

    pub fn message_id(&self) -> String {
        self.message.message_id.clone().unwrap().0
    }
}

impl Desk {
    pub fn open() -> Self {
        Self::with(|_| {})
    }

    /// The account with some of its settings changed.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let account = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/accounts/acme/postern.toml");
        let mut config = config::load(Some(&account)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        config.data = folder.path().to_owned();
        config.delivery.concurrency = 16;
        change(&mut config);
        let options = Options { durability: Durability::Scratch, ..Options::new(START) };
        let store = Store::open(folder.path(), options).unwrap();
        let pipeline = daemon::pipeline(&config, store, Clock::manual(START)).unwrap();
        let mailer = daemon::mailer(&config, &pipeline);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let desk = Self { pipeline, config, mailer, runtime, read: BTreeSet::new(), _folder: folder };
        desk.seat_customers();
        desk
    }

    fn seat_customers(&self) {
        let seated = self.pipeline.store.run(&Lookup::default(), START, |_, fresh| {
            let user = |(name, addresses, suspended): (&str, &[&str], bool), fresh: &mut dyn Fresh| User {
                id: fresh.user(),
                name: name.to_owned(),
                role: Role::end_user(),
                addresses: addresses.iter().map(|text| Address::parse(text).unwrap()).collect(),
                organization: None,
                groups: Vec::new(),
                suspended,
                active: true,
                version: 0,
            };
            let writes = CUSTOMERS.map(|customer| Write::InsertUser(user(customer, fresh))).into();
            Ok((Plan { preconditions: Vec::new(), writes }, ()))
        });
        seated.unwrap();
    }

    pub fn wait(&self, minutes: i64) {
        self.pipeline.clock.advance_to(self.pipeline.clock.now().plus(minutes * MINUTE));
    }

    /// Keeps the mail in the journal; nobody has decided it yet.
    pub fn accept(&self, letter: &Letter) -> JournalEntry {
        let now = self.pipeline.clock.now();
        let envelope = letter.envelope(&self.config.settings, now);
        let row = self.pipeline.store.accept_blocking(&envelope, letter.raw(now)).unwrap();
        self.pipeline.store.entry(row).unwrap().unwrap()
    }

    /// A mail comes in, a minute after what was before, and is decided.
    pub fn receive(&self, letter: &Letter) -> MailReport {
        self.wait(1);
        let entry = self.accept(letter);
        self.pipeline.decide(&entry, None).unwrap()
    }

    /// The mailer sends what is due; the mails that left.
    pub fn post(&mut self) -> Vec<Sent> {
        let round = self.runtime.block_on(self.mailer.run_once()).unwrap();
        assert_eq!(round.site_fault, None);
        let folder = self.config.data.join("outgoing");
        let Ok(files) = std::fs::read_dir(&folder) else { return Vec::new() };
        let mut names: Vec<String> =
            files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| self.read.insert(name.clone()));
        names.sort();
        let rows = self.outbox();
        names.iter().map(|name| sent(&folder, name, &rows)).collect()
    }

    /// Every mail ever promised, oldest first.
    pub fn outbox(&self) -> Vec<OutboxView> {
        let mut rows = self.pipeline.store.ask(|db| queries::outbox_list(db, None, u32::MAX)).unwrap();
        rows.reverse();
        rows
    }

    /// `rule -> recipient: state`, of the mails promised after `since`, in the order of their recipients.
    pub fn promised_since(&self, since: usize) -> Vec<String> {
        let rows = self.outbox();
        let mut lines: Vec<_> =
            rows[since..].iter().map(|row| format!("{} -> {}", row.rule, row.recipient)).collect();
        lines.sort();
        lines
    }

    /// What became of a promised mail: its state, with the reason if there is one.
    pub fn fate(&self, row: OutboxId) -> String {
        let row = self.outbox().into_iter().find(|mail| mail.id == row).unwrap();
        match row.detail {
            Some(detail) => format!("{}({detail})", row.state),
            None => row.state.to_owned(),
        }
    }

    pub fn ticket(&self, id: i64) -> TicketView {
        self.pipeline.store.ask(|db| queries::ticket_show(db, TicketId(id))).unwrap().unwrap()
    }

    pub fn tickets(&self) -> Vec<TicketView> {
        (1..)
            .map_while(|id| self.pipeline.store.ask(|db| queries::ticket_show(db, TicketId(id))).unwrap())
            .collect()
    }

    pub fn held(&self) -> Vec<SuspendedView> {
        let mut held = self.pipeline.store.ask(|db| queries::suspended_list(db, u32::MAX)).unwrap();
        held.reverse();
        held
    }

    pub fn journal(&self, id: i64) -> JournalView {
        let id = postern::domain::ids::JournalId(id);
        self.pipeline.store.ask(|db| queries::journal_show(db, id)).unwrap().unwrap()
    }

    pub fn make_private(&self, comment: CommentId) {
        self.pipeline.make_comment_private(comment).unwrap();
    }

    /// The person with this address, as the store knows them now.
    pub fn person(&self, address: &Address) -> Option<User> {
        let lookup = Lookup { addresses: [address.clone()].into(), ..Lookup::default() };
        self.pipeline.store.snapshot(&lookup).unwrap().user_by_address(address).cloned()
    }

    pub fn snapshot(&self, tickets: impl IntoIterator<Item = TicketId>) -> Snapshot {
        let lookup = Lookup { tickets: tickets.into_iter().collect(), ..Lookup::default() };
        self.pipeline.store.snapshot(&lookup).unwrap()
    }

    /// Which ticket a mail would be found to belong to, by this author.
    pub fn identify(&self, letter: &Letter, author: &User) -> Identification {
        let now = self.pipeline.clock.now();
        let message = message::parse(&letter.raw(now));
        let envelope = letter.envelope(&self.config.settings, now);
        let html = message.html.as_deref().map(stripped).unwrap_or_default();
        let clues = identify::clues(&message, &envelope, &html, &self.config.settings);
        let keys = &self.pipeline.account().keys;
        let mut lookup = Lookup::default();
        let salts = self.pipeline.store.salts(&clues.claimed()).unwrap();
        clues.ask(&salts, keys, &mut lookup);
        let snapshot = self.pipeline.store.snapshot(&lookup).unwrap();
        identify::identify(&clues, Some(author.id), &snapshot, keys)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.pipeline.store.close();
    }
}

/// Reads one file of the directory transport: two lines of envelope, then the mail.
fn sent(folder: &Path, name: &str, rows: &[OutboxView]) -> Sent {
    let file = std::fs::read(folder.join(name)).unwrap();
    let text = String::from_utf8_lossy(&file).into_owned();
    let mut lines = text.split("\r\n");
    let mut envelope = |field: &str| {
        let line = lines.next().unwrap();
        Address::parse(line.strip_prefix(field).unwrap_or_else(|| panic!("{line}"))).unwrap()
    };
    let reverse_path = envelope("X-Envelope-From: ");
    let recipient = envelope("X-Envelope-To: ");
    let second_line_end = text.match_indices("\r\n").nth(1).unwrap().0 + 2;
    let raw = file[second_line_end..].to_vec();
    let id = OutboxId(name.trim_end_matches(".eml").parse().unwrap());
    let row = rows.iter().find(|row| row.id == id).unwrap().clone();
    Sent { row, reverse_path, recipient, message: message::parse(&raw), raw }
}
