//! `postern deliver`, the pipe of a mail server: 0 means kept, and 75 is the only other answer.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use postern::store::Store;
use serde_json::{Value, json};

use crate::support::mail::{SUPPORT, compose};
use crate::support::{Answer, Desk, run_with, wait_for};
use crate::tour::RITA;

fn mail() -> String {
    compose(RITA, SUPPORT, "1@customer.example", "Help", "Smoke comes out of it.")
}

/// A desk whose daemon ran once, as after an installation.
fn stopped() -> Desk {
    let desk = Desk::new();
    desk.start().stop();
    desk
}

/// The files of the spool that wait.
fn waiting(desk: &Desk) -> Vec<std::path::PathBuf> {
    let files = fs::read_dir(desk.data().join("spool")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "mail")).collect()
}

fn envelope(desk: &Desk, id: i64) -> Value {
    let store = Store::open_read_only(desk.data()).unwrap();
    let entry = store.entry(postern::domain::ids::JournalId(id)).unwrap().unwrap();
    serde_json::to_value(entry.envelope).unwrap()
}

#[test]
fn a_mail_is_handed_to_the_daemon_that_runs() {
    let desk = Desk::new();
    let daemon = desk.start();
    let answer = desk.run_with(&["deliver", "--sender", RITA, "--json"], mail().as_bytes());
    assert_eq!(answer.expect(0).json(), json!({ "journal": 1 }));
    assert_eq!(daemon.event("deliver.kept")["journal.id"], 1);
    assert_eq!(desk.settled()["done"], 1);
    let envelope = envelope(&desk, 1);
    assert_eq!(
        json!([envelope["entrance"]["name"], envelope["reverse_path"], envelope["recipients"]]),
        json!(["deliver", RITA, [SUPPORT]])
    );
}

#[test]
fn a_mail_waits_in_the_spool_while_no_daemon_runs() {
    let desk = stopped();
    let answer =
        desk.run_with(&["deliver", "--sender", RITA, "--recipient", SUPPORT, "--json"], mail().as_bytes());
    assert!(answer.expect(0).json()["spooled"].is_string(), "{}", answer.stdout);
    assert_eq!((waiting(&desk).len(), &desk.audit()["accepted"]), (1, &json!(0)));

    let daemon = desk.start();
    assert!(daemon.event("deliver.kept")["file"].is_string());
    assert!(desk.quiet().iter().any(|mail| mail.is_to(RITA)));
    assert_eq!(desk.json(&["ticket", "show", "1"])["requester"], RITA);
    wait_for("the file to go", || waiting(&desk).is_empty().then_some(()));
    daemon.stop();
}

#[test]
fn a_file_that_outlived_its_taking_in_makes_no_second_mail() {
    let desk = stopped();
    desk.run_with(&["deliver", "--sender", RITA], mail().as_bytes()).expect(0);
    let [file] = &waiting(&desk)[..] else { panic!("one file") };
    let bytes = fs::read(file).unwrap();
    let daemon = desk.start();
    daemon.event("deliver.kept");
    desk.settled();
    daemon.kill();

    // As after a crash between the commit and the removal.
    fs::write(file, bytes).unwrap();
    let daemon = desk.start();
    assert_eq!(daemon.event("deliver.kept")["journal.id"], 1);
    wait_for("the file to go", || waiting(&desk).is_empty().then_some(()));
    assert_eq!(desk.settled()["accepted"], 1);
}

#[test]
fn a_file_left_while_the_daemon_runs_is_found() {
    let desk = stopped();
    desk.run_with(&["deliver", "--sender", RITA], mail().as_bytes()).expect(0);
    let [file] = &waiting(&desk)[..] else { panic!("one file") };
    let aside = desk.data().join("aside");
    fs::rename(file, &aside).unwrap();
    let daemon = desk.start();
    fs::rename(&aside, file).unwrap();
    assert_eq!(daemon.event("deliver.kept")["journal.id"], 1);
}

#[test]
fn what_is_no_letter_is_left_for_a_person_and_holds_up_nobody() {
    let desk = stopped();
    let spool = desk.data().join("spool");
    fs::write(spool.join("0-none-of-ours.mail"), "Subject: I was copied here\n\nHello.\n").unwrap();
    std::os::unix::fs::symlink(desk.data().join("keys.json"), spool.join("0-symlink.mail")).unwrap();
    desk.run_with(&["deliver", "--sender", RITA], mail().as_bytes()).expect(0);
    let daemon = desk.start();
    let left = [daemon.event("spool.left"), daemon.event("spool.left")];
    assert_eq!(left.map(|event| event["file"].clone()), ["0-none-of-ours", "0-symlink"]);
    assert_eq!(daemon.event("deliver.kept")["journal.id"], 1);
    assert_eq!(desk.settled()["done"], 1);
    wait_for("the letter's file to go", || (waiting(&desk).len() == 2).then_some(()));
}

