//! What placeholders stand for, by kind of recipient (reference/triggers-and-automations.md part G).
//!
//! **Invariant:** the values for an end user hold no text of a private comment, wherever it could hide: comments,
//! the description, and the title of a ticket without subject (reference/private-tickets.md fact 42). History is
//! public in any mail; an agent's mail may show one private comment, the latest (DESIGN §6, rule 9).
//!
//! Not known here and so empty: `ticket.encoded_id` (each recipient has their own), `ticket.link` and `ticket.url`
//! (there is no page to show), `satisfaction`. All values are text; `…_html` and `…_rich` become HTML where they
//! land in it.

use std::collections::{BTreeMap, BTreeSet};

use liquid_core::model::{Object, Value};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::domain::ids::{CommentId, UserId};
use crate::domain::people::User;
use crate::domain::rule::KnownPeople;
use crate::domain::settings::AccountSettings;
use crate::domain::ticket::{Comment, Ticket, Visibility};
use crate::domain::time::Timestamp;

use super::TemplateError;
use super::words::{channel_word, priority_word, status_word, type_word};

/// What every template may start a placeholder with.
pub(super) const ROOTS: [&str; 3] = ["ticket", "current_user", "now"];
/// Comments in a list.
const COMMENTS_MAX: usize = 100;
/// Octets of one value, and of one comment in a list.
const TEXT_MAX: usize = 48 * 1024;
const LISTED_MAX: usize = 8 * 1024;
/// Octets of all comments in a list.
const HISTORY_MAX: usize = 128 * 1024;
const TITLE_MAX: usize = 150;
const SEPARATOR: &str = "----------------------------------------------";

/// Whom a mail is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Public comments only, in every placeholder; followers stay hidden.
    EndUser,
    Agent,
}

/// What there is to tell.
#[derive(Clone, Copy, Debug)]
pub struct ValuesInput<'a> {
    pub ticket: &'a Ticket,
    /// Oldest first, the one that came with the update included.
    pub comments: &'a [Comment],
    pub people: KnownPeople<'a>,
    /// Who made the update; none if the system did.
    pub current_user: Option<UserId>,
    pub account: &'a AccountSettings,
    /// In a follower's mail: what becomes of their reply.
    pub follower_reply_type_message: &'a str,
    /// The first reply to a stranger's mail repeats nothing of it: it would make us a relay for spam (part G 63).
    pub suppress_comments: bool,
    pub now: Timestamp,
}

/// Everything a template can show, and which comments each placeholder of the ticket holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Values {
    placeholders: Json,
    pub(super) sources: BTreeMap<String, Vec<Shown>>,
}

/// A comment whose text a placeholder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shown {
    pub(super) comment: CommentId,
    pub(super) private: bool,
}

impl Values {
    /// As data, to be kept with a notification that could not be rendered.
    #[must_use]
    pub fn freeze(&self) -> Json {
        json!({ "placeholders": self.placeholders, "sources": self.sources })
    }

    /// Every comment whose text it holds, oldest first.
    #[must_use]
    pub fn comments(&self) -> Vec<CommentId> {
        self.shown().map(|shown| shown.comment).collect::<BTreeSet<_>>().into_iter().collect()
    }

    #[must_use]
    pub fn holds_private_comment(&self) -> bool {
        self.shown().any(|shown| shown.private)
    }

    fn shown(&self) -> impl Iterator<Item = &Shown> {
        self.sources.values().flatten()
    }

    pub(super) fn thaw(frozen: &Json) -> Result<Self, TemplateError> {
        Self::deserialize(frozen).map_err(|error| TemplateError {
            line: None,
            what: format!("the kept values do not fit: {error}"),
        })
    }

    pub(super) fn to_object(&self) -> Object {
        match to_liquid(&self.placeholders) {
            Value::Object(object) => object,
            _ => Object::new(),
        }
    }
}

/// Strings stay strings: the library's own conversion would read some as dates.
fn to_liquid(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(flag) => Value::scalar(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::scalar(whole),
            (None, Some(real)) => Value::scalar(real),
            (None, None) => Value::Nil,
        },
        Json::String(text) => Value::scalar(text.clone()),
        Json::Array(items) => Value::array(items.iter().map(to_liquid)),
        Json::Object(fields) => Value::Object(
            fields.iter().map(|(key, value)| (key.as_str().to_owned().into(), to_liquid(value))).collect(),
        ),
    }
}

