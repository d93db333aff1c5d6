//! Turns a decided mail into a `Change`: who is new, what happens to the ticket, and in which order.

use std::collections::BTreeSet;

use crate::commands::{self, CommandBlock};
use crate::domain::address::Mailbox;
use crate::domain::event::{Actor, Event};
use crate::domain::ids::{Fresh, UserId};
use crate::domain::people::User;
use crate::domain::plan::{Change, MailCause, Newcomer, Precondition, Target};
use crate::domain::snapshot::{SenderTrust, Snapshot, TicketFile};
use crate::domain::ticket::{AttachmentRef, Channel, Comment, Flag, Status, Ticket, Visibility};
use crate::domain::trace::Trace;
use crate::privacy;

use super::author::Author;
use super::draft::{Basis, Draft};
use super::participants;
use super::relation::visible_recipients;
use super::{Policy, Prepared, Standing};

/// Makes the change. `Err` is the reason why the mail cannot be processed (a forbidden `#requester`).
pub(super) fn change(
    prepared: &Prepared<'_>,
    decided: &Basis<'_>,
    block: Option<&CommandBlock>,
    snapshot: &Snapshot,
    policy: &Policy<'_>,
    fresh: &mut dyn Fresh,
    trace: &mut Trace,
) -> Result<Change, String> {
    let now = prepared.envelope.accepted_at;
    let standing = decided.standing;
    let target = match standing.file {
        Some(file) => Target::Existing(file.ticket.id),
        None => Target::New { ticket: fresh.ticket(), salt: fresh.salt() },
    };
    let mut draft = Draft {
        ticket: blank_or_existing(target, standing, now),
        events: Vec::new(),
        new_users: Vec::new(),
        flags: flags(prepared, decided, snapshot),
        preconditions: preconditions(prepared, decided, snapshot),
        prepared,
        snapshot,
        policy,
    };
    let author = draft.person(decided.author.mailbox, fresh);
    if standing.file.is_none() {
        open_ticket(&mut draft, author, standing.follows);
    }
    participants::add(&mut draft, author, decided, fresh, trace);

    let comment = comment(&draft, author, decided, block, fresh, trace);
    if let Some(comment) = &comment {
        let visibility = comment.visibility;
        draft.push(Event::CommentAdded { comment: comment.id, author, visibility });
    }
    wake_ticket(&mut draft, decided, trace);
    if let Some(block) = block {
        apply_commands(&mut draft, block, author, fresh, trace)?;
    }
    let comment = comment.map(|comment| Comment { flags: draft.flags.clone(), ..comment });
    let stayed_internal = decided.decision.rule == "repeats-private-comment" && comment.is_some();
    Ok(Change {
        target,
        actor: Actor::User { id: author },
        via: Channel::Mail,
        new_users: draft.new_users,
        events: draft.events,
        comment,
        mail: Some(MailCause {
            record: decided.record.clone(),
            visible_recipients: visible_recipients(prepared.message),
            automatic: prepared.message.automation != crate::domain::mail::Automation::default(),
        }),
        recovers: prepared.recovers,
        tell_author_it_stayed_internal: stayed_internal,
        preconditions: draft.preconditions,
        trace: Trace::default(),
    })
}

fn blank_or_existing(target: Target, standing: &Standing<'_>, now: crate::domain::time::Timestamp) -> Ticket {
    match (target, standing.file) {
        (Target::New { ticket, salt }, _) => Ticket::blank(ticket, salt, UserId(0), now),
        (Target::Existing(_), Some(file)) => file.ticket.clone(),
        (Target::Existing(id), None) => Ticket::blank(id, crate::domain::ids::Salt([0; 16]), UserId(0), now),
    }
}

