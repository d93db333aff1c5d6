//! The figures of `docs/performance.md` that hold on any machine, however slow or busy: `cargo bench --bench hold`.
//!
//! The daemon, built for release, is loaded over SMTP; a rate counts until the last mail is decided. Each figure compares it with
//! itself, or with a bare receiver: the same listener, one `INSERT` a mail, commits shared by all who wait. Fails if one is missed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench fails by panicking")]
#![allow(clippy::print_stdout, reason = "a program for the command line")]

mod support;

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use postern::domain::ids::JournalId;
use postern::domain::mail::Envelope;
use postern::smtp::listener::{self, ListenerConfig, Socket};
use postern::smtp::{Accept, Refused};
use rusqlite::Connection;
use support::load::{Daemon, Load, SIZE, SPAN, load, median};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

const RUNS: usize = 3;

fn main() {
    let mut met = true;
    for (sessions, most) in [(1, 1.1), (10, 0.35), (50, 0.1)] {
        let flushes = median(RUNS, || fresh_daemon().flushes_a_mail(sessions));
        met &= holds(
            &format!("flushes a mail at {sessions} sessions, until the last 250"),
            flushes,
            "at most",
            most,
        );
    }
    let share = median(RUNS, || fresh_daemon().rate(10) / bare_rate(10));
    met &=
        holds("rate with all the work done, over the bare receiver's, 10 sessions", share, "at least", 0.2);
    let growth = median(RUNS, || filled_daemon(100_000).rate(10) / filled_daemon(10_000).rate(10));
    met &= holds("rate with 100,000 comments over the rate with 10,000", growth, "at least", 0.75);
    assert!(met, "a figure was missed");
}

fn holds(what: &str, figure: f64, relation: &str, bound: f64) -> bool {
    let met = if relation == "at most" { figure <= bound } else { figure >= bound };
    println!("{} {what}: {figure:.3} ({relation} {bound})", if met { "ok  " } else { "MISS" });
    met
}

fn fresh_daemon() -> Daemon {
    Daemon::start(|_| {})
}

fn filled_daemon(comments: i64) -> Daemon {
    Daemon::start(|data| support::fill::fill(data, comments))
}

/// Mails a second that the bare receiver takes.
fn bare_rate(sessions: usize) -> f64 {
    let folder = support::folder();
    let (give, take) = mpsc::channel();
    let db = Connection::open(folder.path().join("bare.db")).unwrap();
    let writer = thread::spawn(move || keep(&db, &take));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let shutdown = CancellationToken::new();
    let guard = runtime.enter();
    let socket = Socket::bind(&"127.0.0.1:0".parse().unwrap(), 0).unwrap();
    drop(guard);
    let address = support::load::tcp_address(&socket);
    let config = ListenerConfig::new(Arc::new(support::session()), Arc::new(|| support::START));
    let running =
        runtime.spawn(listener::run(socket, Arc::new(config), Arc::new(Bare(give)), shutdown.clone()));
    let Load { mails, took } = load(address, sessions, SPAN, SIZE);
    shutdown.cancel();
    runtime.block_on(running).unwrap();
    writer.join().unwrap();
    mails as f64 / took.as_secs_f64()
}

struct Bare(mpsc::Sender<(Vec<u8>, oneshot::Sender<()>)>);

impl Accept for Bare {
    type Receiving = ();

    fn receiving(&self) {}

    async fn accept(&self, _: Envelope, raw: Vec<u8>) -> Result<JournalId, Refused> {
        let (tell, told) = oneshot::channel();
        self.0.send((raw, tell)).map_err(|_| Refused::Storage)?;
        told.await.map(|()| JournalId(1)).map_err(|_| Refused::Storage)
    }
}

/// Keeps mails until nobody brings any; those that wait share a commit.
fn keep(db: &Connection, mails: &mpsc::Receiver<(Vec<u8>, oneshot::Sender<()>)>) {
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE mails (id INTEGER PRIMARY KEY, raw BLOB NOT NULL)",
    )
    .unwrap();
    while let Ok(first) = mails.recv() {
        let group: Vec<_> = std::iter::once(first).chain(mails.try_iter().take(63)).collect();
        db.execute_batch("BEGIN IMMEDIATE").unwrap();
        for (raw, _) in &group {
            db.prepare_cached("INSERT INTO mails (raw) VALUES (?1)").unwrap().execute([raw]).unwrap();
        }
        db.execute_batch("COMMIT").unwrap();
        for (_, told) in group {
            told.send(()).ok();
        }
    }
}
