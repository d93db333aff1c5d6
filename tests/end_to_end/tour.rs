//! The tour of the README.

use serde_json::{Value, json};

use crate::support::mail::{AGENT, SUPPORT, Sent, compose};
use crate::support::{Desk, daemon::Daemon};

pub const RITA: &str = "rita@customer.example";

/// Sends a mail that must be kept.
pub fn send(daemon: &Daemon, from: &str, to: &str, id: &str, text: &str) {
    let mail = compose(from, to, id, "My printer is on fire", text);
    let reply = daemon.connect().mail(from, to, &mail).unwrap();
    assert!(reply.starts_with("250 2.0.0 kept as "), "{reply}");
}

pub fn newest<'a>(sent: &'a [Sent], to: &str) -> &'a Sent {
    sent.iter().rfind(|mail| mail.is_to(to)).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn has_keys(value: &Value, expected: &[&str]) {
    let found = keys(value);
    let missing: Vec<_> = expected.iter().filter(|key| !found.contains(key)).collect();
    assert!(missing.is_empty(), "{missing:?} missing in {value:#}");
}

#[test]
fn the_tour_of_the_readme_works() {
    let desk = Desk::new();
    let daemon = desk.start();

    send(&daemon, RITA, SUPPORT, "1@customer.example", "Smoke comes out of it. What now?");
    let sent = desk.quiet();
    let ticket = desk.json(&["ticket", "show", "1"]);
    has_keys(
        &ticket,
        &[
            "id",
            "status",
            "is_public",
            "requester",
            "assignee",
            "group",
            "priority",
            "type",
            "tags",
            "ccs",
            "followers",
            "comments",
        ],
    );
    has_keys(&ticket["comments"][0], &["id", "author", "visibility", "rule", "flags", "text"]);
    assert_eq!(
        json!([ticket["id"], ticket["is_public"], ticket["requester"], ticket["assignee"], ticket["group"]]),
        json!([1, true, RITA, AGENT, "Support"])
    );
    let comment = &ticket["comments"][0];
    assert_eq!(
        json!([comment["id"], comment["author"], comment["visibility"], comment["rule"], comment["text"]]),
        json!([1, RITA, "public", "end-user", "Smoke comes out of it. What now?"])
    );
    let mut told: Vec<_> = sent.iter().map(Sent::to).collect();
    told.sort();
    assert_eq!(told, [AGENT, RITA]);
    let explained = desk.run(&["explain", "1"]);
    assert!(explained.expect(0).stdout.contains("the author is an end user"), "{}", explained.stdout);

    // A note of the agent's: private, and nobody outside is told.
    let reply_to = newest(&sent, AGENT).reply_to();
    let note = "#note\n#priority high\nShe called before. Handle with care.";
    send(&daemon, AGENT, &reply_to, "2@localhost", note);
    let after_note = desk.quiet();
    let ticket = desk.json(&["ticket", "show", "1"]);
    let comment = &ticket["comments"][1];
    assert_eq!(
        json!([ticket["priority"], comment["visibility"], comment["rule"], comment["text"]]),
        json!(["high", "private", "note-command", "She called before. Handle with care."])
    );
    assert!(after_note[sent.len()..].iter().all(|mail| !mail.is_to(RITA)), "a note stays inside");
    assert!(desk.run(&["explain", "2"]).expect(0).stdout.contains("note-command"));
    assert_eq!(desk.json(&["explain", "2"])["rule"], "note-command");

    // A public answer: she gets it, and nothing of the note.
    send(&daemon, AGENT, &reply_to, "3@localhost", "Pull the plug, please.");
    let after_answer = desk.quiet();
    let answers: Vec<_> = after_answer[after_note.len()..].iter().filter(|mail| mail.is_to(RITA)).collect();
    let [answer] = &answers[..] else { panic!("{answers:#?}") };
    assert!(answer.text.contains("Pull the plug, please."), "{}", answer.text);
    assert!(after_answer.iter().filter(|mail| mail.is_to(RITA)).all(|mail| !mail.text.contains("Handle")));

    // Her answer to it finds the ticket.
    send(&daemon, RITA, &answer.reply_to(), "4@customer.example", "It is dark now.");
    desk.quiet();
    let ticket = desk.json(&["ticket", "show", "1"]);
    assert_eq!(ticket["comments"].as_array().unwrap().len(), 4);
    assert_eq!(ticket["comments"][3]["visibility"], "public");

    let audit = desk.audit();
    assert_eq!(json!([audit["accepted"], audit["done"], audit["balanced"]]), json!([4, 4, true]));
    let told = desk.run(&["audit"]);
    assert!(told.expect(0).stdout.contains("the books balance"));
    daemon.stop();
}

#[test]
fn a_mail_that_comes_twice_makes_one_comment() {
    let desk = Desk::new();
    let daemon = desk.start();
    for _ in 0..3 {
        send(&daemon, RITA, SUPPORT, "1@customer.example", "Smoke comes out of it.");
    }
    let audit = desk.settled();
    assert_eq!(json!([audit["accepted"], audit["done"]]), json!([3, 1]));
    assert_eq!(audit["discarded"], json!({ "duplicate": 2 }));
    assert_eq!(desk.json(&["ticket", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn each_decision_is_logged_once_and_without_what_the_mail_says() {
    let desk = Desk::new();
    let daemon = desk.start();
    send(&daemon, RITA, SUPPORT, "1@customer.example", "Smoke comes out of it.");
    let event = daemon.event("message.decided");
    assert_eq!(
        json!([
            event["journal.id"],
            event["ticket.id"],
            event["comment.id"],
            event["outcome"],
            event["rule"]
        ]),
        json!([1, 1, 1, "public", "end-user"])
    );
    desk.quiet();
    let rest = daemon.logged();
    assert!(rest.iter().all(|event| event["message"] != "message.decided"), "{rest:#?}");
    let all = format!("{event} {rest:?}");
    for secret in ["Smoke", "printer", RITA, "1@customer.example", "support+id"] {
        assert!(!all.contains(secret), "`{secret}` in {all}");
    }
}
