//! One action of a trigger that fired: events on the ticket, or a mail to be sent.
//!
//! The system rules that follow an action (reference/triggers-and-automations.md D4) are applied here, at once and
//! as made by the system: an assigned ticket is no longer new, an assignee is a member of the ticket's group.

use std::collections::BTreeSet;

use crate::domain::address::Address;
use crate::domain::event::{Actor, AuditEvent, Event};
use crate::domain::ids::{GroupId, UserId};
use crate::domain::people::User;
use crate::domain::rule::{
    Action, AssigneeRef, FollowerRef, GroupRecipient, GroupRef, NotificationIntent, NotificationTarget,
    Trigger, UserRecipient,
};
use crate::domain::ticket::{Status, Ticket, Visibility};

use super::{RuleRun, UpdateContext};

/// A trigger at work.
pub(super) struct Firing<'a, 'c> {
    pub(super) ctx: &'a UpdateContext<'c>,
    pub(super) ticket: &'a mut Ticket,
    pub(super) trigger: &'a Trigger,
    pub(super) run: &'a mut RuleRun,
}

pub(super) fn perform(action: &Action, firing: &mut Firing) {
    match action {
        Action::Status(to) => set_status(firing, (*to).into()),
        Action::Priority(to) => {
            let event = Event::PriorityChanged { from: firing.ticket.priority, to: Some(*to) };
            firing.change(firing.ticket.priority != Some(*to), event);
        }
        Action::Type(to) => {
            let event = Event::TypeChanged { from: firing.ticket.ticket_type, to: Some(*to) };
            firing.change(firing.ticket.ticket_type != Some(*to), event);
        }
        Action::GroupId(group) => set_group(firing, group),
        Action::AssigneeId(person) => set_assignee(firing, person),
        Action::SetTags(tags) => {
            let gone = firing.ticket.tags.difference(tags).cloned().collect();
            change_tags(firing, tags, gone);
        }
        Action::CurrentTags(tags) => change_tags(firing, tags, BTreeSet::new()),
        Action::RemoveTags(tags) => {
            let gone = firing.ticket.tags.intersection(tags).cloned().collect();
            change_tags(firing, &BTreeSet::new(), gone);
        }
        Action::Follower(person) => add_follower(firing, person),
        Action::NotificationUser { recipient, subject, body } => {
            if let Some(target) = user_target(firing, recipient) {
                firing.notify(target, subject, body);
            }
        }
        Action::NotificationGroup { recipient: GroupRecipient::GroupId, subject, body } => {
            firing.notify(NotificationTarget::AssignedGroup, subject, body);
        }
        Action::NotificationGroup { recipient: GroupRecipient::Named(name), subject, body } => {
            firing.notify(NotificationTarget::Group(name.clone()), subject, body);
        }
    }
}

impl Firing<'_, '_> {
    /// Applies and records what the rule itself does, if it differs from what is (fact 10).
    fn change(&mut self, differs: bool, event: Event) {
        if differs {
            self.record(Actor::Rule { key: self.trigger.key.clone() }, event);
        }
    }

    fn record(&mut self, by: Actor, event: Event) {
        self.ticket.apply(&event, self.ctx.now);
        self.run.events.push(AuditEvent { by, event });
    }

    fn notify(&mut self, target: NotificationTarget, subject: &str, body: &str) {
        self.run.notifications.push(NotificationIntent {
            rule: self.trigger.key.clone(),
            target,
            subject: subject.to_owned(),
            body: body.to_owned(),
        });
    }

    fn ignore(&mut self, because: &str) {
        self.run.trace.push("triggers", self.trigger.key.clone(), "ignored", because.to_owned());
    }
}

fn set_status(firing: &mut Firing, to: Status) {
    let from = firing.ticket.status;
    if from == Status::Closed && to != Status::Closed {
        return firing.ignore("a closed ticket keeps its status");
    }
    firing.change(from != to, Event::StatusChanged { from, to });
}

fn set_group(firing: &mut Firing, group: &GroupRef) {
    let to = match group {
        GroupRef::None => None,
        GroupRef::Named(name) => match firing.ctx.people.group_named(name) {
            Some(group) => Some(group.id),
            None => return firing.ignore("there is no such group"),
        },
    };
    let from = firing.ticket.group;
    firing.change(from != to, Event::GroupChanged { from, to });
    unassign_outsider(firing, to);
}

