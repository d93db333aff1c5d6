//! How a listener ends: nobody is left in doubt about a mail that was kept, and nothing waits for ever.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod smtp_support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use postern::domain::ids::JournalId;
use postern::domain::mail::Envelope;
use postern::smtp::listener::ListenerConfig;
use postern::smtp::{Accept, Refused};
use smtp_support::{Recorder, TestServer, listener_config, recording_server};
use tokio::sync::Semaphore;

const SOON: Duration = Duration::from_millis(150);

#[test]
fn a_shutdown_tells_idle_clients_and_takes_no_new_ones() {
    let (server, _) = recording_server(listener_config());
    let mut idle = server.connect();
    idle.hello();
    idle.say("MAIL FROM:<>");
    let address = server.address;
    server.shutdown.cancel();
    assert_eq!(idle.rest(), "421 4.3.2 shutting down, try again later\r\n");
    drop(idle);
    assert_eq!(server.stop().cut_off, 0);
    assert!(std::net::TcpStream::connect(address).is_err(), "a connection was taken after the end");
}

/// Says when it has a mail, and keeps it only when told to.
struct Gate {
    entered: Semaphore,
    open: Semaphore,
    recorder: Recorder,
}

impl Accept for Gate {
    type Receiving = ();

    fn receiving(&self) {}

    async fn accept(&self, envelope: Envelope, raw: Vec<u8>) -> Result<JournalId, Refused> {
        self.entered.add_permits(1);
        let _open = self.open.acquire().await.unwrap();
        self.recorder.take(envelope, raw)
    }
}

#[test]
fn a_shutdown_answers_the_mail_whose_last_dot_has_come() {
    let gate =
        Arc::new(Gate { entered: Semaphore::new(0), open: Semaphore::new(0), recorder: Recorder::default() });
    let server = TestServer::start(listener_config(), Arc::clone(&gate));
    let mut client = server.connect();
    client.hello();
    client.begin_mail("", "support@desk.example");
    client.send(b".\r\n");
    server.wait(async { drop(gate.entered.acquire().await.unwrap()) });
    server.shutdown.cancel();
    gate.open.add_permits(1);
    assert_eq!(
        client.rest(),
        "250 2.0.0 kept as 1\r\n421 4.3.2 shutting down, try again later\r\n",
        "the mail was kept and the client does not know"
    );
    drop(client);
    assert_eq!(server.stop().cut_off, 0);
    assert_eq!(gate.recorder.count(), 1);
}

#[test]
fn a_shutdown_lets_a_message_under_way_end() {
    let (server, recorder) = recording_server(listener_config());
    let mut idle = server.connect();
    idle.hello();
    let mut client = server.connect();
    client.hello();
    client.begin_mail("", "support@desk.example");
    client.send(b"half\r\n");
    server.shutdown.cancel();
    assert!(idle.rest().starts_with("421 "), "the shutdown has not begun");
    client.send(b"whole\r\n.\r\nMAIL FROM:<>\r\n");
    assert_eq!(client.rest(), "250 2.0.0 kept as 1\r\n421 4.3.2 shutting down, try again later\r\n");
    drop((idle, client));
    assert_eq!(server.stop().cut_off, 0);
    assert_eq!(recorder.mails.lock().unwrap()[0].1, b"half\r\nwhole\r\n");
}

#[test]
fn a_shutdown_does_not_wait_for_ever() {
    let (server, recorder) = recording_server(ListenerConfig { shutdown_grace: SOON, ..listener_config() });
    let mut client = server.connect();
    client.hello();
    client.begin_mail("", "support@desk.example");
    client.send(b"half\r\n");
    let begun = Instant::now();
    assert_eq!(server.stop().cut_off, 1);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(client.rest(), "");
    assert_eq!(recorder.count(), 0);
}
