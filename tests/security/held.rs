//! Mail that waits for a person, and what the person can do with it: once.

use std::sync::Barrier;

use postern::pipeline::Undone;

use super::*;

/// Otto answers Rita's ticket by its headers alone: held.
fn outsider(story: &Story, id: &str) -> Letter {
    let answer = Letter::answer(story.newest(RITA), id, "I know this printer.").written_as(OTTO);
    answer.to(&["support@acme.example"])
}

fn hold(story: &Story, id: &str) -> postern::domain::ids::SuspendedId {
    let report = story.desk.receive(&outsider(story, id));
    assert_eq!((report.state, report.cause.as_deref()), ("suspended", Some("other_user_update")));
    story.desk.held().last().unwrap().id
}

#[test]
fn a_recovered_mail_runs_the_list_again_as_found_by_encoded_id() {
    let mut story = Story::new();
    let held = hold(&story, "otto-1@example.org");
    let report = story.desk.pipeline.recover(held).unwrap();
    let part = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (part("visibility"), part("rule")),
        ("private".to_owned(), "end-user-outside-ticket".to_owned())
    );
    assert_eq!(report["flags"], serde_json::json!(["outsider", "recovered"]));
    let steps = report["trace"].as_array().unwrap().iter();
    let rules: Vec<_> =
        steps.filter(|step| step["stage"] == "privacy").map(|step| step["check"].clone()).collect();
    assert_eq!(rules, ["agent-requester-hidden-notes", "agent-outside-ticket", "end-user-outside-ticket"]);
    let told: Vec<String> = story.post().iter().map(|sent| sent.recipient.to_string()).collect();
    assert_eq!(told, [ADA], "a note is for agents");
    assert!(!story.desk.ticket(story.ticket).ccs.contains(&OTTO.to_owned()));
}

#[test]
fn a_recovered_mail_in_an_agents_name_has_no_powers_of_the_agent() {
    let story = Story::new();
    let forged = Letter::answer(story.newest(ADA), "forged@evil.example", "#solved\nIt is done.")
        .cc("eve@evil.example");
    assert_eq!(story.desk.receive(&forged).state, "suspended");
    let report = story.desk.pipeline.recover(story.desk.held()[0].id).unwrap();
    assert_eq!((&report["visibility"], &report["commands"]), (&"private".into(), &serde_json::json!([])));
    let ticket = story.desk.ticket(story.ticket);
    assert_ne!(ticket.status.word(), "solved");
    assert_eq!(ticket.ccs, [CARL]);
}

#[test]
fn a_mail_that_names_no_ticket_and_claims_an_agents_address_brings_nobody_along_when_recovered() {
    let mut story = Story::new();
    let forged =
        Letter::from(ADA, "forged@evil.example", "#requester rita@example.net\nPay.").cc("eve@evil.example");
    assert_eq!(story.desk.receive(&forged).state, "suspended");
    let report = story.desk.pipeline.recover(story.desk.held()[0].id).unwrap();
    let ticket = story.desk.ticket(report["ticket"].as_i64().unwrap());
    assert_eq!((ticket.requester.as_str(), ticket.ccs.len()), (ADA, 0));
    assert!(story.post().iter().all(|sent| sent.recipient.domain() == "acme.example"));
}

#[test]
fn a_held_mail_is_let_in_once() {
    let story = Story::new();
    let held = hold(&story, "otto-1@example.org");
    story.desk.pipeline.recover(held).unwrap();
    let comments = story.comments();
    assert!(matches!(story.desk.pipeline.recover(held), Err(Undone::Refused(_))));
    assert!(matches!(story.desk.pipeline.delete_suspended(held), Err(Undone::Refused(_))));
    assert_eq!(story.comments(), comments);
}

#[test]
fn a_deleted_mail_leaves_its_row_with_who_deleted_it() {
    let story = Story::new();
    let held = hold(&story, "otto-1@example.org");
    let journal = story.desk.held()[0].journal;
    story.desk.pipeline.delete_suspended(held).unwrap();
    let row = story.desk.journal(journal.0);
    assert_eq!((row.state.as_str(), row.detail.as_deref()), ("discarded", Some("deleted_by")));
    assert!(matches!(story.desk.pipeline.recover(held), Err(Undone::Refused(_))));
    assert!(story.desk.held().is_empty());
    // What was deleted may be sent again.
    assert_eq!(story.desk.receive(&outsider(&story, "otto-1@example.org")).state, "suspended");
}

#[test]
fn of_two_people_who_settle_a_held_mail_at_once_one_is_told_that_the_other_was_faster() {
    let story = Story::new();
    for round in 0..12 {
        let held = hold(&story, &format!("otto-{round}@example.org"));
        let before = story.comments().len();
        let start = Barrier::new(2);
        let (pipeline, other) = (story.desk.pipeline.clone(), story.desk.pipeline.clone());
        let (one, two) = std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                start.wait();
                pipeline.recover(held)
            });
            let second = scope.spawn(|| {
                start.wait();
                if round % 2 == 0 { other.recover(held) } else { other.delete_suspended(held) }
            });
            (first.join().unwrap(), second.join().unwrap())
        });
        let (done, undone): (Vec<_>, Vec<_>) = [one, two].into_iter().partition(Result::is_ok);
        assert_eq!(done.len(), 1, "{undone:?}");
        assert!(matches!(undone[0], Err(Undone::Refused(_))), "{undone:?}");
        let added = story.comments().len() - before;
        assert_eq!(added, usize::from(done[0].as_ref().unwrap()["state"] == "comment"));
    }
}

#[test]
fn a_mail_that_no_person_may_let_in_stays_held_and_the_person_is_told_why() {
    let story = Story::new();
    let from_us = Letter::from("support@acme.example", "loop@acme.example", "We have your request.");
    assert_eq!(story.desk.receive(&from_us).cause.as_deref(), Some("from_support_address"));
    let held = story.desk.held()[0].id;
    let Err(Undone::Refused(why)) = story.desk.pipeline.recover(held) else { panic!("let in") };
    assert!(why.contains("one of our own addresses wrote it"), "{why}");
    assert_eq!(story.desk.held().len(), 1);
    story.desk.pipeline.delete_suspended(held).unwrap();
}
