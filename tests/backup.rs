//! `postern backup` under load and `postern restore` elsewhere: the set proves itself, old tokens are good, ids are not used
//! again, and nothing is sent that may have been sent.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use postern::domain::mail::{Entrance, Envelope, TrustSource};
use postern::domain::time::Timestamp;
use postern::store::{Options, Store};
use serde_json::{Value, json};

use support::client::Client;
use support::mail::{SUPPORT, Sent, compose};
use support::{Desk, wait_for};

fn letter(name: &str, to: &str, lines: usize) -> (String, String) {
    let from = format!("{name}@customer.example");
    let text = "A line of what a customer has to say.\n".repeat(lines);
    let mail = compose(&from, to, &format!("{name}.{lines}@m.example"), "Help", &format!("{name}\n{text}"));
    (from, mail)
}

fn send(client: &mut Client, name: &str, to: &str, lines: usize) {
    let (from, mail) = letter(name, to, lines);
    let reply = client.mail(&from, to, &mail).unwrap();
    assert!(reply.starts_with("250 "), "{reply}");
}

/// `postern restore`, and a desk on what it made.
fn restored(backup: &Path, place: &Path) -> (Desk, Value) {
    let data = place.join("restored");
    let desk = Desk::with_data(&data);
    let words = [backup.to_str().unwrap(), data.to_str().unwrap(), "--json"];
    let answer = restore(&words);
    answer.expect(0);
    (desk, answer.json())
}

fn restore(words: &[&str]) -> support::Answer {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_postern"));
    command.arg("restore").args(words);
    support::run_with(command, b"")
}

fn message_ids(mails: &[Sent]) -> BTreeSet<String> {
    mails.iter().map(|mail| mail.field("Message-ID").unwrap()).collect()
}

#[test]
fn a_backup_under_load_ends_holds_up_nobody_and_goes_on_elsewhere() {
    let desk = Desk::new();
    let daemon = desk.start();
    send(&mut daemon.connect(), "rita", SUPPORT, 3);
    let confirmation = desk.quiet().into_iter().find(|mail| mail.is_to("rita@customer.example")).unwrap();

    let place = tempfile::tempdir().unwrap();
    let backup = place.path().join("backup");
    let (stop, sent, slowest) = (AtomicBool::new(false), AtomicUsize::new(0), Mutex::new(Duration::ZERO));
    let during = std::thread::scope(|scope| {
        for session in 0..4 {
            let (address, stop, sent, slowest) = (daemon.address, &stop, &sent, &slowest);
            scope.spawn(move || {
                let mut client = Client::connect(address).unwrap();
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let began = Instant::now();
                    // Every tenth is too large for a row.
                    let lines = if number % 10 == 9 { 8_000 } else { 3 };
                    send(&mut client, &format!("c{session}-{number}"), SUPPORT, lines);
                    sent.fetch_add(1, Ordering::SeqCst);
                    let mut slowest = slowest.lock().unwrap();
                    *slowest = began.elapsed().max(*slowest);
                }
            });
        }
        wait_for("some load", || (sent.load(Ordering::SeqCst) > 100).then_some(()));
        let (before, began) = (sent.load(Ordering::SeqCst), Instant::now());
        let answer = desk.json(&["backup", backup.to_str().unwrap()]);
        let during = sent.load(Ordering::SeqCst) - before;
        println!("a backup took {:?}; {during} mails were taken meanwhile", began.elapsed());
        stop.store(true, Ordering::SeqCst);
        assert_eq!(answer["problems"], json!([]), "{answer:#}");
        during
    });
    println!("the slowest mail took {:?}", slowest.into_inner().unwrap());
    assert!(during > 0, "the backup held up all mail");
    assert!(
        !desk
            .data()
            .read_dir()
            .unwrap()
            .any(|child| { child.unwrap().file_name().to_str().unwrap().starts_with("backup-") })
    );
    let accepted_then = desk.settled()["accepted"].as_u64().unwrap();
    let sent_then = message_ids(&desk.quiet());
    daemon.kill();

    let (desk, told) = restored(&backup, place.path());
    assert_eq!((&told["epoch"], &told["books"]["balanced"]), (&json!(2), &json!(true)), "{told:#}");
    let accepted = told["books"]["accepted"].as_u64().unwrap();
    assert!(accepted > 100 && accepted < accepted_then, "{accepted} of {accepted_then}");

    let daemon = desk.start();
    assert_eq!(desk.settled()["accepted"], accepted, "what was pending is decided");
    let sent_now = message_ids(&desk.quiet());
    assert!(sent_now.is_disjoint(&sent_then) && sent_now.is_empty(), "{sent_now:?}");

    // An old token is as good as before, and new ids are far ahead.
    send(&mut daemon.connect(), "rita", &confirmation.reply_to(), 5);
    send(&mut daemon.connect(), "late", SUPPORT, 3);
    assert_eq!(desk.settled()["accepted"], accepted + 2);
    let ticket = desk.json(&["ticket", "show", "1"]);
    assert_eq!(ticket["comments"].as_array().unwrap().len(), 2, "{ticket:#}");
    let newest = &desk.json(&["ticket", "list", "--limit", "1"])[0];
    assert!(newest["id"].as_i64().unwrap() > 1_000_000, "{newest:#}");
    let sent_now = message_ids(&desk.quiet());
    assert!(sent_now.is_disjoint(&sent_then) && !sent_now.is_empty(), "{sent_now:?}");
    assert_eq!(desk.json(&["audit", "--deep"])["balanced"], true);
    daemon.stop();
}

