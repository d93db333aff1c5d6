//! Why the gate is ours: the same probes against mailin-embedded and against our listener, side by side.
//!
//! `cargo test --test mailin_probe -- --nocapture` prints the table of
//! `docs/decisions/0001-own-smtp-session.md`. If a later mailin-embedded passes a probe, this test fails and
//! the decision can be looked at again.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod smtp_support;

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mailin_embedded::{Handler, Response, Server, response};
use postern::smtp::Refused;
use smtp_support::{Client, Recorder, TestServer, listener_config};

/// How long a client waits before it believes that no greeting will come.
const PATIENCE: Duration = Duration::from_millis(1500);

/// A server under test; `mails` gives the messages it has accepted.
struct Subject {
    name: &'static str,
    address: SocketAddr,
    mails: Box<dyn Fn() -> Vec<Vec<u8>>>,
    /// Refuses the next mail with a 4yz after its last dot.
    refuse_next: Box<dyn Fn()>,
    server: Option<TestServer>,
}

#[derive(Clone, Default)]
struct Mailbox {
    current: Vec<u8>,
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
    refusals: Arc<Mutex<usize>>,
}

impl Handler for Mailbox {
    fn data(&mut self, line: &[u8]) -> std::io::Result<()> {
        self.current.extend_from_slice(line);
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        let mail = std::mem::take(&mut self.current);
        let mut refusals = self.refusals.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            return response::INTERNAL_ERROR;
        }
        self.kept.lock().unwrap().push(mail);
        response::OK
    }
}

/// mailin-embedded as it comes. It cannot be stopped, so its threads live until the test ends.
fn mailin() -> Subject {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mailbox = Mailbox::default();
    let (kept, refusals) = (Arc::clone(&mailbox.kept), Arc::clone(&mailbox.refusals));
    std::thread::spawn(move || {
        let mut server = Server::new(mailbox);
        server.with_tcp_listener(listener);
        server.serve().unwrap();
    });
    Subject {
        name: "mailin-embedded 0.8.3",
        address,
        mails: Box::new(move || kept.lock().unwrap().clone()),
        refuse_next: Box::new(move || *refusals.lock().unwrap() += 1),
        server: None,
    }
}

fn ours() -> Subject {
    let recorder = Arc::new(Recorder::default());
    let server = TestServer::start(listener_config(), Arc::clone(&recorder));
    let refusing = Arc::clone(&recorder);
    Subject {
        name: "ours",
        address: server.address,
        mails: Box::new(move || recorder.mails.lock().unwrap().iter().map(|(_, raw)| raw.clone()).collect()),
        refuse_next: Box::new(move || refusing.refusals.lock().unwrap().push_back(Refused::Storage)),
        server: Some(server),
    }
}

impl Subject {
    fn client(&self) -> Client {
        let mut client = Client::connect(self.address);
        client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        client.hello();
        client
    }

    fn report(&self, probe: &str, found: impl std::fmt::Display) {
        println!("{probe:<52} {:<22} {found}", self.name);
    }
}

/// The reply to `MAIL FROM:<>`, which every bounce begins with.
fn null_sender(subject: &Subject) -> String {
    let reply = subject.client().say("MAIL FROM:<>");
    subject.report("reply to MAIL FROM:<>", &reply);
    reply
}

/// Mails that come of one DATA holding `LF . CRLF` and SMTP commands behind it.
fn smuggled(subject: &Subject) -> usize {
    let before = (subject.mails)().len();
    let mut client = subject.client();
    assert!(client.begin_mail("ada@example.net", "support@desk.example").starts_with("354"));
    client.send(
        b"one\n.\r\nMAIL FROM:<evil@example.net>\r\nRCPT TO:<support@desk.example>\r\nDATA\r\nevil\r\n.\r\n",
    );
    // Only replies are counted on: wait until everything sent was answered, then look at what was kept.
    while client_replies(&mut client) {}
    let count = (subject.mails)().len() - before;
    subject.report("mails made of one DATA with LF . CRLF inside", count);
    count
}

