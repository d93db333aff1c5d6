//! Whom a mail adds to the ticket as CC or follower (reference/ccs-and-followers.md §3, DESIGN §7).

use crate::domain::address::{Address, Mailbox};
use crate::domain::event::Event;
use crate::domain::ids::{Fresh, UserId};
use crate::domain::people::{CommentPermission, User};
use crate::domain::trace::Trace;

use super::draft::{Basis, Draft};

/// Adds the people of Cc, then those of To; and the agent who joined the conversation as a follower.
pub(super) fn add(
    draft: &mut Draft<'_>,
    author: UserId,
    decided: &Basis<'_>,
    fresh: &mut dyn Fresh,
    trace: &mut Trace,
) {
    if may_add_ccs(draft, decided) {
        add_ccs(draft, author, decided, fresh, trace);
    }
    let standing = decided.standing;
    let joined = standing.acts_as_agent
        && standing.file.is_some()
        && !standing.relation.is_requester
        && !standing.relation.is_assignee
        && (standing.relation.can_edit || standing.relation.participates());
    if joined
        && draft.policy.settings.collaborators.allow_followers
        && !draft.ticket.followers.contains(&author)
    {
        draft.push(Event::FollowerAdded { user: author });
    }
}

/// The setting, and the author's part in the ticket: strangers and conflicted authors add nobody.
fn may_add_ccs(draft: &Draft<'_>, decided: &Basis<'_>) -> bool {
    let settings = &draft.policy.settings.collaborators;
    let standing = decided.standing;
    let creating = standing.file.is_none();
    let belongs = creating || standing.relation.can_edit || standing.relation.participates();
    let private_only = decided
        .author
        .user
        .is_some_and(|user| user.is_agent() && user.role.comments == CommentPermission::PrivateOnly);
    settings.allow_ccs
        && belongs
        && decided.author.conflict.is_none()
        && (standing.acts_as_agent || settings.end_users_may_add_ccs)
        && (creating || !private_only)
}

fn add_ccs(
    draft: &mut Draft<'_>,
    author: UserId,
    decided: &Basis<'_>,
    fresh: &mut dyn Fresh,
    trace: &mut Trace,
) {
    let message = draft.prepared.message;
    let candidates: Vec<&Mailbox> =
        message.cc.iter().chain(&message.to).filter(|mailbox| is_candidate(draft, author, mailbox)).collect();
    if candidates.is_empty() {
        return;
    }
    if !decided.standing.access {
        draft.withhold(
            "add-ccs",
            "nothing vouches for the author, so the people in Cc were not added",
            trace,
        );
        return;
    }
    for mailbox in candidates {
        if draft.ticket.ccs.len() >= draft.policy.settings.collaborators.max_ccs {
            trace.push("access", "add-ccs", "ignored", "the ticket has as many CCs as it may have");
            return;
        }
        let user = draft.person(mailbox, fresh);
        if draft.ticket.ccs.contains(&user) {
            continue;
        }
        draft.push(Event::CcAdded { user });
        let follows = draft.policy.settings.collaborators.allow_followers
            && draft.policy.settings.collaborators.cced_agent_becomes_follower
            && draft.snapshot.user(user).is_some_and(User::is_agent)
            && !draft.ticket.followers.contains(&user);
        if follows {
            draft.push(Event::FollowerAdded { user });
        }
    }
}

/// Somebody who could become a CC: not us, not the author or requester, not there already, not blocked.
fn is_candidate(draft: &Draft<'_>, author: UserId, mailbox: &Mailbox) -> bool {
    let settings = draft.policy.settings;
    let address = &mailbox.address;
    let is_author = draft.prepared.message.from.iter().any(|from| from.address == *address);
    if is_author
        || settings.is_own_address(address)
        || is_blocked(&settings.collaborators.cc_blocklist, address)
    {
        return false;
    }
    let Some(user) = draft.snapshot.user_by_address(address) else { return true };
    let light = user.is_agent() && user.role.comments == CommentPermission::PrivateOnly;
    user.id != author
        && user.id != draft.ticket.requester
        && !draft.ticket.ccs.contains(&user.id)
        && !user.suspended
        && user.active
        && (!light || settings.collaborators.light_agents_may_be_ccs)
}

/// An entry is a whole address, or a bare domain that covers its sub-domains.
fn is_blocked(blocklist: &[String], address: &Address) -> bool {
    blocklist.iter().any(|entry| {
        let entry = entry.to_ascii_lowercase();
        let domain = address.domain();
        if entry.contains('@') {
            return address.key() == entry;
        }
        domain == entry || domain.strip_suffix(&entry).is_some_and(|rest| rest.ends_with('.'))
    })
}
