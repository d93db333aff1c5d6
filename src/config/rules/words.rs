//! The words of a rule file: which fields there are, and the operators and values that each takes
//! (reference/triggers-and-automations.md parts C and D).

use std::collections::BTreeSet;

use crate::domain::address::Address;
use crate::domain::rule::{
    Action, AssigneeRef, ChangeTest, Changing, CommentTest, Condition, Equality, FollowerRef, GroupRecipient,
    GroupRef, Ordered, OrganizationRef, PersonKind, RequesterRef, RoleRef, SettableStatus, TagTest,
    UpdateType, UserRecipient,
};
use crate::domain::ticket::{Channel, Priority, Status, TicketType, Visibility};

/// One condition or action as written.
pub(super) struct Words<'a> {
    pub(super) field: &'a str,
    pub(super) operator: &'a str,
    pub(super) value: Option<&'a str>,
}

/// Which word is wrong, and what would be right.
pub(super) struct Wrong {
    pub(super) part: Part,
    pub(super) expected: String,
}

pub(super) enum Part {
    Field,
    Operator,
    Value,
}

type Answer<T> = Result<T, Wrong>;

/// Actions whose value is a list of recipient, subject and body.
pub(super) const NOTIFICATIONS: [&str; 2] = ["notification_user", "notification_group"];

const EQUALITY: [&str; 2] = ["is", "is_not"];
const ORDER: [&str; 2] = ["less_than", "greater_than"];
const CHANGES: [&str; 6] =
    ["changed", "changed_to", "changed_from", "not_changed", "not_changed_to", "not_changed_from"];

pub(super) fn is_key(key: &str) -> bool {
    key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
}

pub(super) fn condition(words: &Words) -> Answer<Condition> {
    match words.field {
        "update_type" => only_is(words, update_type).map(Condition::UpdateType),
        "status" => ordered(words, status, status).map(Condition::Status),
        "priority" => ordered(words, optional(priority), priority).map(Condition::Priority),
        "type" => changing(words, optional(ticket_type)).map(Condition::Type),
        "group_id" => changing(words, group).map(Condition::GroupId),
        "assignee_id" => changing(words, assignee).map(Condition::AssigneeId),
        "requester_id" => changing(words, requester).map(Condition::RequesterId),
        "organization_id" => changing(words, organization).map(Condition::OrganizationId),
        "current_tags" => tag_test(words).map(Condition::CurrentTags),
        "ticket_is_public" => only_is(words, visibility).map(Condition::TicketIsPublic),
        "comment_is_public" => only_is(words, comment).map(Condition::CommentIsPublic),
        "role" => equality(words, role).map(Condition::Role),
        "requester_role" => equality(words, person_kind).map(Condition::RequesterRole),
        "via_id" => equality(words, channel).map(Condition::ViaId),
        "current_via_id" => equality(words, channel).map(Condition::CurrentViaId),
        _ => Err(wrong(
            Part::Field,
            one_of(&[
                "update_type",
                "status",
                "priority",
                "type",
                "group_id",
                "assignee_id",
                "requester_id",
                "organization_id",
                "current_tags",
                "ticket_is_public",
                "comment_is_public",
                "role",
                "requester_role",
                "via_id",
                "current_via_id",
            ]),
        )),
    }
}

/// An action other than a notification.
pub(super) fn action(words: &Words) -> Answer<Action> {
    match words.field {
        "status" => value(words, settable_status).map(Action::Status),
        "priority" => value(words, priority).map(Action::Priority),
        "type" => value(words, ticket_type).map(Action::Type),
        "group_id" => value(words, group).map(Action::GroupId),
        "assignee_id" => value(words, assignee).map(Action::AssigneeId),
        // Setting no tags at all removes all of them.
        "set_tags" => value(words, |text| Ok(split_tags(text))).map(Action::SetTags),
        "current_tags" => value(words, tags).map(Action::CurrentTags),
        "remove_tags" => value(words, tags).map(Action::RemoveTags),
        "follower" => value(words, follower).map(Action::Follower),
        _ => Err(wrong(
            Part::Field,
            one_of(&[
                "status",
                "priority",
                "type",
                "group_id",
                "assignee_id",
                "set_tags",
                "current_tags",
                "remove_tags",
                "follower",
                "notification_user",
                "notification_group",
            ]),
        )),
    }
}

/// A notification; the value is its recipient.
pub(super) fn notification(words: &Words, subject: &str, body: &str) -> Answer<Action> {
    let (subject, body) = (subject.to_owned(), body.to_owned());
    if words.field == "notification_group" {
        let recipient = value(words, group_recipient)?;
        return Ok(Action::NotificationGroup { recipient, subject, body });
    }
    let recipient = value(words, user_recipient)?;
    Ok(Action::NotificationUser { recipient, subject, body })
}

