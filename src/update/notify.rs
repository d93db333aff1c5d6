//! From what rules want said to mails promised: whom, rendered once, a row for each recipient.

use std::collections::BTreeSet;

use crate::domain::address::Mailbox;
use crate::domain::event::{Actor, Event};
use crate::domain::ids::{AuditId, Fresh, UserId};
use crate::domain::mail::MessageId;
use crate::domain::people::{CommentPermission, User};
use crate::domain::plan::{Notification, NotificationContent, OutboxEntry, RecipientRole, Write};
use crate::domain::rule::{KnownPeople, NotificationIntent, NotificationTarget};
use crate::domain::settings::{FollowerReplies, SupportAddress};
use crate::domain::ticket::{Channel, Comment, Ticket, Visibility};
use crate::domain::token::{self, Rendered, TicketRef};
use crate::domain::trace::Trace;
use crate::template::{self, Template, values};

use super::Update;
use super::recipients::{self, Recipient};

/// Rule names of the mails that no trigger sends.
const FOLLOWER: &str = "follower";
const STAYED_INTERNAL: &str = "stayed-internal";

/// A mail to be promised: the words, and the people.
struct Item {
    rule: String,
    subject: String,
    body: String,
    recipients: Vec<Recipient>,
    /// To and Cc show the participants; internal mail shows its recipient alone.
    shows_participants: bool,
}

/// The writes of every notification of the update, and the events that tell of them.
pub(super) fn promise(
    update: &mut Update<'_>,
    intents: &[NotificationIntent],
    audit: AuditId,
    fresh: &mut dyn Fresh,
    trace: &mut Trace,
) -> Vec<Write> {
    let mut told = BTreeSet::new();
    let mut writes = Vec::new();
    for mut item in items(update, intents, trace) {
        item.recipients = recipients::without_those_told(item.recipients, &mut told);
        if item.recipients.is_empty() {
            continue;
        }
        // `Settings::support_addresses` is never empty; without one there is nobody to write as.
        let Some(support) = support(update).cloned() else { break };
        let notification = notification(update, &item, &support, audit, fresh);
        let recipients: Vec<UserId> = item.recipients.iter().map(|recipient| recipient.user).collect();
        let by = if item.rule == FOLLOWER || item.rule == STAYED_INTERNAL {
            Actor::System
        } else {
            Actor::Rule { key: item.rule.clone() }
        };
        let entries: Vec<OutboxEntry> = item
            .recipients
            .iter()
            .filter_map(|recipient| entry(update, &notification, &support, *recipient, fresh))
            .collect();
        update.push(by, Event::Notified { notification: notification.id, recipients });
        writes.extend(written(update, notification, entries));
    }
    writes
}

/// Every mail that is due, the ones that show more first: a person in several roles gets the first.
fn items(update: &Update<'_>, intents: &[NotificationIntent], trace: &mut Trace) -> Vec<Item> {
    let texts = &update.context.settings.texts;
    let mut items = Vec::new();
    if update.change.tell_author_it_stayed_internal {
        items.push(Item {
            rule: STAYED_INTERNAL.to_owned(),
            subject: texts.stayed_internal_subject.clone(),
            body: texts.stayed_internal_body.clone(),
            recipients: update
                .actor()
                .map(|user| Recipient { user, role: RecipientRole::Author })
                .into_iter()
                .collect(),
            shows_participants: false,
        });
    }
    items.push(Item {
        rule: FOLLOWER.to_owned(),
        subject: texts.follower_subject.clone(),
        body: texts.follower_body.clone(),
        recipients: recipients::followers(update),
        shows_participants: false,
    });
    for intent in intents {
        match recipients::resolve(&intent.target, update) {
            Ok(people) => items.push(Item {
                rule: intent.rule.clone(),
                subject: intent.subject.clone(),
                body: intent.body.clone(),
                recipients: people,
                shows_participants: is_for_participants(&intent.target),
            }),
            Err(because) => trace.push("triggers", intent.rule.clone(), "suppressed", because),
        }
    }
    items.sort_by_key(|item| item.shows_participants);
    items
}

fn is_for_participants(target: &NotificationTarget) -> bool {
    matches!(target, NotificationTarget::Requester | NotificationTarget::RequesterAndCcs)
}

