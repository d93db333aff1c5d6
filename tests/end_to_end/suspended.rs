//! Mail held for a person: looked at, let in, deleted; beside the daemon and without it.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::mail::SUPPORT;
use crate::support::{Answer, Desk};

/// A machine's answer is held.
fn held(desk: &Desk, daemon: Option<&Daemon>, author: &str) {
    let mail = format!(
        "From: <{author}>\nTo: <{SUPPORT}>\nSubject: Away\nMessage-ID: <{author}>\nAuto-Submitted: auto-replied\n\nI am away.\n"
    );
    match daemon {
        Some(daemon) => {
            let reply = daemon.connect().mail(author, SUPPORT, &mail).unwrap();
            assert!(reply.starts_with("250"), "{reply}");
        }
        None => desk.decide_here(author, &mail),
    }
}

fn list(desk: &Desk) -> Vec<Value> {
    desk.json(&["suspended", "list"]).as_array().unwrap().clone()
}

fn check(daemon_runs: bool) {
    let desk = Desk::new();
    let daemon = daemon_runs.then(|| desk.start());
    held(&desk, daemon.as_ref(), "rita@customer.example");
    held(&desk, daemon.as_ref(), "paul@customer.example");
    assert_eq!(desk.settled()["suspended"], 2);

    let waiting = list(&desk);
    let authors: Vec<_> = waiting.iter().map(|mail| &mail["author"]).collect();
    assert_eq!(authors, ["paul@customer.example", "rita@customer.example"], "newest first");
    let [paul, rita] = [&waiting[0]["id"], &waiting[1]["id"]].map(Value::to_string);
    let shown = desk.run(&["suspended", "show", &rita]);
    assert!(shown.expect(0).stdout.contains("I am away."), "{}", shown.stdout);

    let recovered = desk.json(&["suspended", "recover", &rita]);
    assert_eq!(
        json!([recovered["state"], recovered["created_ticket"], recovered["visibility"]]),
        json!(["comment", true, "public"])
    );
    let ticket = desk.json(&["ticket", "show", &recovered["ticket"].to_string()]);
    assert_eq!(
        json!([ticket["requester"], ticket["comments"][0]["text"]]),
        json!(["rita@customer.example", "I am away."])
    );
    let deleted = desk.json(&["suspended", "delete", &paul]);
    assert_eq!(json!([deleted["state"], deleted["cause"]]), json!(["discarded", "deleted_by"]));
    assert_eq!(list(&desk), [Value::Null; 0]);

    // What is done cannot be done again, and the books know both ends.
    let refused = |answer: Answer| {
        answer.expect(1);
        assert!(answer.stderr.contains("is held"), "{}", answer.stderr);
    };
    refused(desk.run(&["suspended", "recover", &rita]));
    refused(desk.run(&["suspended", "delete", &rita]));
    refused(desk.run(&["suspended", "recover", &paul]));
    refused(desk.run(&["suspended", "delete", "99"]));
    let audit = desk.settled();
    assert_eq!(
        json!([audit["accepted"], audit["done"], audit["suspended"], audit["discarded"]]),
        json!([2, 1, 0, { "deleted_by": 1 }])
    );
}

#[test]
fn held_mail_is_let_in_and_deleted_by_the_daemon_that_runs() {
    check(true);
}

#[test]
fn held_mail_is_let_in_and_deleted_when_no_daemon_runs() {
    check(false);
}
