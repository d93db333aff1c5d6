//! What a fault at each step comes to. Only a 5yz to RCPT or to the final dot is a no for good (DESIGN §4).

use std::net::TcpListener;
use std::time::Duration;

use postern::mailer::smarthost::{Login, Smarthost};

use crate::server::{Act, Manners, Server};
use crate::world::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// This recipient never.
    Dead,
    /// This mail later; the try counts.
    Later,
    /// Everything waits; the try does not count.
    SiteFault,
}

/// One mail meets the fault; afterwards the server behaves, and whatever is still owed arrives, once.
async fn check(step: &str, act: Act, after: After) {
    check_with(step, act, after, Duration::from_secs(30)).await;
}

async fn check_with(step: &str, act: Act, after: After, deadline: Duration) {
    let (server, desk) = (Server::start(), Desk::promising(&["kim@cust.example"]));
    server.once(step, act);
    let impatient = Smarthost { timeouts: timeouts(deadline), ..smarthost(server.port()) };
    let round = desk.run_once(&impatient).await;
    let row = desk.row(1);
    let found = match (row.state, row.attempts, &round.site_fault) {
        ("dead", 1, None) => After::Dead,
        ("queued", 1, None) => After::Later,
        ("queued", 0, Some(_)) => After::SiteFault,
        other => panic!("at {step}: {other:?}"),
    };
    assert_eq!(found, after, "at {step}: {:?}", row.detail);
    assert!(row.detail.is_some_and(|why| !why.is_empty()), "at {step}: the operator is told why");
    assert_eq!(server.taken().len(), 0);
    if after == After::Later {
        assert_eq!(
            desk.run_once(&smarthost(server.port())).await.claimed,
            0,
            "at {step}: not before its time"
        );
        let waited = desk.wait_until_due().since(NOW) / 1_000_000;
        assert!((48..=72).contains(&waited), "at {step}: a minute, give or take, and not {waited} s");
    }
    desk.run_once(&smarthost(server.port())).await;
    let owed = usize::from(after != After::Dead);
    assert_eq!(server.taken().len(), owed, "at {step}");
    assert_eq!(desk.row(1).state, if owed == 1 { "sent" } else { "dead" });
    let ended = server.ended();
    assert!(
        ended.iter().all(|mail| mail.bytes == ended[0].bytes),
        "at {step}: a second try has the same bytes"
    );
    assert!(ended.iter().all(|mail| mail.header("Message-ID") == "<row1@desk.example>"));
}

#[tokio::test]
async fn a_no_to_the_recipient_or_to_the_mail_is_final() {
    check("RCPT", Act::Say("550 5.1.1 no such person"), After::Dead).await;
    check(".", Act::Say("554 5.7.1 we do not like it"), After::Dead).await;
}

#[tokio::test]
async fn not_now_is_tried_again_later() {
    for (step, answer) in [
        ("RCPT", "450 4.7.1 greylisted"),
        ("RCPT", "421 too busy"),
        ("DATA", "451 no room"),
        ("DATA", "554 no valid recipients"),
        (".", "451 try again"),
        (".", "421 going down"),
    ] {
        check(step, Act::Say(answer), After::Later).await;
    }
}

