//! The listener over real sockets: what hostile, slow, absent and many clients can do, and how it ends.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod smtp_support;

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use postern::domain::ids::JournalId;
use postern::domain::mail::{Entrance, Envelope};
use postern::smtp::listener::{self, Capacity, ListenerConfig};
use postern::smtp::policy::{Limits, SessionConfig};
use postern::smtp::{Accept, Refused};
use smtp_support::{
    Client, Recorder, TestServer, listener_config, loopback, recording_server, session_config, with_capacity,
};

const SOON: Duration = Duration::from_millis(150);

fn with_limits(limits: Limits) -> ListenerConfig {
    ListenerConfig { session: Arc::new(session_config(limits)), ..listener_config() }
}

/// A client that says hello, sends a mail and leaves; the reply to the last dot.
fn send_mail(server: &TestServer) -> String {
    let mut client = server.connect();
    client.hello();
    assert!(client.begin_mail("ada@example.net", "support@desk.example").starts_with("354 "));
    let reply = client.say("Subject: hi\r\n\r\nhi\r\n.");
    assert!(client.say("QUIT").starts_with("221 "));
    reply
}

#[test]
fn idle_clients_do_not_keep_others_out() {
    let (server, _) = recording_server(listener_config());
    let mut idle: Vec<Client> = (0..60).map(|_| server.connect()).collect();
    for client in &mut idle {
        assert!(client.reply().starts_with("220 "));
    }
    assert!(send_mail(&server).starts_with("250 "));
}

#[test]
fn a_client_over_the_limit_is_told_to_come_later_and_may() {
    let (server, _) = recording_server(with_capacity(Capacity { max_connections: 2, ..Capacity::default() }));
    let mut first = server.connect();
    let mut second = server.connect();
    first.hello();
    second.hello();
    assert_eq!(server.connect().rest(), "421 4.3.2 too many connections, try again later\r\n");
    assert!(first.say("QUIT").starts_with("221 "));
    drop(first);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !server.connect().reply().starts_with("220 ") {
        assert!(Instant::now() < deadline, "the place was never free again");
    }
    assert!(second.say("NOOP").starts_with("250 "));
}

#[test]
fn no_client_of_a_crowd_is_left_without_a_word() {
    // With the usual queue of 128, most of these would believe to be connected and hear nothing.
    let recorder = Arc::new(Recorder::default());
    let config = with_capacity(Capacity { max_connections: 5, ..Capacity::default() });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let guard = runtime.enter();
    let (socket, address) = loopback();
    let mut crowd: Vec<Client> = (0..600).map(|_| Client::connect(address)).collect();
    let shutdown = tokio_util::sync::CancellationToken::new();
    runtime.spawn(listener::run(socket, Arc::new(config), recorder, shutdown));
    drop(guard);
    let served = crowd.iter_mut().filter_map(|client| match client.reply().get(..4) {
        Some("220 ") => Some(()),
        Some("421 ") => None,
        found => panic!("a client got {found:?}"),
    });
    assert_eq!(served.count(), 5);
}

/// Panics at each mail but those of `ada@example.net`.
struct Fragile(Recorder);

impl Accept for Fragile {
    type Receiving = ();

    fn receiving(&self) {}

    async fn accept(&self, envelope: Envelope, raw: Vec<u8>) -> Result<JournalId, Refused> {
        assert!(envelope.reverse_path.is_some(), "a panic that this test wants");
        self.0.take(envelope, raw)
    }
}

#[test]
fn a_panic_ends_one_session_and_no_other() {
    let server = TestServer::start(listener_config(), Arc::new(Fragile(Recorder::default())));
    let mut bystander = server.connect();
    bystander.hello();
    for _ in 0..10 {
        let mut client = server.connect();
        client.hello();
        client.begin_mail("", "support@desk.example");
        client.send(b".\r\n");
        assert_eq!(client.rest(), "", "an answer came from a panic");
    }
    assert!(bystander.say("NOOP").starts_with("250 "));
    assert!(send_mail(&server).starts_with("250 "));
    assert_eq!(server.stop().cut_off, 0);
}

/// Sends what the server may not want to read to its end, and gives all it said.
fn flood(server: &TestServer, bytes: &[u8]) -> String {
    let mut client = server.connect();
    let mut writer = client.stream.try_clone().unwrap();
    let all = std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = writer.write_all(bytes);
            let _ = writer.shutdown(std::net::Shutdown::Write);
        });
        client.rest()
    });
    drop(client);
    all
}

#[test]
fn twenty_thousand_bad_commands_are_not_answered() {
    let (server, _) = recording_server(listener_config());
    let replies = flood(&server, &b"WIZ\r\n".repeat(20_000));
    assert_eq!(replies.matches("500 ").count(), 20, "{replies}");
    assert!(replies.ends_with("421 4.7.0 too many errors\r\n"), "{replies}");
}

