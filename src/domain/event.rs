//! Everything that can happen to a ticket. Names are public vocabulary: audits store them, the API shows them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::address::Address;
use super::ids::{AuditId, CommentId, GroupId, JournalId, NotificationId, OrganizationId, TicketId, UserId};
use super::time::Timestamp;
use super::trace::Trace;
use super::words::{Channel, Priority, Status, TicketType, Visibility};

/// One thing that happened. `from` is the value before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    TicketCreated {
        subject: String,
        requester: UserId,
        submitter: UserId,
        /// The support address the ticket was received at.
        recipient: Option<Address>,
        organization: Option<OrganizationId>,
        via: Channel,
        follow_up_of: Option<TicketId>,
    },
    CommentAdded {
        comment: CommentId,
        author: UserId,
        visibility: Visibility,
    },
    CommentMadePrivate {
        comment: CommentId,
    },
    StatusChanged {
        from: Status,
        to: Status,
    },
    RequesterChanged {
        from: UserId,
        to: UserId,
        organization: Option<OrganizationId>,
    },
    AssigneeChanged {
        from: Option<UserId>,
        to: Option<UserId>,
    },
    GroupChanged {
        from: Option<GroupId>,
        to: Option<GroupId>,
    },
    PriorityChanged {
        from: Option<Priority>,
        to: Option<Priority>,
    },
    TypeChanged {
        from: Option<TicketType>,
        to: Option<TicketType>,
    },
    TagsChanged {
        added: BTreeSet<String>,
        removed: BTreeSet<String>,
    },
    CcAdded {
        user: UserId,
    },
    FollowerAdded {
        user: UserId,
    },
    /// A notification was promised; changes nothing on the ticket.
    Notified {
        notification: NotificationId,
        recipients: Vec<UserId>,
    },
    /// A mail of ours came back; changes nothing on the ticket.
    NotificationBounced {
        recipient: UserId,
    },
    /// What became of one mail command; changes nothing by itself.
    Command {
        name: String,
        outcome: CommandOutcome,
        because: String,
    },
    /// Something the mail asked for that its author's trust did not allow.
    Withheld {
        what: String,
        because: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandOutcome {
    Applied,
    Ignored,
    Failed,
}

impl CommandOutcome {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Ignored => "ignored",
            Self::Failed => "failed",
        }
    }
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Actor {
    User {
        id: UserId,
    },
    /// A rule, by its key.
    Rule {
        key: String,
    },
    /// A system rule, or the operator at the command line.
    System,
}

/// One update of one ticket: its events in order, and why they came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    pub id: AuditId,
    pub ticket: TicketId,
    pub actor: Actor,
    pub via: Channel,
    pub journal: Option<JournalId>,
    pub created_at: Timestamp,
    pub events: Vec<AuditEvent>,
    pub trace: Trace,
}

/// An event and who caused it inside the update: the actor, or a trigger that fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    pub by: Actor,
    #[serde(flatten)]
    pub event: Event,
}
