//! Tickets and comments. [`Ticket::apply`] is the only function that changes a ticket.

use std::collections::BTreeSet;

use super::address::Address;
use super::event::Event;
use super::ids::{CommentId, GroupId, JournalId, OrganizationId, Salt, TicketId, UserId};
use super::time::Timestamp;

pub use super::words::{Channel, Flag, Priority, Status, TicketType, Visibility};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub id: TicketId,
    pub salt: Salt,
    /// Counts up with each committed update; 0 before the first.
    pub version: i64,
    pub subject: String,
    pub status: Status,
    pub requester: UserId,
    pub submitter: UserId,
    pub assignee: Option<UserId>,
    pub group: Option<GroupId>,
    pub organization: Option<OrganizationId>,
    pub priority: Option<Priority>,
    pub ticket_type: Option<TicketType>,
    pub tags: BTreeSet<String>,
    pub ccs: BTreeSet<UserId>,
    pub followers: BTreeSet<UserId>,
    /// The support address the ticket was received at.
    pub recipient: Option<Address>,
    pub via: Channel,
    pub follow_up_of: Option<TicketId>,
    /// Where replies go since this ticket was merged into another.
    pub merged_into: Option<TicketId>,
    pub comments: u32,
    pub public_comments: u32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub solved_at: Option<Timestamp>,
}

impl Ticket {
    /// A ticket nothing has happened to yet. `TicketCreated` must be the first event applied.
    #[must_use]
    pub fn blank(id: TicketId, salt: Salt, requester: UserId, now: Timestamp) -> Self {
        Self {
            id,
            salt,
            version: 0,
            subject: String::new(),
            status: Status::New,
            requester,
            submitter: requester,
            assignee: None,
            group: None,
            organization: None,
            priority: None,
            ticket_type: None,
            tags: BTreeSet::new(),
            ccs: BTreeSet::new(),
            followers: BTreeSet::new(),
            recipient: None,
            via: Channel::System,
            follow_up_of: None,
            merged_into: None,
            comments: 0,
            public_comments: 0,
            created_at: now,
            updated_at: now,
            solved_at: None,
        }
    }

    /// A ticket is public while it has a public comment (reference/private-tickets.md §1).
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.public_comments > 0
    }

    #[must_use]
    pub fn is_collaborator(&self, user: UserId) -> bool {
        self.ccs.contains(&user) || self.followers.contains(&user)
    }

    /// Makes the event true. `updated_at` becomes `now`. Events about notifications and commands change nothing.
    pub fn apply(&mut self, event: &Event, now: Timestamp) {
        self.updated_at = self.updated_at.max(now);
        match event {
            Event::TicketCreated {
                subject,
                requester,
                submitter,
                recipient,
                organization,
                via,
                follow_up_of,
            } => {
                self.subject.clone_from(subject);
                self.requester = *requester;
                self.submitter = *submitter;
                self.recipient.clone_from(recipient);
                self.organization = *organization;
                self.via = *via;
                self.follow_up_of = *follow_up_of;
                self.created_at = now;
            }
            Event::CommentAdded { visibility, .. } => {
                self.comments = self.comments.saturating_add(1);
                if *visibility == Visibility::Public {
                    self.public_comments = self.public_comments.saturating_add(1);
                }
            }
            Event::CommentMadePrivate { .. } => {
                self.public_comments = self.public_comments.saturating_sub(1);
            }
            Event::StatusChanged { to, .. } => {
                self.status = *to;
                self.solved_at = match to {
                    Status::Solved => Some(now),
                    Status::Closed => self.solved_at,
                    _ => None,
                };
            }
            Event::RequesterChanged { to, organization, .. } => {
                self.requester = *to;
                self.organization = *organization;
            }
            Event::AssigneeChanged { to, .. } => self.assignee = *to,
            Event::GroupChanged { to, .. } => self.group = *to,
            Event::PriorityChanged { to, .. } => self.priority = *to,
            Event::TypeChanged { to, .. } => self.ticket_type = *to,
            Event::TagsChanged { added, removed } => {
                self.tags.retain(|tag| !removed.contains(tag));
                self.tags.extend(added.iter().cloned());
            }
            Event::CcAdded { user } => {
                self.ccs.insert(*user);
            }
            Event::FollowerAdded { user } => {
                self.followers.insert(*user);
            }
            Event::Notified { .. }
            | Event::NotificationBounced { .. }
            | Event::Command { .. }
            | Event::Withheld { .. } => {}
        }
    }
}

/// One entry of a ticket's conversation, or an internal note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    pub id: CommentId,
    pub ticket: TicketId,
    pub author: UserId,
    pub visibility: Visibility,
    /// The privacy rule that decided, by name; `agent` for comments that came by no mail.
    pub rule: String,
    pub flags: BTreeSet<Flag>,
    /// What the author wrote: no quoted text, no mail commands.
    pub text: String,
    pub via: Channel,
    pub journal: Option<JournalId>,
    pub created_at: Timestamp,
    pub attachments: Vec<AttachmentRef>,
}

/// An attachment whose bytes lie in the blob store under their hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentRef {
    pub name: Option<String>,
    pub media_type: String,
    pub inline: bool,
    pub content_id: Option<String>,
    pub sha256: [u8; 32],
    pub size: u64,
}
