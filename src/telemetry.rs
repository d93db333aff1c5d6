//! Log set-up, and the vocabulary of the log: one function per event, so that call sites say what happened.
//!
//! **Invariant:** nothing here is given bodies, subjects or tokens; Message-IDs are hashed and addresses masked.
//! **Invariant:** [`EVENTS`] lists every event with every field; `docs/logging.md` is made from it.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::net::IpAddr;
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use tracing::{Dispatch, error, info, warn};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::domain::address::Address;
use crate::domain::ids::{CommentId, JournalId, OutboxId, TicketId};
use crate::domain::mail::MessageId;
use crate::domain::snapshot::SenderTrust;
use crate::domain::time::Timestamp;

/// The environment variable that says how much is logged.
pub const FILTER_VARIABLE: &str = "POSTERN_LOG";

/// One event of the log, as documented.
#[derive(Clone, Copy, Debug)]
pub struct EventDefinition {
    /// The `message` of the line.
    pub name: &'static str,
    pub level: &'static str,
    pub meaning: &'static str,
    /// Name and meaning. A field without a value is left out of the line.
    pub fields: &'static [(&'static str, &'static str)],
}

const OUTBOX_ID: (&str, &str) = ("outbox.id", "the row of the outbox");
const TICKET_ID: (&str, &str) = ("ticket.id", "the ticket");
const RECIPIENT: (&str, &str) = ("recipient", "the recipient, masked: `r***@example.net`");
const ATTEMPT: (&str, &str) = ("attempt", "which try it was, from 1");
const CLIENT: (&str, &str) = ("client", "the client's IP address, which a Unix socket has not");
const DURATION: (&str, &str) = ("duration_us", "how long it took, in microseconds");

const PRESSURE: &[(&str, &str)] = &[
    ("kind", "`backlog`: too many mails wait to be decided; `disk`: too little of the disk is free"),
    ("found", "mails that wait, or bytes that are free"),
    ("limit", "mails that may wait (`max_pending`), or bytes that stay free (`disk_reserve`)"),
];

