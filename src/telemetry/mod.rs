//! What is told of the work: the log and the metrics. One function per fact, so that call sites say what happened.
//!
//! | file | business |
//! |---|---|
//! | here | the facts |
//! | `events` | the vocabulary of the log |
//! | `metrics` | the vocabulary of the metrics, and what counts them |
//! | `log` | where log lines go, and how many |
//!
//! **Invariant:** nothing here is given bodies, subjects or tokens; Message-IDs are hashed and addresses masked.
//! **Invariant:** a fact that is an event and a metric is one function: the log and the counters never disagree.

mod events;
mod log;
pub mod metrics;

use std::net::IpAddr;
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use tracing::{error, info, warn};

use crate::domain::address::Address;
use crate::domain::ids::{CommentId, JournalId, OutboxId, TicketId};
use crate::domain::mail::MessageId;
use crate::domain::snapshot::SenderTrust;
use crate::domain::time::Timestamp;

pub use self::events::{EVENTS, EventDefinition, logging_markdown};
pub use self::log::{FILTER_VARIABLE, TelemetryError, init};

pub fn daemon_started(version: &str, listeners: &str) {
    info!(version, listeners, "daemon.started");
}

pub fn daemon_stopped(pending: u64) {
    info!(pending, "daemon.stopped");
}

pub fn config_warning(warning: &str) {
    warn!(warning, "config.warning");
}

pub fn entrance_trusted(entrance: &str) {
    warn!(entrance, "entrance.trusted");
}

/// An SMTP connection that ended.
#[derive(Clone, Copy, Debug)]
pub struct SessionEvent<'a> {
    pub entrance: &'a str,
    /// None of a Unix socket.
    pub client: Option<IpAddr>,
    pub mails: u64,
    /// Whole mails that were answered 4xx.
    pub refused: u64,
    pub reason: &'a str,
    pub error: Option<&'a str>,
    pub duration: Duration,
}

/// A connection was taken; [`smtp_session`] tells of its end.
pub fn smtp_session_began(entrance: &str) {
    metrics::SESSIONS_OPEN.add(&[entrance], 1.0);
}

pub fn smtp_session(event: &SessionEvent<'_>) {
    metrics::SESSIONS_OPEN.add(&[event.entrance], -1.0);
    metrics::SESSIONS_ENDED.count(&[event.entrance, event.reason]);
    info!(
        entrance = event.entrance,
        client = event.client.map(display),
        mails = event.mails,
        refused = event.refused,
        reason = event.reason,
        error = event.error,
        duration_us = micros(event.duration),
        "smtp.session"
    );
}

/// A limit that a client ran into, or a command or mail of its that was refused. `refusal` is a stable name.
pub fn smtp_refused(entrance: &str, client: Option<IpAddr>, refusal: &str) {
    metrics::SMTP_REFUSED.count(&[entrance, refusal]);
    info!(entrance, client = client.map(display), refusal, "smtp.refused");
}

/// A listener shows another certificate from now on.
pub fn tls_reloaded(entrance: &str) {
    info!(entrance, "tls.reloaded");
}

pub fn tls_reload_failed(entrance: &str, error: &str) {
    error!(entrance, error, "tls.reload_failed");
}

pub fn smtp_accept_failed(entrance: &str, wait: Duration, error: &str) {
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    metrics::ACCEPT_FAILURES.count(&[entrance]);
    warn!(entrance, wait_ms, error, "smtp.accept_failed");
}

pub fn pressure_began(kind: &str, found: u64, limit: u64) {
    warn!(kind, found, limit, "pressure.began");
}

pub fn pressure_ended(kind: &str, found: u64, limit: u64) {
    info!(kind, found, limit, "pressure.ended");
}

/// What one connection holds of a message has changed.
pub fn smtp_bytes_in_flight(before: usize, now: usize) {
    if before != now {
        let [before, now] = [before, now].map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX));
        metrics::BYTES_IN_FLIGHT.add(&[], f64::from(now) - f64::from(before));
    }
}

/// A mail is kept. `took` is from its last byte to its commit.
pub fn message_accepted(entrance: &str, took: Duration) {
    metrics::MAILS_ACCEPTED.count(&[entrance]);
    stage(Stage::Accept, took);
}

/// A part of a mail's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Accept,
    Parse,
    /// For earlier mails that this one belongs to.
    Wait,
    /// The snapshot.
    Read,
    Decide,
    Commit,
    Send,
}

impl Stage {
    fn word(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Parse => "parse",
            Self::Wait => "wait",
            Self::Read => "read",
            Self::Decide => "decide",
            Self::Commit => "commit",
            Self::Send => "send",
        }
    }
}

/// How long a stage took, once.
pub fn stage(stage: Stage, took: Duration) {
    metrics::STAGE_SECONDS.observe(&[stage.word()], took);
}

