//! The same mail twice, and different mails that call themselves the same.

use postern::pipeline::report::MailReport;

use super::*;

fn second_mail(trust: &str) -> Letter {
    Letter { trust: trust.to_owned(), ..Letter::from(RITA, "rita-2@example.net", "And now it smokes.") }
}

#[test]
fn a_second_delivery_makes_no_second_comment() {
    let story = Story::new();
    let first = over(&story, &second_mail("upstream"), "");
    assert_eq!((first.state, first.created_ticket), ("comment", true));
    let before = (story.desk.tickets(), story.desk.outbox().len());
    let copy =
        over(&story, &second_mail("upstream"), "Received: from elsewhere by mx.acme.example; today\r\n");
    assert_eq!((copy.state, copy.cause.as_deref()), ("discarded", Some("duplicate")));
    assert_eq!((story.desk.tickets(), story.desk.outbox().len()), before);
    story.desk.wait(1);
    assert_eq!(
        over(&story, &second_mail("upstream"), "").state,
        "comment",
        "another Date makes another mail"
    );
}

/// The mail as it would be written now, over a path that left this trace.
fn over(story: &Story, letter: &Letter, trace: &str) -> MailReport {
    let now = story.desk.pipeline.clock.now();
    let raw = [trace.as_bytes(), &letter.raw(now)].concat();
    let envelope = letter.envelope(&story.desk.config.settings, now);
    let row = story.desk.pipeline.store.accept_blocking(&envelope, raw).unwrap();
    let entry = story.desk.pipeline.store.entry(row).unwrap().unwrap();
    story.desk.pipeline.decide(&entry, None).unwrap()
}

#[test]
fn a_copy_with_less_trust_does_not_swallow_the_authenticated_one() {
    let story = Story::new();
    let check = |trust: &str, expected: (&str, Option<&str>)| {
        let report = over(&story, &second_mail(trust), "");
        assert_eq!((report.state, report.cause.as_deref()), expected, "{trust}");
    };
    check("none", ("comment", None));
    check("none", ("discarded", Some("duplicate")));
    check("upstream", ("comment", None));
    check("none", ("discarded", Some("duplicate")));
    check("upstream", ("discarded", Some("duplicate")));
}

#[test]
fn somebody_elses_message_id_sent_first_swallows_nothing() {
    let story = Story::new();
    let check = |first: Letter, what: &str| {
        let id = first.message_id.clone();
        assert_eq!(story.desk.receive(&first).state, "comment", "{what}");
        let real = Letter { message_id: id, ..second_mail("upstream") };
        let real = Letter { text: format!("{} {what}", real.text), ..real };
        let report = story.desk.receive(&real);
        assert_eq!((report.state, report.visibility), ("comment", Some("public")), "{what}");
        assert_eq!(report.flags, ["message_id_reused"], "{what}");
    };
    let attack = |from: &str, id: &str| Letter::from(from, id, "I was here first.");
    check(attack(RITA, "rita-3@example.net"), "in her own name");
    check(attack(OTTO, "rita-4@example.net"), "in another name");
}

#[test]
fn a_thread_that_somebody_took_over_by_message_id_is_not_joined_by_strangers() {
    let story = Story::new();
    let squat = story.desk.receive(&Letter::from(OTTO, "rita-9@example.net", "Mine.")).ticket;
    let real = story
        .desk
        .receive(&Letter { message_id: "rita-9@example.net".to_owned(), ..second_mail("upstream") });
    assert_ne!(real.ticket, squat);
    let answer = Letter::from(CARL, "carl-9@example.net", "Rita, between us.");
    let answer = Letter { in_reply_to: Some("rita-9@example.net".to_owned()), ..answer };
    let report = story.desk.receive(&answer);
    assert_eq!((report.state, report.cause.as_deref()), ("suspended", Some("other_user_update")));
}
