//! Mail that machines write: bounces, absence notices, loops, and our own mail come round.

use std::collections::BTreeMap;

use super::*;

fn bounce_to(reverse_path: &str, id: &str) -> Letter {
    let report = "--b\r\nContent-Type: text/plain\r\n\r\nNo such user.\r\n--b\r\nContent-Type: \
                  message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\nAction: failed\r\n--b--";
    let kind = "Content-Type: multipart/report; report-type=delivery-status; boundary=b";
    Letter {
        top: vec![kind.to_owned()],
        is_bounce: true,
        recipients: vec![reverse_path.to_owned()],
        ..Letter::from("mailer-daemon@example.net", id, report).to(&[reverse_path])
    }
}

#[test]
fn a_bounce_of_ours_is_noted_on_the_mail_that_bounced_and_makes_nothing_else() {
    let story = Story::new();
    let bounced = story.newest(RITA).clone();
    let before = (story.desk.tickets(), story.desk.outbox().len());
    // Mail systems fold the case of return addresses.
    let path = bounced.reverse_path.to_string().to_lowercase();
    let report = story.desk.receive(&bounce_to(&path, "dsn-1@example.net"));
    assert_eq!((report.state, report.cause.as_deref()), ("discarded", Some("own_bounce")));
    let marked: Vec<_> = story.desk.outbox().into_iter().filter(|row| row.bounced_at.is_some()).collect();
    assert_eq!(marked.iter().map(|row| row.id).collect::<Vec<_>>(), [bounced.row.id]);
    assert_eq!((story.desk.tickets(), story.desk.outbox().len()), before);
}

#[test]
fn a_bounce_to_a_return_address_that_we_never_made_marks_nothing() {
    let story = Story::new();
    let real = story.newest(RITA).reverse_path.to_string();
    let (token, rest) = real.strip_prefix("bounce+").unwrap().split_once('.').unwrap();
    let forged = format!(
        "bounce+{}{}.{rest}",
        &token[..token.len() - 1],
        if token.ends_with('0') { "8" } else { "0" }
    );
    let report = story.desk.receive(&bounce_to(&forged, "dsn-2@example.net"));
    assert_eq!((report.state, report.cause.as_deref()), ("suspended", Some("auto_delivery_failure")));
    assert!(story.desk.outbox().iter().all(|row| row.bounced_at.is_none()));
}

#[test]
fn our_own_notification_that_comes_back_is_discarded() {
    let story = Story::new();
    for sent in &story.mails {
        let now = story.desk.pipeline.clock.now();
        let forwarded = Letter::from("forwarder@example.net", "unused@example.net", "");
        let envelope = forwarded.envelope(&story.desk.config.settings, now);
        let row = story.desk.pipeline.store.accept_blocking(&envelope, sent.raw.clone()).unwrap();
        let entry = story.desk.pipeline.store.entry(row).unwrap().unwrap();
        let report = story.desk.pipeline.decide(&entry, None).unwrap();
        assert_eq!((report.state, report.cause.as_deref()), ("discarded", Some("own_mail")));
    }
    assert_eq!(story.desk.tickets().len(), 1);
}

#[test]
fn an_automatic_answer_is_held_and_answered_by_nothing() {
    let mut story = Story::new();
    let check = |story: &mut Story, header: &str, subject: &str, cause: &str| {
        let answer = Letter::answer(story.newest(RITA), &format!("{cause}@example.net"), "I am away.");
        let top = [header.to_owned()].into_iter().filter(|line| !line.is_empty()).collect();
        let before = story.desk.outbox().len();
        let report = story.desk.receive(&Letter { top, subject: subject.to_owned(), ..answer });
        assert_eq!((report.state, report.cause.as_deref()), ("suspended", Some(cause)), "{header}{subject}");
        assert_eq!((story.desk.outbox().len(), story.post().len()), (before, 0), "{header}{subject}");
    };
    check(&mut story, "Auto-Submitted: auto-replied", "Re: Printer", "auto_mailer");
    check(&mut story, "Precedence: bulk", "Re: Printer", "auto_mailer");
    check(&mut story, "", "Out of Office: Printer", "auto_vacation");
}

#[test]
fn a_machines_mail_that_a_person_lets_in_is_not_answered() {
    let mut story = Story::new();
    let letter = Letter::from("robot@example.net", "robot-1@example.net", "Disk full.");
    let letter = Letter { top: vec!["Auto-Submitted: auto-generated".to_owned()], ..letter };
    assert_eq!(story.desk.receive(&letter).state, "suspended");
    story.desk.pipeline.recover(story.desk.held()[0].id).unwrap();
    let told: Vec<_> = story.post().iter().map(|sent| sent.recipient.domain().to_owned()).collect();
    assert!(!told.is_empty() && told.iter().all(|domain| domain == "acme.example"), "{told:?}");
}

/// Mails of a ticket that went to a person as their `sent` count, and those that ended as a loop.
fn counts(desk: &Desk, recipient: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for row in desk.outbox().iter().filter(|row| row.recipient == recipient) {
        let detail = row.detail.as_ref().map(|detail| format!("({detail})")).unwrap_or_default();
        *counts.entry(format!("{}{detail}", row.state)).or_default() += 1;
    }
    counts
}

/// Every mail to a customer is answered by a machine that says so in no header, until nothing comes any more.
fn answer_everything(desk: &mut Desk, mut mails: Vec<Sent>, round_names: &str) -> usize {
    for round in 0..60 {
        mails.retain(|sent| sent.recipient.domain() == "example.net");
        if mails.is_empty() {
            return round;
        }
        for (number, sent) in mails.iter().enumerate() {
            let id = format!("{round_names}-{round}-{number}@example.net");
            let away = format!("I am away. Your mail {round}-{number} will be read.");
            assert_eq!(desk.receive(&Letter::answer(sent, &id, &away)).visibility, Some("public"));
        }
        mails = desk.post();
    }
    panic!("the loop does not end");
}

#[test]
fn a_mail_loop_ends_by_the_budget_and_an_agents_update_refills_it() {
    let mut desk = Desk::with(|config| config.settings.privacy.cc_comments_public = true);
    let first = Letter::from(RITA, "rita-1@example.net", "My printer burns.").cc(CARL).trusted();
    let ticket = desk.receive(&first).ticket.unwrap();
    let mails = desk.post();
    let to_ada = newest(&mails, ADA).clone();
    assert!(answer_everything(&mut desk, mails, "first") > 3);
    let spent = |desk: &Desk, who: &str| counts(desk, who);
    for who in [RITA, CARL] {
        let counts = spent(&desk, who);
        assert_eq!(counts.get("sent"), Some(&5), "{who}: {counts:?}");
        assert!(counts.get("cancelled(loop)").is_some_and(|cancelled| *cancelled > 0), "{who}: {counts:?}");
    }
    let answer = Letter::answer(&to_ada, "ada-1@acme.example", "A person answers.").trusted();
    assert_eq!(desk.receive(&answer).ticket, Some(ticket));
    let mails = desk.post();
    assert_eq!(newest(&mails, RITA).row.ticket.0, ticket);
    answer_everything(&mut desk, mails, "second");
    for who in [RITA, CARL] {
        assert_eq!(spent(&desk, who).get("sent"), Some(&(5 + 1 + 5)), "{who}: {:?}", spent(&desk, who));
    }
}