#[test]
fn a_hundred_thousand_recipients_are_not_taken() {
    let (server, _) = recording_server(listener_config());
    let mut bytes = b"HELO a\r\nMAIL FROM:<>\r\n".to_vec();
    for number in 0..100_000 {
        bytes.extend(format!("RCPT TO:<support+{number}@desk.example>\r\n").bytes());
    }
    let replies = flood(&server, &bytes);
    assert_eq!(replies.matches("250 2.1.5").count(), 100);
    assert_eq!(replies.matches("452 4.5.3").count(), 898);
    assert!(replies.ends_with("421 4.7.0 too many commands without a mail\r\n"));
}

#[test]
fn a_line_without_end_is_answered_once_and_the_session_goes_on() {
    let (server, _) = recording_server(listener_config());
    let mut client = server.connect();
    client.hello();
    for _ in 0..500 {
        client.send(&[b'x'; 100_000]);
    }
    assert_eq!(client.say(""), "500 5.5.2 line too long");
    assert!(client.say("NOOP").starts_with("250 "));
}

#[test]
fn a_silent_client_is_told_and_left() {
    let (server, _) = recording_server(ListenerConfig { command_timeout: SOON, ..listener_config() });
    let mut client = server.connect();
    client.reply();
    assert_eq!(client.rest(), "421 4.4.2 timed out\r\n");
}

/// Sends a byte every few milliseconds until the server has had enough.
fn drip(client: &mut Client) -> String {
    let mut writer = client.stream.try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        while writer.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let rest = client.rest();
    let _ = client.stream.shutdown(std::net::Shutdown::Both);
    dripping.join().unwrap();
    rest
}

#[test]
fn a_client_that_drips_a_command_is_left_too() {
    let (server, _) = recording_server(ListenerConfig { command_timeout: SOON, ..listener_config() });
    let mut client = server.connect();
    client.reply();
    assert_eq!(drip(&mut client), "421 4.4.2 timed out\r\n");
}

#[test]
fn a_message_must_go_on_and_must_end() {
    let slow = ListenerConfig { data_timeout: SOON, ..listener_config() };
    let endless = ListenerConfig { message_timeout: SOON, ..listener_config() };
    let (silent_server, silent_mails) = recording_server(slow);
    let mut silent = silent_server.connect();
    silent.hello();
    silent.begin_mail("", "support@desk.example");
    silent.send(b"hi\r\n");
    assert_eq!(silent.rest(), "421 4.4.2 timed out\r\n");

    let (dripping_server, dripping_mails) = recording_server(endless);
    let mut dripping = dripping_server.connect();
    dripping.hello();
    dripping.begin_mail("", "support@desk.example");
    assert_eq!(drip(&mut dripping), "421 4.4.2 timed out\r\n");
    assert_eq!(silent_mails.count() + dripping_mails.count(), 0, "half a message was kept");
}

#[test]
fn a_client_that_does_not_read_is_left() {
    let limits = Limits { max_commands: usize::MAX, ..Limits::default() };
    let (server, _) = recording_server(ListenerConfig { command_timeout: SOON, ..with_limits(limits) });
    let mut client = server.connect();
    // Far more replies than the buffers on the way can hold; the server must give up, then a write fails.
    let commands = b"EHLO a\r\n".repeat(10_000);
    let left = (0..1000).any(|_| client.stream.write_all(&commands).is_err());
    assert!(left, "80 MB of commands were read while nobody read the replies");
    client.rest();
    assert!(send_mail(&server).starts_with("250 "));
}

#[test]
fn messages_under_way_share_a_room() {
    let (server, recorder) =
        recording_server(with_capacity(Capacity { max_bytes_in_flight: 150_000, ..Capacity::default() }));
    let text = [b'x'; 100_000];
    let mut clients = [server.connect(), server.connect()];
    // In chunks, as the reply to the first says that it is held now.
    let replies = clients.each_mut().map(|client| {
        client.hello();
        client.say("MAIL FROM:<>");
        client.say("RCPT TO:<support@desk.example>");
        client.send(b"BDAT 100000\r\n");
        client.send(&text);
        client.reply()
    });
    let last = clients[1].say("BDAT 0 LAST");
    assert!(replies[0].starts_with("250 "), "{replies:?}");
    let full = "452 4.3.1 no room for the message now, try again later";
    assert!(replies[1] == full || last == full, "{replies:?} {last}");
    assert!(clients[0].say("BDAT 0 LAST").starts_with("250 "));
    clients[1].say("RSET");
    let again = clients.each_mut().map(|client| {
        assert!(client.begin_mail("", "support@desk.example").starts_with("354 "));
        client.send(&text);
        client.say("\r\n.")
    });
    assert!(again.iter().all(|reply| reply.starts_with("250 ")), "the room was not given back: {again:?}");
    assert!(recorder.count() >= 2);
}

