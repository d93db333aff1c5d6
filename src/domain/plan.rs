//! What one cause wants (a `Change`), and every write it leads to (a `Plan`).

use std::collections::BTreeSet;

use super::address::{Address, Mailbox};
use super::event::{Actor, Audit, Event};
use super::fate::Fate;
use super::ids::{
    AuditId, CommentId, JournalId, NotificationId, OrganizationId, OutboxId, Salt, SuspendedId, TicketId,
    UserId,
};
use super::mail::MessageId;
use super::people::User;
use super::snapshot::{PrivatePrint, SenderTrust, SuspendedTicket};
use super::ticket::{Channel, Comment, Ticket, Visibility};
use super::time::Timestamp;
use super::trace::Trace;

/// What a mail, a command line or a rule run asks of one ticket. `crate::update` turns it into a plan.
#[derive(Clone, Debug)]
pub struct Change {
    pub target: Target,
    pub actor: Actor,
    pub via: Channel,
    /// People met for the first time, with the ids they will have.
    pub new_users: Vec<User>,
    /// What was asked for, in order; for a new ticket `TicketCreated` comes first.
    /// `CommentAdded` for `comment` is among them, at the place where it happens.
    pub events: Vec<Event>,
    pub comment: Option<Comment>,
    /// The mail behind the change, if any.
    pub mail: Option<MailCause>,
    /// The suspended ticket that a person let in, if that is how the mail came.
    pub recovers: Option<SuspendedId>,
    /// Rule 9 kept the reply internal: tell its author.
    pub tell_author_it_stayed_internal: bool,
    /// Read while deciding; checked again at the commit.
    pub preconditions: Vec<Precondition>,
    pub trace: Trace,
}

impl Change {
    /// Events on one ticket that no mail and no person of the account caused.
    #[must_use]
    pub fn by_system(target: Target, events: Vec<Event>, trace: Trace) -> Self {
        Self {
            target,
            actor: Actor::System,
            via: Channel::System,
            new_users: Vec::new(),
            events,
            comment: None,
            mail: None,
            recovers: None,
            tell_author_it_stayed_internal: false,
            preconditions: Vec::new(),
            trace,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    New { ticket: TicketId, salt: Salt },
    Existing(TicketId),
}

/// What `update` must know about the mail that caused a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailCause {
    pub record: MailRecord,
    /// Everybody in To and Cc: they have the mail already (reference/ccs-and-followers.md §4.3).
    pub visible_recipients: BTreeSet<Address>,
    /// Nobody is answered: the author is a machine.
    pub automatic: bool,
}

/// What the journal remembers of a decided mail, so that a second delivery is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailRecord {
    pub journal: JournalId,
    pub author: Option<Address>,
    pub message_id: Option<MessageId>,
    pub digest: [u8; 32],
    pub trust: SenderTrust,
    pub token_ticket: Option<TicketId>,
}

/// Every write of one cause: all of them are committed in one transaction, or none.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub preconditions: Vec<Precondition>,
    pub writes: Vec<Write>,
}

/// What was read and must still be so at the commit; otherwise the plan is made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// 0 means the ticket does not exist yet.
    TicketVersion {
        ticket: TicketId,
        version: i64,
    },
    UserVersion {
        user: UserId,
        version: i64,
    },
    /// Of agents, groups, organizations.
    DirectoryVersion(i64),
    AddressUnknown(Address),
    JournalPending(JournalId),
    SuspendedHeld(SuspendedId),
    /// No mail from this author with this Message-ID (or none) and digest has become a comment since the snapshot.
    NotDeliveredSince {
        author: Address,
        message_id: Option<MessageId>,
        digest: [u8; 32],
        newest_known: Option<JournalId>,
    },
}

#[derive(Clone, Debug)]
pub enum Write {
    InsertUser(User),
    /// Inserts or replaces; the store sets `version` to the old one plus 1.
    PutTicket(Ticket),
    InsertComment(Comment),
    MakeCommentPrivate(CommentId),
    InsertPrivatePrint {
        ticket: TicketId,
        print: PrivatePrint,
    },
    InsertAudit(Audit),
    /// Of a mail that we send; that of a mail we received stands in its `record`.
    InsertMessageId {
        message_id: MessageId,
        ticket: TicketId,
        visibility: Visibility,
    },
    InsertNotification(Notification),
    InsertOutbox(OutboxEntry),
    InsertSuspended(SuspendedTicket),
    /// The held mail was let in, or deleted, by a person.
    ReleaseSuspended(SuspendedId),
    /// `record` is none when a person settles it: what is remembered of the mail stays.
    SettleJournal {
        journal: JournalId,
        record: Option<MailRecord>,
        fate: Fate,
    },
    /// The mail we sent under this return address came back.
    MarkBounced {
        reverse_path: Address,
    },
}

/// One firing: rendered once, sent to each recipient in a mail of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    pub id: NotificationId,
    pub ticket: TicketId,
    pub audit: AuditId,
    /// The trigger's key, or `follower`, or `stayed-internal`.
    pub rule: String,
    pub from: Mailbox,
    /// The participants shown in To and Cc of every copy.
    pub to: Vec<Mailbox>,
    pub cc: Vec<Mailbox>,
    pub content: NotificationContent,
    pub in_reply_to: Option<MessageId>,
    /// The ticket's root id first, newest last.
    pub references: Vec<MessageId>,
    /// `Private` if a private comment was rendered into it.
    pub visibility: Visibility,
    /// The comments whose text it holds; asked about again before each copy is sent.
    pub comments: Vec<CommentId>,
    /// Caused by anything but a human agent's update: counts against the budget (DESIGN §7).
    pub automatic: bool,
    pub created_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotificationContent {
    Rendered {
        subject: String,
        text: String,
        html: String,
    },
    /// The template failed: it is still owed, and `outbox retry` renders it from these frozen values.
    Unrendered {
        error: String,
        subject_template: String,
        body_template: String,
        values: serde_json::Value,
    },
}

/// One mail promised to one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    pub id: OutboxId,
    pub notification: NotificationId,
    pub ticket: TicketId,
    pub user: UserId,
    pub recipient: Address,
    pub message_id: MessageId,
    /// The support address, with the recipient's token where it can take one.
    pub reply_to: Mailbox,
    /// The recipient's token for the body, without brackets.
    pub body_token: String,
    /// `bounce+TOKEN@…`: the SMTP sender, so that a bounce names the row.
    pub reverse_path: Address,
    /// Why this person is told: asked again at claim time.
    pub as_role: RecipientRole,
}

/// Somebody nobody knows yet, as a mail introduces them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newcomer {
    pub name: Option<String>,
    pub address: Address,
    pub organization: Option<OrganizationId>,
}

/// In which role somebody is told of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecipientRole {
    Requester,
    Cc,
    Follower,
    Assignee,
    GroupMember,
    /// An agent named by a rule, or all agents.
    Agent,
    /// The author of the update, told what became of it.
    Author,
}