/// Whether another reply comes.
fn client_replies(client: &mut Client) -> bool {
    client.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut byte = [0];
    if client.stream.peek(&mut byte).is_ok_and(|count| count > 0) {
        client.reply();
        return true;
    }
    false
}

/// Whether commands are answered again after a 4yz to the last dot.
fn answers_after_refusal(subject: &Subject) -> bool {
    (subject.refuse_next)();
    let mut client = subject.client();
    client.begin_mail("ada@example.net", "support@desk.example");
    assert!(client.say("hi\r\n.").starts_with("451"));
    client.send(b"RSET\r\nNOOP\r\n");
    let answers = client_replies(&mut client);
    subject.report("RSET answered after 451 to the last dot", answers);
    answers
}

/// Whether a fifth client is greeted while four say nothing.
fn fifth_is_greeted(subject: &Subject) -> bool {
    let _idle: Vec<Client> = (0..4).map(|_| subject.client()).collect();
    let fifth = Client::connect(subject.address);
    fifth.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let greeted = fifth.stream.peek(&mut [0]).is_ok();
    subject.report("fifth client greeted while four are idle", greeted);
    greeted
}

/// The median time of a mail whose commands are sent together, as a pipelining client does.
fn pipelined_latency(subject: &Subject) -> Duration {
    let mut client = subject.client();
    let mut times: Vec<Duration> = (0..15)
        .map(|_| {
            let begun = Instant::now();
            client.send(b"MAIL FROM:<ada@example.net>\r\nRCPT TO:<support@desk.example>\r\nDATA\r\n");
            assert!((0..3).map(|_| client.reply()).last().unwrap().starts_with("354"));
            client.send(b"Subject: hi\r\n\r\nhi\r\n.\r\n");
            assert!(client.reply().starts_with("250"));
            begun.elapsed()
        })
        .collect();
    times.sort();
    let median = times[times.len() / 2];
    subject.report("median time of a pipelined mail", format!("{:.2} ms", median.as_secs_f64() * 1000.0));
    median
}

/// The reply to the parameter that nearly every mail server sends.
fn parameters(subject: &Subject) -> String {
    let reply = subject.client().say("MAIL FROM:<ada@example.net> SIZE=1000");
    subject.report("reply to MAIL with SIZE=1000", &reply);
    reply
}

/// How many of 500 bad commands are answered before the server has enough.
fn accepted_errors(subject: &Subject) -> usize {
    let mut client = subject.client();
    client.send(&b"WIZ\r\n".repeat(500));
    let count = (0..500).take_while(|_| client.reply().starts_with("500")).count();
    subject.report("bad commands answered, of 500", count);
    count
}

#[test]
fn mailin_embedded_cannot_stand_at_the_gate_and_ours_can() {
    let (mailin, ours) = (mailin(), ours());

    assert!(null_sender(&mailin).starts_with("500"));
    assert!(null_sender(&ours).starts_with("250"));
    assert!(parameters(&mailin).starts_with("500"));
    assert!(parameters(&ours).starts_with("250"));
    assert_eq!(smuggled(&mailin), 2);
    assert_eq!(smuggled(&ours), 0);
    assert!(!answers_after_refusal(&mailin));
    assert!(answers_after_refusal(&ours));
    assert_eq!(accepted_errors(&mailin), 500);
    assert_eq!(accepted_errors(&ours), 20);
    assert!(pipelined_latency(&ours) < pipelined_latency(&mailin));
    // Last: where the fifth client is not greeted, nobody is until the idle ones have gone.
    assert!(!fifth_is_greeted(&mailin));
    assert!(fifth_is_greeted(&ours));

    let drained = ours.server.map(TestServer::stop);
    assert_eq!(drained.map(|drained| drained.cut_off), Some(0));
}