/// What was read and must not have changed when the plan is committed.
fn preconditions(prepared: &Prepared<'_>, decided: &Basis<'_>, snapshot: &Snapshot) -> Vec<Precondition> {
    let mut list = vec![Precondition::DirectoryVersion(snapshot.directory.version)];
    list.push(match prepared.recovers {
        Some(held) => Precondition::SuspendedHeld(held),
        None => Precondition::JournalPending(prepared.journal),
    });
    let users = decided.standing.file.map(|file| file.ticket.requester).into_iter();
    for user in users.chain(decided.author.user.map(|user| user.id)).collect::<BTreeSet<_>>() {
        let version = snapshot.user(user).map_or(0, |user| user.version);
        list.push(Precondition::UserVersion { user, version });
    }
    // The version of a ticket that is updated is checked by whoever plans the update.
    let updated = decided.standing.file.map(|file| file.ticket.id);
    for named in snapshot.tickets.values().map(|file| &file.ticket).filter(|named| Some(named.id) != updated)
    {
        list.push(Precondition::TicketVersion { ticket: named.id, version: named.version });
    }
    if let Some(from) = prepared.message.from.first() {
        let own_earlier = snapshot.earlier.iter().filter(|earlier| earlier.by_author);
        list.push(Precondition::NotDeliveredSince {
            author: from.address.clone(),
            message_id: prepared.message.message_id.clone(),
            digest: prepared.message.content_digest,
            newest_known: own_earlier.map(|earlier| earlier.journal).max(),
        });
    }
    list
}

fn flags(prepared: &Prepared<'_>, decided: &Basis<'_>, snapshot: &Snapshot) -> BTreeSet<Flag> {
    let record = decided.record;
    let reused = record.message_id.is_some()
        && snapshot
            .earlier
            .iter()
            .any(|earlier| earlier.message_id == record.message_id && earlier.digest != record.digest);
    let by_rule = match decided.decision.outcome {
        privacy::Outcome::Public => Flag::CcDroppedRequester,
        privacy::Outcome::Private | privacy::Outcome::Suspended => Flag::Outsider,
    };
    [
        (decided.decision.flagged, by_rule),
        (follows_up_a_ticket_of_others(decided), Flag::Outsider),
        (decided.author.conflict.is_some() || doubtful_reply_to(decided.author), Flag::ReplyToDiffers),
        (decided.found.ambiguous, Flag::SeveralTickets),
        (reused, Flag::MessageIdReused),
        (decided.author.trust == SenderTrust::Failed, Flag::AuthenticationFailed),
        (prepared.recovers.is_some(), Flag::Recovered),
    ]
    .into_iter()
    .filter_map(|(raised, flag)| raised.then_some(flag))
    .collect()
}

/// Reply-To names the author, and nothing vouches for that very address.
fn doubtful_reply_to(author: &Author<'_>) -> bool {
    author.by_reply_to && author.trust != SenderTrust::Authenticated
}

/// An end user who was neither requester nor CC of the closed ticket that the new one follows up.
fn follows_up_a_ticket_of_others(decided: &Basis<'_>) -> bool {
    let Some(closed) = decided.standing.follows.map(|file| &file.ticket) else { return false };
    let author = decided.author.user.map(|user| user.id);
    let takes_part = author.is_some_and(|id| closed.requester == id || closed.ccs.contains(&id));
    !decided.standing.acts_as_agent && !takes_part
}

/// A new ticket, and what a follow-up takes over from the closed one: the tags, and group and assignee by setting
/// (reference/ticket-identification.md §4).
fn open_ticket(draft: &mut Draft<'_>, author: UserId, follows: Option<&TicketFile>) {
    let recipients = draft.prepared.envelope.recipients.iter();
    let visible =
        draft.prepared.message.to.iter().chain(&draft.prepared.message.cc).map(|mailbox| &mailbox.address);
    let recipient = recipients
        .chain(visible)
        .find_map(|address| draft.policy.settings.support_address(address))
        .map(|support| support.address.clone());
    let organization = draft
        .snapshot
        .user(author)
        .or_else(|| draft.new_users.iter().find(|user| user.id == author))
        .and_then(|user| user.organization);
    draft.push(Event::TicketCreated {
        subject: draft.prepared.message.subject.clone(),
        requester: author,
        submitter: author,
        recipient,
        organization,
        via: if follows.is_some() { Channel::ClosedTicket } else { Channel::Mail },
        follow_up_of: follows.map(|file| file.ticket.id),
    });
    let Some(closed) = follows.map(|file| &file.ticket) else { return };
    if !closed.tags.is_empty() {
        draft.push(Event::TagsChanged { added: closed.tags.clone(), removed: BTreeSet::new() });
    }
    if draft.policy.settings.tickets.copy_assignee_to_follow_up {
        let group = closed
            .group
            .filter(|group| draft.snapshot.directory.groups.get(group).is_some_and(|group| group.active));
        if group.is_some() {
            draft.push(Event::GroupChanged { from: None, to: group });
        }
        let assignee = closed.assignee.filter(|user| draft.snapshot.user(*user).is_some_and(User::is_agent));
        if group.is_some() && assignee.is_some() {
            draft.push(Event::AssigneeChanged { from: None, to: assignee });
        }
    }
}

