//! The order in which a mail is decided, and nothing else: author ► identify ► duplicate ► admission ►
//! commands (read) ► privacy ► commands (apply). The stages do not know one another; this module asks each in turn.
//!
//! **Invariant:** pure. `prepare` says what to ask the store, `decide` turns the answer into an outcome; the same
//! input gives the same outcome, so a decision may be made again whenever a precondition no longer holds.

mod author;
mod build;
mod draft;
mod facts;
mod participants;
mod relation;

use std::collections::{BTreeMap, BTreeSet};

use crate::admission;
use crate::authenticate::{Authentication, authenticate};
use crate::commands::{self, CommandBlock};
use crate::domain::address::Address;
use crate::domain::fate::{DiscardReason, Fate, SuspensionCause};
use crate::domain::ids::{Fresh, JournalId, Salt, SuspendedId, TicketId};
use crate::domain::mail::{Envelope, InboundMessage};
use crate::domain::plan::{Change, MailRecord};
use crate::domain::settings::Settings;
use crate::domain::snapshot::{
    EarlierMail, Lookup, MailKey, SenderTrust, Snapshot, SuspendedTicket, TicketFile,
};
use crate::domain::ticket::Status;
use crate::domain::token::KeyRing;
use crate::domain::trace::Trace;
use crate::identify::{self, Clues, Identification, OwnMail};
use crate::message::stripped;
use crate::privacy;

use author::Author;
use draft::Basis;
use relation::Relation;

/// What every decision of this account is made with.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    pub settings: &'a Settings,
    pub keys: &'a KeyRing,
    /// The secret of the private fingerprints (rule 9).
    pub recall_key: &'a [u8; 32],
    /// Texts of our own templates, which never count as repeated private text.
    pub template_texts: &'a [String],
}

/// A parsed mail with all that was read off it before the store was asked.
#[derive(Debug)]
pub struct Prepared<'a> {
    pub journal: JournalId,
    pub message: &'a InboundMessage,
    pub envelope: &'a Envelope,
    /// The suspended ticket a person lets in: the mail is decided again with their word for it.
    pub recovers: Option<SuspendedId>,
    clues: Clues,
    /// What the clues ask of the store, once the salts of the claimed tickets are known.
    asked: Lookup,
    authentication: Authentication,
    commands: CommandBlock,
}

/// The answer about one mail, with how its ticket was found.
#[derive(Debug)]
pub struct Decided {
    pub outcome: Outcome,
    pub identified_by: identify::Clue,
    pub trust: SenderTrust,
}

/// What becomes of the mail.
#[derive(Debug)]
pub enum Outcome {
    Update(Box<Change>),
    Suspend { held: SuspendedTicket, record: MailRecord },
    Discard { reason: DiscardReason, record: MailRecord, bounced: Option<Address>, trace: Trace },
}

impl Outcome {
    #[must_use]
    pub fn trace(&self) -> &Trace {
        match self {
            Self::Update(change) => &change.trace,
            Self::Suspend { held, .. } => &held.trace,
            Self::Discard { trace, .. } => trace,
        }
    }
}

/// Reads off the mail everything a decision can need.
#[must_use]
pub fn prepare<'a>(
    journal: JournalId,
    message: &'a InboundMessage,
    envelope: &'a Envelope,
    recovers: Option<SuspendedId>,
    policy: &Policy<'_>,
) -> Prepared<'a> {
    Prepared {
        journal,
        message,
        envelope,
        recovers,
        clues: identify::clues(message, envelope, &text_of_html(message), policy.settings),
        asked: Lookup::default(),
        authentication: authenticate(message, envelope),
        commands: commands::parse(&message.text.new_text()),
    }
}

/// What the HTML part says, hidden text included, if a token can stand in it: each is in brackets, and to read HTML
/// costs as much as the rest of the mail.
fn text_of_html(message: &InboundMessage) -> String {
    let html = message.html.as_deref().unwrap_or_default();
    let may_hold_bracket = ["[", "&#", "&lsqb", "&lbrack"].iter().any(|bracket| html.contains(bracket));
    if may_hold_bracket { stripped(html) } else { String::new() }
}

