//! The state machine of one SMTP or LMTP connection. Bytes in; replies, mails and "close" out.
//!
//! **Invariant:** no socket, no clock, no policy of its own beyond [`SessionConfig`]. Whoever owns the socket
//! owns the loop:
//!
//! 1. [`Session::new`] has the greeting ready.
//! 2. Call [`Session::handle`] with the bytes that have come (none is fine). It takes what it can use off the
//!    front of them and stops at the first thing it needs the driver for.
//! 3. [`Step::NeedInput`]: write what [`Session::take_replies`] gives, read more, go to 2.
//! 4. [`Step::Accept`]: put the mail into safe keeping, tell the session with [`Session::answer`], go to 2 with
//!    the bytes that are left. Until then the session uses no more bytes.
//! 5. [`Step::StartTls`]: write the replies, throw away every byte that was read and not handed over yet, do the
//!    handshake, call [`Session::secured`], go to 2. If the handshake fails, close.
//! 6. [`Step::Close`]: write the last replies and close.
//!
//! Replies gather until the session needs input, so a client that sends its commands together (RFC 2920) gets
//! the replies together.
//!
//! **Invariant:** bytes that came before TLS are never executed after it: the session drops what it was given
//! beyond STARTTLS, and with [`Session::secured`] all that it had learned (RFC 3207 §4.2).

mod hello;
mod security;
mod transaction;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use self::transaction::Transaction;
use super::Refused;
use super::auth::{self, Exchange};
use super::bdat::Chunk;
use super::command::{self, Command};
use super::data::DataReceiver;
use super::line::Line;
use super::policy::{Protocol, Refusal, SessionConfig};
use super::reply::Reply;
use crate::domain::ids::JournalId;
use crate::domain::mail::Envelope;
use crate::domain::time::Timestamp;

/// What the session needs its driver for.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// All bytes are used up and more are needed.
    NeedInput(Awaiting),
    /// A mail was received whole.
    Accept {
        envelope: Box<Envelope>,
        raw: Vec<u8>,
    },
    /// The client waits for the handshake.
    StartTls,
    Close(Ending),
}

/// What the next bytes should be; the driver's time-outs differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaiting {
    Command,
    /// A message is under way, be it between two of its chunks.
    Data,
}

/// What the bytes come through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Plain,
    /// TLS.
    Secure,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Quit,
    Shutdown,
    Refused(Refusal),
}

pub struct Session {
    config: Arc<SessionConfig>,
    client: Option<IpAddr>,
    channel: Channel,
    phase: Phase,
    line: Line,
    helo: Option<String>,
    authenticated: bool,
    transaction: Option<Transaction>,
    replies: Vec<u8>,
    refusals: Vec<Refusal>,
    stopping: bool,
    /// Since the last accepted mail: a relay that keeps its connection for hours is not cut off.
    errors: usize,
    commands: usize,
    auth_failures: usize,
    progress: u64,
}

enum Phase {
    Command,
    /// AUTH waits for a response.
    Auth(Exchange),
    Data(DataReceiver),
    Chunk(Chunk),
    /// A mail is with the driver; so many replies are owed for it.
    Accepting {
        replies: usize,
    },
    /// The connection is with the driver, for the TLS handshake.
    Handshake,
    Closed(Ending),
}

impl Session {
    #[must_use]
    pub fn new(config: Arc<SessionConfig>, client: Option<IpAddr>, channel: Channel) -> Self {
        let mut session = Self {
            config,
            client,
            channel,
            phase: Phase::Command,
            line: Line::default(),
            helo: None,
            authenticated: false,
            transaction: None,
            replies: Vec::new(),
            refusals: Vec::new(),
            stopping: false,
            errors: 0,
            commands: 0,
            auth_failures: 0,
            progress: 0,
        };
        let greeting = Reply::greeting(&session.config.hostname, session.config.protocol);
        session.say(&greeting);
        session
    }

    /// Goes on with the bytes in `input` until it needs the driver. `now` becomes the time of acceptance of a
    /// mail that ends in them.
    pub fn handle(&mut self, input: &mut &[u8], now: Timestamp) -> Step {
        loop {
            let chunking = self.is_chunking();
            let max_line = self.config.limits.max_line_length;
            match &mut self.phase {
                Phase::Closed(ending) => return Step::Close(*ending),
                Phase::Accepting { .. } => return Step::NeedInput(Awaiting::Data),
                Phase::Handshake => {
                    *input = &[];
                    return Step::StartTls;
                }
                Phase::Command | Phase::Auth(_) if self.stopping && !chunking => {
                    self.close(&Reply::shutting_down(), Ending::Shutdown);
                }
                Phase::Command => {
                    let Some(line) = self.line.take_from(input, max_line) else {
                        return Step::NeedInput(if chunking { Awaiting::Data } else { Awaiting::Command });
                    };
                    self.command_line(&line);
                }
                Phase::Auth(_) => {
                    let Some(line) = self.line.take_from(input, max_line.max(auth::MAX_LINE + 2)) else {
                        return Step::NeedInput(Awaiting::Command);
                    };
                    self.auth_line(&line);
                }
                Phase::Data(receiver) => {
                    let Some(end) = receiver.receive(input) else {
                        return Step::NeedInput(Awaiting::Data);
                    };
                    if let Some(step) = self.end_of_message(end, now) {
                        return step;
                    }
                }
                Phase::Chunk(_) => {
                    if !self.chunk(input) {
                        return Step::NeedInput(Awaiting::Data);
                    }
                    if let Some(step) = self.end_of_chunk(now) {
                        return step;
                    }
                }
            }
        }
    }