/// A desk with a mail that is decided and whose notifications wait, one that is not decided, and no daemon.
fn stopped_desk() -> Desk {
    let desk = Desk::new();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    desk.send_to(nobody);
    let daemon = desk.start();
    send(&mut daemon.connect(), "rita", SUPPORT, 3);
    desk.settled();
    daemon.stop();

    let store = Store::open(desk.data(), Options::new(Timestamp(1))).unwrap();
    let (from, mail) = letter("sam", SUPPORT, 3);
    let envelope = Envelope {
        entrance: Entrance { name: "smtp".to_owned(), trust: TrustSource::Upstream },
        client: None,
        helo: None,
        reverse_path: Some(from.parse_address()),
        recipients: vec![SUPPORT.parse_address()],
        accepted_at: Timestamp(1_800_000_000_000_000),
    };
    store.accept_blocking(&envelope, mail.into_bytes()).unwrap();
    store.close();
    desk
}

trait ParseAddress {
    fn parse_address(&self) -> postern::domain::address::Address;
}

impl ParseAddress for str {
    fn parse_address(&self) -> postern::domain::address::Address {
        postern::domain::address::Address::parse(self).unwrap()
    }
}

fn backup_of(desk: &Desk, place: &Path) -> PathBuf {
    let backup = place.join("backup");
    desk.json(&["backup", backup.to_str().unwrap()]);
    backup
}

#[test]
fn what_was_to_be_sent_and_what_was_pending_sends_nothing_before_a_person_says_so() {
    let place = tempfile::tempdir().unwrap();
    let backup = backup_of(&stopped_desk(), place.path());
    assert!(backup.join("config/postern.toml").exists() && backup.join("config/people.toml").exists());

    let (desk, told) = restored(&backup, place.path());
    assert_eq!((&told["held"], &told["books"]["pending"]), (&json!(2), &json!(1)), "{told:#}");
    let daemon = desk.start();
    assert_eq!(desk.settled()["done"], 2);
    assert_eq!(desk.quiet().len(), 0, "something was sent");
    let held = desk.json(&["outbox", "list", "--state", "held"]);
    let held = held.as_array().unwrap();
    assert_eq!(held.len(), 4, "{held:#?}");
    assert!(held.iter().all(|mail| mail["detail"] == "restored"));

    let id = held[0]["id"].to_string();
    desk.json(&["outbox", "retry", &id]);
    let sent = wait_for("the released mail", || Some(desk.quiet()).filter(|sent| !sent.is_empty()));
    assert!(sent.len() == 1 && sent[0].is_to(held[0]["recipient"].as_str().unwrap()), "{sent:?}");
    assert_eq!(desk.audit()["outbox"], json!({ "held": 3, "sent": 1 }));
    daemon.stop();
}