/// Every event, in the order of a mail's life.
pub const EVENTS: &[EventDefinition] = &[
    EventDefinition {
        name: "daemon.started",
        level: "info",
        meaning: "Postern is ready to take mail.",
        fields: &[
            ("version", "the program's version"),
            ("listeners", "names and addresses of the listeners"),
        ],
    },
    EventDefinition {
        name: "config.warning",
        level: "warn",
        meaning: "The configuration is sound and probably not what was meant.",
        fields: &[("warning", "what, in one sentence")],
    },
    EventDefinition {
        name: "entrance.trusted",
        level: "warn",
        meaning: "An entrance takes its relay's word for the author (`trust = \"upstream\"`).",
        fields: &[("entrance", "the listener's name, or `deliver`")],
    },
    EventDefinition {
        name: "smtp.session",
        level: "info",
        meaning: "An SMTP connection ended.",
        fields: &[
            ("entrance", "the listener's name"),
            CLIENT,
            ("mails", "mails that were accepted"),
            ("refused", "whole mails that could not be kept and were answered 4xx"),
            (
                "reason",
                "how it ended: `quit`, `client_left`, `client_does_not_read`, `connection_lost`, `tls_failed`, \
                 `bad_proxy_header`, `shutdown`, `cut_off`, `panicked`, or the refusal that ended it, as \
                 `timed_out` or `too_many_connections`",
            ),
            ("error", "what failed, if it ended by a failure"),
            DURATION,
        ],
    },
    EventDefinition {
        name: "smtp.refused",
        level: "info",
        meaning: "A client ran into a limit, or a command or mail of its was refused.",
        fields: &[
            ("entrance", "the listener's name"),
            CLIENT,
            ("refusal", "what it was refused for: a name that stays"),
        ],
    },
    EventDefinition {
        name: "tls.reloaded",
        level: "info",
        meaning: "After SIGHUP a listener shows the certificate that its files hold now.",
        fields: &[("entrance", "the listener's name")],
    },
    EventDefinition {
        name: "tls.reload_failed",
        level: "error",
        meaning: "After SIGHUP a listener's certificate could not be read. It goes on showing the one it had.",
        fields: &[("entrance", "the listener's name"), ("error", "which file is at fault, and how")],
    },
    EventDefinition {
        name: "smtp.accept_failed",
        level: "warn",
        meaning: "A listener could not take a connection, most often for want of file descriptors. It tries again.",
        fields: &[
            ("entrance", "the listener's name"),
            ("wait_ms", "milliseconds until it tries again"),
            ("error", "why"),
        ],
    },
    EventDefinition {
        name: "deliver.kept",
        level: "info",
        meaning: "A mail that `postern deliver` handed over is in the journal.",
        fields: &[
            ("journal.id", "the accepted mail"),
            ("file", "the file of the spool it waited in, if no daemon ran when it was handed over"),
        ],
    },
    EventDefinition {
        name: "deliver.refused",
        level: "warn",
        meaning: "A mail that `postern deliver` handed over could not be kept; the mail server was told to try again.",
        fields: &[("error", "why")],
    },
    EventDefinition {
        name: "spool.left",
        level: "error",
        meaning: "A file of the spool is left there for a person. Told once by each start.",
        fields: &[("file", "its name without the ending `.mail`"), ("error", "why")],
    },
    EventDefinition {
        name: "pressure.began",
        level: "warn",
        meaning: "New mail is asked to come again (452) until this ends; mail accepted before goes on being decided.",
        fields: PRESSURE,
    },
    EventDefinition {
        name: "pressure.ended",
        level: "info",
        meaning: "New mail is taken again.",
        fields: PRESSURE,
    },
    EventDefinition {
        name: "message.decided",
        level: "info",
        meaning: "An accepted mail was decided, and what became of it is committed. One for each mail.",
        fields: &[
            ("journal.id", "the accepted mail"),
            ("message_id_hash", "the first 16 hex digits of the SHA-256 of the Message-ID"),
            TICKET_ID,
            ("comment.id", "the comment it became"),
            (
                "outcome",
                "`public`, `private`, `no_comment`, or the cause or reason it was held or discarded for",
            ),
            ("rule", "the privacy rule that decided"),
            ("identified_by", "the clue that named the ticket"),
            ("sender_trust", "`authenticated`, `none` or `failed`"),
            ("commands", "names of the mail commands, with a space between them"),
            ("triggers", "keys of the triggers that fired, with a space between them"),
            DURATION,
        ],
    },
    EventDefinition {
        name: "message.failed",
        level: "error",
        meaning: "A mail could not be decided. It is kept; `postern audit` counts it.",
        fields: &[("journal.id", "the accepted mail"), ATTEMPT, ("error", "what went wrong")],
    },
    EventDefinition {
        name: "message.retried",
        level: "info",
        meaning: "A person had a failed mail tried again (`postern failed retry`).",
        fields: &[("journal.id", "the accepted mail")],
    },
    EventDefinition {
        name: "message.parked",
        level: "info",
        meaning: "A mail waits for a failed one that it refers to, or for a mail that does.",
        fields: &[("journal.id", "the accepted mail"), ("until", "when it is decided at the latest")],
    },
    EventDefinition {
        name: "outbox.sent",
        level: "info",
        meaning: "The smarthost took a mail of ours, or its file was written.",
        fields: &[OUTBOX_ID, TICKET_ID, RECIPIENT, ATTEMPT, DURATION],
    },
    EventDefinition {
        name: "outbox.retry",
        level: "warn",
        meaning: "A mail could not be sent and is tried again.",
        fields: &[
            OUTBOX_ID,
            TICKET_ID,
            RECIPIENT,
            ATTEMPT,
            ("wait_s", "seconds until then"),
            ("error", "why"),
        ],
    },
    EventDefinition {
        name: "outbox.dead",
        level: "error",
        meaning: "A mail cannot be sent: refused for good, or tried for too long.",
        fields: &[OUTBOX_ID, TICKET_ID, RECIPIENT, ATTEMPT, ("error", "why")],
    },
    EventDefinition {
        name: "outbox.cancelled",
        level: "warn",
        meaning: "A promised mail is not sent: its recipient may not see it any more, or the budget is spent.",
        fields: &[OUTBOX_ID, TICKET_ID, RECIPIENT, ("reason", "why")],
    },
    EventDefinition {
        name: "outbox.paused",
        level: "error",
        meaning: "The smarthost refuses us as a whole, so nothing is sent for a while. No mail dies of it.",
        fields: &[("wait_s", "seconds until the next try"), ("error", "why")],
    },
    EventDefinition {
        name: "store.trouble",
        level: "error",
        meaning: "The store could not do something. It is tried again; a mail that was being sent to us stays with its sender.",
        fields: &[("doing", "what was being done"), ("error", "why it failed")],
    },
    EventDefinition {
        name: "store.wal_full",
        level: "error",
        meaning: "The write-ahead log is at its cap and readers keep it from being emptied: nothing is taken until they end.",
        fields: &[("pages", "its length in pages"), ("cap", "the most it may have")],
    },
    EventDefinition {
        name: "store.commit_in_doubt",
        level: "error",
        meaning: "Nobody knows whether a commit reached the disk. Postern answers 451 and exits 75; the next start finds out.",
        fields: &[("error", "what failed")],
    },
    EventDefinition {
        name: "daemon.stopped",
        level: "info",
        meaning: "Postern has stopped; every accepted mail is kept.",
        fields: &[("pending", "mails that are accepted and not yet decided")],
    },
];

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