#[tokio::test]
async fn a_refusal_before_the_recipient_is_named_is_a_fault_of_the_site() {
    for (step, answer) in [
        ("connect", "554 go away"),
        ("connect", "421 too many connections"),
        ("EHLO", "550 I do not know you"),
        ("MAIL", "550 5.7.1 sender refused"),
        ("MAIL", "451 sender unknown for now"),
    ] {
        check(step, Act::Say(answer), After::SiteFault).await;
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_anew() {
    for step in ["connect", "EHLO", "MAIL"] {
        check(step, Act::HangUp, After::SiteFault).await;
    }
    // After the final dot nobody knows: the mail goes out again, to be recognised by its Message-ID.
    for step in ["RCPT", "DATA", "."] {
        check(step, Act::HangUp, After::Later).await;
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_not_taken_for_one() {
    for (step, answer) in [
        ("RCPT", "hello?"),
        ("RCPT", "354 go on"),
        ("DATA", "250 fine"),
        (".", "354 go on"),
        (".", "\u{1f525}"),
    ] {
        check(step, Act::Say(answer), After::Later).await;
    }
    check("MAIL", Act::Say("999 what"), After::SiteFault).await;
}

#[tokio::test]
async fn silence_at_any_step_ends_at_the_deadline() {
    let deadline = Duration::from_secs(2);
    let silence = |step, after| check_with(step, Act::Silence, after, deadline);
    tokio::join!(
        silence("connect", After::SiteFault),
        silence("EHLO", After::SiteFault),
        silence("MAIL", After::SiteFault),
        silence("RCPT", After::Later),
        silence("DATA", After::Later),
        silence(".", After::Later),
    );
}

/// No mail of three dies or is blamed while the fault lasts, however often it is met; afterwards each arrives once.
async fn check_site(server: &Server, broken: &Smarthost, whole: &Smarthost, expected: &str) {
    let desk = Desk::promising(&["kim@cust.example", "bo@cust.example", "cy@cust.example"]);
    for _ in 0..5 {
        let fault = desk.run_once(broken).await.site_fault.expect("a fault of the site");
        assert!(fault.contains(expected), "{fault}");
        assert_eq!(desk.states(1..=3), ["queued"; 3]);
        assert_eq!([1, 2, 3].map(|id| desk.row(id).attempts), [0; 3]);
    }
    server.behave();
    desk.run_once(whole).await;
    assert_eq!(desk.states(1..=3), ["sent"; 3]);
    let mut ids: Vec<String> = server.taken().iter().map(|mail| mail.header("Message-ID")).collect();
    ids.sort();
    assert_eq!(ids, ["<row1@desk.example>", "<row2@desk.example>", "<row3@desk.example>"]);
}

#[tokio::test]
async fn a_smarthost_that_refuses_us_costs_no_mail() {
    let server = Server::start();
    server.always("MAIL", "553 5.7.1 not from you");
    let smarthost = smarthost(server.port());
    check_site(&server, &smarthost, &smarthost, "5.7.1 not from you").await;
}

#[tokio::test]
async fn a_smarthost_that_is_down_costs_no_mail() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server::start();
    check_site(&server, &smarthost(port), &smarthost(server.port()), "connect to localhost").await;
}

#[tokio::test]
async fn a_wrong_password_costs_no_mail() {
    let server = Server::with(Manners { offers: &["AUTH PLAIN LOGIN"], ..Manners::default() });
    let with = |password: &str| {
        let login = Login { username: crate::server::USERNAME.to_owned(), password: password.to_owned() };
        Smarthost { login: Some(login), ..smarthost(server.port()) }
    };
    check_site(&server, &with("wrong"), &with(crate::server::PASSWORD), "AUTH").await;
}

#[tokio::test]
async fn one_sender_address_that_is_refused_does_not_stop_the_mails_behind_it() {
    let desk = Desk::promising(&["kim@cust.example", "bo@cust.example", "cy@cust.example"]);
    let server = Server::start();
    server.always("MAIL FROM:<bounce+verp1", "501 5.1.7 bad sender");
    for _ in 0..2 {
        desk.clock.advance_to(desk.clock.now().plus(60_000_000));
        desk.run_once(&smarthost(server.port())).await;
    }
    assert_eq!(desk.states(1..=3), ["queued", "sent", "sent"]);
}

#[tokio::test]
async fn a_week_without_a_smarthost_uses_up_nobodys_patience() {
    let (server, desk) = (Server::start(), Desk::promising(&["kim@cust.example"]));
    server.once("connect", Act::Say("554 go away")).once("RCPT", Act::Say("450 greylisted"));
    desk.run_once(&smarthost(server.port())).await;
    desk.clock.advance_to(NOW.plus(7 * postern::domain::time::DAY));
    desk.run_once(&smarthost(server.port())).await;
    assert_eq!(desk.row(1).state, "queued", "greylisted for the first time");
}

#[tokio::test]
async fn a_mail_that_is_put_off_for_ever_is_dead_after_the_set_time() {
    let (server, desk) = (Server::start(), Desk::promising(&["kim@cust.example"]));
    server.always("RCPT", "450 4.2.2 mailbox full");
    while desk.row(1).state == "queued" {
        desk.wait_until_due();
        desk.run_once(&smarthost(server.port())).await;
    }
    let row = desk.row(1);
    assert_eq!(row.state, "dead");
    assert!(row.detail.unwrap().contains("4.2.2 mailbox full"));
    let days = desk.clock.now().since(NOW) / postern::domain::time::DAY;
    assert!((4..=5).contains(&days), "after {days} days and {} tries", row.attempts);
}