    /// What became of the mail that [`Step::Accept`] gave out.
    pub fn answer(&mut self, verdict: Result<JournalId, Refused>) {
        let Phase::Accepting { replies } = self.phase else {
            return;
        };
        self.phase = Phase::Command;
        match verdict {
            Ok(id) => {
                self.errors = 0;
                self.commands = 0;
                self.say_each(&Reply::kept(id), replies);
            }
            Err(refused) => self.say_each(&Reply::refusal(refused.into()), replies),
        }
    }

    /// The handshake that [`Step::StartTls`] asked for has succeeded. All that the client said before is
    /// forgotten: somebody else may have said it.
    pub fn secured(&mut self) {
        if !matches!(self.phase, Phase::Handshake) {
            return;
        }
        self.phase = Phase::Command;
        self.channel = Channel::Secure;
        self.helo = None;
        self.transaction = None;
        self.authenticated = false;
        self.progress += 1;
    }

    /// The replies to write, in order; empties the store of them.
    #[must_use]
    pub fn take_replies(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.replies)
    }

    /// What was refused since this was last asked: for log and metrics, once each.
    #[must_use]
    pub fn take_refusals(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.refusals)
    }

    /// Grows with every command and message completed, but not between the chunks of a message. A deadline that
    /// starts anew only when this has moved also ends a client that sends one byte a minute.
    #[must_use]
    pub fn progress(&self) -> u64 {
        self.progress
    }

    /// From an accepted MAIL on, until the message is answered or given up.
    #[must_use]
    pub fn has_transaction(&self) -> bool {
        self.transaction.is_some() || matches!(self.phase, Phase::Data(_))
    }

    /// Bytes held for the message under way.
    #[must_use]
    pub fn held(&self) -> usize {
        match (&self.phase, &self.transaction) {
            (Phase::Data(receiver), _) => receiver.held(),
            (_, Some(transaction)) => transaction.held(),
            (_, None) => 0,
        }
    }

    /// Drops the message under way. It is read to its end, or to the end of its chunk, and then refused with 452.
    pub fn drop_message(&mut self) {
        match (&mut self.phase, &mut self.transaction) {
            (Phase::Data(receiver), _) => receiver.fail(Refusal::NoRoom),
            (_, Some(transaction)) => transaction.fail(Refusal::NoRoom),
            (_, None) => {}
        }
    }

    /// Ends the session with 421 at the next place between mails; a message under way may end first.
    pub fn shut_down(&mut self) {
        self.stopping = true;
    }

    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Ends the session with 421 at once: the driver has waited long enough.
    pub fn time_out(&mut self) {
        self.refuse_connection(Refusal::TimedOut);
    }

    /// Ends the session at once, saying why.
    pub fn refuse_connection(&mut self, refusal: Refusal) {
        self.close(&Reply::refusal(refusal), Ending::Refused(refusal));
    }

    fn command_line(&mut self, line: &Line) {
        let was_chunking = self.is_chunking();
        self.commands += 1;
        if self.commands > self.config.limits.max_commands {
            return self.refuse_connection(Refusal::TooManyCommands);
        }
        match command::parse(line) {
            Ok(command) => self.command(command),
            Err(reply) => {
                self.conclude(&reply);
                if line.is_bdat() {
                    self.refuse_connection(Refusal::ChunkSizeUnknown);
                }
            }
        }
        if !(was_chunking && self.is_chunking()) {
            self.progress += 1;
        }
    }

    fn command(&mut self, command: Command) {
        let protocol = self.config.protocol;
        let reply = match command {
            Command::Quit => return self.close(&Reply::goodbye(), Ending::Quit),
            Command::Noop => Reply::ok(),
            Command::Ehlo(name) if protocol == Protocol::Smtp => self.hello(name, Self::ehlo),
            Command::Lhlo(name) if protocol == Protocol::Lmtp => self.hello(name, Self::ehlo),
            Command::Helo(name) if protocol == Protocol::Smtp => self.hello(name, Self::helo),
            Command::Ehlo(_) | Command::Helo(_) | Command::Lhlo(_) => Reply::refusal(Refusal::UnknownCommand),
            Command::StartTls => self.start_tls(),
            Command::Bdat(bdat) => return self.bdat(bdat),
            _ if self.needs_tls() => Reply::refusal(Refusal::TlsRequired),
            Command::Auth(auth) => return self.auth(auth),
            Command::Mail(mail) => self.mail(mail),
            Command::Rcpt(rcpt) => self.rcpt(rcpt),
            Command::Data => self.data(),
            Command::Rset => {
                self.transaction = None;
                Reply::ok()
            }
            Command::Vrfy => Reply::cannot_verify(),
            Command::Help => self.help(),
        };
        self.conclude(&reply);
    }

    /// Says the reply that a command ends with, and counts it if it is an error.
    fn conclude(&mut self, reply: &Reply) {
        self.say(reply);
        if !reply.is_error() {
            return;
        }
        self.errors += 1;
        if self.errors >= self.config.limits.max_errors {
            self.refuse_connection(Refusal::TooManyErrors);
        }
    }

    fn say(&mut self, reply: &Reply) {
        self.say_each(reply, 1);
    }

    /// Says the same for each of several recipients; it is one refusal for all that.
    fn say_each(&mut self, reply: &Reply, count: usize) {
        for _ in 0..count {
            reply.write_to(&mut self.replies);
        }
        self.refusals.extend(reply.refused());
    }

    /// The first reason stands.
    fn close(&mut self, last_words: &Reply, ending: Ending) {
        if matches!(self.phase, Phase::Closed(_)) {
            return;
        }
        self.say(last_words);
        self.phase = Phase::Closed(ending);
        self.transaction = None;
    }
}

/// Without what the client has said: passwords are among it.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("entrance", &self.config.entrance.name)
            .field("client", &self.client)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}