pub fn smtp_session(event: &SessionEvent<'_>) {
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
    warn!(entrance, wait_ms, error, "smtp.accept_failed");
}

pub fn pressure_began(kind: &str, found: u64, limit: u64) {
    warn!(kind, found, limit, "pressure.began");
}

pub fn pressure_ended(kind: &str, found: u64, limit: u64) {
    info!(kind, found, limit, "pressure.ended");
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
    let recipient = recipient.masked();
    warn!(outbox.id = outbox.0, ticket.id = ticket.0, recipient, reason, "outbox.cancelled");
}

pub fn outbox_paused(wait: Duration, error: &str) {
    error!(wait_s = wait.as_secs(), error, "outbox.paused");
}

pub fn store_trouble(doing: &str, error: &str) {
    error!(doing, error, "store.trouble");
}

pub fn store_wal_full(pages: u64, cap: u64) {
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

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(
        "{FILTER_VARIABLE}: `{found}` is not a filter, expected a level like `debug` or `info,postern::smtp=trace`"
    )]
    Filter { found: String },
    #[error("the log is set up already")]
    Twice,
}

/// Sets up the log on standard error: JSON lines, or a readable form if that is a terminal.
///
/// # Errors
/// If [`FILTER_VARIABLE`] holds no filter, or the log was set up before.
pub fn init() -> Result<(), TelemetryError> {
    let wanted = std::env::var(FILTER_VARIABLE).unwrap_or_default();
    let terminal = std::io::stderr().is_terminal();
    let dispatch = dispatch(&wanted, terminal, std::io::stderr)?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| TelemetryError::Twice)
}

fn dispatch(
    wanted: &str,
    terminal: bool,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> Result<Dispatch, TelemetryError> {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(wanted)?).with_writer(writer);
    Ok(match terminal {
        true => Dispatch::new(builder.compact().with_target(false).finish()),
        false => Dispatch::new(
            builder.json().flatten_event(true).with_current_span(false).with_span_list(false).finish(),
        ),
    })
}

/// A bare level is meant for us: what libraries log in detail may hold mail.
fn filter(wanted: &str) -> Result<EnvFilter, TelemetryError> {
    let wanted = if wanted.trim().is_empty() { "info" } else { wanted.trim() };
    let is_level = wanted.parse::<tracing::Level>().is_ok();
    let directives = if is_level { format!("warn,postern={wanted}") } else { wanted.to_owned() };
    EnvFilter::try_new(directives).map_err(|_| TelemetryError::Filter { found: wanted.to_owned() })
}

/// The vocabulary of the log, in Markdown.
#[must_use]
pub fn logging_markdown() -> String {
    let mut page = format!(
        "# The log\n\n\
         Postern logs to standard error: one JSON object per line, or a readable form if that is a terminal.\n\
         `{FILTER_VARIABLE}` says how much: a level (`error`, `warn`, `info`, `debug`; default `info`), or a filter\n\
         like `info,postern::smtp=debug`.\n\n\
         Every line has `timestamp`, `level`, `target` and `message`; `message` is the name of the event. Fields\n\
         without a value are left out. Bodies, subjects, tokens and whole addresses are never logged.\n\n\
         This page is made from `src/telemetry.rs`; a test fails when it is stale.\n"
    );
    for event in EVENTS {
        let _ = write!(page, "\n## `{}` ({})\n\n{}\n\n", event.name, event.level, event.meaning);
        page.push_str("| field | meaning |\n|---|---|\n");
        for (field, meaning) in event.fields {
            let _ = writeln!(page, "| `{field}` | {meaning} |");
        }
    }
    page
}

#[cfg(test)]
#[path = "telemetry_tests.rs"]
mod tests;