/// The comment, or none if the mail held commands only.
fn comment(
    draft: &Draft<'_>,
    author: UserId,
    decided: &Basis<'_>,
    block: Option<&CommandBlock>,
    fresh: &mut dyn Fresh,
    trace: &mut Trace,
) -> Option<Comment> {
    let message = draft.prepared.message;
    let text = block.map_or_else(|| message.text.new_text(), |block| block.body.trim().to_owned());
    let creating = decided.standing.file.is_none();
    let empty = text.is_empty() && message.attachments.is_empty();
    if empty && !creating {
        return None;
    }
    // A new ticket must have a description (reference/mail-api.md §5, fact 26).
    let text = if empty { message.subject.clone() } else { text };
    let public = decided.decision.outcome == privacy::Outcome::Public;
    // An agent's mail that names several tickets could show one customer what was meant for another (DESIGN §5).
    let several = public && decided.found.ambiguous && decided.standing.acts_as_agent;
    if several {
        trace.push(
            "identify",
            "several-tickets",
            "settle",
            "an agent's mail names more than one ticket: private",
        );
    }
    let (visibility, rule) = match (public, several) {
        (true, false) => (Visibility::Public, decided.decision.rule),
        (true, true) => (Visibility::Private, "several-tickets"),
        (false, _) => (Visibility::Private, decided.decision.rule),
    };
    Some(Comment {
        id: fresh.comment(),
        ticket: draft.ticket.id,
        author,
        visibility,
        rule: rule.to_owned(),
        flags: BTreeSet::new(),
        text,
        via: Channel::Mail,
        journal: Some(draft.prepared.journal),
        created_at: draft.prepared.envelope.accepted_at,
        attachments: message.attachments.iter().map(attachment_ref).collect(),
    })
}

fn attachment_ref(attachment: &crate::domain::mail::Attachment) -> AttachmentRef {
    AttachmentRef {
        name: attachment.name.clone(),
        media_type: attachment.media_type.clone(),
        inline: attachment.inline,
        content_id: attachment.content_id.clone(),
        sha256: attachment.sha256,
        size: attachment.content.len() as u64,
    }
}

/// A customer's mail wakes a waiting ticket and reopens a solved one; an agent's does not
/// (reference/ticket-identification.md §2). Reopening the ticket of somebody else takes trust (DESIGN §7).
fn wake_ticket(draft: &mut Draft<'_>, decided: &Basis<'_>, trace: &mut Trace) {
    let from = draft.ticket.status;
    if decided.standing.file.is_none() || decided.author.is_agent() {
        return;
    }
    match from {
        Status::New | Status::Open | Status::Closed => {}
        // Whoever wrote: somebody must look at it (reference/ticket-identification.md fact 16).
        Status::Pending | Status::Hold => draft.push(Event::StatusChanged { from, to: Status::Open }),
        Status::Solved if decided.standing.relation.is_requester || decided.standing.access => {
            draft.push(Event::StatusChanged { from, to: Status::Open });
        }
        Status::Solved => {
            draft.withhold("reopen", "the author is not the requester, and nothing vouches for them", trace);
        }
    }
}

/// The second half of the commands: what the block asks, done to the ticket as the mail leaves it.
fn apply_commands(
    draft: &mut Draft<'_>,
    block: &CommandBlock,
    author: UserId,
    fresh: &mut dyn Fresh,
    trace: &mut Trace,
) -> Result<(), String> {
    let Some(user) = draft.snapshot.user(author) else { return Ok(()) };
    let ticket = draft.ticket.clone();
    let context = commands::ApplyContext {
        ticket: &ticket,
        author: user,
        snapshot: draft.snapshot,
        settings: draft.policy.settings,
    };
    let mut introduce =
        |newcomer: Newcomer| draft.person(&Mailbox { name: newcomer.name, address: newcomer.address }, fresh);
    let applied = commands::apply(block, context, &mut introduce);
    if let Some(refused) = applied.suspend {
        return Err(refused);
    }
    for event in applied.events {
        draft.push(event);
    }
    for event in applied.outcomes {
        if let Event::Command { name, outcome, because } = &event {
            trace.push("commands", name.clone(), outcome.word(), because.clone());
        }
        draft.push(event);
    }
    Ok(())
}
