//! A desk in a folder that goes away, and mails to feed it.

// Each bench uses a part of this.
#![allow(dead_code)]

pub mod fill;
pub mod load;

use std::fmt::Write as _;
use std::path::Path;

use postern::clock::Clock;
use postern::config::{self, Config};
use postern::daemon;
use postern::domain::address::Address;
use postern::domain::mail::{Entrance, Envelope, TrustSource};
use postern::domain::snapshot::JournalEntry;
use postern::domain::time::Timestamp;
use postern::pipeline::Pipeline;
use postern::smtp::policy::{Limits, Logins, Protocol, Recipients, SessionConfig, TlsPolicy};
use postern::store::{Options, Store};
use tempfile::TempDir;

/// Monday 2026-03-02, 09:00 UTC.
pub const START: Timestamp = Timestamp(1_772_442_000_000_000);

pub struct Desk {
    pub pipeline: Pipeline,
    /// Goes away with the desk.
    _folder: Option<TempDir>,
}

impl Desk {
    /// The account of the fixtures, over a store that syncs.
    pub fn open() -> Self {
        let folder = folder();
        let desk = Self::open_in(folder.path());
        Self { _folder: Some(folder), ..desk }
    }

    /// The same over a data directory that stays.
    pub fn open_in(data: &Path) -> Self {
        let account = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/accounts/acme/postern.toml");
        let config = Config { data: data.to_owned(), ..config::load(Some(&account)).unwrap() };
        let store = Store::open(data, Options::new(START)).unwrap();
        let pipeline = daemon::pipeline(&config, store, Clock::manual(START)).unwrap();
        Self { pipeline, _folder: None }
    }

    /// Accepts a mail and decides it.
    pub fn deliver(&self, raw: &[u8]) {
        let entry = self.accept(raw);
        self.pipeline.decide(&entry, None).unwrap();
    }

    pub fn accept(&self, raw: &[u8]) -> JournalEntry {
        let row = self.pipeline.store.accept_blocking(&envelope(), raw.to_vec()).unwrap();
        self.pipeline.store.entry(row).unwrap().unwrap()
    }
}

/// A folder that goes away, on the disk that is measured.
pub fn folder() -> TempDir {
    match std::env::var_os("POSTERN_BENCH_DIR") {
        Some(disk) => TempDir::new_in(disk).unwrap(),
        None => TempDir::new().unwrap(),
    }
}

/// What a listener needs that takes mail for the desk.
pub fn session() -> SessionConfig {
    let address = |text| Address::parse(text).unwrap();
    SessionConfig {
        hostname: "acme.example".to_owned(),
        entrance: Entrance { name: "bench".to_owned(), trust: TrustSource::None },
        recipients: Recipients {
            addresses: vec![address("support@acme.example")],
            postmaster: address("postmaster@acme.example"),
        },
        limits: Limits::default(),
        protocol: Protocol::Smtp,
        tls: TlsPolicy::None,
        logins: Logins::default(),
    }
}

pub fn envelope() -> Envelope {
    Envelope {
        entrance: Entrance { name: "bench".to_owned(), trust: TrustSource::None },
        client: None,
        helo: Some("client.example".to_owned()),
        reverse_path: Address::parse("rita@example.net").ok(),
        recipients: Address::parse("support@acme.example").into_iter().collect(),
        accepted_at: START,
    }
}

/// A mail of about `size` bytes from a customer of its own: text, the same as HTML, a small attachment.
pub fn mail(number: usize, size: usize) -> Vec<u8> {
    let mut text = String::new();
    let mut line = 0;
    while text.len() * 2 + 700 < size {
        line += 1;
        writeln!(text, "{line}. The printer on floor {} says =E2=80=9Epaper jam=E2=80=9C again.\r", line % 7)
            .unwrap();
    }
    let html = text.replace("\r\n", "<br>\r\n");
    format!(
        "From: Customer {number} <customer{number}@example.net>\r\n\
         To: support@acme.example\r\n\
         Subject: The printer is offline ({number})\r\n\
         Date: Mon, 2 Mar 2026 08:59:00 +0000\r\n\
         Message-ID: <bench.{number}@example.net>\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=outer\r\n\r\n\
         --outer\r\nContent-Type: multipart/alternative; boundary=inner\r\n\r\n\
         --inner\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
         {text}\r\n\
         --inner\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
         <html><body><p>{html}</p></body></html>\r\n\
         --inner--\r\n\
         --outer\r\nContent-Type: image/png; name=logo.png\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=logo.png\r\n\r\n\
         iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==\r\n\
         --outer--\r\n"
    )
    .into_bytes()
}
