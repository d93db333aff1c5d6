//! The gate: mail in over SMTP and LMTP.
//!
//! | file | what it does |
//! |---|---|
//! | `session` | the state machine of one connection: bytes in; replies, mails and "close" out. No socket, no clock |
//! | `policy` | what an operator decides: recipients, limits, TLS, logins |
//! | `line`, `command` | bytes to lines, a line to a command by the grammar of `smtp-proto` |
//! | `data`, `bdat` | the bytes after DATA: strict CRLF, dot-unstuffing; the octets after BDAT |
//! | `content` | the message under way, and the limits on it |
//! | `auth` | the exchanges of AUTH PLAIN and LOGIN |
//! | `reply`, `refusal` | every reply we can give, and the table of those that refuse |
//! | `listener` | takes connections on one socket, within bounds, until shutdown |
//! | `connection` | one client's connection: time-outs, pace, log event; drives a session |
//! | `socket` | listening sockets, TCP and Unix: bound here or handed over |
//! | `stream` | what is read from and written to, in the clear or inside TLS |
//! | `tls` | the certificate we show, which can be changed while we run |
//! | `proxy` | the PROXY header that says for whom a proxy speaks |
//! | `pace` | how slowly a message may come |
//! | `bounds` | what connections share: places, room for messages under way, buffers |
//!
//! Follows RFC 5321 (SMTP), 2033 (LMTP), 1870 (SIZE), 2920 (PIPELINING), 3030 (CHUNKING, BINARYMIME), 3207
//! (STARTTLS), 4954 (AUTH), 6152 (8BITMIME), 6531 (SMTPUTF8), and 2034 with 3463 (enhanced status codes).
//!
//! **Invariant:** 250 after DATA is said only after [`Accept::accept`] has answered `Ok`; the store's commit
//! lies behind it, and the listener never sees the store.
//! **Invariant:** one DATA makes at most one mail. Only `CRLF . CRLF` ends it, and a message that holds a
//! CR or LF of its own is refused whole, so nobody can smuggle a second mail inside a first.
//! **Invariant:** what BDAT announced is consumed as octets, whatever became of the command, and kept as it came:
//! its end is counted, so a CR or LF in it means nothing to us. Where the count cannot be known we hang up.
//! **Invariant:** bytes that came before TLS are never executed after it.
//! **Invariant:** what one client can make us hold or do is bounded: line, message, recipients, errors,
//! commands, time, connections, and the bytes of all messages under way together.
//!
//! Where we are more patient than RFC 5321 asks:
//! - Bytes that arrive before the greeting was sent are read after it. Refusing early talkers is a spam
//!   defence; it belongs to the mail server in front of us, and here could only cost mail.
//! - Lines of text longer than 1,000 octets, NUL bytes and 8-bit text without `BODY=8BITMIME` are kept as
//!   they came: a support mail that is badly formed is still a support mail.
//! - Parameters are taken after HELO too.
//! - A recipient named twice is kept once (and has two replies in LMTP, one for each RCPT).
//!
//! Where we are stricter: a bare CR or LF is refused, in commands and in messages that come by DATA. XCLIENT is not
//! offered.

pub mod listener;
pub mod policy;
pub mod session;
pub mod tls;

mod auth;
mod bdat;
mod bounds;
mod command;
mod connection;
mod content;
mod data;
mod line;
mod pace;
mod proxy;
mod refusal;
mod reply;
mod socket;
mod stream;

use std::future::Future;

use crate::domain::ids::JournalId;
use crate::domain::mail::Envelope;

/// Takes a received mail into safe keeping. What stands behind it is none of the listener's business.
pub trait Accept: Send + Sync + 'static {
    /// Held from MAIL on, while a message comes in and until it is answered.
    type Receiving: Send;

    /// A client began a mail transaction: another mail will want to be kept soon.
    fn receiving(&self) -> Self::Receiving;

    /// Answers `Ok` only when the mail will survive a crash: the client is told 250 right after.
    fn accept(
        &self,
        envelope: Envelope,
        raw: Vec<u8>,
    ) -> impl Future<Output = Result<JournalId, Refused>> + Send;
}

/// Why a mail could not be taken now. Always temporary: the client keeps it and tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The store failed.
    #[error("the store is in trouble")]
    Storage,
    /// There is no room.
    #[error("there is no room")]
    Full,
    /// There is too much work, or we are stopping.
    #[error("there is too much to do")]
    Busy,
}