impl Prepared<'_> {
    /// What to ask the store: one question for all stages.
    #[must_use]
    pub fn lookup(&self) -> Lookup {
        let message = self.message;
        let mailboxes = message.from.iter().chain(&message.reply_to).chain(&message.to).chain(&message.cc);
        let mut addresses: BTreeSet<_> = mailboxes.map(|mailbox| mailbox.address.clone()).collect();
        let (command_addresses, users) = self.commands.lookup();
        addresses.extend(command_addresses);
        let mail = message.from.first().map(|from| MailKey {
            journal: self.journal,
            author: from.address.clone(),
            message_id: message.message_id.clone(),
            digest: message.content_digest,
            accepted_at: self.envelope.accepted_at,
        });
        Lookup { users, addresses, mail, ..self.asked.clone() }
    }

    /// The tickets whose salts are needed before [`Prepared::lookup`].
    #[must_use]
    pub fn claimed(&self) -> BTreeSet<TicketId> {
        self.clues.claimed()
    }

    /// Takes the salts: a token that does not fit its ticket's is not asked about any further.
    #[must_use]
    pub fn with_salts(mut self, salts: &BTreeMap<TicketId, Salt>, policy: &Policy<'_>) -> Self {
        self.clues.ask(salts, policy.keys, &mut self.asked);
        self
    }

    /// What in the mail names a ticket: mails about the same ticket are decided in order.
    #[must_use]
    pub fn claims(&self) -> &Lookup {
        &self.asked
    }

    fn record(&self, author: Option<&Author<'_>>, token_ticket: Option<TicketId>) -> MailRecord {
        MailRecord {
            journal: self.journal,
            author: self.message.from.first().map(|from| from.address.clone()),
            message_id: self.message.message_id.clone(),
            digest: self.message.content_digest,
            trust: author.map_or(SenderTrust::None, |author| author.trust),
            token_ticket,
        }
    }
}

/// Decides the mail. Always answers.
#[must_use]
pub fn decide(
    prepared: &Prepared<'_>,
    snapshot: &Snapshot,
    policy: &Policy<'_>,
    fresh: &mut dyn Fresh,
) -> Decided {
    let mut trace = prepared.authentication.trace.clone();
    let author =
        author::author(prepared.message, &prepared.authentication, snapshot, policy.settings, &mut trace);
    let found = identify_ticket(prepared, author.as_ref(), snapshot, policy);
    trace.extend(found.trace.clone());
    let trust = author.as_ref().map_or(SenderTrust::None, |author| author.trust);
    let outcome = settle(prepared, author.as_ref(), &found, snapshot, policy, fresh, trace);
    Decided { outcome, identified_by: found.by, trust }
}

fn settle(
    prepared: &Prepared<'_>,
    author: Option<&Author<'_>>,
    found: &Identification,
    snapshot: &Snapshot,
    policy: &Policy<'_>,
    fresh: &mut dyn Fresh,
    mut trace: Trace,
) -> Outcome {
    let record = prepared.record(author, found.token_ticket);
    if let Some(earlier) = duplicate_of(prepared, &record, snapshot) {
        trace.push(
            "duplicate",
            "same-mail",
            "settle",
            format!("delivered before as mail {}", earlier.journal),
        );
        return Outcome::Discard { reason: DiscardReason::Duplicate, record, bounced: None, trace };
    }
    let own = identify::own_mail(prepared.message, prepared.envelope, &prepared.clues, snapshot, policy.keys);
    let admission = admission::admit(&facts::admission(prepared, author, own.as_ref(), policy));
    trace.extend(admission.trace);
    let suspend = |cause: SuspensionCause, detail: String, fresh: &mut dyn Fresh, trace: Trace| {
        let held = SuspendedTicket { trace, ..held(prepared, author, found.ticket, cause, detail, fresh) };
        Outcome::Suspend { held, record: record.clone() }
    };
    match admission.verdict {
        admission::Verdict::Accept => {}
        admission::Verdict::Suspend { cause, detail } => {
            return suspend(cause, detail.to_owned(), fresh, trace);
        }
        admission::Verdict::Discard(reason) => {
            let bounced = match own {
                Some(OwnMail::BounceOf { reverse_path, .. }) => Some(reverse_path),
                Some(OwnMail::Notification) | None => None,
            };
            return Outcome::Discard { reason, record, bounced, trace };
        }
    }
    let Some(author) = author else {
        let why = "the mail names no author".to_owned();
        return suspend(SuspensionCause::UnprocessableEmail, why, fresh, trace);
    };

    let standing = Standing::new(prepared, author, admission.author_is_outsider, found, snapshot, policy);
    let block = standing.may_command.then_some(&prepared.commands);
    let privacy_facts = facts::privacy(prepared, author, &standing, snapshot, policy);
    let decision = privacy::decide(&privacy_facts);
    for step in decision.trace.steps() {
        trace.push("privacy", step.rule, step.answer.word(), step.answer.because());
    }
    if decision.outcome == privacy::Outcome::Suspended {
        let (cause, detail) = rule_2_cause(author);
        return suspend(cause, detail.to_owned(), fresh, trace);
    }
    let decided = Basis { author, found, standing: &standing, decision: &decision, record: &record };
    match build::change(prepared, &decided, block, snapshot, policy, fresh, &mut trace) {
        Ok(change) => Outcome::Update(Box::new(Change { trace, ..change })),
        Err(refused) => suspend(SuspensionCause::UnprocessableEmail, refused, fresh, trace),
    }
}