/// A mail whose decision is committed.
#[derive(Clone, Copy, Debug)]
pub struct DecidedEvent<'a> {
    pub journal: JournalId,
    pub message_id: Option<&'a MessageId>,
    pub ticket: Option<TicketId>,
    pub comment: Option<CommentId>,
    pub outcome: &'a str,
    pub rule: Option<&'a str>,
    pub identified_by: Option<&'a str>,
    pub sender_trust: SenderTrust,
    pub commands: &'a [String],
    pub triggers: &'a [String],
    pub duration: Duration,
}

pub fn message_decided(event: &DecidedEvent<'_>) {
    metrics::MAILS_DECIDED.count(&[event.outcome, event.rule.unwrap_or("none")]);
    info!(
        journal.id = event.journal.0,
        message_id_hash = event.message_id.map(message_id_hash),
        ticket.id = event.ticket.map(|id| id.0),
        comment.id = event.comment.map(|id| id.0),
        outcome = event.outcome,
        rule = event.rule,
        identified_by = event.identified_by,
        sender_trust = event.sender_trust.word(),
        commands = words(event.commands),
        triggers = words(event.triggers),
        duration_us = micros(event.duration),
        "message.decided"
    );
}

/// `file` is where in the spool it waited.
pub fn deliver_kept(journal: JournalId, file: Option<&str>) {
    info!(journal.id = journal.0, file, "deliver.kept");
}

pub fn deliver_refused(error: &str) {
    warn!(error, "deliver.refused");
}

pub fn spool_left(file: &str, error: &str) {
    error!(file, error, "spool.left");
}

pub fn message_retried(journal: JournalId) {
    info!(journal.id = journal.0, "message.retried");
}

pub fn message_parked(journal: JournalId, until: Timestamp) {
    info!(journal.id = journal.0, until = until.rfc3339(), "message.parked");
}

pub fn message_failed(journal: JournalId, attempt: u32, error: &str) {
    metrics::MAIL_FAILURES.count(&[]);
    error!(journal.id = journal.0, attempt, error, "message.failed");
}

/// A mail of ours, on its way.
#[derive(Clone, Copy, Debug)]
pub struct OutboxEvent<'a> {
    pub outbox: OutboxId,
    pub ticket: TicketId,
    pub recipient: &'a Address,
    /// From 1.
    pub attempt: u32,
}

pub fn outbox_sent(event: &OutboxEvent<'_>, duration: Duration) {
    metrics::OUTBOX_RESULTS.count(&["sent"]);
    stage(Stage::Send, duration);
    info!(
        outbox.id = event.outbox.0,
        ticket.id = event.ticket.0,
        recipient = event.recipient.masked(),
        attempt = event.attempt,
        duration_us = micros(duration),
        "outbox.sent"
    );
}

pub fn outbox_retry(event: &OutboxEvent<'_>, wait: Duration, error: &str) {
    metrics::OUTBOX_RESULTS.count(&["deferred"]);
    warn!(
        outbox.id = event.outbox.0,
        ticket.id = event.ticket.0,
        recipient = event.recipient.masked(),
        attempt = event.attempt,
        wait_s = wait.as_secs(),
        error,
        "outbox.retry"
    );
}

pub fn outbox_dead(event: &OutboxEvent<'_>, error: &str) {
    metrics::OUTBOX_RESULTS.count(&["dead"]);
    error!(
        outbox.id = event.outbox.0,
        ticket.id = event.ticket.0,
        recipient = event.recipient.masked(),
        attempt = event.attempt,
        error,
        "outbox.dead"
    );
}

pub fn outbox_cancelled(outbox: OutboxId, ticket: TicketId, recipient: &Address, reason: &str) {
    metrics::OUTBOX_RESULTS.count(&["cancelled"]);
    let recipient = recipient.masked();
    warn!(outbox.id = outbox.0, ticket.id = ticket.0, recipient, reason, "outbox.cancelled");
}

pub fn outbox_paused(wait: Duration, error: &str) {
    metrics::OUTBOX_PAUSES.count(&[]);
    error!(wait_s = wait.as_secs(), error, "outbox.paused");
}

pub fn store_trouble(doing: &str, error: &str) {
    metrics::STORE_TROUBLES.count(&[]);
    error!(doing, error, "store.trouble");
}

pub fn store_wal_full(pages: u64, cap: u64) {
    metrics::WAL_FULL.count(&[]);
    error!(pages, cap, "store.wal_full");
}

pub fn store_in_doubt(error: &str) {
    error!(error, "store.commit_in_doubt");
}

/// Enough of a hash to find a Message-ID that somebody asks about, and nothing of the Message-ID itself.
#[must_use]
pub fn message_id_hash(message_id: &MessageId) -> String {
    let mut hash = HEXLOWER.encode(&Sha256::digest(message_id.0.as_bytes()));
    hash.truncate(16);
    hash
}

fn words(words: &[String]) -> Option<String> {
    (!words.is_empty()).then(|| words.join(" "))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

pub fn deciders_stay_equal(error: &str) {
    warn!(error, "deciders.stay_equal");
}

pub fn admin_trouble(doing: &str, error: &str) {
    error!(doing, error, "admin.trouble");
}

#[cfg(test)]
mod tests;
