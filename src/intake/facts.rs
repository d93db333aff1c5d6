//! Fills the plain facts that admission and privacy look at.

use crate::admission;
use crate::commands::PrivacyCommand;
use crate::domain::address::Address;
use crate::domain::people::{CommentPermission, User};
use crate::domain::snapshot::{SenderTrust, Snapshot};
use crate::domain::ticket::Visibility;
use crate::identify::OwnMail;
use crate::privacy::{self, recall};

use super::author::{Author, ReplyToConflict};
use super::relation::{is_direct_recipient, visible_recipients};
use super::{Policy, Prepared, Standing};

/// The facts of admission: is this mail one to decide at all?
pub(super) fn admission(
    prepared: &Prepared<'_>,
    author: Option<&Author<'_>>,
    own: Option<&OwnMail>,
    policy: &Policy<'_>,
) -> admission::Facts {
    let message = prepared.message;
    let user = author.and_then(|author| author.user);
    let settings = policy.settings;
    let has_content = !message.text.full.trim().is_empty()
        || !message.attachments.is_empty()
        || !message.subject.trim().is_empty();
    let author_address = author.map(|author| &author.mailbox.address);
    let from = message.from.first().map(|from| &from.address).filter(|from| Some(*from) != author_address);
    let is_own = |address: &Address| settings.is_own_address(address);
    admission::Facts {
        is_own_notification: matches!(own, Some(OwnMail::Notification)),
        is_own_bounce: matches!(own, Some(OwnMail::BounceOf { .. })),
        author: author_address.cloned(),
        from: from.cloned(),
        is_from_own_address: author_address.into_iter().chain(from).any(is_own),
        author_is_suspended_user: user.is_some_and(|user| user.suspended),
        automation: message.automation.clone(),
        reverse_path_is_null: prepared.envelope.reverse_path.is_none(),
        author_is_agent: user.is_some_and(User::is_agent),
        author_is_authenticated: author.is_some_and(|author| author.trust == SenderTrust::Authenticated),
        reply_to_names_agent_unaligned: author
            .is_some_and(|author| author.conflict == Some(ReplyToConflict::Agent)),
        has_content,
        ccs: visible_recipients(message).iter().filter(|address| !is_own(address)).count(),
        max_ccs: settings.collaborators.max_ccs,
        recovered: prepared.recovers.is_some(),
    }
}

/// The facts of the privacy list (DESIGN §6).
pub(super) fn privacy(
    prepared: &Prepared<'_>,
    author: &Author<'_>,
    standing: &Standing<'_>,
    snapshot: &Snapshot,
    policy: &Policy<'_>,
) -> privacy::Facts {
    let settings = &policy.settings.privacy;
    let recipients = visible_recipients(prepared.message);
    let relation = standing.relation;
    let ticket = standing.file.map(|file| &file.ticket);
    let agent = standing.acts_as_agent || relation.treated_as_end_user;
    let public_role =
        author.user.is_some_and(|user| user.role.comments == CommentPermission::PublicAndPrivate);
    privacy::Facts {
        updating_ticket: ticket.is_some(),
        identified_by_encoded_id: standing.by_encoded_id,
        author_can_edit_ticket: ticket.is_none() || relation.can_edit,
        author_kind: if agent { privacy::AuthorKind::Agent } else { privacy::AuthorKind::EndUser },
        author_is_requester: relation.is_requester,
        author_is_assignee: relation.is_assignee,
        author_is_cc: relation.is_cc,
        author_is_follower: relation.is_follower,
        agent_treated_as_end_user: relation.treated_as_end_user,
        requester_is_direct_recipient: ticket
            .is_some_and(|ticket| is_direct_recipient(ticket.requester, &recipients, snapshot)),
        recipients_beyond_support_addresses: recipients
            .iter()
            .any(|address| !policy.settings.is_own_address(address)),
        role_may_comment_publicly: public_role,
        command: privacy_command(prepared, standing),
        ticket_is_private: ticket.is_some_and(|ticket| !ticket.is_public()),
        notified_comment_was_private: standing.notified_comment_was_private,
        repeats_private_comment: agent && repeats_private_comment(prepared, standing, snapshot, policy),
        recovered: prepared.recovers.is_some(),
        cc_comments_public: settings.cc_comments_public,
        agent_comments_public_by_default: settings.agent_comments_public_by_default,
        public_command_overrides_default: settings.public_command_overrides_default,
        follower_replies: settings.follower_replies,
        end_user_mail_on_private_ticket: settings.end_user_mail_on_private_ticket,
    }
}

/// What the author's commands say about visibility. Where an agent may not use commands (Reply-To names somebody else,
/// or the role has none), a wish for a note still counts: doubt is never public.
fn privacy_command(prepared: &Prepared<'_>, standing: &Standing<'_>) -> privacy::Command {
    if !standing.acts_as_agent {
        return privacy::Command::None;
    }
    match prepared.commands.privacy_command() {
        PrivacyCommand::Note => privacy::Command::Note,
        PrivacyCommand::NotPublic => privacy::Command::NotPublic,
        PrivacyCommand::Public if standing.may_command => privacy::Command::Public,
        PrivacyCommand::Public | PrivacyCommand::None => privacy::Command::None,
    }
}

/// Rule 9, over all of the mail: text, HTML and attachments against the private comments of every ticket that the mail
/// names. An agent may answer one ticket with what they were told about another.
fn repeats_private_comment(
    prepared: &Prepared<'_>,
    standing: &Standing<'_>,
    snapshot: &Snapshot,
    policy: &Policy<'_>,
) -> bool {
    let message = prepared.message;
    let attachments: Vec<_> = message.attachments.iter().map(|attachment| attachment.sha256).collect();
    let html = message.html.as_deref().unwrap_or_default();
    let texts = [message.text.full.as_str(), html, message.subject.as_str()];
    let mail = recall::Mail { texts: &texts, attachments: &attachments };
    let updated = standing.file.or(standing.follows);
    let mut named = snapshot.tickets.values().filter(|file| !file.private_prints.is_empty());
    named.any(|file| {
        let files = || std::iter::once(file).chain(updated);
        let public = || {
            let comments = files().flat_map(|file| &file.comments);
            comments.filter(|comment| comment.visibility == Visibility::Public)
        };
        let known = public().map(|comment| &comment.text).chain(files().map(|file| &file.ticket.subject));
        let known: Vec<&str> = known.chain(policy.template_texts).map(String::as_str).collect();
        let known_attachments: Vec<_> =
            public().flat_map(|comment| &comment.attachments).map(|attachment| attachment.sha256).collect();
        let prints = &file.private_prints;
        recall::repeats(policy.recall_key, &mail, prints, &known, &known_attachments).is_some()
    })
}
