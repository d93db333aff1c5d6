//! Who is mailed: targets to people, and who is left out and why (reference/ccs-and-followers.md §4).

use std::collections::BTreeSet;

use crate::domain::ids::{GroupId, UserId};
use crate::domain::people::User;
use crate::domain::plan::RecipientRole;
use crate::domain::rule::NotificationTarget;
use crate::domain::ticket::{Channel, Visibility};

use super::Update;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recipient {
    pub user: UserId,
    pub role: RecipientRole,
}

/// The people behind a target, or why nobody is mailed. Order: requester first.
pub(super) fn resolve(
    target: &NotificationTarget,
    update: &Update<'_>,
) -> Result<Vec<Recipient>, &'static str> {
    let ticket = &update.ticket;
    let people = match target {
        NotificationTarget::Requester => vec![recipient(ticket.requester, RecipientRole::Requester)],
        NotificationTarget::RequesterAndCcs => requester_and_ccs(update)?,
        NotificationTarget::Assignee => {
            ticket.assignee.map(|user| recipient(user, RecipientRole::Assignee)).into_iter().collect()
        }
        NotificationTarget::CurrentUser => {
            update.actor().map(|user| recipient(user, RecipientRole::Author)).into_iter().collect()
        }
        NotificationTarget::AllAgents => agents(update, |_| true, RecipientRole::Agent),
        NotificationTarget::AssignedGroup => group_members(update, ticket.group),
        NotificationTarget::Group(name) => group_members(update, group_named(update, name)),
        NotificationTarget::User(user) => vec![recipient(*user, RecipientRole::Agent)],
    };
    let kept: Vec<_> = people.into_iter().filter(|recipient| may_be_mailed(*recipient, update)).collect();
    if kept.is_empty() { Err("nobody is left to be mailed") } else { Ok(kept) }
}

/// Followers get every comment, by a mail of their own; their list is not shown to anybody.
pub(super) fn followers(update: &Update<'_>) -> Vec<Recipient> {
    let settings = &update.context.settings.collaborators;
    if !settings.allow_followers || update.change.comment.is_none() {
        return Vec::new();
    }
    update
        .ticket
        .followers
        .iter()
        .map(|user| recipient(*user, RecipientRole::Follower))
        .filter(|recipient| may_be_mailed(*recipient, update))
        .collect()
}

fn recipient(user: UserId, role: RecipientRole) -> Recipient {
    Recipient { user, role }
}

fn requester_and_ccs(update: &Update<'_>) -> Result<Vec<Recipient>, &'static str> {
    let public =
        update.change.comment.as_ref().is_some_and(|comment| comment.visibility == Visibility::Public);
    if !public {
        return Err("the update has no public comment");
    }
    let ticket = &update.ticket;
    if !update.user(ticket.requester).is_some_and(User::is_deliverable) {
        return Err("the requester cannot be mailed");
    }
    let mut people = vec![recipient(ticket.requester, RecipientRole::Requester)];
    if update.context.settings.collaborators.allow_ccs {
        let ccs = ticket.ccs.iter().filter(|cc| **cc != ticket.requester);
        people.extend(ccs.map(|cc| recipient(*cc, RecipientRole::Cc)));
    }
    if !update.created() && update.change.via == Channel::Mail {
        people.retain(|recipient| !has_the_mail(recipient.user, update));
    }
    Ok(people)
}

/// The author, and everybody whom the author's own mail named in To or Cc.
fn has_the_mail(user: UserId, update: &Update<'_>) -> bool {
    let Some(mail) = &update.change.mail else { return false };
    let named = |user: &User| user.addresses.iter().any(|address| mail.visible_recipients.contains(address));
    update.actor() == Some(user) || update.user(user).is_some_and(named)
}

fn agents(update: &Update<'_>, keep: impl Fn(&User) -> bool, role: RecipientRole) -> Vec<Recipient> {
    let agents = update.snapshot.directory.agents.values();
    agents.filter(|user| keep(user)).map(|user| recipient(user.id, role)).collect()
}

fn group_named(update: &Update<'_>, name: &str) -> Option<GroupId> {
    let groups = update.snapshot.directory.groups.values();
    groups
        .filter(|group| group.active)
        .find(|group| group.name.eq_ignore_ascii_case(name))
        .map(|group| group.id)
}

fn group_members(update: &Update<'_>, group: Option<GroupId>) -> Vec<Recipient> {
    let Some(group) = group else { return Vec::new() };
    agents(update, |user| user.groups.contains(&group), RecipientRole::GroupMember)
}

/// Nobody is mailed their own update: only a customer who opened the ticket is told that it was received. A machine
/// is answered by nothing; internal roles are for agents; our own addresses are never mailed.
fn may_be_mailed(recipient: Recipient, update: &Update<'_>) -> bool {
    let Some(user) = update.user(recipient.user).filter(|user| user.is_deliverable()) else { return false };
    let settings = update.context.settings;
    if user.primary_address().is_none_or(|address| settings.is_own_address(address)) {
        return false;
    }
    let is_actor = update.actor() == Some(user.id);
    let by_machine = update.change.mail.as_ref().is_some_and(|mail| mail.automatic);
    let receipt = update.created() && !user.is_agent() && recipient.role == RecipientRole::Requester;
    let asked_for = recipient.role == RecipientRole::Author && !by_machine;
    if is_actor && !asked_for && (by_machine || !receipt) {
        return false;
    }
    let internal = matches!(
        recipient.role,
        RecipientRole::Assignee | RecipientRole::Follower | RecipientRole::GroupMember | RecipientRole::Agent
    );
    !internal || user.is_agent()
}

/// One person in several roles gets one mail: the one that shows more.
pub(super) fn without_those_told(people: Vec<Recipient>, told: &mut BTreeSet<UserId>) -> Vec<Recipient> {
    people.into_iter().filter(|recipient| told.insert(recipient.user)).collect()
}
