//! Users, roles, groups, organizations.

use serde::{Deserialize, Serialize};

use super::address::Address;
use super::ids::{GroupId, OrganizationId, UserId};

/// A person (or machine) that can be author, requester, CC, follower or assignee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub name: String,
    pub role: Role,
    /// All addresses, the primary one first. May be empty for a user who is never mailed.
    pub addresses: Vec<Address>,
    pub organization: Option<OrganizationId>,
    /// Groups the user is a member of, the default group first.
    pub groups: Vec<GroupId>,
    /// Suspended by an admin: mail from this user is held, mail to them is not sent.
    pub suspended: bool,
    /// Dropped from the configuration: keeps the history, has no powers.
    pub active: bool,
    /// Counts up with each change; what plans check.
    pub version: i64,
}

impl User {
    #[must_use]
    pub fn is_agent(&self) -> bool {
        self.active && self.role.kind == RoleKind::Agent
    }

    #[must_use]
    pub fn primary_address(&self) -> Option<&Address> {
        self.addresses.first()
    }

    #[must_use]
    pub fn has_address(&self, address: &Address) -> bool {
        self.addresses.contains(address)
    }

    /// Mail can and may be sent to this user.
    #[must_use]
    pub fn is_deliverable(&self) -> bool {
        !self.suspended && self.active && !self.addresses.is_empty()
    }
}

/// What a user may do. Built-in roles by [`Role::builtin`]; custom roles come from `config/people.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// `end-user`, `agent`, `admin`, `light-agent`, or the key of a custom role.
    pub key: String,
    pub kind: RoleKind,
    /// Which tickets the user may open and edit (agents only).
    pub ticket_access: TicketAccess,
    pub comments: CommentPermission,
    /// May change status, assignee, group, priority, type, tags.
    pub edit_ticket_properties: bool,
    /// May use mail commands (light agents may not).
    pub mail_commands: bool,
    /// May be the assignee of a ticket.
    pub assignable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleKind {
    EndUser,
    Agent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TicketAccess {
    All,
    /// Tickets of the agent's groups, and those requested by or assigned to the agent.
    Groups,
    /// Tickets assigned to the agent only.
    Assigned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommentPermission {
    PublicAndPrivate,
    PrivateOnly,
}

impl Role {
    #[must_use]
    pub fn end_user() -> Self {
        Self {
            key: "end-user".to_owned(),
            kind: RoleKind::EndUser,
            ticket_access: TicketAccess::Assigned,
            comments: CommentPermission::PublicAndPrivate,
            edit_ticket_properties: false,
            mail_commands: false,
            assignable: false,
        }
    }

    #[must_use]
    pub fn agent() -> Self {
        Self {
            key: "agent".to_owned(),
            kind: RoleKind::Agent,
            ticket_access: TicketAccess::All,
            comments: CommentPermission::PublicAndPrivate,
            edit_ticket_properties: true,
            mail_commands: true,
            assignable: true,
        }
    }

    #[must_use]
    pub fn admin() -> Self {
        Self { key: "admin".to_owned(), ..Self::agent() }
    }

    /// Reads everything, writes notes only, commands nothing, is assigned nothing.
    #[must_use]
    pub fn light_agent() -> Self {
        Self {
            key: "light-agent".to_owned(),
            comments: CommentPermission::PrivateOnly,
            edit_ticket_properties: false,
            mail_commands: false,
            assignable: false,
            ..Self::agent()
        }
    }

    /// The built-in role with this key.
    #[must_use]
    pub fn builtin(key: &str) -> Option<Self> {
        match key {
            "end-user" => Some(Self::end_user()),
            "agent" => Some(Self::agent()),
            "admin" => Some(Self::admin()),
            "light-agent" => Some(Self::light_agent()),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub id: GroupId,
    pub name: String,
    /// A private group's tickets are hidden from agent-requesters outside it (setting S5).
    pub private: bool,
    pub active: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    pub id: OrganizationId,
    pub name: String,
    /// Mail domains whose unknown senders belong to this organization, as A-labels.
    pub domains: Vec<String>,
    /// Members see each other's tickets.
    pub shared_tickets: bool,
    /// Members may also comment on them.
    pub shared_comments: bool,
    pub active: bool,
}

/// The people that files own (`config/people.toml`), by their stable keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct People {
    pub people: Vec<PersonEntry>,
    pub groups: Vec<GroupEntry>,
    pub organizations: Vec<OrganizationEntry>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PersonEntry {
    pub key: String,
    pub name: String,
    pub role: Role,
    /// The primary one first.
    pub addresses: Vec<Address>,
    /// Keys of groups, the default group first.
    pub groups: Vec<String>,
    /// Key of the organization.
    pub organization: Option<String>,
    pub suspended: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupEntry {
    pub key: String,
    pub name: String,
    pub private: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganizationEntry {
    pub key: String,
    pub name: String,
    pub domains: Vec<String>,
    pub shared_tickets: bool,
    pub shared_comments: bool,
}