/// What the author may do with this mail, as the ticket stood before it.
#[derive(Debug)]
struct Standing<'a> {
    /// The ticket to update; none for a new one.
    file: Option<&'a TicketFile>,
    /// The closed ticket that the new one follows up.
    follows: Option<&'a TicketFile>,
    relation: Relation,
    /// An agent whom something vouches for, and who is not hidden from the notes here.
    acts_as_agent: bool,
    by_encoded_id: bool,
    notified_comment_was_private: bool,
    /// Enough trust to grant access to others (DESIGN §7).
    access: bool,
    may_command: bool,
}

impl<'a> Standing<'a> {
    fn new(
        prepared: &Prepared<'_>,
        author: &Author<'_>,
        outsider: bool,
        found: &Identification,
        snapshot: &'a Snapshot,
        policy: &Policy<'_>,
    ) -> Self {
        let named = found.ticket.and_then(|id| snapshot.tickets.get(&id));
        let closed = named.is_some_and(|file| file.ticket.status == Status::Closed);
        // Recovering a mail never makes a follow-up (reference/ticket-identification.md §4).
        let follows = named.filter(|_| closed && prepared.recovers.is_none());
        let file = named.filter(|_| !closed);
        // An author whom only Reply-To names shares a mail domain with the sender, which strangers do.
        let doubtful = outsider || author.by_reply_to || author.trust == SenderTrust::Failed;
        let access = author.trust == SenderTrust::Authenticated || (found.token_bound_to_author && !doubtful);
        let relation = file.map_or_else(Relation::default, |file| {
            relation::relation(author, &file.ticket, access, snapshot, policy.settings)
        });
        let acts_as_agent =
            author.is_agent() && author.trust == SenderTrust::Authenticated && !relation.treated_as_end_user;
        let in_reach = file.is_none() || relation.can_edit || relation.participates();
        let may_command = acts_as_agent
            && in_reach
            && author.conflict.is_none()
            && author.user.is_some_and(|user| user.role.mail_commands);
        Self {
            file,
            follows,
            relation,
            acts_as_agent,
            by_encoded_id: found.by_encoded_id,
            notified_comment_was_private: found.notified_comment_was_private,
            access,
            may_command,
        }
    }
}

fn identify_ticket(
    prepared: &Prepared<'_>,
    author: Option<&Author<'_>>,
    snapshot: &Snapshot,
    policy: &Policy<'_>,
) -> Identification {
    let user = author.and_then(|author| author.user);
    identify::identify(&prepared.clues, user.map(|user| user.id), snapshot, policy.keys)
}

/// An earlier delivery of the same mail that became a comment, with trust no lower (DESIGN §1).
fn duplicate_of<'a>(
    prepared: &Prepared<'_>,
    record: &MailRecord,
    snapshot: &'a Snapshot,
) -> Option<&'a EarlierMail> {
    if prepared.recovers.is_some() {
        return None;
    }
    snapshot.earlier.iter().find(|earlier| {
        let same =
            earlier.by_author && earlier.digest == record.digest && earlier.message_id == record.message_id;
        let kept = matches!(earlier.fate, Fate::Done { .. } | Fate::Pending) && earlier.trust >= record.trust;
        let other_ticket = matches!(
            (earlier.token_ticket, record.token_ticket),
            (Some(before), Some(now)) if before != now
        );
        same && kept && !other_ticket
    })
}

/// Rule 2 by the published causes: does the account know the author?
fn rule_2_cause(author: &Author<'_>) -> (SuspensionCause, &'static str) {
    match author.user {
        Some(_) => (
            SuspensionCause::OtherUserUpdate,
            "answers a ticket of others, without the reference that our mails carry",
        ),
        None => (
            SuspensionCause::UnknownUserUpdate,
            "an unknown sender answers a ticket, without the reference that our mails carry",
        ),
    }
}

fn held(
    prepared: &Prepared<'_>,
    author: Option<&Author<'_>>,
    ticket: Option<TicketId>,
    cause: SuspensionCause,
    detail: String,
    fresh: &mut dyn Fresh,
) -> SuspendedTicket {
    SuspendedTicket {
        id: fresh.suspended(),
        journal: prepared.journal,
        cause,
        detail,
        author: author.map(|author| author.mailbox.address.clone()),
        author_name: author.and_then(|author| author.mailbox.name.clone()),
        subject: prepared.message.subject.clone(),
        ticket,
        created_at: prepared.envelope.accepted_at,
        trace: Trace::default(),
    }
}