/// Who is not a member of the ticket's group cannot be its assignee; the group stays (fact 55).
fn unassign_outsider(firing: &mut Firing, group: Option<GroupId>) {
    let Some(assignee) = firing.ticket.assignee else { return };
    let member = |user: &User| group.is_some_and(|group| user.groups.contains(&group));
    if !firing.ctx.people.user(assignee).is_some_and(member) {
        firing.record(Actor::System, Event::AssigneeChanged { from: Some(assignee), to: None });
    }
}

fn set_assignee(firing: &mut Firing, person: &AssigneeRef) {
    let people = firing.ctx.people;
    let user = match person {
        AssigneeRef::None => {
            let from = firing.ticket.assignee;
            return firing.change(from.is_some(), Event::AssigneeChanged { from, to: None });
        }
        AssigneeRef::CurrentUser => firing.ctx.actor.and_then(|id| people.user(id)),
        AssigneeRef::Requester => people.user(firing.ticket.requester),
        AssigneeRef::Person(address) => people.by_address(address),
    };
    match user {
        Some(user) if user.is_agent() && user.role.assignable => assign(firing, user),
        _ => firing.ignore("nobody there can be an assignee"),
    }
}

/// An assignee needs a group: the ticket's, or else the agent's default group; and a new ticket opens (fact 55).
fn assign(firing: &mut Firing, user: &User) {
    let group = firing.ticket.group.filter(|group| user.groups.contains(group));
    let Some(group) = group.or_else(|| user.groups.first().copied()) else {
        return firing.ignore("the agent is in no group");
    };
    let from = firing.ticket.assignee;
    firing.change(from != Some(user.id), Event::AssigneeChanged { from, to: Some(user.id) });
    let from = firing.ticket.group;
    if from != Some(group) {
        firing.record(Actor::System, Event::GroupChanged { from, to: Some(group) });
    }
    if firing.ticket.status == Status::New {
        firing.record(Actor::System, Event::StatusChanged { from: Status::New, to: Status::Open });
    }
}

fn change_tags(firing: &mut Firing, add: &BTreeSet<String>, removed: BTreeSet<String>) {
    let added: BTreeSet<String> = add.difference(&firing.ticket.tags).cloned().collect();
    let differs = !(added.is_empty() && removed.is_empty());
    firing.change(differs, Event::TagsChanged { added, removed });
}

fn add_follower(firing: &mut Firing, person: &FollowerRef) {
    let people = firing.ctx.people;
    let user = match person {
        FollowerRef::CurrentUser => firing.ctx.actor.and_then(|id| people.user(id)),
        FollowerRef::Person(address) => people.by_address(address),
    };
    match user {
        Some(user) if user.is_agent() => {
            let differs = !firing.ticket.followers.contains(&user.id);
            firing.change(differs, Event::FollowerAdded { user: user.id });
        }
        _ => firing.ignore("only an agent can be a follower"),
    }
}

/// The recipients of a mail to a user, if it is to be sent at all.
fn user_target(firing: &mut Firing, recipient: &UserRecipient) -> Option<NotificationTarget> {
    let target = match recipient {
        UserRecipient::RequesterId => NotificationTarget::Requester,
        // Only if the update contains a public comment; the other actions run all the same (facts 51, K T4).
        UserRecipient::RequesterAndCcs if firing.ctx.comment != Some(Visibility::Public) => {
            firing.ignore("requester and CCs are mailed for a public comment only");
            return None;
        }
        UserRecipient::RequesterAndCcs => NotificationTarget::RequesterAndCcs,
        UserRecipient::AssigneeId => NotificationTarget::Assignee,
        UserRecipient::CurrentUser => NotificationTarget::CurrentUser,
        UserRecipient::AllAgents => NotificationTarget::AllAgents,
        UserRecipient::Person(address) => match person_id(firing, address) {
            Some(id) => NotificationTarget::User(id),
            None => {
                firing.ignore("nobody has the address the mail is for");
                return None;
            }
        },
    };
    Some(target)
}

fn person_id(firing: &Firing, address: &Address) -> Option<UserId> {
    firing.ctx.people.by_address(address).map(|user| user.id)
}