#[test]
fn a_mail_that_is_handed_over_twice_makes_one_comment() {
    let desk = Desk::new();
    let _daemon = desk.start();
    for _ in 0..2 {
        desk.run_with(&["deliver", "--sender", RITA], mail().as_bytes()).expect(0);
    }
    let audit = desk.settled();
    assert_eq!(json!([audit["done"], audit["discarded"]]), json!([1, { "duplicate": 1 }]));
}

#[test]
fn large_mails_and_those_of_other_line_ends_are_kept_both_ways() {
    let desk = stopped();
    let large = mail() + &"All work and no play makes a dull printer.\n".repeat(5_000);
    desk.run_with(&["deliver"], large.as_bytes()).expect(0);
    let daemon = desk.start();
    daemon.event("deliver.kept");
    let wire = large.replace('\n', "\r\n");
    desk.run_with(&["deliver"], format!("From rita Sat Nov 21 10:12:00 2026\n{large}").as_bytes()).expect(0);
    desk.run_with(&["deliver"], wire.as_bytes()).expect(0);
    let audit = desk.settled();
    assert_eq!(json!([audit["done"], audit["discarded"]]), json!([1, { "duplicate": 2 }]));
    let store = Store::open_read_only(desk.data()).unwrap();
    for id in 1..=3 {
        let raw = store.entry(postern::domain::ids::JournalId(id)).unwrap().unwrap().raw;
        assert!(raw == wire.as_bytes(), "mail {id} is not as it came over the wire");
    }
    daemon.stop();
}

#[test]
fn an_extension_that_the_mail_server_cut_off_is_put_back() {
    let desk = Desk::new();
    let _daemon = desk.start();
    let words = ["deliver", "--recipient", SUPPORT, "--extension", "idX", "--sender", "MAILER-DAEMON"];
    desk.run_with(&words, mail().as_bytes()).expect(0);
    let envelope = envelope(&desk, 1);
    assert_eq!(
        json!([envelope["recipients"], envelope["reverse_path"]]),
        json!([["support+idX@localhost"], null])
    );
}

fn refused(desk: &Desk, words: &[&str], because: &str) {
    let answer = desk.run_with(&[&["deliver"], words].concat(), mail().as_bytes());
    assert!(answer.expect(75).stderr.contains(because), "{}", answer.stderr);
    assert_eq!(answer.stdout, "");
}

#[test]
fn any_trouble_asks_the_mail_server_to_try_again() {
    let desk = Desk::new();
    refused(&desk, &["--recipient", "nobody at all"], "nobody at all");
    refused(&desk, &["--recipent", SUPPORT], "--recipent");
    refused(&desk, &["--sender"], "Usage");
    refused(&desk, &["--recipient", SUPPORT, "--extension", "two words"], "two words");
    refused(&desk, &[], "start `postern serve` once");

    desk.change_config("postern.toml", "#max_message_size = 52428800", "max_message_size = 65536");
    let large = mail() + &"x".repeat(65_536);
    assert!(desk.run_with(&["deliver"], large.as_bytes()).expect(75).stderr.contains("max_message_size"));
    desk.change_config("postern.toml", "max_message_size = 65536", "max_message_size = \"much\"");
    refused(&desk, &[], "postern.toml:");
    assert!(!desk.data().exists(), "nothing was kept");
}

#[test]
fn a_standard_input_that_cannot_be_read_asks_to_try_again() {
    let desk = stopped();
    let mut command = desk.command(&["deliver"]);
    let directory = fs::File::open(desk.data()).unwrap();
    let answer = Answer::of(command.stdin(directory).output().unwrap());
    answer.expect(75);
    assert_eq!(waiting(&desk).len(), 0);
}

#[test]
fn a_spool_that_cannot_be_written_to_safely_asks_to_try_again() {
    let desk = stopped();
    let spool = desk.data().join("spool");
    fs::set_permissions(&spool, fs::Permissions::from_mode(0o777)).unwrap();
    refused(&desk, &[], "only owner and group write");
    fs::remove_dir_all(&spool).unwrap();
    fs::write(&spool, "").unwrap();
    refused(&desk, &[], "expected a directory");
}

#[test]
fn what_the_daemon_cannot_keep_is_not_spooled_behind_its_back() {
    let desk = Desk::new();
    let _daemon = desk.start();
    // The daemon has its own limit, whatever the configuration says by now.
    desk.change_config("postern.toml", "#max_message_size = 52428800", "max_message_size = 104857600");
    let large = mail() + &"All work and no play makes a dull printer.\n".repeat(1_300_000);
    let answer = desk.run_with(&["deliver"], large.as_bytes());
    assert!(answer.expect(75).stderr.contains("`max_message_size`, 52428800"), "{}", answer.stderr);
    assert_eq!((waiting(&desk).len(), &desk.audit()["accepted"]), (0, &json!(0)));
}

#[test]
fn help_is_no_trouble() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_postern"));
    command.args(["deliver", "--help"]);
    assert!(run_with(command, b"").expect(0).stdout.contains("--recipient"));
}
