//! Triggers as data. Derives serde: these names are public vocabulary (audits, the API).
//!
//! **Invariant:** each field carries only the operators and values it has
//! (reference/triggers-and-automations.md parts C and D), so a rule that was loaded can always be evaluated.
//! `config/triggers.toml` has a form of its own, `field operator value`; `crate::config::rules` turns it into this.
//!
//! KnownPeople are named by mail address and groups and organizations by name; both are looked up at the moment a
//! rule runs, and one that does not exist equals nothing.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::address::Address;
use super::ids::{GroupId, OrganizationId, UserId};
use super::people::{Group, User};
use super::plan::RecipientRole;
use super::snapshot::Snapshot;
use super::ticket::{Channel, Priority, Status, TicketType, Visibility};

/// A rule that runs on every update of a ticket (reference/triggers-and-automations.md part A).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// Stable name; appears in audits, logs and the outbox.
    pub key: String,
    pub title: String,
    pub active: bool,
    /// All of these hold, …
    pub all: Vec<Condition>,
    /// … and at least one of these, if there are any.
    pub any: Vec<Condition>,
    pub actions: Vec<Action>,
}

impl Trigger {
    /// Subjects and bodies of its mails, as written.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.actions.iter().flat_map(|action| match action {
            Action::NotificationUser { subject, body, .. }
            | Action::NotificationGroup { subject, body, .. } => {
                vec![subject.as_str(), body.as_str()]
            }
            _ => Vec::new(),
        })
    }
}

/// One test of the ticket, the update or the people in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    UpdateType(UpdateType),
    Status(Ordered<Status, Status>),
    Priority(Ordered<Option<Priority>, Priority>),
    Type(Changing<Option<TicketType>>),
    GroupId(Changing<GroupRef>),
    AssigneeId(Changing<AssigneeRef>),
    RequesterId(Changing<RequesterRef>),
    OrganizationId(Changing<OrganizationRef>),
    CurrentTags(TagTest),
    TicketIsPublic(Visibility),
    CommentIsPublic(CommentTest),
    /// Who made the update.
    Role(Equality<RoleRef>),
    RequesterRole(Equality<PersonKind>),
    /// How the ticket came in.
    ViaId(Equality<Channel>),
    /// How the update came in.
    CurrentViaId(Equality<Channel>),
}

impl Condition {
    /// The name of the tested field, as rule files spell it.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::UpdateType(_) => "update_type",
            Self::Status(_) => "status",
            Self::Priority(_) => "priority",
            Self::Type(_) => "type",
            Self::GroupId(_) => "group_id",
            Self::AssigneeId(_) => "assignee_id",
            Self::RequesterId(_) => "requester_id",
            Self::OrganizationId(_) => "organization_id",
            Self::CurrentTags(_) => "current_tags",
            Self::TicketIsPublic(_) => "ticket_is_public",
            Self::CommentIsPublic(_) => "comment_is_public",
            Self::Role(_) => "role",
            Self::RequesterRole(_) => "requester_role",
            Self::ViaId(_) => "via_id",
            Self::CurrentViaId(_) => "current_via_id",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Equality<V> {
    Is(V),
    IsNot(V),
}

/// Of a field that can change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Changing<V> {
    Is(V),
    IsNot(V),
    Change(ChangeTest<V>),
}

/// Of a field that can change and whose values have an order; `O` are the values that take part in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ordered<V, O> {
    Is(V),
    IsNot(V),
    LessThan(O),
    GreaterThan(O),
    Change(ChangeTest<V>),
}

