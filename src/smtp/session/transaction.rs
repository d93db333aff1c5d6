//! One mail: MAIL, RCPT, then DATA or BDAT.

use super::{Phase, Session, Step};
use crate::domain::address::Address;
use crate::domain::mail::Envelope;
use crate::domain::time::Timestamp;
use crate::smtp::bdat::{Chunk, Then};
use crate::smtp::command::{Bdat, Mail, Rcpt};
use crate::smtp::content::Content;
use crate::smtp::data::DataReceiver;
use crate::smtp::policy::{Protocol, Refusal};
use crate::smtp::reply::Reply;

/// What MAIL began and the end of the message ends.
pub(super) struct Transaction {
    reverse_path: Option<Address>,
    smtputf8: bool,
    binary: bool,
    recipients: Vec<Address>,
    /// How often RCPT was answered 250; a recipient named twice is kept once, and LMTP owes it two replies.
    accepted: usize,
    /// The message, once BDAT has begun it.
    chunks: Option<Content>,
}

impl Transaction {
    pub(super) fn held(&self) -> usize {
        self.chunks.as_ref().map_or(0, Content::held)
    }

    pub(super) fn fail(&mut self, fault: Refusal) {
        if let Some(content) = &mut self.chunks {
            content.fail(fault);
        }
    }
}

impl Session {
    pub(super) fn mail(&mut self, mail: Mail) -> Reply {
        if self.helo.is_none() {
            return Reply::out_of_order(self.config.protocol.hello());
        }
        if self.needs_auth() {
            return Reply::refusal(Refusal::AuthRequired);
        }
        if self.transaction.is_some() {
            return Reply::refusal(Refusal::NestedMail);
        }
        // RFC 4954 §5: the parameter belongs to servers that offer AUTH.
        if mail.auth && self.config.logins.is_empty() {
            return Reply::refusal(Refusal::UnknownParameter);
        }
        // RFC 1870 §6.1: what is said to be too large need not be sent.
        if mail.size > self.config.limits.max_message_size {
            return Reply::refusal(Refusal::MessageTooLarge);
        }
        self.transaction = Some(Transaction {
            reverse_path: mail.reverse_path,
            smtputf8: mail.smtputf8,
            binary: mail.binary,
            recipients: Vec::new(),
            accepted: 0,
            chunks: None,
        });
        Reply::sender_ok()
    }

    pub(super) fn rcpt(&mut self, rcpt: Rcpt) -> Reply {
        let Some(transaction) = &mut self.transaction else {
            return Reply::out_of_order("MAIL");
        };
        if transaction.chunks.is_some() {
            return Reply::refusal(Refusal::MessageBegun);
        }
        if rcpt.needs_smtputf8 && !transaction.smtputf8 {
            return Reply::refusal(Refusal::RecipientNeedsSmtputf8);
        }
        let Some(address) = self.config.recipients.resolve(rcpt.recipient) else {
            return Reply::refusal(Refusal::NoSuchRecipient);
        };
        if !transaction.recipients.contains(&address) {
            if transaction.recipients.len() >= self.config.limits.max_recipients {
                return Reply::refusal(Refusal::TooManyRecipients);
            }
            transaction.recipients.push(address);
        }
        transaction.accepted += 1;
        Reply::recipient_ok()
    }

    pub(super) fn data(&mut self) -> Reply {
        let limits = self.config.limits;
        match self.transaction_with_recipients() {
            Err(reply) => reply,
            Ok(transaction) if transaction.chunks.is_some() => Reply::refusal(Refusal::MessageBegun),
            Ok(transaction) if transaction.binary => Reply::refusal(Refusal::BinaryNeedsBdat),
            Ok(_) => {
                self.phase = Phase::Data(DataReceiver::new(limits));
                Reply::start_data()
            }
        }
    }

