//! What follows from an update by itself, before any trigger (reference/triggers-and-automations.md D4,
//! ticket-identification.md §3 fact 28).

use crate::domain::event::{Actor, Event};
use crate::domain::ids::{GroupId, UserId};
use crate::domain::people::{TicketAccess, User};
use crate::domain::ticket::Status;

use super::Update;

pub(super) fn run(update: &mut Update<'_>) {
    if update.created() {
        assign_group(update);
        assign_only_agent(update);
    }
    open_assigned(update);
}

/// An account with one group has no choice; an agent who sees only their own groups' tickets files into the default one.
fn assign_group(update: &mut Update<'_>) {
    if update.ticket.group.is_some() {
        return;
    }
    let groups = &update.snapshot.directory.groups;
    let active: Vec<GroupId> = groups.values().filter(|group| group.active).map(|group| group.id).collect();
    let restricted_default = update
        .actor()
        .and_then(|id| update.user(id))
        .filter(|user| user.is_agent() && user.role.ticket_access != TicketAccess::All)
        .and_then(|user| user.groups.first().copied());
    let only = match active.as_slice() {
        [only] => Some(*only),
        _ => None,
    };
    if let Some(group) = restricted_default.or(only) {
        update.push(Actor::System, Event::GroupChanged { from: None, to: Some(group) });
    }
}

/// A group with one assignable agent has no choice either.
fn assign_only_agent(update: &mut Update<'_>) {
    let Some(group) = update.ticket.group.filter(|_| update.ticket.assignee.is_none()) else { return };
    let assignable = |user: &&User| user.role.assignable && !user.suspended && user.groups.contains(&group);
    let agents: Vec<UserId> =
        update.snapshot.directory.agents.values().filter(assignable).map(|user| user.id).collect();
    if let [only] = agents.as_slice() {
        update.push(Actor::System, Event::AssigneeChanged { from: None, to: Some(*only) });
    }
}

/// Assigning a new ticket opens it, unless the same update set another status.
fn open_assigned(update: &mut Update<'_>) {
    if update.ticket.status == Status::New && update.ticket.assignee.is_some() {
        update.push(Actor::System, Event::StatusChanged { from: Status::New, to: Status::Open });
    }
}
