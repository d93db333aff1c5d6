//! STARTTLS, TLS from the first byte, logins, and certificates that change.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use postern::smtp::listener::{Encryption, ListenerConfig};
use postern::smtp::policy::{Limits, Login, Logins, SessionConfig, TlsPolicy};
use postern::smtp::tls::Tls;

use crate::smtp_support::{Recorder, TestServer, recording_server, session_config, with_capacity};
use crate::support::daemon::Daemon;
use crate::support::{Desk, wait_for};
use crate::talk::{
    AUTHORITY, CERTIFICATE, KEY, Talk, TlsStream, certified, connect, handshake, tls_connection,
};

/// The type of a TLS record that says what is wrong (RFC 8446 §5.1).
const ALERT: u8 = 21;
const TO: &str = "support@desk.example";

fn with_tls(policy: TlsPolicy, logins: &[Login], max_connections: usize) -> ListenerConfig {
    let session = SessionConfig {
        tls: policy,
        logins: Logins::new(logins.to_vec()),
        ..session_config(Limits::default())
    };
    let tls = Arc::new(Tls::new(certified()).unwrap());
    let encryption = match policy {
        TlsPolicy::None => Encryption::Implicit(tls),
        TlsPolicy::Offered | TlsPolicy::Required => Encryption::StartTls(tls),
    };
    let capacity = postern::smtp::listener::Capacity { max_connections, ..Default::default() };
    ListenerConfig { session: Arc::new(session), encryption, ..with_capacity(capacity) }
}

fn server(policy: TlsPolicy) -> (TestServer, Arc<Recorder>) {
    recording_server(with_tls(policy, &[], 100))
}

/// A client that has said hello, in the clear.
fn hello(server: &TestServer) -> Talk<TcpStream> {
    let mut client = connect(server.address);
    client.expect("220 ");
    client.say("EHLO client.example", "250");
    client
}

fn secured(server: &TestServer) -> Talk<TlsStream> {
    let mut client = hello(server);
    client.say("STARTTLS", "220 ");
    let mut client = handshake(client.into_stream()).unwrap();
    client.say("EHLO client.example", "250");
    client
}

/// What an attacker in the middle puts behind the client's STARTTLS.
const INJECTED: &str =
    "MAIL FROM:<eve@evil.example>\r\nRCPT TO:<support@desk.example>\r\nDATA\r\nhi\r\n.\r\n";

#[test]
fn what_comes_in_one_piece_with_starttls_is_thrown_away() {
    let (server, recorder) = server(TlsPolicy::Offered);
    let mut client = hello(&server);
    client.send(format!("STARTTLS\r\n{INJECTED}")).unwrap();
    client.expect("220 ");
    let mut client = handshake(client.into_stream()).unwrap();
    client.say("RCPT TO:<support@desk.example>", "503 ");
    client.say("EHLO client.example", "250");
    client.say("RCPT TO:<support@desk.example>", "503 ");
    assert_eq!(recorder.count(), 0);
    client.mail(TO);
    assert_eq!(
        recorder.mails.lock().unwrap()[0].0.reverse_path.as_ref().unwrap().domain(),
        "customer.example"
    );
}

#[test]
fn what_comes_behind_starttls_is_never_executed_however_it_is_cut() {
    let (server, recorder) = server(TlsPolicy::Offered);
    let bytes = format!("STARTTLS\r\n{INJECTED}");
    for cut in 1..bytes.len() {
        let mut client = hello(&server);
        let (first, second) = bytes.split_at(cut);
        client.send(first).unwrap();
        client.send(second).unwrap();
        client.expect("220 ");
        // What came too late to be thrown away spoils the handshake: nobody is served then, and what is said is an
        // alert of TLS.
        if client.unread().first() == Some(&ALERT) {
            continue;
        }
        if let Ok(mut client) = handshake(client.into_stream()) {
            client.say("EHLO client.example", "250");
            client.say("RCPT TO:<support@desk.example>", "503 ");
        }
    }
    server.stop();
    assert_eq!(recorder.count(), 0);
}

#[test]
fn where_tls_is_required_no_mail_comes_without() {
    let (server, recorder) = server(TlsPolicy::Required);
    let mut client = hello(&server);
    client.say("MAIL FROM:<>", "530 5.7.0");
    secured(&server).mail(TO);
    assert_eq!(recorder.count(), 1);
}

#[test]
fn a_secure_session_ends_with_a_word_of_tls() {
    for policy in [TlsPolicy::Offered, TlsPolicy::None] {
        let (server, recorder) = server(policy);
        let mut client = match policy {
            TlsPolicy::None => {
                let mut client = handshake(connect(server.address).into_stream()).unwrap();
                client.expect("220 ");
                client.say("EHLO client.example", "250");
                client
            }
            _ => secured(&server),
        };
        assert!(!client.ask("EHLO client.example").contains("STARTTLS"));
        client.say("STARTTLS", if policy == TlsPolicy::None { "502 " } else { "503 " });
        client.mail(TO);
        client.say("QUIT", "221 ");
        // Without close_notify, this is an error: somebody may have cut the end off.
        assert_eq!(client.rest().unwrap(), "");
        assert_eq!(recorder.count(), 1);
    }
}

