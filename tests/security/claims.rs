//! Saying that one is an agent makes nobody one.

use std::net::IpAddr;

use postern::domain::ids::{Salt, TicketId};
use postern::domain::token::{KeyRing, KeyState, Purpose, Rendered, TicketRef, TokenKey};

use super::*;

const OUTSIDE: &str = "Received: from gate.acme.example by mx.acme.example; Mon, 2 Mar 2026 09:00:00 +0000";
const VOUCHED: &str = "Authentication-Results: mx.acme.example; dmarc=pass header.from=acme.example";

/// A mail in Ada's name that answers the mail she got, token and all, and would solve the ticket.
fn in_adas_name(story: &Story) -> Letter {
    Letter::answer(story.newest(ADA), "forged@evil.example", "#solved\nPay at evil.example.")
}

/// Nothing came of it but a held mail.
fn check_held(story: &mut Story, letter: &Letter, what: &str) {
    let before = (story.desk.ticket(story.ticket), story.desk.outbox().len());
    let report = story.desk.receive(letter);
    assert_eq!(
        (report.state, report.cause.as_deref()),
        ("suspended", Some("failed_email_authentication")),
        "{what}"
    );
    assert_eq!(report.commands, [""; 0], "{what}");
    assert_eq!(report.ticket, Some(story.ticket), "{what}: the person who looks at it sees what it aims at");
    assert_eq!((story.desk.ticket(story.ticket), story.desk.outbox().len()), before, "{what}");
}

#[test]
fn a_replayed_agents_token_under_a_forged_from_gives_neither_command_nor_comment() {
    let mut story = Story::new();
    let forged = in_adas_name(&story);
    check_held(&mut story, &forged, "no trust");
    let second_from = Letter { top: vec!["From: otto@example.org".to_owned()], ..forged.clone() }.trusted();
    let report = story.desk.receive(&second_from);
    assert_ne!(report.visibility, Some("public"), "{report:?}");
    assert_eq!(report.commands, [""; 0]);
}

#[test]
fn an_agents_token_in_a_customers_own_mail_gives_a_flagged_note_without_commands() {
    let story = Story::new();
    let stolen = in_adas_name(&story).written_as(OTTO).trusted();
    let report = story.desk.receive(&stolen);
    assert_eq!(
        (report.visibility, report.rule.as_deref()),
        (Some("private"), Some("end-user-outside-ticket"))
    );
    assert_eq!((report.flags, report.commands), (vec!["outsider"], vec![]));
    assert_ne!(story.desk.ticket(story.ticket).status.word(), "solved");
}

#[test]
fn results_that_the_attacker_wrote_himself_authenticate_nobody() {
    let mut story = Story::new();
    let check = |story: &mut Story, top: &[&str], client: [u8; 4], what: &str| {
        let forged = Letter {
            top: top.iter().map(|line| (*line).to_owned()).collect(),
            trust: "authserv-id=mx.acme.example".to_owned(),
            client: IpAddr::from(client),
            ..in_adas_name(story)
        };
        check_held(story, &forged, what);
    };
    let local = [127, 0, 0, 1];
    check(&mut story, &[], local, "no results at all");
    check(&mut story, &[OUTSIDE, VOUCHED], local, "below the relay's Received line");
    let failed = "Authentication-Results: mx.acme.example; dmarc=fail header.from=acme.example";
    check(&mut story, &[failed, OUTSIDE, VOUCHED], local, "below the relay's own results");
    let elsewhere = "Authentication-Results: mx.evil.example; dmarc=pass header.from=acme.example";
    check(&mut story, &[elsewhere, OUTSIDE], local, "under another server's name");
    let look_alike =
        "Authentication-Results: mx.acme.example.evil.example; dmarc=pass header.from=acme.example";
    check(&mut story, &[look_alike, OUTSIDE], local, "under a name that begins alike");
    let own_domain = "Authentication-Results: mx.acme.example; dkim=pass header.d=evil.example";
    check(&mut story, &[own_domain, OUTSIDE], local, "for the attacker's own domain");
    check(&mut story, &[VOUCHED, OUTSIDE], [203, 0, 113, 9], "from a client that is no relay");
}

#[test]
fn results_of_the_relay_authenticate_the_agent() {
    let story = Story::new();
    let genuine = Letter {
        top: vec![VOUCHED.to_owned(), OUTSIDE.to_owned()],
        trust: "authserv-id=mx.acme.example".to_owned(),
        ..in_adas_name(&story)
    };
    let report = story.desk.receive(&genuine);
    assert_eq!((report.visibility, report.commands), (Some("public"), vec!["status=applied".to_owned()]));
}

#[test]
fn a_reply_to_that_names_an_agent_is_held_and_one_that_names_a_customer_is_flagged() {
    let mut story = Story::new();
    let answer =
        Letter::answer(story.newest(RITA), "otto-1@example.org", "It is me, really.").written_as(OTTO);
    let as_agent = Letter { reply_to: Some(ADA.to_owned()), ..answer.clone() };
    check_held(&mut story, &as_agent, "Reply-To names Ada");
    let as_rita =
        Letter { reply_to: Some(RITA.to_owned()), message_id: "otto-2@example.org".to_owned(), ..answer };
    let report = story.desk.receive(&as_rita);
    assert_eq!(
        (report.visibility, report.rule.as_deref()),
        (Some("private"), Some("end-user-outside-ticket"))
    );
    assert_eq!(report.flags, ["outsider", "reply_to_differs"]);
}

#[test]
fn a_token_of_another_account_or_a_forged_one_names_no_ticket() {
    let story = Story::new();
    let rita = story.desk.person(&RITA.parse_address()).unwrap();
    let what = TicketRef { ticket: TicketId(story.ticket), recipient: rita.id, visibility: Rendered::Public };
    let check = |token: &str, what: &str| {
        let to = format!("support+id{token}@acme.example");
        let letter =
            Letter::from(RITA, &format!("{token}@acme.example"), &format!("Hello [{token}]")).to(&[&to]);
        let letter = Letter { in_reply_to: Some(format!("{token}.7@acme.example")), ..letter };
        let found = story.desk.identify(&letter, &rita);
        assert_eq!(found.ticket, None, "{what}: {found:?}");
        let report = story.desk.receive(&letter);
        assert!(report.created_ticket && report.identified_by.is_none(), "{what}: {report:?}");
    };
    let salt = story.desk.snapshot([what.ticket]).tickets[&what.ticket].ticket.salt;
    let stranger = TokenKey { id: 0, secret: [7; 32], state: KeyState::Active };
    let ring = KeyRing::new("acme.example", vec![stranger]).unwrap();
    check(&ring.mint(Purpose::Address, &what, &salt), "made with another account's key");
    let own = story.desk.pipeline.account();
    check(&own.keys.mint(Purpose::Address, &what, &Salt([9; 16])), "made for another ticket of this number");
    check(&own.keys.mint(Purpose::Verp, &what, &salt), "a return address's, in the other places");
    let token = own.keys.mint(Purpose::Address, &what, &salt);
    let last = if token.ends_with('0') { "8" } else { "0" };
    check(&format!("{}{last}", &token[..token.len() - 1]), "with one character changed");
}

trait ParseAddress {
    fn parse_address(&self) -> postern::domain::address::Address;
}

impl ParseAddress for str {
    fn parse_address(&self) -> postern::domain::address::Address {
        postern::domain::address::Address::parse(self).unwrap()
    }
}