fn wrong(part: Part, expected: impl Into<String>) -> Wrong {
    Wrong { part, expected: expected.into() }
}

fn one_of(words: &[&str]) -> String {
    format!("one of {}", words.join(", "))
}

fn operator_wrong(lists: &[&[&str]]) -> Wrong {
    wrong(Part::Operator, one_of(&lists.concat()))
}

/// Reads the value with `read`, which answers what it expected instead.
fn value<V>(words: &Words, read: impl Fn(&str) -> Result<V, String>) -> Answer<V> {
    read(words.value.unwrap_or_default().trim()).map_err(|expected| wrong(Part::Value, expected))
}

fn only_is<V>(words: &Words, read: impl Fn(&str) -> Result<V, String>) -> Answer<V> {
    if words.operator == "is" { value(words, read) } else { Err(operator_wrong(&[&["is"]])) }
}

fn equality<V>(words: &Words, read: impl Fn(&str) -> Result<V, String>) -> Answer<Equality<V>> {
    match words.operator {
        "is" => value(words, read).map(Equality::Is),
        "is_not" => value(words, read).map(Equality::IsNot),
        _ => Err(operator_wrong(&[&EQUALITY])),
    }
}

fn changing<V>(words: &Words, read: impl Fn(&str) -> Result<V, String>) -> Answer<Changing<V>> {
    match words.operator {
        "is" => value(words, read).map(Changing::Is),
        "is_not" => value(words, read).map(Changing::IsNot),
        _ => match change(words, read)? {
            Some(test) => Ok(Changing::Change(test)),
            None => Err(operator_wrong(&[&EQUALITY, &CHANGES])),
        },
    }
}

fn ordered<V, O>(
    words: &Words,
    read: impl Fn(&str) -> Result<V, String>,
    read_ordered: impl Fn(&str) -> Result<O, String>,
) -> Answer<Ordered<V, O>> {
    match words.operator {
        "is" => value(words, read).map(Ordered::Is),
        "is_not" => value(words, read).map(Ordered::IsNot),
        "less_than" => value(words, read_ordered).map(Ordered::LessThan),
        "greater_than" => value(words, read_ordered).map(Ordered::GreaterThan),
        _ => match change(words, read)? {
            Some(test) => Ok(Ordered::Change(test)),
            None => Err(operator_wrong(&[&EQUALITY, &ORDER, &CHANGES])),
        },
    }
}

/// The operators about change, each also by the API's name for it.
fn change<V>(words: &Words, read: impl Fn(&str) -> Result<V, String>) -> Answer<Option<ChangeTest<V>>> {
    let nothing = || match words.value.unwrap_or_default() {
        "" => Ok(()),
        _ => Err(wrong(Part::Value, "no value: to name one, use `changed_to` or `changed_from`")),
    };
    let test = match words.operator {
        "changed" => nothing().map(|()| ChangeTest::Changed)?,
        "not_changed" => nothing().map(|()| ChangeTest::NotChanged)?,
        "changed_to" | "value" => ChangeTest::ChangedTo(value(words, read)?),
        "changed_from" | "value_previous" => ChangeTest::ChangedFrom(value(words, read)?),
        "not_changed_to" | "not_value" => ChangeTest::NotChangedTo(value(words, read)?),
        "not_changed_from" | "not_value_previous" => ChangeTest::NotChangedFrom(value(words, read)?),
        _ => return Ok(None),
    };
    Ok(Some(test))
}

fn tag_test(words: &Words) -> Answer<TagTest> {
    match words.operator {
        "includes" => value(words, tags).map(TagTest::Includes),
        "not_includes" => value(words, tags).map(TagTest::NotIncludes),
        _ => Err(operator_wrong(&[&["includes", "not_includes"]])),
    }
}

fn split_tags(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_lowercase).collect()
}

fn tags(text: &str) -> Result<BTreeSet<String>, String> {
    let tags = split_tags(text);
    if tags.is_empty() { Err("tags, separated by spaces".to_owned()) } else { Ok(tags) }
}

/// Wraps a reader so that an empty value means none.
fn optional<V>(read: impl Fn(&str) -> Result<V, String>) -> impl Fn(&str) -> Result<Option<V>, String> {
    move |text| {
        if text.is_empty() {
            return Ok(None);
        }
        read(text).map(Some).map_err(|expected| format!("{expected}, or \"\" for none"))
    }
}

/// The value with one of these words.
fn pick<V: Copy>(text: &str, words: &[(&str, V)]) -> Result<V, String> {
    let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| one_of(&words.iter().map(|(word, _)| *word).collect::<Vec<_>>()))
}

fn update_type(text: &str) -> Result<UpdateType, String> {
    pick(text, &[("Create", UpdateType::Create), ("Change", UpdateType::Change)])
}

fn status(text: &str) -> Result<Status, String> {
    pick(text, &Status::ALL.iter().map(|status| (status.word(), *status)).collect::<Vec<_>>())
}

