//! Tokens that somebody plants in text which others will quote.

use super::*;

/// Carl, who is in CC of Rita's ticket, has a ticket of his own; the token of it that he knows.
fn carls_token(story: &mut Story) -> (i64, String) {
    let own =
        story.desk.receive(&Letter::from(CARL, "carl-own@example.net", "Something else.")).ticket.unwrap();
    let mails = story.post();
    let receipt = newest(&mails, CARL);
    let token = receipt.reply_to().split_once("+id").unwrap().1.split_once('@').unwrap().0.to_owned();
    (own, token)
}

fn body_token(sent: &Sent) -> String {
    let text = &sent.message.text.full;
    text.rsplit_once('[').unwrap().1.split_once(']').unwrap().0.to_owned()
}

fn assert_defused(story: &Story, sent: &Sent, what: &str) {
    assert_eq!(story.desk.foreign_tokens(sent), [""; 0], "{what}");
}

/// Carl writes publicly to Rita's ticket with the token planted somewhere; Ada quotes what she is sent.
fn check(plant: impl Fn(Letter, &str, &str) -> Letter, what: &str) {
    let mut story = Story::new();
    let (own, address_token) = carls_token(&mut story);
    let planted_body = body_token(story.newest(CARL));
    let thread =
        story.mails.iter().rev().find(|mail| mail.recipient.to_string() == CARL && mail.row.ticket.0 != own);
    let letter = Letter::answer(thread.unwrap(), "carl-plants@example.net", "See below.").cc(RITA);
    let letter = plant(letter, &address_token, &planted_body);
    let found = story.desk.receive(&letter);
    assert_eq!(found.ticket, Some(story.ticket), "{what}: his own mail goes where its address says");
    assert_eq!(found.visibility, Some("public"), "{what}");
    for sent in story.post() {
        assert_defused(&story, &sent, what);
    }
    let before = story.desk.ticket(own);
    let to_ada = story.newest(ADA).clone();
    let answer =
        Letter::answer(&to_ada, "ada-quotes@acme.example", "We look into it.").trusted().quoting(&to_ada);
    // The worst client: it quotes the raw mail of Carl too.
    let answer =
        Letter { text: format!("{}\n> {}", answer.text, letter.text.replace('\n', "\n> ")), ..answer };
    let report = story.desk.receive(&answer);
    assert_eq!(
        (report.ticket, report.visibility),
        (Some(story.ticket), Some("public")),
        "{what}: {report:?}"
    );
    assert_eq!(story.desk.ticket(own), before, "{what}: the ticket of the planted token is untouched");
    for sent in story.post() {
        assert_defused(&story, &sent, what);
    }
}

#[test]
fn a_planted_token_moves_no_agents_comment_and_is_composed_defused() {
    check(|letter, _, body| in_text(letter, &format!("[{body}]")), "in brackets");
    check(|letter, _, body| in_text(letter, &format!("[{}]", body.to_lowercase())), "in lower case");
    check(
        |letter, address, _| in_text(letter, &format!("support+id{address}@acme.example")),
        "as an address",
    );
    check(|letter, _, body| in_text(letter, &format!("&#91;{body}&#93;")), "with brackets as entities");
    check(
        |letter, _, body| in_text(letter, &format!("&amp;#91;{body}&amp;#93;")),
        "with entities of entities",
    );
    let wrapped = |body: &str| format!("[{}\n{}]", &body[..12], &body[12..]);
    check(|letter, _, body| in_text(letter, &wrapped(body)), "over two lines");
    let in_html = |letter: Letter, body: &str| {
        let html = format!("<p>See <b>[</b>{}<wbr>{}<i>]</i></p>", &body[..9], &body[9..]);
        Letter { html: Some(html), ..letter }
    };
    check(|letter, _, body| in_html(letter, body), "in pieces of HTML");
}

fn in_text(letter: Letter, planted: &str) -> Letter {
    Letter { text: format!("{}\n\n{planted}", letter.text), ..letter }
}

#[test]
fn a_token_in_a_name_or_a_subject_is_defused_where_it_is_shown() {
    let mut story = Story::new();
    carls_token(&mut story);
    let token = body_token(story.newest(CARL));
    let from = format!("\"Otto [{token}]\" <nobody-yet@example.org>");
    let letter = Letter {
        subject: format!("Re: [{token}]"),
        ..Letter::from(&from, "otto-plants@example.org", "Hello.")
    };
    assert!(story.desk.receive(&letter).identified_by.is_none());
    let mails = story.post();
    assert!(mails.len() > 2, "the agents and the author are told");
    for sent in &mails {
        assert_defused(&story, sent, "in name and subject");
    }
    let to_ada = newest(&mails, ADA).clone();
    let answer = Letter::answer(&to_ada, "ada-7@acme.example", "Hello Otto.").trusted();
    assert_eq!(story.desk.receive(&answer).visibility, Some("public"));
    for sent in story.post() {
        assert_defused(&story, &sent, "in name and subject");
    }
}

#[test]
fn an_answer_to_one_ticket_with_a_note_of_another_that_it_names_stays_internal() {
    const NOTE: &str = "Rita poured coffee into the printer and does not want anybody to know.";
    let mut story = Story::new();
    let note =
        Letter::answer(story.newest(ADA), "ada-note@acme.example", &format!("#note\n{NOTE}")).trusted();
    assert_eq!(story.desk.receive(&note).visibility, Some("private"));
    let otto =
        story.desk.receive(&Letter::from(OTTO, "otto-1@example.org", "What is wrong with the printer?"));
    story.post();
    // Rita's copy of the thread is quoted in the answer to Otto: it names her ticket, but is not bound to Ada.
    let named = format!("> [{}]", body_token(story.newest(RITA)));
    let answer = Letter::answer(story.newest(ADA), "ada-otto@acme.example", "It is like this:").trusted();
    let answer = Letter { text: format!("{}\n{}\n\n{named}", answer.text, NOTE), ..answer };
    let report = story.desk.receive(&answer);
    assert_eq!(report.ticket, otto.ticket);
    assert_eq!(
        (report.visibility, report.rule.as_deref()),
        (Some("private"), Some("repeats-private-comment")),
        "{report:?}"
    );
    for sent in story.post() {
        assert!(sent.recipient.to_string() != OTTO, "{:?}", sent.message.text.full);
    }
}
