//! The state machine of one SMTP connection. Bytes in; replies, mails and "close" out.
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
//! 5. [`Step::Close`]: write the last replies and close.
//!
//! Replies gather until the session needs input, so a client that sends its commands together (RFC 2920) gets
//! the replies together.

use std::net::IpAddr;
use std::sync::Arc;

use super::Refused;
use super::command::{self, Command, Line, Mail, Rcpt};
use super::data::{DataReceiver, Fault};
use super::policy::SessionConfig;
use super::reply::Reply;
use crate::domain::address::Address;
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
    Close(Ending),
}

/// What the next bytes should be; the driver's time-outs differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaiting {
    Command,
    Data,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Quit,
    TooManyErrors,
    TooManyCommands,
    TimedOut,
    Shutdown,
}

#[derive(Debug)]
pub struct Session {
    config: Arc<SessionConfig>,
    client: Option<IpAddr>,
    phase: Phase,
    line: Line,
    helo: Option<String>,
    transaction: Option<Transaction>,
    replies: Vec<u8>,
    stopping: bool,
    /// Since the last accepted mail: a relay that keeps its connection for hours is not cut off.
    errors: usize,
    commands: usize,
    progress: u64,
}

#[derive(Debug)]
enum Phase {
    Command,
    Data(DataReceiver),
    /// A mail is with the driver.
    Accepting,
    Closed(Ending),
}

/// What MAIL began and DATA ends.
#[derive(Debug)]
struct Transaction {
    reverse_path: Option<Address>,
    smtputf8: bool,
    recipients: Vec<Address>,
}

impl Session {
    #[must_use]
    pub fn new(config: Arc<SessionConfig>, client: Option<IpAddr>) -> Self {
        let mut session = Self {
            config,
            client,
            phase: Phase::Command,
            line: Line::default(),
            helo: None,
            transaction: None,
            replies: Vec::new(),
            stopping: false,
            errors: 0,
            commands: 0,
            progress: 0,
        };
        let greeting = Reply::greeting(&session.config.hostname);
        session.say(&greeting);
        session
    }

    /// Goes on with the bytes in `input` until it needs the driver. `now` becomes the time of acceptance of a
    /// mail that ends in them.
    pub fn handle(&mut self, input: &mut &[u8], now: Timestamp) -> Step {
        loop {
            match &mut self.phase {
                Phase::Closed(ending) => return Step::Close(*ending),
                Phase::Accepting => return Step::NeedInput(Awaiting::Data),
                Phase::Command if self.stopping => self.close(&Reply::shutting_down(), Ending::Shutdown),
                Phase::Command => {
                    let Some(line) = self.line.take_from(input, self.config.limits.max_line_length) else {
                        return Step::NeedInput(Awaiting::Command);
                    };
                    self.command_line(line);
                }
                Phase::Data(receiver) => {
                    let Some(end) = receiver.receive(input) else {
                        return Step::NeedInput(Awaiting::Data);
                    };
                    if let Some(step) = self.end_of_data(end, now) {
                        return step;
                    }
                }
            }
        }
    }

    /// What became of the mail that [`Step::Accept`] gave out.
    pub fn answer(&mut self, verdict: Result<JournalId, Refused>) {
        if !matches!(self.phase, Phase::Accepting) {
            return;
        }
        self.phase = Phase::Command;
        match verdict {
            Ok(id) => {
                self.errors = 0;
                self.commands = 0;
                self.say(&Reply::kept(id));
            }
            Err(refused) => self.say(&Reply::refused(refused)),
        }
    }