#[test]
fn lettre_can_send_to_us() {
    use lettre::address::Envelope;
    use lettre::{SmtpTransport, Transport};
    let (server, recorder) = recording_server(listener_config());
    let transport = SmtpTransport::builder_dangerous("127.0.0.1").port(server.address.port()).build();
    for sender in [None, Some("ada@example.net".parse().unwrap())] {
        let envelope = Envelope::new(sender, vec!["support+id4@desk.example".parse().unwrap()]).unwrap();
        let response = transport.send_raw(&envelope, b"Subject: hi\r\n\r\n.dot\r\n").unwrap();
        assert!(response.is_positive());
    }
    let mails = recorder.mails.lock().unwrap();
    assert!(mails.iter().all(|(_, raw)| raw.starts_with(b"Subject: hi\r\n\r\n.dot\r\n")), "{mails:?}");
    assert_eq!(mails.len(), 2);
}

/// Log lines of all tests in this binary; a test picks its own by the name of its entrance.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn each_connection_leaves_one_log_event_and_each_refusal_one_without_addresses() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().json().with_writer(move || writer.clone()).init();
    let mut session = session_config(Limits { max_errors: 1, ..Limits::default() });
    session.entrance = Entrance { name: "logged".into(), ..session.entrance };
    let session: Arc<SessionConfig> = Arc::new(session);
    let one = with_capacity(Capacity { max_connections: 1, ..Capacity::default() });
    let config = ListenerConfig { session, ..one };
    let (server, recorder) = recording_server(config);
    recorder.refusals.lock().unwrap().push_back(Refused::Full);

    let mut client = server.connect();
    client.hello();
    assert!(server.connect().rest().starts_with("421 "));
    client.begin_mail("ada@example.net", "support@desk.example");
    assert!(client.say(".").starts_with("452 "));
    client.begin_mail("ada@example.net", "support@desk.example");
    assert!(client.say(".").starts_with("250 "));
    assert!(client.say("RCPT TO:<secret@example.net>").starts_with("503 "));
    client.rest();
    drop(client);
    server.stop();

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let of = |event: &str| -> Vec<&str> {
        let wanted = format!(r#""message":"{event}","entrance":"logged""#);
        text.lines().filter(|line| line.contains(&wanted)).collect()
    };
    let refusals = ["too_many_connections", "no_room", "out_of_order", "too_many_errors"];
    let refused = of("smtp.refused");
    assert_eq!(refused.len(), refusals.len(), "{text}");
    for (line, refusal) in refused.iter().zip(refusals) {
        assert!(line.contains(&format!(r#""refusal":"{refusal}""#)), "{line}");
    }
    let events = of("smtp.session");
    assert_eq!(events.len(), 2, "{text}");
    assert!(events[0].contains(r#""reason":"too_many_connections""#), "{events:?}");
    assert!(events[1].contains(r#""mails":1,"refused":1,"reason":"too_many_errors""#), "{events:?}");
    for event in events {
        assert!(event.contains(r#""duration_us":"#), "{event}");
        assert!(event.contains(r#""client":"127.0.0.1""#) && !event.contains('@'), "{event}");
    }
}

#[test]
fn many_mails_from_many_clients_are_each_kept_once() {
    let (server, recorder) = recording_server(listener_config());
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..25 {
                    assert!(send_mail(&server).starts_with("250 "));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!((answered.into_inner(), recorder.count()), (200, 200));
}

/// Counts the mail transactions under way.
#[derive(Default)]
struct Counting {
    mails: Recorder,
    under_way: Arc<AtomicUsize>,
}

struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Accept for Counting {
    type Receiving = UnderWay;

    fn receiving(&self) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        UnderWay(Arc::clone(&self.under_way))
    }

    async fn accept(&self, envelope: Envelope, raw: Vec<u8>) -> Result<JournalId, Refused> {
        assert_eq!(self.under_way.load(Ordering::SeqCst), 1, "it counts until it is answered");
        self.mails.take(envelope, raw)
    }
}

#[test]
fn a_client_counts_as_sending_from_mail_until_its_message_is_answered_or_given_up() {
    let counting = Arc::new(Counting::default());
    let server = TestServer::start(listener_config(), Arc::clone(&counting));
    let becomes = |count: usize, when: &str| {
        let deadline = Instant::now() + Duration::from_secs(5);
        while counting.under_way.load(Ordering::SeqCst) != count {
            assert!(Instant::now() < deadline, "{when}: expected {count} under way");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let mut client = server.connect();
    client.hello();
    for ending in ["RSET", "EHLO again.example"] {
        assert!(client.say("MAIL FROM:<ada@example.net>").starts_with("250 "));
        becomes(1, "after MAIL");
        assert!(client.say(ending).starts_with("250"));
        becomes(0, ending);
    }
    assert!(client.begin_mail("ada@example.net", "support@desk.example").starts_with("354 "));
    becomes(1, "after DATA");
    assert!(client.say("Subject: hi\r\n\r\nhi\r\n.").starts_with("250 "));
    becomes(0, "after the reply");
    assert_eq!(counting.mails.count(), 1);
    assert!(client.say("MAIL FROM:<ada@example.net>").starts_with("250 "));
    becomes(1, "after the second MAIL");
    drop(client);
    becomes(0, "after the client has gone");
}