/// The values for one kind of recipient. What is built already is moved into its place: `json!` would copy it.
#[must_use]
pub fn values(input: &ValuesInput, audience: Audience) -> Values {
    let view = View { input, zone: zone(&input.account.time_zone) };
    let conversation = Conversation::of(input, audience);
    let mut ticket = view.ticket(audience);
    let mut sources = BTreeMap::new();
    for (placeholder, text, comments) in view.comment_texts(&conversation) {
        sources.insert(placeholder.to_owned(), comments);
        insert(&mut ticket, placeholder, Json::String(text));
    }
    for placeholder in ["comments", "public_comments"] {
        let listed = newest(&conversation.public);
        sources.insert(placeholder.to_owned(), listed.iter().map(|comment| shown(comment)).collect());
        insert(&mut ticket, placeholder, listed.iter().map(|comment| view.comment(comment)).collect());
    }
    let title = single_line(&input.ticket.subject);
    if title.is_empty() {
        let first = conversation.first.map(|comment| cut(&single_line(&comment.text), TITLE_MAX));
        sources.insert("title".to_owned(), conversation.first.map(shown).into_iter().collect());
        insert(&mut ticket, "title", json!(first.unwrap_or_default()));
    } else {
        insert(&mut ticket, "title", json!(title));
    }
    let current_user = match input.current_user {
        Some(id) => view.user(Some(id)),
        None => json!({ "name": input.account.name }),
    };
    let now = view.date(input.now, "%Y-%m-%d %H:%M:%S %z");
    let roots = [("ticket", ticket), ("current_user", current_user), ("now", Json::String(now))];
    Values {
        placeholders: roots.map(|(name, value)| (name.to_owned(), value)).into_iter().collect(),
        sources,
    }
}

fn insert(object: &mut Json, key: &str, value: Json) {
    if let Json::Object(fields) = object {
        fields.insert(key.to_owned(), value);
    }
}

/// The comments that a mail to this audience may show.
#[derive(Default)]
struct Conversation<'a> {
    first: Option<&'a Comment>,
    latest: Option<&'a Comment>,
    public: Vec<&'a Comment>,
}

impl<'a> Conversation<'a> {
    fn of(input: &ValuesInput<'a>, audience: Audience) -> Self {
        if input.suppress_comments {
            return Self::default();
        }
        let is_public = |comment: &&Comment| comment.visibility == Visibility::Public;
        let public: Vec<&Comment> = input.comments.iter().filter(is_public).collect();
        match audience {
            Audience::EndUser => {
                Self { first: public.first().copied(), latest: public.last().copied(), public }
            }
            Audience::Agent => Self { first: input.comments.first(), latest: input.comments.last(), public },
        }
    }
}

/// The newest comments of a list that fit into a mail, oldest first.
fn newest<'a>(comments: &[&'a Comment]) -> Vec<&'a Comment> {
    let mut room = HISTORY_MAX;
    let fits = |comment: &&&Comment| {
        let size = comment.text.len().min(LISTED_MAX);
        let fits = size <= room;
        room = room.saturating_sub(size);
        fits
    };
    let mut listed: Vec<&Comment> =
        comments.iter().rev().take(COMMENTS_MAX).take_while(fits).copied().collect();
    listed.reverse();
    listed
}

fn shown(comment: &Comment) -> Shown {
    Shown { comment: comment.id, private: comment.visibility == Visibility::Private }
}

/// One input in words.
struct View<'a> {
    input: &'a ValuesInput<'a>,
    zone: jiff::tz::TimeZone,
}

