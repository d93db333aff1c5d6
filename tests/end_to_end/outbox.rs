//! Promised mail: shown, sent again, and not sent when its comment became a note.

use serde_json::{Value, json};

use crate::support::mail::{AGENT, SUPPORT, compose};
use crate::support::{Desk, wait_for};
use crate::tour::RITA;

/// A customer's mail and an agent's public answer, decided without a daemon: all notifications wait.
fn desk_with_an_answer() -> Desk {
    let desk = Desk::new();
    desk.change_config("postern.toml", "#trust = \"none\"", "trust = \"upstream\"");
    let question = compose(RITA, SUPPORT, "1@customer.example", "Help", "Smoke comes out of it.");
    desk.decide_here(RITA, &question);
    let answer = compose(AGENT, SUPPORT, "2@localhost", "Re: Help", "Pull the plug.");
    let answer = format!("In-Reply-To: <1@customer.example>\n{answer}");
    desk.decide_here(AGENT, &answer);
    desk
}

fn list(desk: &Desk, words: &[&str]) -> Vec<Value> {
    desk.json(&[&["outbox", "list"], words].concat()).as_array().unwrap().clone()
}

/// The number of the mail that brings the customer the answer.
fn answer_mail(desk: &Desk) -> String {
    let mails = list(desk, &[]);
    let to_rita =
        |mail: &&Value| mail["recipient"] == RITA && mail["rule"] == "notify-requester-of-comment-update";
    mails.iter().find(to_rita).unwrap_or_else(|| panic!("{mails:#?}"))["id"].to_string()
}

#[test]
fn every_promised_mail_is_listed_and_shown_and_sent_when_the_daemon_runs() {
    let desk = desk_with_an_answer();
    let waiting = list(&desk, &["--state", "queued"]);
    assert_eq!(waiting.len() as u64, desk.audit()["outbox"]["queued"].as_u64().unwrap());
    let id = answer_mail(&desk);
    let shown = desk.json(&["outbox", "show", &id]);
    assert_eq!(json!([shown["recipient"], shown["state"], shown["ticket"]]), json!([RITA, "queued", 1]));
    assert!(shown["text"].as_str().unwrap().contains("Pull the plug."), "{shown:#}");

    // Asked for again while it waits, without a daemon; then it is sent, and cannot be asked for again.
    assert_eq!(desk.json(&["outbox", "retry", &id])["state"], "queued");
    let daemon = desk.start();
    let sent = desk.quiet();
    assert_eq!(sent.len(), waiting.len());
    assert!(sent.iter().any(|mail| mail.is_to(RITA) && mail.text.contains("Pull the plug.")));
    assert_eq!(list(&desk, &["--state", "queued"]), [Value::Null; 0]);
    desk.run(&["outbox", "retry", &id]).expect(1);
    desk.run(&["outbox", "retry", "99"]).expect(1);
    desk.run(&["outbox", "show", "99"]).expect(1);
    desk.run(&["outbox", "list", "--state", "lost"]).expect(2);
    daemon.stop();
}

#[test]
fn a_comment_that_was_made_a_note_while_its_mail_waits_is_not_sent() {
    let desk = desk_with_an_answer();
    let id = answer_mail(&desk);
    let comment = desk.json(&["ticket", "show", "1"])["comments"][1]["id"].to_string();
    desk.run(&["ticket", "make-private", &comment]).expect(0);
    desk.run(&["ticket", "make-private", &comment]).expect(1);

    let daemon = desk.start();
    let sent = desk.quiet();
    assert!(sent.iter().all(|mail| !(mail.is_to(RITA) && mail.text.contains("Pull the plug."))));
    let shown = desk.json(&["outbox", "show", &id]);
    assert_eq!(json!([shown["state"], shown["detail"]]), json!(["cancelled", "comment_made_private"]));

    // Asking for it again asks whether she may see it again.
    assert_eq!(desk.json(&["outbox", "retry", &id])["state"], "queued");
    desk.quiet();
    assert_eq!(desk.json(&["outbox", "show", &id])["state"], "cancelled");
    daemon.stop();
}

#[test]
fn what_cannot_be_sent_waits_and_is_sent_when_it_can() {
    let desk = desk_with_an_answer();
    let waiting = list(&desk, &[]).len();
    let outgoing = desk.data().join("outgoing");
    std::fs::write(&outgoing, "a file where the directory should be").unwrap();
    let daemon = desk.start();
    daemon.event("outbox.paused");
    let back = || (list(&desk, &["--state", "queued"]).len() == waiting).then_some(());
    wait_for("every mail to be back in the queue", back);
    daemon.stop();

    std::fs::remove_file(&outgoing).unwrap();
    let daemon = desk.start();
    assert_eq!(desk.quiet().len(), waiting);
    daemon.stop();
}