    pub(super) fn bdat(&mut self, bdat: Bdat) {
        let then = match self.begin_chunk(&bdat) {
            // Chunks are bounded by the message they make. If each counted as a command, a large mail in small
            // chunks would not get through.
            Ok(then) if bdat.size > 0 => {
                self.commands = self.commands.saturating_sub(1);
                then
            }
            Ok(then) => then,
            Err(reply) => Then::Refuse(reply),
        };
        self.phase = Phase::Chunk(Chunk::new(bdat.size, then));
    }

    fn begin_chunk(&mut self, bdat: &Bdat) -> Result<Then, Reply> {
        if self.needs_tls() {
            return Err(Reply::refusal(Refusal::TlsRequired));
        }
        let last = bdat.last.clone()?;
        let limits = self.config.limits;
        let transaction = self.transaction_with_recipients()?;
        let content = transaction.chunks.get_or_insert_with(|| Content::new(limits));
        if usize::try_from(bdat.size).map_or(true, |size| size > content.room()) {
            content.fail(Refusal::MessageTooLarge);
        }
        Ok(if last { Then::Last } else { Then::More })
    }

    /// RFC 2920 §3.1: a client that pipelines must hear that there are no recipients, or it waits for a 354.
    fn transaction_with_recipients(&mut self) -> Result<&mut Transaction, Reply> {
        match &mut self.transaction {
            None => Err(Reply::out_of_order("MAIL")),
            Some(transaction) if transaction.recipients.is_empty() => {
                Err(Reply::no_valid_recipients(self.config.protocol))
            }
            Some(transaction) => Ok(transaction),
        }
    }

    /// Whether a message was begun with BDAT and not ended yet.
    pub(super) fn is_chunking(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| transaction.chunks.is_some())
    }

    /// Takes octets of the chunk under way; true when it is complete.
    pub(super) fn chunk(&mut self, input: &mut &[u8]) -> bool {
        let Phase::Chunk(chunk) = &mut self.phase else {
            return true;
        };
        let octets = chunk.take_from(input);
        let is_complete = chunk.is_complete();
        let is_refused = matches!(chunk.then, Then::Refuse(_));
        if let Some(content) = self.transaction.as_mut().and_then(|transaction| transaction.chunks.as_mut())
            && !is_refused
        {
            content.keep(octets);
        }
        is_complete
    }

    /// RFC 3030 §2: a chunk that is refused ends the transaction, and chunks that follow it are out of order: a
    /// message must not be kept with a hole in it.
    pub(super) fn end_of_chunk(&mut self, now: Timestamp) -> Option<Step> {
        let Phase::Chunk(chunk) = std::mem::replace(&mut self.phase, Phase::Command) else {
            return None;
        };
        if let Then::Refuse(reply) = chunk.then {
            self.progress += 1;
            self.transaction = None;
            self.conclude(&reply);
            return None;
        }
        let content = self.transaction.as_mut()?.chunks.as_mut()?;
        if matches!(chunk.then, Then::Last) {
            let end = content.finish();
            return self.end_of_message(end, now);
        }
        match content.fault() {
            None => self.say(&Reply::chunk_received()),
            Some(fault) => {
                self.progress += 1;
                self.transaction = None;
                self.say(&Reply::refusal(fault));
            }
        }
        None
    }

    /// Whatever the message was, the transaction is over and the next bytes are commands.
    pub(super) fn end_of_message(&mut self, end: Result<Vec<u8>, Refusal>, now: Timestamp) -> Option<Step> {
        self.progress += 1;
        self.phase = Phase::Command;
        let transaction = self.transaction.take()?;
        // RFC 2033 §4.2: each recipient has a reply of its own. A mail is kept for all of them or for none.
        let replies = match self.config.protocol {
            Protocol::Smtp => 1,
            Protocol::Lmtp => transaction.accepted,
        };
        let raw = match end {
            Ok(raw) => raw,
            Err(fault) => {
                self.say_each(&Reply::refusal(fault), replies);
                return None;
            }
        };
        self.phase = Phase::Accepting { replies };
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
}
