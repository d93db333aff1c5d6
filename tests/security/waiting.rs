//! Between the promise of a mail and its sending, things change.

use postern::config::rules::parse_triggers;
use postern::domain::ids::OutboxId;

use super::*;

const SECRET: &str = "The door code of the server room is four seven one one, tell nobody.";

fn adas_answer(story: &Story, text: &str) -> i64 {
    let answer = Letter::answer(story.newest(ADA), "ada-2@acme.example", text).trusted();
    let report = story.desk.receive(&answer);
    assert_eq!(report.visibility, Some("public"));
    report.comment.unwrap()
}

#[test]
fn a_comment_made_private_while_its_mail_waits_is_not_sent() {
    let mut story = Story::new();
    let before = story.desk.outbox().len();
    let comment = adas_answer(&story, SECRET);
    let waiting: Vec<_> = story.desk.outbox()[before..].to_vec();
    assert_eq!(waiting.iter().map(|row| row.recipient.as_str()).collect::<Vec<_>>(), [RITA, CARL]);
    story.desk.make_private(postern::domain::ids::CommentId(comment));
    assert!(story.post().is_empty());
    for row in waiting {
        assert_eq!(story.desk.fate(row.id), "cancelled(comment_made_private)");
    }
    assert_eq!(story.comments().last().unwrap().1, "private");
}

#[test]
fn the_message_id_of_a_mail_made_private_is_shown_in_no_later_thread() {
    let mut story = Story::new();
    let comment = adas_answer(&story, SECRET);
    story.desk.make_private(postern::domain::ids::CommentId(comment));
    let answer = Letter::answer(story.newest(RITA), "rita-5@example.net", "Any news?");
    assert_eq!(story.desk.receive(&answer).visibility, Some("public"));
    for sent in story.post() {
        assert!(!sent.headers().contains("ada-2@acme.example"), "{}", sent.headers());
    }
}

#[test]
fn threads_show_the_mails_that_everybody_may_see_and_no_other() {
    let mut story = Story::new();
    let note =
        Letter::answer(story.newest(ADA), "secret-note@acme.example", "#note\nShe poured coffee.").trusted();
    assert_eq!(story.desk.receive(&note).visibility, Some("private"));
    let aside = Letter::answer(story.newest(CARL), "secret-aside@example.net", "Between us.");
    assert_eq!(story.desk.receive(&aside).visibility, Some("private"));
    let public = Letter::answer(story.newest(RITA), "rita-2@example.net", "It is out.");
    assert_eq!(story.desk.receive(&public).visibility, Some("public"));
    let mails = story.post();
    let to_carl = newest(&mails, CARL);
    let ids: Vec<&str> = to_carl.message.references.iter().map(|id| id.0.as_str()).collect();
    let root = ids[0];
    assert_eq!(ids[1..], ["rita-1@example.net", "ada-1@acme.example", "rita-2@example.net"], "root {root}");
    for sent in mails.iter().filter(|sent| sent.recipient.domain() != "acme.example") {
        assert!(!sent.headers().contains("secret-"), "{}", sent.headers());
    }
    // A mail of ours to one person is no other person's business.
    for earlier in &story.mails {
        let others = mails.iter().filter(|sent| sent.recipient != earlier.recipient);
        for other in others {
            assert!(!other.headers().contains(&earlier.message_id()), "{}", other.headers());
        }
    }
}

/// As a later version would, for which the template is not too much.
fn mend_owed_templates(desk: &Desk) {
    let db = rusqlite::Connection::open(desk.config.data.join("postern.db")).unwrap();
    let sql = "UPDATE notifications
               SET unrendered = json_replace(unrendered, '$.body_template', '{{ ticket.comments_formatted }}')
               WHERE unrendered IS NOT NULL";
    assert!(db.execute(sql, []).unwrap() > 0);
}

/// Needs more than templates may have.
const FAILING: &str = r#"
[[triggers]]
key = "owed"
title = "Fails while the title is text"
conditions.all = [{ field = "update_type", value = "Change" }, { field = "comment_is_public", value = "true" }]
actions = [{ field = "notification_user", value = ["requester_and_ccs", "s", "{% for i in (1..1000) %}{% for j in (1..1000) %}{{ ticket.comments_formatted }}{% endfor %}{% endfor %}"] }]
"#;

#[test]
fn a_mail_whose_text_was_owed_is_not_sent_with_a_comment_that_was_made_private_meanwhile() {
    let mut story = Story::in_desk(Desk::with(|config| {
        let failing = parse_triggers("triggers.toml", FAILING).unwrap();
        config.triggers.splice(0..0, failing);
    }));
    let comment = adas_answer(&story, SECRET);
    story.post();
    let later = Letter::answer(story.newest(RITA), "rita-6@example.net", "Thank you.");
    assert_eq!(story.desk.receive(&later).visibility, Some("public"));
    story.post();
    let owed: Vec<OutboxId> =
        story.desk.outbox().iter().filter(|row| row.state == "unrendered").map(|row| row.id).collect();
    assert!(!owed.is_empty());
    story.desk.make_private(postern::domain::ids::CommentId(comment));
    mend_owed_templates(&story.desk);
    for row in &owed {
        story.desk.pipeline.retry_outbox(*row).unwrap();
    }
    for sent in story.post() {
        assert!(!sent.message.text.full.contains(SECRET), "{}", sent.message.text.full);
    }
    let newest = *owed.last().unwrap();
    assert_eq!(story.desk.fate(newest), "cancelled(comment_made_private)");
}