fn settable_status(text: &str) -> Result<SettableStatus, String> {
    use SettableStatus::{Closed, Hold, Open, Pending, Solved};
    pick(
        text,
        &[("open", Open), ("pending", Pending), ("hold", Hold), ("solved", Solved), ("closed", Closed)],
    )
}

fn priority(text: &str) -> Result<Priority, String> {
    pick(text, &Priority::ALL.iter().map(|priority| (priority.word(), *priority)).collect::<Vec<_>>())
}

fn ticket_type(text: &str) -> Result<TicketType, String> {
    pick(text, &TicketType::ALL.iter().map(|value| (value.word(), *value)).collect::<Vec<_>>())
}

fn visibility(text: &str) -> Result<Visibility, String> {
    pick(text, &[("public", Visibility::Public), ("private", Visibility::Private)])
}

fn comment(text: &str) -> Result<CommentTest, String> {
    pick(
        text,
        &[
            ("true", CommentTest::Public),
            ("false", CommentTest::Private),
            ("not_relevant", CommentTest::Present),
            ("requester_can_see_comment", CommentTest::RequesterCanSee),
        ],
    )
}

/// By name or by the API's number (reference/triggers-and-automations.md part H).
fn channel(text: &str) -> Result<Channel, String> {
    let by_number = match text {
        "4" => Some(Channel::Mail),
        "5" => Some(Channel::Api),
        "8" => Some(Channel::Rule),
        "27" => Some(Channel::ClosedTicket),
        _ => None,
    };
    let names = [
        ("mail", Channel::Mail),
        ("web_service", Channel::Api),
        ("rule", Channel::Rule),
        ("closed_ticket", Channel::ClosedTicket),
        ("system", Channel::System),
    ];
    by_number.map_or_else(|| pick(text, &names), Ok)
}

fn person_kind(text: &str) -> Result<PersonKind, String> {
    pick(text, &[("end_user", PersonKind::EndUser), ("agent", PersonKind::Agent)])
}

/// One of the words, or a mail address.
fn word_or_address<V: Clone>(
    text: &str,
    words: &[(&str, V)],
    person: impl Fn(Address) -> V,
) -> Result<V, String> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(value.clone());
    }
    let names: Vec<&str> =
        words.iter().map(|(word, _)| if word.is_empty() { "\"\"" } else { *word }).collect();
    Address::parse(text).map(person).map_err(|_| format!("{}, or a mail address", one_of(&names)))
}

fn role(text: &str) -> Result<RoleRef, String> {
    let words = [("end_user", PersonKind::EndUser), ("agent", PersonKind::Agent)];
    word_or_address(text, &words.map(|(word, kind)| (word, RoleRef::Kind(kind))), RoleRef::Person)
}

fn assignee(text: &str) -> Result<AssigneeRef, String> {
    let words = [
        ("current_user", AssigneeRef::CurrentUser),
        ("requester_id", AssigneeRef::Requester),
        ("", AssigneeRef::None),
    ];
    word_or_address(text, &words, AssigneeRef::Person)
}

fn requester(text: &str) -> Result<RequesterRef, String> {
    let words = [("current_user", RequesterRef::CurrentUser), ("assignee_id", RequesterRef::Assignee)];
    word_or_address(text, &words, RequesterRef::Person)
}

fn follower(text: &str) -> Result<FollowerRef, String> {
    word_or_address(text, &[("current_user", FollowerRef::CurrentUser)], FollowerRef::Person)
}

fn user_recipient(text: &str) -> Result<UserRecipient, String> {
    let words = [
        ("requester_id", UserRecipient::RequesterId),
        ("requester_and_ccs", UserRecipient::RequesterAndCcs),
        ("assignee_id", UserRecipient::AssigneeId),
        ("current_user", UserRecipient::CurrentUser),
        ("all_agents", UserRecipient::AllAgents),
    ];
    word_or_address(text, &words, UserRecipient::Person)
}

// The readers below accept any text: whether a group or organization has that name is known when the rule runs.

#[expect(clippy::unnecessary_wraps, reason = "a reader like the others")]
fn group(text: &str) -> Result<GroupRef, String> {
    Ok(if text.is_empty() { GroupRef::None } else { GroupRef::Named(text.to_owned()) })
}

#[expect(clippy::unnecessary_wraps, reason = "a reader like the others")]
fn organization(text: &str) -> Result<OrganizationRef, String> {
    Ok(if text.is_empty() { OrganizationRef::None } else { OrganizationRef::Named(text.to_owned()) })
}

fn group_recipient(text: &str) -> Result<GroupRecipient, String> {
    match text {
        "" => Err("group_id, or a group's name".to_owned()),
        "group_id" => Ok(GroupRecipient::GroupId),
        name => Ok(GroupRecipient::Named(name.to_owned())),
    }
}
