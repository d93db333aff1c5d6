//! `postern deliver`, the pipe of a mail server: 0 means kept, and 75 is the only other answer.

use postern::domain::time::Timestamp;
use postern::store::{Options, Store};
use serde_json::json;

use crate::support::mail::{SUPPORT, compose};
use crate::support::{Desk, run_with};
use crate::tour::RITA;

fn mail() -> String {
    compose(RITA, SUPPORT, "1@customer.example", "Help", "Smoke comes out of it.")
}

#[test]
fn a_mail_is_kept_and_decided_at_once_when_no_daemon_runs() {
    let desk = Desk::new();
    let answer =
        desk.run_with(&["deliver", "--sender", RITA, "--recipient", SUPPORT, "--json"], mail().as_bytes());
    assert_eq!(answer.expect(0).json(), json!({ "journal": 1 }));
    let audit = desk.audit();
    assert_eq!(json!([audit["done"], audit["pending"], audit["balanced"]]), json!([1, 0, true]));
    assert_eq!(desk.json(&["ticket", "show", "1"])["requester"], RITA);

    let daemon = desk.start();
    assert!(desk.quiet().iter().any(|mail| mail.is_to(RITA)), "what was promised is sent when a daemon runs");
    daemon.stop();
}

#[test]
fn a_mail_is_handed_to_the_daemon_that_runs() {
    let desk = Desk::new();
    let daemon = desk.start();
    desk.run_with(&["deliver", "--sender", RITA], mail().as_bytes()).expect(0);
    assert_eq!(daemon.event("message.decided")["ticket.id"], 1);
    assert_eq!(desk.settled()["done"], 1);
}

#[test]
fn large_mails_are_kept_both_ways() {
    let desk = Desk::new();
    let large = mail() + &"All work and no play makes a dull printer.\n".repeat(5_000);
    desk.run_with(&["deliver"], large.as_bytes()).expect(0);
    let daemon = desk.start();
    desk.run_with(&["deliver"], large.replace("1@customer", "2@customer").as_bytes()).expect(0);
    assert_eq!(desk.settled()["done"], 2);
    daemon.stop();
}

#[test]
fn any_trouble_asks_the_mail_server_to_try_again() {
    let check = |desk: &Desk, words: &[&str], because: &str| {
        let answer = desk.run_with(&[&["deliver"], words].concat(), mail().as_bytes());
        assert!(answer.expect(75).stderr.contains(because), "{}", answer.stderr);
        assert_eq!(answer.stdout, "");
    };
    let desk = Desk::new();
    check(&desk, &["--recipient", "nobody at all"], "nobody at all");
    check(&desk, &["--recipent", SUPPORT], "--recipent");
    check(&desk, &["--sender"], "--sender");

    desk.change_config("postern.toml", "#max_message_size = 52428800", "max_message_size = 100");
    check(&desk, &[], "max_message_size");
    desk.change_config("postern.toml", "max_message_size = 100", "max_message_size = \"much\"");
    check(&desk, &[], "postern.toml:");
    assert!(!desk.data().exists(), "nothing was kept");
}

#[test]
fn a_directory_that_another_process_holds_asks_to_try_again_and_names_the_holder() {
    let desk = Desk::new();
    let holder = Store::open(desk.data(), Options::new(Timestamp(0))).unwrap();
    let answer = desk.run_with(&["deliver"], mail().as_bytes());
    let expected = format!("in use by process {}", std::process::id());
    assert!(answer.expect(75).stderr.contains(&expected), "{}", answer.stderr);
    holder.close();
    desk.run_with(&["deliver"], mail().as_bytes()).expect(0);
    assert_eq!(desk.audit()["done"], 1);
}

#[test]
fn help_is_no_trouble() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_postern"));
    command.args(["deliver", "--help"]);
    assert!(run_with(command, b"").expect(0).stdout.contains("--recipient"));
}
