//! The daemon's own loop: pauses, stops, slow mails, and what the log says.

use std::io::Write;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use postern::mailer::transport::Transport;
use postern::store::RetryAnswer;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::subscriber::DefaultGuard;

use crate::server::{Act, Server};
use crate::world::*;

/// What was logged on this thread, as JSON lines.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn listen() -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn events(&self, name: &str) -> Vec<String> {
        let name = format!("\"message\":\"{name}\"");
        self.text().lines().filter(|line| line.contains(&name)).map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(desk: &Desk, server: &Server, concurrency: usize) -> Self {
        let mailer = desk.mailer_with(Transport::Smarthost(smarthost(server.port())), concurrency);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        Self { stop, task: tokio::spawn(async move { mailer.run(stopped).await }) }
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(60), self.task).await.expect("it stops").unwrap();
    }
}

/// Waits, with a bound, until something is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..6000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within a minute: {what}");
}

#[tokio::test]
async fn a_fault_of_the_site_pauses_the_queue_with_an_alarm() {
    let (log, _guard) = Log::listen();
    let (server, desk) = (Server::start(), Desk::promising(&["kim@cust.example", "bo@cust.example"]));
    server.always("MAIL", "553 <bounce+verp1@desk.example> not from you");
    let running = Running::start(&desk, &server, 1);
    until("the alarm", || !log.events("outbox.paused").is_empty()).await;
    desk.bell.notify_one();
    running.stop().await;
    let alarm = log.events("outbox.paused").join("\n");
    assert!(alarm.contains("\"level\":\"ERROR\"") && alarm.contains("not from you"), "{alarm}");
    assert_eq!(log.events("outbox.paused").len(), 1);
    assert_eq!(desk.states(1..=2), ["queued", "queued"]);
    let tries = server.heard().iter().filter(|line| line.starts_with("MAIL")).count();
    assert_eq!(tries, 1, "neither the other mail nor the bell ends the pause");
    assert!(!log.text().contains("verp1"), "a return address is a token: {}", log.text());
}

#[tokio::test]
async fn a_slow_mail_holds_up_nobody_else() {
    let people = ["kim@cust.example", "a@cust.example", "b@cust.example", "c@cust.example"];
    let (server, desk) = (Server::start(), Desk::promising(&people));
    let (go_on, told) = mpsc::channel();
    server.once("RCPT TO:<kim@", Act::When(Arc::new(Mutex::new(told))));
    let running = Running::start(&desk, &server, 2);
    until("the others are sent", || desk.states(2..=4) == ["sent"; 3]).await;
    assert_eq!(desk.row(1).state, "sending");
    go_on.send(()).unwrap();
    until("the slow one is sent", || desk.row(1).state == "sent").await;
    running.stop().await;
    assert_eq!(server.taken().len(), 4);
}

#[tokio::test]
async fn a_stop_finishes_what_is_being_sent_and_begins_nothing_new() {
    let (server, desk) = (Server::start(), Desk::promising(&["kim@cust.example", "bo@cust.example"]));
    let (go_on, told) = mpsc::channel();
    server.once(".", Act::When(Arc::new(Mutex::new(told))));
    let running = Running::start(&desk, &server, 1);
    until("the mail is on its way", || server.ended().len() == 1).await;
    running.stop.cancel();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(!running.task.is_finished(), "the mail on its way is not broken off");
    go_on.send(()).unwrap();
    running.stop().await;
    assert_eq!(desk.states(1..=2), ["sent", "queued"]);
    assert_eq!(server.taken().len(), 1);
}

#[tokio::test]
async fn the_bell_wakes_the_mailer_and_an_idle_connection_is_closed() {
    let (server, desk) = (Server::start(), Desk::promising(&["kim@cust.example"]));
    server.once("RCPT", Act::Say("550 gone"));
    let running = Running::start(&desk, &server, 1);
    until("it is refused", || desk.row(1).state == "dead").await;
    until("it says goodbye", || server.heard().contains(&"QUIT".to_owned())).await;
    assert_eq!(desk.retry(1, |_, _, _| Err("is rendered")), RetryAnswer::Queued);
    desk.bell.notify_one();
    until("it is sent", || desk.row(1).state == "sent").await;
    running.stop().await;
}

#[tokio::test]
async fn a_mail_that_nobody_may_see_any_more_is_cancelled_and_the_log_says_so() {
    let (log, _guard) = Log::listen();
    let (server, desk) = (Server::start(), Desk::promising(&["kim@cust.example", "bo@cust.example"]));
    desk.drop_ccs(2..=2);
    let round = desk.run_once(&smarthost(server.port())).await;
    assert_eq!(round.claimed, 1);
    assert_eq!(desk.states(1..=2), ["sent", "cancelled"]);
    let line = log.events("outbox.cancelled").join("\n");
    assert!(line.contains("no_longer_concerned") && line.contains("b***@cust.example"), "{line}");
}

#[tokio::test]
async fn rows_that_are_cancelled_do_not_hide_those_behind_them() {
    let people = ["kim@cust.example", "a@cust.example", "b@cust.example", "c@cust.example"];
    let (server, desk) = (Server::start(), Desk::promising(&people));
    desk.drop_ccs(2..=3);
    desk.run_once(&smarthost(server.port())).await;
    assert_eq!(desk.states(1..=4), ["sent", "cancelled", "cancelled", "sent"]);
}

#[tokio::test]
async fn the_log_never_holds_a_whole_address() {
    let (log, _guard) = Log::listen();
    let (server, desk) = (Server::start(), Desk::promising(&["kim@cust.example", "bo@cust.example"]));
    server.once("RCPT TO:<kim@", Act::Say("550 5.1.1 <kim@cust.example>: no such person"));
    server.once("RCPT TO:<bo@", Act::Say("450 4.2.0 <bo@cust.example>: greylisted"));
    desk.run_once(&smarthost(server.port())).await;
    assert_eq!((log.events("outbox.dead").len(), log.events("outbox.retry").len()), (1, 1));
    assert!(log.text().contains("no such person") && log.text().contains("greylisted"));
    assert!(!log.text().contains("kim@") && !log.text().contains("bo@"), "{}", log.text());
    assert!(desk.row(1).detail.unwrap().contains("kim@cust.example"), "the operator sees the whole answer");
}