/// Who reads it decides what placeholders may show: an agent who is a CC reads what customers read.
fn audience(update: &Update<'_>, item: &Item) -> values::Audience {
    let all_agents =
        item.recipients.iter().all(|recipient| update.user(recipient.user).is_some_and(User::is_agent));
    // Somebody who only claims to be the agent must not be shown what agents see.
    let claimed = item.recipients.iter().any(|recipient| recipient.role == RecipientRole::Author)
        && !update.by_human_agent();
    if all_agents && !item.shows_participants && !claimed {
        values::Audience::Agent
    } else {
        values::Audience::EndUser
    }
}

fn notification(
    update: &Update<'_>,
    item: &Item,
    support: &SupportAddress,
    audit: AuditId,
    fresh: &mut dyn Fresh,
) -> Notification {
    let audience = audience(update, item);
    let rendered = render(update, item, audience);
    let private = rendered.shows_private;
    let public_cause =
        update.change.comment.as_ref().is_some_and(|comment| comment.visibility == Visibility::Public);
    let cause_id = update.change.mail.as_ref().and_then(|mail| mail.record.message_id.clone());
    let answered = cause_id.filter(|_| public_cause || audience == values::Audience::Agent);
    let root = update.context.keys.root_message_id(update.ticket.id, &update.ticket.salt);
    let (to, cc) = if item.shows_participants { participants(update) } else { (Vec::new(), Vec::new()) };
    Notification {
        id: fresh.notification(),
        ticket: update.ticket.id,
        audit,
        rule: item.rule.clone(),
        from: from(update, support, &rendered),
        to,
        cc,
        references: references(update, root.clone(), answered.as_ref()),
        in_reply_to: Some(answered.unwrap_or(root)),
        visibility: if private { Visibility::Private } else { Visibility::Public },
        comments: rendered.comments,
        content: rendered.content,
        automatic: !update.by_human_agent(),
        created_at: update.now,
    }
}

struct RenderedMail {
    content: NotificationContent,
    comments: Vec<crate::domain::ids::CommentId>,
    shows_private: bool,
}

/// Renders once for all recipients. A template that fails leaves the mail owed: `outbox retry` renders it later.
fn render(update: &Update<'_>, item: &Item, audience: values::Audience) -> RenderedMail {
    let settings = update.context.settings;
    // Before the values become HTML: what a line break or an entity hides in it is plain in the text.
    let harmless = |comment: &Comment| Comment { text: token::defuse(&comment.text), ..comment.clone() };
    let comments: Vec<_> = update.comments().into_iter().map(harmless).collect();
    let ticket = Ticket { subject: token::defuse(&update.ticket.subject), ..update.ticket.clone() };
    let actor_is_agent = update.actor().and_then(|id| update.user(id)).is_some_and(User::is_agent);
    let reply_message = match settings.privacy.follower_replies {
        FollowerReplies::AsAgent => &settings.texts.follower_reply_comment,
        FollowerReplies::Private | FollowerReplies::Mirror => &settings.texts.follower_reply_note,
    };
    let input = values::ValuesInput {
        ticket: &ticket,
        comments: &comments,
        people: KnownPeople { snapshot: update.snapshot, newcomers: &update.change.new_users },
        current_user: update.actor(),
        account: &settings.account,
        follower_reply_type_message: reply_message,
        suppress_comments: update.created()
            && !actor_is_agent
            && update.change.via == Channel::Mail
            && audience == values::Audience::EndUser,
        now: update.now,
    };
    let values = values::values(&input, audience);
    let compiled = Template::compiled(&item.subject)
        .and_then(|subject| Ok((subject, Template::compiled(&item.body)?)))
        .and_then(|(subject, body)| template::render(&subject, &body, &values));
    match compiled {
        Ok(mail) => RenderedMail {
            // A customer's text could hold a reference to a ticket of theirs: quoted by an agent, it would
            // pull the agent's answer over there (DESIGN §5).
            content: NotificationContent::Rendered {
                subject: token::defuse(&mail.subject),
                text: token::defuse(&mail.text),
                html: token::defuse(&mail.html),
            },
            comments: mail.comments,
            shows_private: mail.shows_private_comment,
        },
        Err(error) => RenderedMail {
            content: NotificationContent::Unrendered {
                error: error.to_string(),
                subject_template: item.subject.clone(),
                body_template: item.body.clone(),
                values: values.freeze(),
            },
            // What it will show is not known yet, so everything it could show counts.
            comments: values.comments(),
            shows_private: values.holds_private_comment(),
        },
    }
}

