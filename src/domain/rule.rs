//! Triggers as data. Derives serde: these names are public vocabulary (`config/triggers.toml`, the API).

use serde::{Deserialize, Serialize};

use super::ids::UserId;
use super::plan::RecipientRole;

/// A rule that runs on every update of a ticket (reference/triggers-and-automations.md part A).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// Stable name; appears in audits, logs and the outbox.
    pub key: String,
    pub title: String,
    pub active: bool,
    pub all: Vec<Condition>,
    pub any: Vec<Condition>,
    pub actions: Vec<Action>,
}

/// `field operator value`, checked at load: an impossible combination is not representable after loading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {}

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
