//! One condition against the ticket now, the ticket before, and the update.
//!
//! "Changed" compares with the ticket before the update that started the cycle, and so sees what earlier triggers
//! did; a first value at creation is a change (reference/triggers-and-automations.md facts 16, 17).

use crate::domain::ids::{GroupId, OrganizationId, UserId};
use crate::domain::people::User;
use crate::domain::rule::{
    AssigneeRef, ChangeTest, Changing, CommentTest, Condition, Equality, GroupRef, Ordered, OrganizationRef,
    PersonKind, RequesterRef, RoleRef, TagTest, UpdateType,
};
use crate::domain::ticket::{Ticket, Visibility};

use super::UpdateContext;

pub(super) fn holds(condition: &Condition, ctx: &UpdateContext, ticket: &Ticket) -> bool {
    let before = ctx.before;
    match condition {
        Condition::UpdateType(UpdateType::Create) => before.is_none(),
        Condition::UpdateType(UpdateType::Change) => before.is_some(),
        Condition::Status(test) => {
            let field = Field { now: Some(ticket.status), before: before.map(|ticket| ticket.status) };
            field.ordered(test, |status| Wanted::Value(Some(*status)))
        }
        Condition::Priority(test) => {
            let field = Field { now: ticket.priority, before: before.and_then(|ticket| ticket.priority) };
            field.ordered(test, |priority| Wanted::Value(*priority))
        }
        Condition::Type(test) => {
            let field =
                Field { now: ticket.ticket_type, before: before.and_then(|ticket| ticket.ticket_type) };
            field.changing(test, |value| Wanted::Value(*value))
        }
        Condition::GroupId(test) => {
            let field = Field { now: ticket.group, before: before.and_then(|ticket| ticket.group) };
            field.changing(test, |group| wanted_group(group, ctx))
        }
        Condition::AssigneeId(test) => {
            let field = Field { now: ticket.assignee, before: before.and_then(|ticket| ticket.assignee) };
            field.changing(test, |person| wanted_assignee(person, ctx, ticket))
        }
        Condition::RequesterId(test) => {
            let field = Field { now: Some(ticket.requester), before: before.map(|ticket| ticket.requester) };
            field.changing(test, |person| wanted_requester(person, ctx, ticket))
        }
        Condition::OrganizationId(test) => {
            let field =
                Field { now: ticket.organization, before: before.and_then(|ticket| ticket.organization) };
            field.changing(test, |organization| wanted_organization(organization, ctx))
        }
        Condition::CurrentTags(TagTest::Includes(tags)) => !ticket.tags.is_disjoint(tags),
        Condition::CurrentTags(TagTest::NotIncludes(tags)) => ticket.tags.is_disjoint(tags),
        Condition::TicketIsPublic(visibility) => ticket.is_public() == (*visibility == Visibility::Public),
        Condition::CommentIsPublic(test) => comment_is(*test, ctx, ticket),
        Condition::Role(test) => equality(test, |role| current_user_is(role, ctx)),
        Condition::RequesterRole(test) => {
            equality(test, |kind| ctx.people.user(ticket.requester).is_some_and(|user| is_kind(user, *kind)))
        }
        Condition::ViaId(test) => equality(test, |channel| ticket.via == *channel),
        Condition::CurrentViaId(test) => equality(test, |channel| ctx.via == *channel),
    }
}

/// A value that a rule compares with; nothing equals a person or group that does not exist.
enum Wanted<T> {
    Value(Option<T>),
    Missing,
}

impl<T: PartialEq> Wanted<T> {
    fn found(value: Option<T>) -> Self {
        value.map_or(Self::Missing, |value| Self::Value(Some(value)))
    }

    fn equals(&self, value: &Option<T>) -> bool {
        matches!(self, Self::Value(wanted) if wanted == value)
    }
}

/// A field of the ticket, now and before; before its creation a ticket has no values.
struct Field<T> {
    now: Option<T>,
    before: Option<T>,
}

impl<T: PartialEq> Field<T> {
    fn changing<V>(&self, test: &Changing<V>, wanted: impl Fn(&V) -> Wanted<T>) -> bool {
        match test {
            Changing::Is(value) => wanted(value).equals(&self.now),
            Changing::IsNot(value) => !wanted(value).equals(&self.now),
            Changing::Change(test) => self.change(test, wanted),
        }
    }

