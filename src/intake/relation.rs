//! What the author is to the ticket, and what that allows (reference/comment-privacy.md §3, DESIGN §7).

use std::collections::BTreeSet;

use crate::domain::address::Address;
use crate::domain::ids::UserId;
use crate::domain::mail::InboundMessage;
use crate::domain::people::{TicketAccess, User};
use crate::domain::settings::{AgentRequester, Settings};
use crate::domain::snapshot::{SenderTrust, Snapshot};
use crate::domain::ticket::Ticket;

use super::author::Author;

/// The author's standing on the ticket that the mail updates. All false on a new ticket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relation {
    pub is_requester: bool,
    pub is_assignee: bool,
    pub is_cc: bool,
    pub is_follower: bool,
    pub can_edit: bool,
    /// Setting S5 hides the notes: the agent acts as an end user here.
    pub treated_as_end_user: bool,
}

impl Relation {
    /// Someone with a part in the ticket, other than by a role's access.
    #[must_use]
    pub fn participates(self) -> bool {
        self.is_requester || self.is_assignee || self.is_cc || self.is_follower
    }
}

/// Reads the relation as it was before this mail.
#[must_use]
pub fn relation(
    author: &Author<'_>,
    ticket: &Ticket,
    access: bool,
    snapshot: &Snapshot,
    settings: &Settings,
) -> Relation {
    let Some(user) = author.user else { return Relation::default() };
    // An agent nobody vouches for gets no power of an agent, not even the standing on the ticket; a customer
    // whose authentication failed counts as an outsider (DESIGN §7).
    let unbelieved_agent = user.is_agent() && author.trust != SenderTrust::Authenticated;
    // Two people of one mail domain are not each other: by Reply-To alone nobody stands in for another.
    let borrowed = author.by_reply_to && author.trust != SenderTrust::Authenticated;
    if unbelieved_agent || borrowed || author.trust == SenderTrust::Failed {
        return Relation::default();
    }
    let is_requester = ticket.requester == user.id;
    let is_cc = ticket.ccs.contains(&user.id);
    let relation = Relation {
        is_requester,
        is_assignee: ticket.assignee == Some(user.id),
        is_cc,
        is_follower: ticket.followers.contains(&user.id),
        can_edit: false,
        treated_as_end_user: user.is_agent()
            && is_requester
            && notes_hidden(user, ticket, snapshot, settings),
    };
    let can_edit = if user.is_agent() {
        agent_can_edit(user, ticket)
    } else {
        is_requester || is_cc || (access && organization_may_comment(user, ticket, snapshot))
    };
    Relation { can_edit, ..relation }
}

/// Setting S5 (reference/comment-privacy.md §4): a role that sees all tickets is exempt.
fn notes_hidden(user: &User, ticket: &Ticket, snapshot: &Snapshot, settings: &Settings) -> bool {
    let Some(group) = ticket.group else { return false };
    if user.role.ticket_access == TicketAccess::All || user.groups.contains(&group) {
        return false;
    }
    match settings.privacy.agent_requester {
        AgentRequester::ShowAll => false,
        AgentRequester::HideOnPrivateGroups => {
            snapshot.directory.groups.get(&group).is_some_and(|group| group.private)
        }
        AgentRequester::HideAll => true,
    }
}

/// Setting S8: which tickets an agent's role reaches.
#[must_use]
pub fn agent_can_edit(user: &User, ticket: &Ticket) -> bool {
    let own = ticket.assignee == Some(user.id) || ticket.requester == user.id;
    match user.role.ticket_access {
        TicketAccess::All => true,
        TicketAccess::Groups => own || ticket.group.is_some_and(|group| user.groups.contains(&group)),
        TicketAccess::Assigned => own,
    }
}

/// Members of an organization that shares its tickets may comment on each other's, if it allows that too.
fn organization_may_comment(user: &User, ticket: &Ticket, snapshot: &Snapshot) -> bool {
    let Some(organization) = ticket.organization else { return false };
    user.organization == Some(organization)
        && snapshot
            .directory
            .organizations
            .get(&organization)
            .is_some_and(|org| org.active && org.shared_tickets && org.shared_comments)
}

/// Everybody in To and Cc: what the author's mail client shows as recipients.
#[must_use]
pub fn visible_recipients(message: &InboundMessage) -> BTreeSet<Address> {
    message.to.iter().chain(&message.cc).map(|mailbox| mailbox.address.clone()).collect()
}

/// Rule 3: the requester, at any address of theirs, is in To or Cc.
#[must_use]
pub fn is_direct_recipient(user: UserId, recipients: &BTreeSet<Address>, snapshot: &Snapshot) -> bool {
    snapshot.user(user).is_some_and(|user| user.addresses.iter().any(|address| recipients.contains(address)))
}
