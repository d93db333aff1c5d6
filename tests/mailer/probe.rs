//! `cargo test --test mailer probe -- --nocapture` prints the figures of `docs/decisions/0002-lettre-by-hand.md`.

use std::time::{Duration, Instant};

use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::extension::ClientId;
use postern::mailer::smarthost::{Smarthost, Tls};
use postern::mailer::transport::{Delivery, Outgoing, Sender, Transport};

use crate::server::{Manners, Security, Server, authority};
use crate::world::*;

const MAILS: usize = 30;

fn mail() -> Outgoing {
    let desk = Desk::promising(&["kim@cust.example"]);
    outgoing(&desk.claim()[0])
}

/// The median time of a mail over a kept connection.
async fn ours(smarthost: Smarthost) -> Duration {
    let (mut sender, mail) = (Sender::new(Transport::Smarthost(smarthost)), mail());
    let mut times = Vec::new();
    for _ in 0..MAILS {
        let started = Instant::now();
        assert_eq!(sender.send(&mail).await, Delivery::Sent);
        times.push(started.elapsed());
    }
    median(times)
}

/// The same with lettre's own way to connect, which leaves Nagle's algorithm on.
async fn as_lettre_connects(server: &Server) -> Duration {
    let hello = ClientId::Domain("desk.example".to_owned());
    let target = ("localhost", server.port());
    let mut connection = AsyncSmtpConnection::connect_tokio1(target, None, &hello, None, None).await.unwrap();
    let mail = mail();
    let address = |address| postern::outbox::compose::lettre_address(address);
    let envelope =
        lettre::address::Envelope::new(Some(address(&mail.reverse_path)), vec![address(&mail.recipient)]);
    let envelope = envelope.unwrap();
    let mut times = Vec::new();
    for _ in 0..MAILS {
        let started = Instant::now();
        connection.send(&envelope, &mail.bytes).await.unwrap();
        times.push(started.elapsed());
    }
    median(times)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[tokio::test]
async fn probe_without_nagle_a_mail_does_not_wait_for_acknowledgements() {
    let server = Server::start();
    let lettres = as_lettre_connects(&server).await;
    let ours_plain = ours(smarthost(server.port())).await;
    let encrypted = |security, tls| {
        let server = Server::with(Manners { security, offers: &["STARTTLS"] });
        ours(Smarthost { tls, extra_root: Some(authority()), ..smarthost(server.port()) })
    };
    let starttls = encrypted(Security::StartTls, Tls::StartTls).await;
    let implicit = encrypted(Security::Implicit, Tls::Implicit).await;
    println!("median of a mail over a kept connection, as lettre connects: {lettres:?}");
    println!("the same with TCP_NODELAY:                                   {ours_plain:?}");
    println!("the same, STARTTLS:                                          {starttls:?}");
    println!("the same, TLS from the first byte:                           {implicit:?}");
    assert!(ours_plain < lettres, "{ours_plain:?} against {lettres:?}");
}
