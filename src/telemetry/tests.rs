//! What is logged, against what is documented.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::{Arc, Mutex};

use super::log::{dispatch, filter};
use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is logged while `act` runs.
fn logged(wanted: &str, act: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let dispatch = dispatch(wanted, false, move || writer.clone()).unwrap();
    tracing::dispatcher::with_default(&dispatch, act);
    String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
}

fn log_every_event() {
    let recipient = Address::parse("rita.private@example.net").unwrap();
    let message_id = MessageId("secret-token@example.net".to_owned());
    let second = Duration::from_secs(1);
    let outbox = OutboxEvent { outbox: OutboxId(1), ticket: TicketId(2), recipient: &recipient, attempt: 3 };
    daemon_started("0.1.0", "smtp 127.0.0.1:2525");
    config_warning("there are agents, but no entrance can authenticate them");
    entrance_trusted("smtp");
    smtp_session(&SessionEvent {
        entrance: "smtp",
        client: Some(IpAddr::from([127, 0, 0, 1])),
        mails: 1,
        refused: 0,
        reason: "connection_lost",
        error: Some("connection reset by peer"),
        duration: second,
    });
    smtp_refused("smtp", Some(IpAddr::from([127, 0, 0, 1])), "line_too_long");
    tls_reloaded("smtp");
    tls_reload_failed("smtp", "`cert.pem` cannot be read");
    smtp_accept_failed("smtp", second, "too many open files");
    pressure_began("backlog", 50_000, 50_000);
    pressure_ended("backlog", 25_000, 50_000);
    message_decided(&DecidedEvent {
        journal: JournalId(1),
        message_id: Some(&message_id),
        ticket: Some(TicketId(2)),
        comment: Some(CommentId(3)),
        outcome: "public",
        rule: Some("end-user"),
        identified_by: Some("address-token"),
        sender_trust: SenderTrust::None,
        commands: &["status=applied".to_owned(), "tags=applied".to_owned()],
        triggers: &["notify-assignee".to_owned()],
        duration: second,
    });
    deliver_kept(JournalId(1), Some("00001795255920000000-4f"));
    deliver_refused("the disk is full");
    spool_left("00001795255920000000-4f", "found something else, expected a file");
    message_failed(JournalId(1), 3, "crashed");
    message_retried(JournalId(1));
    message_parked(JournalId(1), Timestamp(1_795_255_920_000_000));
    outbox_sent(&outbox, second);
    outbox_retry(&outbox, second, "connection refused");
    outbox_dead(&outbox, "550 no such user");
    outbox_cancelled(outbox.outbox, outbox.ticket, &recipient, "loop");
    outbox_paused(second, "535 authentication failed");
    store_trouble("keeping a mail", "the disk is full");
    store_wal_full(32_768, 32_768);
    store_in_doubt("the disk is gone");
    deciders_stay_equal("Operation not permitted");
    admin_trouble("listening", "the address is taken");
    daemon_stopped(0);
}

#[test]
fn every_event_is_logged_with_exactly_the_documented_level_and_fields() {
    let mut seen = BTreeMap::new();
    for line in logged("", log_every_event).lines() {
        let line: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        let always = ["timestamp", "level", "target", "message"];
        let fields: BTreeSet<_> =
            line.keys().filter(|key| !always.contains(&key.as_str())).cloned().collect();
        seen.insert(text("message"), (text("level").to_lowercase(), fields));
    }
    let documented: BTreeMap<_, _> = EVENTS
        .iter()
        .map(|event| {
            let fields = event.fields.iter().map(|(name, _)| (*name).to_owned()).collect();
            (event.name.to_owned(), (event.level.to_owned(), fields))
        })
        .collect();
    assert_eq!(seen, documented);
}

#[test]
fn no_line_holds_a_whole_address_or_a_message_id() {
    let log = logged("trace", log_every_event);
    assert!(log.contains("r***@example.net"));
    assert!(!log.contains("rita.private") && !log.contains("secret-token"), "{log}");
}

#[test]
fn a_field_without_a_value_is_left_out() {
    let log = logged("info", || {
        message_decided(&DecidedEvent {
            journal: JournalId(1),
            message_id: None,
            ticket: None,
            comment: None,
            outcome: "blank",
            rule: None,
            identified_by: None,
            sender_trust: SenderTrust::Failed,
            commands: &[],
            triggers: &[],
            duration: Duration::from_micros(7),
        });
    });
    let line: serde_json::Value = serde_json::from_str(&log).unwrap();
    assert_eq!(line["outcome"], "blank");
    assert_eq!(line["duration_us"], 7);
    assert!(line.get("ticket.id").is_none() && line.get("commands").is_none(), "{line}");
}

#[test]
fn a_bare_level_says_how_much_we_log_and_keeps_libraries_quiet() {
    let act = || {
        tracing::debug!("ours");
        tracing::info!(target: "some_library", "theirs");
    };
    assert_eq!(logged("", act).lines().count(), 0);
    let debug = logged("debug", act);
    assert!(debug.contains("ours") && !debug.contains("theirs"), "{debug}");
    assert!(logged("warn,some_library=info", act).contains("theirs"));
}

#[test]
fn what_is_no_filter_is_refused_with_an_example() {
    let error = filter("postern=loud").unwrap_err().to_string();
    assert!(error.starts_with("POSTERN_LOG: `postern=loud` is not a filter"), "{error}");
}

#[test]
fn message_ids_are_hashed_to_sixteen_hex_digits() {
    // The SHA-256 of the empty text begins so.
    assert_eq!(message_id_hash(&MessageId(String::new())), "e3b0c44298fc1c14");
}

#[test]
fn the_logging_page_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/logging.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, logging_markdown()).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(committed, logging_markdown(), "run with UPDATE_DOCS=1 to write {path} anew");
}
