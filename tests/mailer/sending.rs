//! What reaches a smarthost that behaves.

use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, Mutex};

use mailin_embedded::{Handler, Response, response};
use postern::domain::plan::NotificationContent;
use postern::mailer::Round;
use postern::mailer::transport::{Delivery, Sender, Transport};
use postern::store::{RenderedLate, RetryAnswer};
use serde_json::json;

use crate::server::{Act, Manners, Server};
use crate::world::*;

/// Somebody else's server: what it takes in, an SMTP server in the wild would too.
#[derive(Clone, Default)]
struct Mailin {
    current: Taken,
    taken: Arc<Mutex<Vec<Taken>>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Taken {
    from: String,
    to: Vec<String>,
    bytes: Vec<u8>,
}

impl Handler for Mailin {
    fn mail(&mut self, _ip: IpAddr, _domain: &str, from: &str) -> Response {
        self.current = Taken { from: from.to_owned(), ..Taken::default() };
        response::OK
    }

    fn rcpt(&mut self, to: &str) -> Response {
        self.current.to.push(to.to_owned());
        response::OK
    }

    fn data(&mut self, line: &[u8]) -> std::io::Result<()> {
        self.current.bytes.extend_from_slice(line);
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        self.taken.lock().unwrap().push(std::mem::take(&mut self.current));
        response::OK
    }
}

#[tokio::test]
async fn each_recipient_gets_a_mail_of_their_own_from_a_return_address_of_their_own() {
    let mailin = Mailin::default();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = Arc::clone(&mailin.taken);
    // It cannot be stopped, so its threads live until the tests end.
    std::thread::spawn(move || {
        let mut server = mailin_embedded::Server::new(mailin);
        server.with_tcp_listener(listener);
        server.serve().unwrap();
    });

    let desk = Desk::promising(&["kim@cust.example", "bo@cust.example", "cy@cust.example"]);
    let claimed_bytes = |number, to| {
        let people = ["kim@cust.example", "bo@cust.example", "cy@cust.example"];
        let mut firing = notification(&people);
        firing.content = NotificationContent::Rendered {
            subject: "Re: The printer is on fire".to_owned(),
            text: "Please unplug it.\n.\n.. and step back.".to_owned(),
            html: "<p>Please unplug it.</p>".to_owned(),
        };
        let mut bytes =
            postern::outbox::compose::compose(&firing, &entry(number, to), &letterhead()).unwrap();
        // lettre ends the text with a line end of its own.
        bytes.extend_from_slice(b"\r\n");
        bytes
    };
    let round = desk.run_once(&smarthost(port)).await;
    assert_eq!(round, Round { claimed: 3, site_fault: None });
    let expected: Vec<Taken> = [(1, "kim@cust.example"), (2, "bo@cust.example"), (3, "cy@cust.example")]
        .into_iter()
        .map(|(number, to)| Taken {
            from: format!("bounce+verp{number}@desk.example"),
            to: vec![to.to_owned()],
            bytes: claimed_bytes(number, to),
        })
        .collect();
    assert_eq!(*taken.lock().unwrap(), expected);
    assert_eq!(desk.states(1..=3), ["sent"; 3]);
}

#[tokio::test]
async fn mails_follow_each_other_over_one_connection_which_ends_with_quit() {
    let (server, desk) = (Server::start(), Desk::promising(&["kim@cust.example", "bo@cust.example"]));
    desk.run_once(&smarthost(server.port())).await;
    server.wait_for("QUIT", 1);
    assert_eq!(server.connections(), 1);
    let verbs: Vec<String> = server
        .heard()
        .iter()
        .map(|line| line.split([' ', ':']).next().unwrap().to_owned())
        .filter(|verb| verb != "eof")
        .collect();
    assert_eq!(
        verbs.join(" "),
        "connect EHLO MAIL RCPT DATA . RSET MAIL RCPT DATA . QUIT",
        "one recipient a mail, and nothing is left of the mail before"
    );
}

#[tokio::test]
async fn a_connection_that_the_server_closed_between_two_mails_is_no_fault() {
    let farewells = [
        (".", Act::SayAndHangUp("250 taken, and bye")),
        (".", Act::SayAndHangUp("250 taken\r\n421 too long idle")),
        ("RSET", Act::HangUp),
        ("RSET", Act::Say("421 going down")),
        ("RSET", Act::Say("502 never heard of it")),
    ];
    for (step, farewell) in farewells {
        let (server, desk) = (Server::start(), Desk::promising(&["kim@cust.example", "bo@cust.example"]));
        server.once(step, farewell);
        let round = desk.run_once(&smarthost(server.port())).await;
        assert_eq!(round, Round { claimed: 2, site_fault: None });
        assert_eq!((server.taken().len(), server.connections()), (2, 2), "at {step}");
        assert_eq!((desk.row(1).attempts, desk.row(2).attempts), (1, 1));
    }
}

#[tokio::test]
async fn a_server_that_lets_go_after_so_many_mails_is_met_again_without_a_fault() {
    let desk = Desk::promising(&["kim@cust.example", "bo@cust.example"]);
    let server = Server::start();
    server.once("MAIL FROM:<bounce+verp2", Act::Say("421 enough mails for one connection"));
    let round = desk.run_once(&smarthost(server.port())).await;
    assert_eq!(round, Round { claimed: 2, site_fault: None });
    assert_eq!((server.taken().len(), server.connections()), (2, 2));
}

#[tokio::test]
async fn a_recipient_who_is_refused_costs_nobody_else_their_mail_nor_the_connection() {
    let desk = Desk::promising(&["kim@cust.example", "no@cust.example", "cy@cust.example"]);
    let server = Server::start();
    server.once("RCPT TO:<no@", Act::Say("550 5.1.1 no such person"));
    let round = desk.run_once(&smarthost(server.port())).await;
    assert_eq!(round, Round { claimed: 3, site_fault: None });
    assert_eq!(desk.states(1..=3), ["sent", "dead", "sent"]);
    assert!(desk.row(2).detail.unwrap().contains("5.1.1 no such person"));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn the_answer_to_one_mail_is_never_taken_for_the_answer_to_the_next() {
    // An answer too many, at once or when the next mail has begun; the second mail is refused in truth.
    for (step, stray) in [(".", "250 taken\r\n250 taken"), ("RSET", "250 reset\r\n250 reset")] {
        let (server, desk) = (Server::start(), Desk::promising(&["kim@cust.example", "bo@cust.example"]));
        server
            .once(step, Act::Say(stray))
            .once(".", Act::Say(if step == "." { "554 no" } else { "250 taken" }));
        server.once(".", Act::Say("554 no"));
        desk.run_once(&smarthost(server.port())).await;
        assert_eq!(desk.row(1).state, "sent", "{stray:?}");
        assert_ne!(desk.row(2).state, "sent", "{stray:?}");
        assert_eq!(server.taken().len(), 1);

        server.behave();
        if desk.row(2).state == "queued" {
            desk.wait_until_due();
            desk.run_once(&smarthost(server.port())).await;
            assert_eq!(desk.row(2).state, "sent", "{stray:?}");
        }
    }
}

#[tokio::test]
async fn an_address_beyond_ascii_is_refused_alone_where_the_smarthost_cannot_take_it() {
    let people = ["kim@cust.example", "josé@cust.example", "cy@cust.example"];
    let (server, desk) = (Server::start(), Desk::promising(&people));
    desk.run_once(&smarthost(server.port())).await;
    assert_eq!(desk.states(1..=3), ["sent", "dead", "sent"]);
    assert!(desk.row(2).detail.unwrap().contains("SMTPUTF8"));
    for mail in server.taken() {
        assert!(mail.bytes.is_ascii(), "nobody else's mail needs what the smarthost does not offer");
    }
}

#[tokio::test]
async fn an_address_beyond_ascii_is_sent_with_smtputf8_where_it_is_offered() {
    let server = Server::with(Manners { offers: &["SMTPUTF8"], ..Manners::default() });
    let desk = Desk::promising(&["kim@cust.example", "josé@cust.example"]);
    desk.run_once(&smarthost(server.port())).await;
    assert_eq!(desk.states(1..=2), ["sent", "sent"]);
    let senders: Vec<String> = server.taken().into_iter().map(|mail| mail.from).collect();
    assert_eq!(
        senders,
        [
            "MAIL FROM:<bounce+verp1@desk.example>",
            "MAIL FROM:<bounce+verp2@desk.example> BODY=8BITMIME SMTPUTF8"
        ]
    );
}

#[tokio::test]
async fn a_crash_between_sending_and_recording_sends_the_same_bytes_again_and_loses_nothing() {
    let (server, desk) = (Server::start(), Desk::promising(&["kim@cust.example"]));
    let claimed = desk.claim();
    let smarthost = smarthost(server.port());
    let mut sender = Sender::new(Transport::Smarthost(smarthost.clone()));
    assert_eq!(sender.send(&outgoing(&claimed[0])).await, Delivery::Sent);
    let desk = desk.reopened();
    desk.run_once(&smarthost).await;
    let mails = server.taken();
    assert_eq!(mails.len(), 2);
    assert_eq!((&mails[0].bytes, &mails[0].from), (&mails[1].bytes, &mails[1].from));
    assert_eq!(mails[0].header("Message-ID"), "<row1@desk.example>");
    assert_eq!(desk.row(1).state, "sent");
}

#[tokio::test]
async fn a_person_can_have_a_dead_mail_sent_again() {
    let (server, desk) = (Server::start(), Desk::promising(&["kim@cust.example"]));
    server.once("RCPT", Act::Say("550 mailbox gone"));
    desk.run_once(&smarthost(server.port())).await;
    assert_eq!(desk.row(1).state, "dead");
    assert_eq!(desk.run_once(&smarthost(server.port())).await, Round::default(), "dead is dead until then");
    assert_eq!(retry(&desk), RetryAnswer::Queued);
    desk.run_once(&smarthost(server.port())).await;
    assert_eq!((desk.row(1).state, desk.row(1).attempts), ("sent", 1));
    assert!(matches!(retry(&desk), RetryAnswer::Refused(_)), "what was sent is not sent again");
}

#[tokio::test]
async fn a_mail_whose_template_failed_is_sent_once_it_is_rendered() {
    let (server, desk) = (Server::start(), Desk::open(tempfile::tempdir().unwrap()));
    let owed = NotificationContent::Unrendered {
        error: "unknown filter `shout`".to_owned(),
        subject_template: "{{ ticket.title }}".to_owned(),
        body_template: "{{ ticket.title | shout }}".to_owned(),
        values: json!({ "ticket": { "title": "fire" } }),
    };
    desk.promise(&["kim@cust.example", "bo@cust.example"], owed);
    assert_eq!(desk.run_once(&smarthost(server.port())).await, Round::default());
    assert_eq!(retry(&desk), RetryAnswer::Queued);
    desk.run_once(&smarthost(server.port())).await;
    assert_eq!(desk.states(1..=2), ["sent", "sent"], "every copy was owed the same text");
    let subjects: Vec<String> = server.taken().iter().map(|mail| mail.header("Subject")).collect();
    assert_eq!(subjects, ["fire", "fire"]);
}

fn retry(desk: &Desk) -> RetryAnswer {
    let render = |subject: &str, _: &str, values: &serde_json::Value| {
        assert_eq!(subject, "{{ ticket.title }}");
        let title = values["ticket"]["title"].as_str().unwrap().to_owned();
        Ok::<_, String>(RenderedLate { subject: title.clone(), text: title.clone(), html: title })
    };
    desk.retry(1, render)
}