#[test]
fn who_speaks_smtp_where_tls_is_expected_is_told_nothing_in_the_clear() {
    let (server, _) = server(TlsPolicy::None);
    let mut client = connect(server.address);
    client.send("EHLO client.example\r\n").unwrap();
    let mut said = Vec::new();
    let _ = std::io::Read::read_to_end(client.stream(), &mut said);
    assert!(said.first().is_none_or(|first| *first == ALERT), "{said:?}");
}

#[test]
fn a_client_that_vanishes_in_the_handshake_costs_nothing() {
    let mut hello_of_tls = Vec::new();
    tls_connection().write_tls(&mut hello_of_tls).unwrap();
    let (server, _) = recording_server(with_tls(TlsPolicy::None, &[], 1));
    for length in [0, 1, hello_of_tls.len() / 2, hello_of_tls.len()] {
        let stream = connect(server.address).into_stream();
        (&stream).write_all(&hello_of_tls[..length]).unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
        drop(stream);
        wait_for("the only place to be free again", || {
            let mut client = handshake(connect(server.address).into_stream()).ok()?;
            client.reply().ok().filter(|reply| reply.starts_with("220 "))
        });
    }
}

#[test]
fn a_login_is_needed_and_taken_inside_tls_only() {
    let relay = Login { username: "relay".to_owned(), password: "correct horse".to_owned() };
    let (server, recorder) = recording_server(with_tls(TlsPolicy::Offered, &[relay], 100));
    let plain = |password: &str| {
        let response = format!("\0relay\0{password}");
        format!("AUTH PLAIN {}", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, response))
    };
    let mut client = hello(&server);
    client.say(&plain("correct horse"), "538 5.7.11");
    client.say("MAIL FROM:<>", "530 5.7.0");
    let mut client = secured(&server);
    client.say("MAIL FROM:<>", "530 5.7.0");
    client.say(&plain("wrong horse"), "535 5.7.8");
    client.say(&plain("correct horse"), "235 ");
    client.mail(TO);
    assert_eq!(recorder.count(), 1);
}

#[test]
fn a_shutdown_does_not_wait_for_a_handshake() {
    let (server, _) = server(TlsPolicy::None);
    let silent = connect(server.address);
    let mut asked = secured_halfway();
    asked.0.expect("220 ");
    drop(asked);
    assert_eq!(server.stop().cut_off, 0);
    drop(silent);
}

/// A client between STARTTLS and its handshake, and its server.
fn secured_halfway() -> (Talk<TcpStream>, TestServer) {
    let (server, _) = server(TlsPolicy::Offered);
    let mut client = hello(&server);
    client.send("STARTTLS\r\n").unwrap();
    (client, server)
}

/// A desk whose listener offers STARTTLS, with its certificate beside its configuration.
pub fn desk_with_tls() -> Desk {
    let desk = Desk::new();
    std::fs::write(desk.config("mx.pem"), CERTIFICATE).unwrap();
    std::fs::write(desk.config("mx.key"), KEY).unwrap();
    for (old, new) in [
        ("#tls = \"none\"", "tls = \"starttls\""),
        ("#certificate = \"mail.example.net.pem\"", "certificate = \"mx.pem\""),
        ("#key = \"mail.example.net.key\"", "key = \"mx.key\""),
    ] {
        desk.change_config("postern.toml", old, new);
    }
    desk
}

/// A client inside TLS, and how many certificates it was shown.
pub fn shown(daemon: &Daemon) -> (Talk<TlsStream>, usize) {
    let mut client = connect(daemon.address);
    client.expect("220 ");
    client.say("EHLO client.example", "250");
    client.say("STARTTLS", "220 ");
    let mut client = handshake(client.into_stream()).unwrap();
    let count = client.stream().conn.peer_certificates().unwrap().len();
    (client, count)
}

#[test]
fn a_sighup_shows_the_new_certificate_and_keeps_the_old_one_if_that_is_not_sound() {
    let desk = desk_with_tls();
    let daemon = desk.start();
    let (mut before, count) = shown(&daemon);
    assert_eq!(count, 1);

    std::fs::write(desk.config("mx.pem"), format!("{CERTIFICATE}{AUTHORITY}")).unwrap();
    daemon.signal("HUP");
    assert_eq!(daemon.event("tls.reloaded")["entrance"], "smtp");
    let (mut after, count) = shown(&daemon);
    assert_eq!(count, 2);

    std::fs::write(desk.config("mx.pem"), AUTHORITY).unwrap();
    daemon.signal("HUP");
    let event = daemon.event("tls.reload_failed");
    assert!(event["error"].as_str().unwrap().contains("is not the key of the certificate in"), "{event}");
    assert_eq!(shown(&daemon).1, 2);

    for client in [&mut before, &mut after] {
        client.say("EHLO client.example", "250");
        client.mail("support@localhost");
    }
    assert_eq!(desk.settled()["accepted"], 2);
    daemon.stop();
}

#[test]
fn a_certificate_that_is_not_sound_is_told_by_check() {
    let desk = desk_with_tls();
    desk.run(&["check"]).expect(0);
    std::fs::write(desk.config("mx.key"), "").unwrap();
    let answer = desk.run(&["check"]);
    answer.expect(78);
    assert!(answer.stderr.contains("listeners.key: `"), "{}", answer.stderr);
}