/// The support address the ticket was received at, or the default one.
fn support<'a>(update: &'a Update<'_>) -> Option<&'a SupportAddress> {
    let settings = update.context.settings;
    let received_at = update.ticket.recipient.as_ref().and_then(|address| settings.support_address(address));
    received_at.or_else(|| settings.support_addresses.first())
}

/// `"Ana Ruiz (Desk Support)" <support@…>` where the mail shows somebody's comment, else the support name.
fn from(update: &Update<'_>, support: &SupportAddress, rendered: &RenderedMail) -> Mailbox {
    let author = update
        .change
        .comment
        .as_ref()
        .filter(|comment| rendered.comments.contains(&comment.id))
        .and_then(|comment| update.user(comment.author))
        .filter(|_| update.context.settings.notifications.personalised);
    let name = match (author, &support.name) {
        (Some(author), Some(name)) => Some(format!("{} ({name})", author.name)),
        (Some(author), None) => Some(author.name.clone()),
        (None, name) => name.clone(),
    };
    Mailbox { name, address: support.address.clone() }
}

/// The people everybody may see: requester in To, CCs in Cc. Light agents among the CCs stay unseen.
fn participants(update: &Update<'_>) -> (Vec<Mailbox>, Vec<Mailbox>) {
    let mailbox = |id: UserId| {
        let user = update.user(id)?;
        Some(Mailbox { name: Some(user.name.clone()), address: user.primary_address()?.clone() })
    };
    let visible = |id: &&UserId| {
        update.user(**id).is_some_and(|user| {
            !(user.is_agent() && user.role.comments == CommentPermission::PrivateOnly)
                && user.is_deliverable()
        })
    };
    let to = mailbox(update.ticket.requester).into_iter().collect();
    let cc = update.ticket.ccs.iter().filter(visible).filter_map(|id| mailbox(*id)).collect();
    (to, cc)
}

/// The ticket's root first, so that every client threads; newest last (RFC 5322 §3.6.4).
fn references(update: &Update<'_>, root: MessageId, answered: Option<&MessageId>) -> Vec<MessageId> {
    let thread = update.file.iter().flat_map(|file| &file.thread);
    let mut ids = vec![root];
    for id in thread.chain(answered) {
        if !ids.contains(id) {
            ids.push(id.clone());
        }
    }
    ids
}

/// One recipient's row: their own Reply-To, Message-ID, body token and return address.
fn entry(
    update: &Update<'_>,
    notification: &Notification,
    support: &SupportAddress,
    recipient: Recipient,
    fresh: &mut dyn Fresh,
) -> Option<OutboxEntry> {
    let (ticket, keys) = (&update.ticket, update.context.keys);
    let what = TicketRef {
        ticket: ticket.id,
        recipient: recipient.user,
        visibility: match (notification.visibility, notification.comments.is_empty()) {
            (Visibility::Private, _) => Rendered::Private,
            (Visibility::Public, true) => Rendered::None,
            (Visibility::Public, false) => Rendered::Public,
        },
    };
    let id = fresh.outbox();
    let with_token =
        keys.address(&support.address, &what, &ticket.salt).ok().filter(|_| support.takes_suffix);
    Some(OutboxEntry {
        id,
        notification: notification.id,
        ticket: ticket.id,
        user: recipient.user,
        recipient: update.user(recipient.user)?.primary_address()?.clone(),
        message_id: keys.message_id(&what, &ticket.salt, id),
        reply_to: Mailbox {
            name: support.name.clone(),
            address: with_token.unwrap_or_else(|| support.address.clone()),
        },
        body_token: keys.mint(token::Purpose::Body, &what, &ticket.salt),
        reverse_path: keys.reverse_path(&what, &ticket.salt, id).ok()?,
        as_role: recipient.role,
    })
}

fn written(update: &Update<'_>, notification: Notification, entries: Vec<OutboxEntry>) -> Vec<Write> {
    let visibility = notification.visibility;
    let ticket = update.ticket.id;
    let mut writes = vec![Write::InsertNotification(notification)];
    for entry in entries {
        let message_id = entry.message_id.clone();
        writes.push(Write::InsertMessageId { message_id, ticket, visibility });
        writes.push(Write::InsertOutbox(entry));
    }
    writes
}
