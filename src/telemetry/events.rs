//! The vocabulary of the log.
//!
//! **Invariant:** [`EVENTS`] lists every event with every field; `docs/logging.md` is made from it.

use std::fmt::Write as _;

use super::FILTER_VARIABLE;

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
        name: "deciders.stay_equal",
        level: "warn",
        meaning: "The system does not let the threads that decide stand back (setpriority): all is as it should be, but slower under load.",
        fields: &[("error", "what it said")],
    },
    EventDefinition {
        name: "admin.trouble",
        level: "error",
        meaning: "The admin listener could not do something. Mail goes on without it.",
        fields: &[("doing", "what was being done"), ("error", "why it failed")],
    },
    EventDefinition {
        name: "daemon.stopped",
        level: "info",
        meaning: "Postern has stopped; every accepted mail is kept.",
        fields: &[("pending", "mails that are accepted and not yet decided")],
    },
];

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
         This page is made from `src/telemetry/events.rs`; a test fails when it is stale.\n"
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
