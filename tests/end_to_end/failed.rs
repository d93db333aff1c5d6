//! Mail that kills: the third unclean end makes it failed, others go on meanwhile, and a person has it tried again.
//!
//! What stands for a poison mail: a large one whose file is a pipe that nobody writes to. The decider that reads it holds
//! the row, for certain, when the daemon is killed.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use postern::store::Store;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::mail::{SUPPORT, compose};
use crate::support::{Desk, wait_for};
use crate::tour::RITA;

struct Poison {
    file: PathBuf,
    mail: Vec<u8>,
}

impl Poison {
    /// Gives the desk a poison mail, the first of its journal.
    fn administer(desk: &Desk) -> Self {
        desk.start().stop();
        let text = "All work and no play makes a dull printer.\n".repeat(8_000);
        let mail = compose(RITA, SUPPORT, "1@customer.example", "Help", &text).replace('\n', "\r\n");
        let options = postern::store::Options::new(postern::clock::Clock::system().now());
        let store = Store::open(desk.data(), options).unwrap();
        let envelope = json!({
            "entrance": { "name": "smtp", "trust": { "kind": "none" } }, "client": null, "helo": null,
            "reverse_path": RITA, "recipients": [SUPPORT], "accepted_at": 1_795_255_920_000_000_i64,
        });
        let envelope = serde_json::from_value(envelope).unwrap();
        assert_eq!(store.accept_blocking(&envelope, mail.clone().into_bytes()).unwrap().0, 1);
        store.close();
        let file = blob(desk);
        let poison = Self { mail: fs::read(&file).unwrap(), file };
        fs::remove_file(&poison.file).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &poison.file,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        poison
    }

    fn cure(&self) {
        fs::remove_file(&self.file).unwrap();
        fs::write(&self.file, &self.mail).unwrap();
    }
}

/// The only file of the store's blobs.
fn blob(desk: &Desk) -> PathBuf {
    let folders = fs::read_dir(desk.data().join("blobs")).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    let files: Vec<_> = files.filter(|path| path.is_file()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    file.clone()
}

/// How many mails are in which state. The books do not balance while a mail's bytes are not there.
fn states(desk: &Desk) -> Value {
    let answer = desk.run(&["audit", "--json"]);
    let books = answer.json();
    json!({ "done": books["done"], "failed": books["failed"] })
}

fn most_attempts(desk: &Desk, state: &str) -> u32 {
    let store = Store::open_read_only(desk.data()).unwrap();
    let sql = "SELECT MAX(attempts) FROM journal WHERE state = ?1";
    store.ask(|db| db.query_row(sql, [state], |row| row.get(0))).unwrap()
}

/// Waits until a decider holds the mail.
fn held(desk: &Desk, id: u64) {
    let in_work = fs::File::open(desk.data().join("inwork")).unwrap();
    wait_for("the mail to be in work", || {
        let mut slots = [0; 64];
        let length = in_work.read_at(&mut slots, 0).unwrap();
        slots[..length].chunks(8).any(|slot| *slot == id.to_le_bytes()).then_some(())
    });
}

fn send(daemon: &Daemon, id: u32) {
    let from = format!("c{id}@customer.example");
    let mail = compose(&from, SUPPORT, &format!("other-{id}@customer.example"), "Help", "Mine is dark.");
    let reply = daemon.connect().mail(&from, SUPPORT, &mail).unwrap();
    assert!(reply.starts_with("250"), "{reply}");
}

#[test]
fn a_mail_over_which_the_daemon_dies_three_times_is_failed_and_can_be_tried_again() {
    let desk = Desk::new();
    desk.change_config("postern.toml", "#deciders = 0", "deciders = 2");
    let poison = Poison::administer(&desk);
    for death in 1..=3 {
        let daemon = desk.start();
        held(&desk, 1);
        send(&daemon, death);
        daemon.kill();
        assert_eq!(
            most_attempts(&desk, "pending"),
            death - 1,
            "what was in work is held against it at the next start"
        );
    }

    poison.cure();
    // From now on the others go on. They were in work beside it, and are not blamed for more than the first death.
    let daemon = desk.start();
    wait_for("all others to be decided", || {
        (states(&desk) == json!({ "done": 3, "failed": 1 })).then_some(())
    });
    assert!(most_attempts(&desk, "done") <= 1);
    let failed = desk.json(&["failed", "list"]);
    assert_eq!(
        json!([
            failed[0]["id"],
            failed[0]["error"],
            failed[0]["attempts"],
            failed[0]["envelope"]["reverse_path"]
        ]),
        json!([1, "crashed", 3, RITA])
    );
    assert!(failed[0]["age_s"].as_i64().unwrap() >= 0);
    let listed = desk.run(&["failed", "list"]);
    assert!(listed.expect(0).stdout.contains("crashed"), "{}", listed.stdout);

    let shown = desk.run(&["failed", "show", "1"]);
    assert!(shown.expect(0).stdout.contains("Message-ID: <1@customer.example>"), "{}", shown.stdout);
    assert!(!shown.stdout.contains("dull printer"), "the body is not shown unless asked for");
    assert_eq!(desk.run(&["failed", "show", "1", "--raw"]).stdout.as_bytes(), poison.mail);

    assert_eq!(desk.json(&["failed", "retry", "1"]), json!({ "journal": 1, "state": "pending" }));
    assert_eq!(daemon.event("message.retried")["journal.id"], 1);
    assert_eq!(desk.settled()["done"], 4);
    assert_eq!(desk.json(&["failed", "list"]), json!([]));
    for words in [["failed", "retry", "1"], ["failed", "show", "1"], ["failed", "retry", "99"]] {
        assert!(desk.run(&words).expect(1).stderr.contains("not among the failed ones"));
    }
}

#[test]
fn damaged_mail_is_failed_and_mended_while_no_daemon_runs() {
    let desk = Desk::new();
    let poison = Poison::administer(&desk);
    fs::remove_file(&poison.file).unwrap();
    fs::write(&poison.file, "other bytes").unwrap();
    let daemon = desk.start();
    assert_eq!(daemon.event("message.failed")["journal.id"], 1);
    wait_for("the mail to be given up", || (states(&desk)["failed"] == 1).then_some(()));
    daemon.stop();

    let shown = desk.run(&["failed", "show", "1"]);
    assert!(shown.expect(0).stdout.contains("cannot be read"), "{}", shown.stdout);
    poison.cure();
    desk.run(&["failed", "retry", "1"]).expect(0);
    assert_eq!(desk.audit()["pending"], 1);
    let _daemon = desk.start();
    assert_eq!(desk.settled()["done"], 1);
}