/// Files of the spool that wait.
fn letters(desk: &Desk) -> Vec<PathBuf> {
    let files = desk.data().join("spool").read_dir().unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "mail")).collect()
}

#[test]
fn letters_that_deliver_has_kept_are_in_the_backup_and_taken_in_once() {
    let desk = stopped_desk();
    let deliver = |name: &str| {
        let (from, mail) = letter(name, SUPPORT, 3);
        let mut command = desk.command(&["deliver", "--sender", &from, "--recipient", SUPPORT]);
        command.stdin(std::process::Stdio::piped());
        support::run_with(command, mail.as_bytes()).expect(0);
    };
    deliver("ann");
    deliver("ben");
    // As after a crash between the commit and the removal: the journal has one of them, and the file stays.
    let first = letters(&desk).remove(0);
    let (bytes, kept) = (std::fs::read(&first).unwrap(), desk.data().join("kept"));
    let daemon = desk.start();
    wait_for("the spool to be taken in", || letters(&desk).is_empty().then_some(()));
    assert_eq!(desk.settled()["accepted"], 4);
    daemon.stop();
    std::fs::write(&kept, &bytes).unwrap();
    std::fs::rename(&kept, &first).unwrap();
    deliver("cem");

    let place = tempfile::tempdir().unwrap();
    let backup = backup_of(&desk, place.path());
    let (desk, told) = restored(&backup, place.path());
    assert_eq!((&told["letters"], &told["books"]["accepted"]), (&json!(2), &json!(4)), "{told:#}");
    let daemon = desk.start();
    wait_for("the spool to be taken in", || letters(&desk).is_empty().then_some(()));
    assert_eq!(desk.settled()["accepted"], 5);
    daemon.stop();
}

#[test]
fn a_backup_that_is_not_whole_is_not_restored() {
    let place = tempfile::tempdir().unwrap();
    let backup = backup_of(&stopped_desk(), place.path());
    let target = place.path().join("target");
    let words = [backup.to_str().unwrap(), target.to_str().unwrap()];
    let refused = |code: i32, why: &str| {
        let answer = restore(&words);
        answer.expect(code);
        assert!(answer.stderr.contains(why), "{}", answer.stderr);
        assert!(!target.join("postern.db").exists());
    };

    let database = backup.join("data/postern.db");
    let sound = std::fs::read(&database).unwrap();
    let mut spoiled = sound.clone();
    spoiled[5_000] ^= 1;
    std::fs::write(&database, &spoiled).unwrap();
    refused(65, "`data/postern.db` is not what the manifest says");
    std::fs::write(&database, &sound).unwrap();

    let keys = std::fs::read(backup.join("data/keys.json")).unwrap();
    std::fs::remove_file(backup.join("data/keys.json")).unwrap();
    refused(65, "`data/keys.json` cannot be read");
    std::fs::write(backup.join("data/keys.json"), keys).unwrap();

    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("something"), "").unwrap();
    refused(2, "is not empty");
    std::fs::remove_file(target.join("something")).unwrap();
    restore(&words).expect(0);

    std::fs::remove_file(backup.join("manifest.json")).unwrap();
    std::fs::remove_dir_all(&target).unwrap();
    refused(65, "is no backup");
}

#[test]
fn a_restore_that_did_not_end_leaves_nothing_that_could_be_served() {
    let desk = Desk::new();
    std::fs::create_dir_all(desk.data()).unwrap();
    std::fs::write(desk.data().join("postern.db.restoring"), "").unwrap();
    let answer = desk.run(&["serve", "--listen", "127.0.0.1:0"]);
    answer.expect(75);
    assert!(answer.stderr.contains("empty the directory and restore it again"), "{}", answer.stderr);
}

#[test]
fn a_backup_replaces_nothing() {
    let desk = stopped_desk();
    let answer = desk.run(&["backup", desk.data().to_str().unwrap()]);
    answer.expect(2);
    assert!(answer.stderr.contains("is there already"), "{}", answer.stderr);
}
