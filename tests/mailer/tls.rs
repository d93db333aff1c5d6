//! Encrypted, and with whom.

use postern::mailer::smarthost::{Login, Smarthost, Tls};

use crate::server::{Act, Manners, PASSWORD, Security, Server, USERNAME, authority};
use crate::world::*;

fn with(server: &Server, tls: Tls) -> Smarthost {
    let login = Login { username: USERNAME.to_owned(), password: PASSWORD.to_owned() };
    Smarthost { tls, login: Some(login), extra_root: Some(authority()), ..smarthost(server.port()) }
}

/// Sends two mails with a login, and answers what the server heard.
async fn sends(security: Security, offers: &'static [&'static str], tls: Tls) -> Vec<String> {
    let server = Server::with(Manners { security, offers });
    let desk = Desk::promising(&["kim@cust.example", "bo@cust.example"]);
    let round = desk.run_once(&with(&server, tls)).await;
    assert_eq!(round.site_fault, None);
    assert_eq!(desk.states(1..=2), ["sent", "sent"]);
    assert_eq!((server.taken().len(), server.connections()), (2, 1));
    server.heard()
}

/// Nothing is sent, no row dies, and no password is said.
async fn refuses(server: &Server, smarthost: &Smarthost, expected: &str) {
    let desk = Desk::promising(&["kim@cust.example"]);
    let fault = desk.run_once(smarthost).await.site_fault.expect("a fault of the site");
    assert!(fault.contains(expected), "{fault}");
    assert_eq!((desk.row(1).state, desk.row(1).attempts), ("queued", 0));
    assert!(!server.heard().iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL")));
}

#[tokio::test]
async fn starttls_comes_before_the_login() {
    let heard = sends(Security::StartTls, &["STARTTLS", "AUTH PLAIN"], Tls::StartTls).await;
    let start = heard.iter().position(|line| line == "STARTTLS").unwrap();
    let login = heard.iter().position(|line| line.starts_with("AUTH PLAIN")).unwrap();
    assert!(start < login);
    assert_eq!(
        heard.iter().filter(|line| line.starts_with("EHLO")).count(),
        2,
        "what was offered before counts no more"
    );
}

#[tokio::test]
async fn tls_from_the_first_byte_works_with_both_ways_to_log_in() {
    let heard = sends(Security::Implicit, &["AUTH PLAIN LOGIN"], Tls::Implicit).await;
    assert!(heard.iter().any(|line| line.starts_with("AUTH PLAIN")));
    let heard = sends(Security::Implicit, &["AUTH LOGIN"], Tls::Implicit).await;
    assert!(heard.iter().any(|line| line == "AUTH LOGIN"));
}

#[tokio::test]
async fn a_server_without_starttls_is_told_nothing() {
    let server = Server::start();
    refuses(&server, &with(&server, Tls::StartTls), "does not offer STARTTLS").await;
}

#[tokio::test]
async fn a_server_that_cannot_start_tls_after_all_is_told_nothing() {
    for act in [Act::Say("454 no TLS today"), Act::HangUp, Act::Say("220 go on\r\n250 and on")] {
        let server =
            Server::with(Manners { security: Security::StartTls, offers: &["STARTTLS", "AUTH PLAIN"] });
        server.once("STARTTLS", act);
        // The last one answers the EHLO inside TLS before there is TLS.
        let desk = Desk::promising(&["kim@cust.example"]);
        let round = desk.run_once(&with(&server, Tls::StartTls)).await;
        assert!(round.site_fault.is_some());
        assert_eq!((desk.row(1).state, desk.row(1).attempts), ("queued", 0));
        assert!(!server.heard().iter().any(|line| line.starts_with("MAIL")));
    }
}

#[tokio::test]
async fn a_certificate_is_believed_only_if_an_authority_we_know_signed_it_for_that_name() {
    for (security, tls) in [(Security::StartTls, Tls::StartTls), (Security::Implicit, Tls::Implicit)] {
        let server = Server::with(Manners { security, offers: &["STARTTLS", "AUTH PLAIN"] });
        let unknown = Smarthost { extra_root: None, ..with(&server, tls) };
        refuses(&server, &unknown, "certificate").await;
        let other_name = Smarthost { host: "127.0.0.1".to_owned(), ..with(&server, tls) };
        refuses(&server, &other_name, "certificate").await;
    }
}

#[tokio::test]
async fn a_login_that_the_server_does_not_offer_is_a_fault_of_the_site() {
    let server = Server::with(Manners { security: Security::Implicit, offers: &["AUTH CRAM-MD5"] });
    refuses(&server, &with(&server, Tls::Implicit), "AUTH").await;
}