impl View<'_> {
    fn ticket(&self, audience: Audience) -> Json {
        let ticket = self.input.ticket;
        let group = ticket.group.and_then(|id| self.input.people.group(id));
        let ccs: Vec<&User> = ticket.ccs.iter().filter_map(|id| self.input.people.user(*id)).collect();
        let followers = match audience {
            Audience::EndUser => String::new(),
            Audience::Agent => names(ticket.followers.iter().filter_map(|id| self.input.people.user(*id))),
        };
        let cc = |user: &&User| json!({ "name": user.name, "email": email(user) });
        let mut values = json!({
            "id": ticket.id.0,
            "account": self.input.account.name,
            "status": status_word(ticket.status),
            "priority": ticket.priority.map(priority_word),
            "ticket_type": ticket.ticket_type.map_or("Ticket", type_word),
            "tags": ticket.tags.iter().map(String::as_str).collect::<Vec<_>>().join(" "),
            "via": channel_word(ticket.via),
            "group": group.map(|group| json!({ "id": group.id.0, "name": group.name })),
            "cc_names": names(ccs.iter().copied()),
            "email_cc_names": names(ccs.iter().copied()),
            "follower_names": followers,
            "follower_reply_type_message": self.input.follower_reply_type_message,
            "created_at": self.day(ticket.created_at),
            "created_at_with_time": self.minute(ticket.created_at),
            "created_at_with_timestamp": ticket.created_at.rfc3339(),
            "updated_at": self.day(ticket.updated_at),
            "updated_at_with_time": self.minute(ticket.updated_at),
            "updated_at_with_timestamp": ticket.updated_at.rfc3339(),
        });
        for (role, user) in [
            ("assignee", ticket.assignee),
            ("requester", Some(ticket.requester)),
            ("submitter", Some(ticket.submitter)),
        ] {
            insert(&mut values, role, self.user(user));
        }
        insert(&mut values, "organization", self.organization(ticket.organization));
        insert(&mut values, "ccs", ccs.iter().map(cc).collect());
        values
    }

    /// Each placeholder that is the text of comments, and which they are.
    fn comment_texts(&self, conversation: &Conversation) -> Vec<(&'static str, String, Vec<Shown>)> {
        let plain =
            |comment: Option<&Comment>| comment.map_or(String::new(), |comment| cut(&comment.text, TEXT_MAX));
        let formatted = |comments: &[&Comment]| self.formatted(comments);
        let one = |comment: Option<&Comment>| comment.map(shown).into_iter().collect::<Vec<_>>();
        let public = newest(&conversation.public);
        let all: Vec<Shown> = public.iter().map(|comment| shown(comment)).collect();
        let mut texts = Vec::new();
        for name in ["description", "verbatim_description"] {
            texts.push((name, plain(conversation.first), one(conversation.first)));
        }
        let latest = conversation.latest;
        for name in ["latest_comment", "latest_comment_html", "latest_comment_rich"] {
            texts.push((name, plain(latest), one(latest)));
        }
        texts.push(("latest_comment_formatted", formatted(latest.as_slice()), one(latest)));
        let latest = conversation.public.last().copied();
        for name in ["latest_public_comment", "latest_public_comment_html", "latest_public_comment_rich"] {
            texts.push((name, plain(latest), one(latest)));
        }
        texts.push(("latest_public_comment_formatted", formatted(latest.as_slice()), one(latest)));
        for name in ["comments_formatted", "public_comments_formatted"] {
            texts.push((name, formatted(&public), all.clone()));
        }
        texts
    }

    /// Newest first, each under its author and date (reference/outbound-email.md §5.2).
    fn formatted(&self, comments: &[&Comment]) -> String {
        let entry = |comment: &&Comment| {
            let author = self.input.people.user(comment.author).map_or("", |user| user.name.as_str());
            let (date, text) = (self.full(comment.created_at), cut(&comment.text, TEXT_MAX));
            format!("{SEPARATOR}\n\n{author}, {date}\n\n{text}\n")
        };
        cut(&comments.iter().rev().map(entry).collect::<Vec<_>>().join("\n"), TEXT_MAX)
    }

    fn comment(&self, comment: &Comment) -> Json {
        let text = cut(&comment.text, LISTED_MAX);
        let names = comment.attachments.iter().filter_map(|file| file.name.as_deref());
        json!({
            "id": comment.id.0,
            "author": self.user(Some(comment.author)),
            "created_at": self.day(comment.created_at),
            "created_at_with_time": self.minute(comment.created_at),
            "is_public": comment.visibility == Visibility::Public,
            "value": text,
            "value_rich": text,
            "attachments": names.take(COMMENTS_MAX).map(|name| json!({ "filename": name })).collect::<Vec<_>>(),
        })
    }

    fn user(&self, id: Option<UserId>) -> Json {
        let Some(user) = id.and_then(|id| self.input.people.user(id)) else { return Json::Null };
        let (first, last) = user.name.split_once(' ').unwrap_or((&user.name, ""));
        json!({
            "id": user.id.0,
            "name": user.name,
            "first_name": first,
            "last_name": last,
            "email": email(user),
            "role": if user.is_agent() { "Agent" } else { "End user" },
            "extended_role": user.role.key,
            "organization": self.organization(user.organization),
        })
    }

    fn organization(&self, id: Option<crate::domain::ids::OrganizationId>) -> Json {
        let organizations = &self.input.people.snapshot.directory.organizations;
        id.and_then(|id| organizations.get(&id)).map_or(Json::Null, |organization| {
            json!({
                "id": organization.id.0,
                "name": organization.name,
                "is_shared": organization.shared_tickets,
                "is_shared_comments": organization.shared_comments,
            })
        })
    }

    /// `Nov 21`, with the year unless it is this one (part G 61).
    fn day(&self, at: Timestamp) -> String {
        self.date(at, if self.is_this_year(at) { "%b %-d" } else { "%b %-d, %Y" })
    }

    fn minute(&self, at: Timestamp) -> String {
        self.date(at, if self.is_this_year(at) { "%b %-d, %H:%M %Z" } else { "%b %-d, %Y, %H:%M %Z" })
    }

    /// `Nov 21, 2026, 10:12 UTC`.
    fn full(&self, at: Timestamp) -> String {
        self.date(at, "%b %-d, %Y, %H:%M %Z")
    }

    fn is_this_year(&self, at: Timestamp) -> bool {
        self.date(at, "%Y") == self.date(self.input.now, "%Y")
    }

    fn date(&self, at: Timestamp, format: &str) -> String {
        let instant = jiff::Timestamp::from_microsecond(at.0).unwrap_or_default();
        jiff::fmt::strtime::format(format, &instant.to_zoned(self.zone.clone())).unwrap_or_default()
    }
}

/// The account's time zone; an unknown name, which `check` refuses, counts as UTC.
fn zone(name: &str) -> jiff::tz::TimeZone {
    jiff::tz::TimeZone::get(name).unwrap_or(jiff::tz::TimeZone::UTC)
}

fn email(user: &User) -> String {
    user.primary_address().map(ToString::to_string).unwrap_or_default()
}

fn names<'u>(users: impl Iterator<Item = &'u User>) -> String {
    users.map(|user| user.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn single_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text up to `max` octets, with a mark where it was cut.
fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(max);
    format!("{}…", text.get(..end).unwrap_or_default())
}
