//! The vocabulary of the metrics: every one there is, in the order of a mail's life.
//!
//! Label values come from our code and the names of entrances; none comes from a mail or a client, so the number of series
//! stays small.

use super::Kind::{Counter, Gauge, Histogram};
use super::{Label, Metric};

const ENTRANCE: Label = Label::open("entrance", "the listener's name, or `deliver`");

/// From a tenth of a millisecond, which is one fsync of a good disk, to the half minute after which something is wrong.
const STAGE_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0,
];

pub const SESSIONS_OPEN: Metric = Metric {
    name: "postern_smtp_sessions_open",
    kind: Gauge,
    unit: "sessions",
    labels: &[ENTRANCE],
    meaning: "Connections that are open now.",
};
pub const SESSIONS_ENDED: Metric = Metric {
    name: "postern_smtp_sessions_ended_total",
    kind: Counter,
    unit: "sessions",
    labels: &[ENTRANCE, Label::open("reason", "as in the event `smtp.session`")],
    meaning: "Connections that ended.",
};
pub const SMTP_REFUSED: Metric = Metric {
    name: "postern_smtp_refused_total",
    kind: Counter,
    unit: "refusals",
    labels: &[ENTRANCE, Label::open("refusal", "as in the event `smtp.refused`")],
    meaning: "Commands, mails and connections that were refused, for now or for good.",
};
pub const ACCEPT_FAILURES: Metric = Metric {
    name: "postern_smtp_accept_failures_total",
    kind: Counter,
    unit: "failures",
    labels: &[ENTRANCE],
    meaning: "Connections that could not be taken, most often for want of file descriptors.",
};
pub const BYTES_IN_FLIGHT: Metric = Metric {
    name: "postern_smtp_in_flight_bytes",
    kind: Gauge,
    unit: "bytes",
    labels: &[],
    meaning: "Bytes held for the mails that are coming in now.",
};
pub const MAILS_ACCEPTED: Metric = Metric {
    name: "postern_mails_accepted_total",
    kind: Counter,
    unit: "mails",
    labels: &[ENTRANCE],
    meaning: "Mails that are kept: 250 was the truth.",
};
pub const MAILS_DECIDED: Metric = Metric {
    name: "postern_mails_decided_total",
    kind: Counter,
    unit: "mails",
    labels: &[
        Label::open("outcome", "`public`, `private`, `no_comment`, or why the mail was held or discarded"),
        Label::open("rule", "the privacy rule that decided, or `none`"),
    ],
    meaning: "Mails whose decision is committed. A mail that a person lets in is decided a second time.",
};
pub const MAIL_FAILURES: Metric = Metric {
    name: "postern_mail_failures_total",
    kind: Counter,
    unit: "tries",
    labels: &[],
    meaning: "Tries to decide a mail that ended in a failure. The third one makes the mail `failed`.",
};
pub const STAGE_SECONDS: Metric = Metric {
    name: "postern_stage_seconds",
    kind: Histogram(STAGE_BUCKETS),
    unit: "seconds",
    labels: &[Label {
        name: "stage",
        meaning: "`accept`: from the last byte of a mail to its commit; `parse`; `wait`: for earlier mails it belongs to; \
                  `read`: the snapshot; `decide`: identify, judge, apply, plan; `commit`: from the plan to its commit; \
                  `send`: a notification to the smarthost",
        values: &["accept", "parse", "wait", "read", "decide", "commit", "send"],
    }],
    meaning: "How long each stage of a mail's way takes.",
};
pub const JOURNAL_MAILS: Metric = Metric {
    name: "postern_journal_mails",
    kind: Gauge,
    unit: "mails",
    labels: &[Label {
        name: "state",
        meaning: "`pending`, `done`, `suspended` (held for a person), `discarded` or `failed`",
        values: &[],
    }],
    meaning: "Accepted mails by what became of them; together, all mails ever accepted.",
};
pub const PENDING_AGE: Metric = Metric {
    name: "postern_pending_oldest_age_seconds",
    kind: Gauge,
    unit: "seconds",
    labels: &[],
    meaning: "Since when the oldest undecided mail waits; 0 if none does.",
};
pub const OUTBOX_MAILS: Metric = Metric {
    name: "postern_outbox_mails",
    kind: Gauge,
    unit: "mails",
    labels: &[Label {
        name: "state",
        meaning: "`queued`, `sending`, `held` (since a restore), `dead`, `cancelled`, or `unrendered` (its template failed; the text is owed)",
        values: &[],
    }],
    meaning: "Notifications promised and not sent, by what became of them.",
};
pub const OUTBOX_AGE: Metric = Metric {
    name: "postern_outbox_oldest_age_seconds",
    kind: Gauge,
    unit: "seconds",
    labels: &[],
    meaning: "Since when the oldest notification that is to be sent waits; 0 if none does.",
};
pub const OUTBOX_RESULTS: Metric = Metric {
    name: "postern_outbox_results_total",
    kind: Counter,
    unit: "tries",
    labels: &[Label {
        name: "result",
        meaning: "`sent`; `deferred`: tried again later; `dead`: refused for good or tried for too long; `cancelled`",
        values: &["sent", "deferred", "dead", "cancelled"],
    }],
    meaning: "What came of each try to send a notification.",
};
pub const OUTBOX_PAUSES: Metric = Metric {
    name: "postern_outbox_pauses_total",
    kind: Counter,
    unit: "pauses",
    labels: &[],
    meaning: "Times that sending paused because the smarthost refuses us as a whole, or cannot be reached.",
};
pub const STORE_TROUBLES: Metric = Metric {
    name: "postern_store_troubles_total",
    kind: Counter,
    unit: "troubles",
    labels: &[],
    meaning: "Times that the store could not do something, as in the event `store.trouble`.",
};
pub const COMMITS: Metric = Metric {
    name: "postern_commits_total",
    kind: Counter,
    unit: "commits",
    labels: &[],
    meaning: "Commits that wrote something.",
};
pub const FLUSHES: Metric = Metric {
    name: "postern_flushes_total",
    kind: Counter,
    unit: "flushes",
    labels: &[],
    meaning: "Times that the write-ahead log was brought to the disk; one serves all commits before it.",
};
pub const JOBS: Metric = Metric {
    name: "postern_jobs_total",
    kind: Counter,
    unit: "jobs",
    labels: &[],
    meaning: "Jobs that were committed: mails accepted, decisions, results of sending. Jobs per commit is the size of a group.",
};
pub const FLUSH_SECONDS: Metric = Metric {
    name: "postern_flush_mean_seconds",
    kind: Gauge,
    unit: "seconds",
    labels: &[],
    meaning: "Running mean of the time that a flush takes.",
};
pub const WAL_PAGES: Metric = Metric {
    name: "postern_wal_pages",
    kind: Gauge,
    unit: "pages",
    labels: &[],
    meaning: "Pages in the write-ahead log.",
};
pub const WAL_CAP: Metric = Metric {
    name: "postern_wal_cap_pages",
    kind: Gauge,
    unit: "pages",
    labels: &[],
    meaning: "The most pages it may have: then nothing is taken until readers end.",
};
pub const WAL_FULL: Metric = Metric {
    name: "postern_wal_full_total",
    kind: Counter,
    unit: "times",
    labels: &[],
    meaning: "Times that the write-ahead log was at its cap and could not be emptied.",
};
pub const DATABASE_BYTES: Metric = Metric {
    name: "postern_database_bytes",
    kind: Gauge,
    unit: "bytes",
    labels: &[],
    meaning: "Size of the database file, without its write-ahead log.",
};
pub const BLOB_BYTES: Metric = Metric {
    name: "postern_blob_bytes",
    kind: Gauge,
    unit: "bytes",
    labels: &[],
    meaning: "Large mails and attachments in files, as of the last proof of the books.",
};
pub const DISK_FREE: Metric = Metric {
    name: "postern_disk_free_bytes",
    kind: Gauge,
    unit: "bytes",
    labels: &[],
    meaning: "What the file system of the data directory has left for us.",
};
pub const BOOKS_BALANCED: Metric = Metric {
    name: "postern_books_balanced",
    kind: Gauge,
    unit: "truth",
    labels: &[],
    meaning: "1 if the last proof of the books found nothing wrong, as `postern audit` would; else 0.",
};
pub const BOOKS_CHECKED: Metric = Metric {
    name: "postern_books_checked_timestamp_seconds",
    kind: Gauge,
    unit: "seconds",
    labels: &[],
    meaning: "When the books were proved last, in seconds since 1970.",
};
pub const READY: Metric = Metric {
    name: "postern_ready",
    kind: Gauge,
    unit: "truth",
    labels: &[],
    meaning: "1 if new mail is taken, as `/readyz` says; else 0.",
};
pub const BUILD_INFO: Metric = Metric {
    name: "postern_build_info",
    kind: Gauge,
    unit: "always 1",
    labels: &[Label::open("version", "the program's version")],
    meaning: "Which version runs.",
};
pub const START_TIME: Metric = Metric {
    name: "process_start_time_seconds",
    kind: Gauge,
    unit: "seconds",
    labels: &[],
    meaning: "When this process began to serve, in seconds since 1970.",
};
pub const RESIDENT_BYTES: Metric = Metric {
    name: "process_resident_memory_bytes",
    kind: Gauge,
    unit: "bytes",
    labels: &[],
    meaning: "Memory in use.",
};
pub const OPEN_FILES: Metric = Metric {
    name: "process_open_fds",
    kind: Gauge,
    unit: "descriptors",
    labels: &[],
    meaning: "File descriptors in use.",
};
pub const MAX_FILES: Metric = Metric {
    name: "process_max_fds",
    kind: Gauge,
    unit: "descriptors",
    labels: &[],
    meaning: "File descriptors there may be.",
};

/// Every metric there is.
pub const METRICS: &[Metric] = &[
    SESSIONS_OPEN,
    SESSIONS_ENDED,
    SMTP_REFUSED,
    ACCEPT_FAILURES,
    BYTES_IN_FLIGHT,
    MAILS_ACCEPTED,
    MAILS_DECIDED,
    MAIL_FAILURES,
    STAGE_SECONDS,
    JOURNAL_MAILS,
    PENDING_AGE,
    OUTBOX_MAILS,
    OUTBOX_AGE,
    OUTBOX_RESULTS,
    OUTBOX_PAUSES,
    STORE_TROUBLES,
    COMMITS,
    FLUSHES,
    JOBS,
    FLUSH_SECONDS,
    WAL_PAGES,
    WAL_CAP,
    WAL_FULL,
    DATABASE_BYTES,
    BLOB_BYTES,
    DISK_FREE,
    BOOKS_BALANCED,
    BOOKS_CHECKED,
    READY,
    BUILD_INFO,
    START_TIME,
    RESIDENT_BYTES,
    OPEN_FILES,
    MAX_FILES,
];