    /// The replies to write, in order; empties the store of them.
    #[must_use]
    pub fn take_replies(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.replies)
    }

    /// Grows with every command and message completed. A deadline that starts anew only when this has moved
    /// also ends a client that sends one byte a minute.
    #[must_use]
    pub fn progress(&self) -> u64 {
        self.progress
    }

    /// Bytes held for the message under way.
    #[must_use]
    pub fn held(&self) -> usize {
        match &self.phase {
            Phase::Data(receiver) => receiver.held(),
            Phase::Command | Phase::Accepting | Phase::Closed(_) => 0,
        }
    }

    /// Drops the message under way. It is read to its end and then refused with 452.
    pub fn drop_message(&mut self) {
        if let Phase::Data(receiver) = &mut self.phase {
            receiver.fail(Fault::NoRoom);
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
        self.close(&Reply::timed_out(), Ending::TimedOut);
    }

    fn command_line(&mut self, line: Result<Vec<u8>, Reply>) {
        self.progress += 1;
        self.commands += 1;
        if self.commands > self.config.limits.max_commands {
            return self.close(&Reply::too_many_commands(), Ending::TooManyCommands);
        }
        let reply = match line.and_then(|line| command::parse(&line)) {
            Ok(Command::Quit) => return self.close(&Reply::goodbye(), Ending::Quit),
            Ok(command) => self.command(command),
            Err(reply) => reply,
        };
        self.say(&reply);
        if !reply.is_error() {
            return;
        }
        self.errors += 1;
        if self.errors >= self.config.limits.max_errors {
            self.close(&Reply::too_many_errors(), Ending::TooManyErrors);
        }
    }

    fn command(&mut self, command: Command) -> Reply {
        match command {
            Command::Ehlo(name) => {
                self.hello(name);
                Reply::ehlo(&self.config.hostname, self.config.limits.max_message_size)
            }
            Command::Helo(name) => {
                self.hello(name);
                Reply::helo(&self.config.hostname)
            }
            Command::Mail(mail) => self.mail(mail),
            Command::Rcpt(rcpt) => self.rcpt(rcpt),
            Command::Data => self.data(),
            Command::Rset => {
                self.transaction = None;
                Reply::ok()
            }
            Command::Noop => Reply::ok(),
            Command::Vrfy => Reply::cannot_verify(),
            Command::Help => Reply::help(),
            Command::Quit => Reply::goodbye(),
        }
    }

    /// RFC 5321 §4.1.4: a second EHLO works like RSET.
    fn hello(&mut self, name: String) {
        self.helo = Some(name);
        self.transaction = None;
    }

    fn mail(&mut self, mail: Mail) -> Reply {
        if self.helo.is_none() {
            return Reply::out_of_order("EHLO");
        }
        if self.transaction.is_some() {
            return Reply::nested_mail();
        }
        // RFC 1870 §6.1: what is said to be too large need not be sent.
        if mail.size > self.config.limits.max_message_size {
            return Reply::message_too_large();
        }
        self.transaction = Some(Transaction {
            reverse_path: mail.reverse_path,
            smtputf8: mail.smtputf8,
            recipients: Vec::new(),
        });
        Reply::sender_ok()
    }

    fn rcpt(&mut self, rcpt: Rcpt) -> Reply {
        let Some(transaction) = &mut self.transaction else {
            return Reply::out_of_order("MAIL");
        };
        if rcpt.needs_smtputf8 && !transaction.smtputf8 {
            return Reply::recipient_needs_smtputf8();
        }
        let Some(address) = self.config.recipients.resolve(rcpt.recipient) else {
            return Reply::no_such_recipient();
        };
        if transaction.recipients.contains(&address) {
            return Reply::recipient_ok();
        }
        if transaction.recipients.len() >= self.config.limits.max_recipients {
            return Reply::too_many_recipients();
        }
        transaction.recipients.push(address);
        Reply::recipient_ok()
    }

    fn data(&mut self) -> Reply {
        match &self.transaction {
            None => Reply::out_of_order("MAIL"),
            // RFC 2920 §3.1: a client that pipelines must hear this, or it waits for a 354.
            Some(transaction) if transaction.recipients.is_empty() => Reply::no_valid_recipients(),
            Some(_) => {
                self.phase = Phase::Data(DataReceiver::new(self.config.limits.max_message_size));
                Reply::start_data()
            }
        }
    }

    /// Whatever the message was, the transaction is over and the next bytes are commands.
    fn end_of_data(&mut self, end: Result<Vec<u8>, Fault>, now: Timestamp) -> Option<Step> {
        self.progress += 1;
        self.phase = Phase::Command;
        let transaction = self.transaction.take()?;
        let raw = match end {
            Ok(raw) => raw,
            Err(fault) => {
                self.say(&match fault {
                    Fault::BareLineEnd => Reply::bare_line_end_in_message(),
                    Fault::TooLarge => Reply::message_too_large(),
                    Fault::NoRoom => Reply::refused(Refused::Full),
                });
                return None;
            }
        };
        self.phase = Phase::Accepting;
        let envelope = Box::new(Envelope {
            entrance: self.config.entrance.clone(),
            client: self.client,
            helo: self.helo.clone(),
            reverse_path: transaction.reverse_path,
            recipients: transaction.recipients,
            accepted_at: now,
        });
        Some(Step::Accept { envelope, raw })
    }

    fn say(&mut self, reply: &Reply) {
        reply.write_to(&mut self.replies);
    }

    fn close(&mut self, last_words: &Reply, ending: Ending) {
        self.say(last_words);
        self.phase = Phase::Closed(ending);
    }
}