    fn change<V>(&self, test: &ChangeTest<V>, wanted: impl Fn(&V) -> Wanted<T>) -> bool {
        let changed = self.now != self.before;
        let to = |value| changed && wanted(value).equals(&self.now);
        let from = |value| changed && wanted(value).equals(&self.before);
        match test {
            ChangeTest::Changed => changed,
            ChangeTest::NotChanged => !changed,
            ChangeTest::ChangedTo(value) => to(value),
            ChangeTest::NotChangedTo(value) => !to(value),
            ChangeTest::ChangedFrom(value) => from(value),
            ChangeTest::NotChangedFrom(value) => !from(value),
        }
    }
}

impl<T: PartialEq + PartialOrd> Field<T> {
    fn ordered<V>(&self, test: &Ordered<V, T>, wanted: impl Fn(&V) -> Wanted<T>) -> bool {
        match test {
            Ordered::Is(value) => wanted(value).equals(&self.now),
            Ordered::IsNot(value) => !wanted(value).equals(&self.now),
            // "Less than urgent" is every ticket that is not urgent, those without a priority too (part C row 7).
            Ordered::LessThan(limit) => self.now.as_ref().is_none_or(|now| now < limit),
            Ordered::GreaterThan(limit) => self.now.as_ref().is_some_and(|now| now > limit),
            Ordered::Change(test) => self.change(test, wanted),
        }
    }
}

fn equality<V>(test: &Equality<V>, is: impl Fn(&V) -> bool) -> bool {
    match test {
        Equality::Is(value) => is(value),
        Equality::IsNot(value) => !is(value),
    }
}

fn wanted_group(group: &GroupRef, ctx: &UpdateContext) -> Wanted<GroupId> {
    match group {
        GroupRef::None => Wanted::Value(None),
        GroupRef::Named(name) => Wanted::found(ctx.people.group_named(name).map(|group| group.id)),
    }
}

fn wanted_assignee(person: &AssigneeRef, ctx: &UpdateContext, ticket: &Ticket) -> Wanted<UserId> {
    match person {
        AssigneeRef::None => Wanted::Value(None),
        AssigneeRef::CurrentUser => Wanted::found(ctx.actor),
        AssigneeRef::Requester => Wanted::Value(Some(ticket.requester)),
        AssigneeRef::Person(address) => Wanted::found(ctx.people.by_address(address).map(|user| user.id)),
    }
}

fn wanted_requester(person: &RequesterRef, ctx: &UpdateContext, ticket: &Ticket) -> Wanted<UserId> {
    match person {
        RequesterRef::Assignee => Wanted::found(ticket.assignee),
        RequesterRef::CurrentUser => Wanted::found(ctx.actor),
        RequesterRef::Person(address) => Wanted::found(ctx.people.by_address(address).map(|user| user.id)),
    }
}

fn wanted_organization(organization: &OrganizationRef, ctx: &UpdateContext) -> Wanted<OrganizationId> {
    match organization {
        OrganizationRef::None => Wanted::Value(None),
        OrganizationRef::Named(name) => Wanted::found(ctx.people.organization_named(name)),
    }
}

fn comment_is(test: CommentTest, ctx: &UpdateContext, ticket: &Ticket) -> bool {
    let Some(visibility) = ctx.comment else { return false };
    let public = visibility == Visibility::Public;
    match test {
        CommentTest::Public => public,
        CommentTest::Private => !public,
        CommentTest::Present => true,
        CommentTest::RequesterCanSee => {
            public || ctx.people.user(ticket.requester).is_some_and(User::is_agent)
        }
    }
}

/// The system is neither end user nor agent, and no person.
fn current_user_is(role: &RoleRef, ctx: &UpdateContext) -> bool {
    let Some(user) = ctx.actor.and_then(|id| ctx.people.user(id)) else { return false };
    match role {
        RoleRef::Kind(kind) => is_kind(user, *kind),
        RoleRef::Person(address) => user.has_address(address),
    }
}

fn is_kind(user: &User, kind: PersonKind) -> bool {
    user.is_agent() == (kind == PersonKind::Agent)
}