/// Compares the ticket with how it was before the update that started the cycle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeTest<V> {
    Changed,
    ChangedTo(V),
    ChangedFrom(V),
    NotChanged,
    NotChangedTo(V),
    NotChangedFrom(V),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TagTest {
    /// At least one of them.
    Includes(BTreeSet<String>),
    /// None of them.
    NotIncludes(BTreeSet<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateType {
    Create,
    Change,
}

/// Of the comment that came with the update; without one, none of these holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommentTest {
    Public,
    Private,
    Present,
    RequesterCanSee,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonKind {
    EndUser,
    Agent,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleRef {
    Kind(PersonKind),
    Person(Address),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupRef {
    None,
    Named(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssigneeRef {
    None,
    /// The author of the update.
    CurrentUser,
    Requester,
    Person(Address),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequesterRef {
    Assignee,
    CurrentUser,
    Person(Address),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrganizationRef {
    None,
    Named(String),
}

/// What a rule does when it fires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Status(SettableStatus),
    Priority(Priority),
    Type(TicketType),
    GroupId(GroupRef),
    AssigneeId(AssigneeRef),
    /// Replaces all tags.
    SetTags(BTreeSet<String>),
    /// Adds tags.
    CurrentTags(BTreeSet<String>),
    RemoveTags(BTreeSet<String>),
    Follower(FollowerRef),
    NotificationUser {
        recipient: UserRecipient,
        subject: String,
        body: String,
    },
    NotificationGroup {
        recipient: GroupRecipient,
        subject: String,
        body: String,
    },
}

/// A status that a rule may set: a ticket never returns to new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettableStatus {
    Open,
    Pending,
    Hold,
    Solved,
    Closed,
}

impl From<SettableStatus> for Status {
    fn from(status: SettableStatus) -> Self {
        match status {
            SettableStatus::Open => Self::Open,
            SettableStatus::Pending => Self::Pending,
            SettableStatus::Hold => Self::Hold,
            SettableStatus::Solved => Self::Solved,
            SettableStatus::Closed => Self::Closed,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FollowerRef {
    CurrentUser,
    Person(Address),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserRecipient {
    RequesterId,
    RequesterAndCcs,
    AssigneeId,
    CurrentUser,
    AllAgents,
    Person(Address),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupRecipient {
    /// The ticket's group.
    GroupId,
    Named(String),
}

/// A mail that a rule wants sent: to whom, and from which templates (Liquid).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationIntent {
    /// The trigger's key.
    pub rule: String,
    pub target: NotificationTarget,
    pub subject: String,
    pub body: String,
}

/// Who is to be mailed; `crate::update` resolves it to people after all triggers ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotificationTarget {
    Requester,
    /// Only for a public comment; nobody who has the mail already (reference/ccs-and-followers.md §4.3).
    RequesterAndCcs,
    Assignee,
    CurrentUser,
    AllAgents,
    AssignedGroup,
    /// By the group's name.
    Group(String),
    User(UserId),
}

impl NotificationTarget {
    /// The role people are told in.
    #[must_use]
    pub fn role(&self) -> RecipientRole {
        match self {
            Self::Requester | Self::RequesterAndCcs => RecipientRole::Requester,
            Self::Assignee => RecipientRole::Assignee,
            Self::CurrentUser => RecipientRole::Author,
            Self::AllAgents | Self::User(_) => RecipientRole::Agent,
            Self::AssignedGroup | Self::Group(_) => RecipientRole::GroupMember,
        }
    }
}

/// Who exists at the moment a rule runs: everybody in the snapshot, and those the same change introduces.
#[derive(Clone, Copy, Debug)]
pub struct KnownPeople<'a> {
    pub snapshot: &'a Snapshot,
    pub newcomers: &'a [User],
}

impl<'a> KnownPeople<'a> {
    #[must_use]
    pub fn user(&self, id: UserId) -> Option<&'a User> {
        self.newcomers.iter().find(|user| user.id == id).or_else(|| self.snapshot.user(id))
    }

    /// The person with this address: an agent, a newcomer, or somebody the update named.
    #[must_use]
    pub fn by_address(&self, address: &Address) -> Option<&'a User> {
        let agents = self.snapshot.directory.agents.values();
        let mut known = agents.chain(self.newcomers);
        known.find(|user| user.has_address(address)).or_else(|| self.snapshot.user_by_address(address))
    }

    #[must_use]
    pub fn group(&self, id: GroupId) -> Option<&'a Group> {
        self.snapshot.directory.groups.get(&id)
    }

    /// The active group with this name, in any case.
    #[must_use]
    pub fn group_named(&self, name: &str) -> Option<&'a Group> {
        let mut groups = self.snapshot.directory.groups.values();
        groups.find(|group| group.active && same_name(&group.name, name))
    }

    /// The id of the organization with this name, in any case.
    #[must_use]
    pub fn organization_named(&self, name: &str) -> Option<OrganizationId> {
        let mut organizations = self.snapshot.directory.organizations.values();
        organizations.find(|organization| same_name(&organization.name, name)).map(|found| found.id)
    }
}

fn same_name(left: &str, right: &str) -> bool {
    left.to_lowercase() == right.to_lowercase()
}
