//! Who wrote this, and how far that may be believed (DESIGN §6 *From and Reply-To differ*, §7).

use crate::authenticate::Authentication;
use crate::domain::address::{Address, Mailbox};
use crate::domain::mail::InboundMessage;
use crate::domain::people::User;
use crate::domain::settings::Settings;
use crate::domain::snapshot::{SenderTrust, Snapshot};
use crate::domain::trace::Trace;

/// The author of a mail, as claimed and as believed.
#[derive(Debug)]
pub struct Author<'a> {
    pub mailbox: &'a Mailbox,
    /// `None`: nobody we know yet.
    pub user: Option<&'a User>,
    pub trust: SenderTrust,
    /// Reply-To names somebody else, and nothing vouches for it.
    pub conflict: Option<ReplyToConflict>,
    /// Reply-To names the author: it lies in the authenticated From domain, which other people may share.
    pub by_reply_to: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyToConflict {
    /// The other person is an agent: suspended.
    Agent,
    /// Anybody else: flagged.
    EndUser,
}

impl Author<'_> {
    #[must_use]
    pub fn is_agent(&self) -> bool {
        self.user.is_some_and(User::is_agent)
    }
}

/// The From mailbox, unless Reply-To names somebody else *and* lies in the domain that was authenticated.
#[must_use]
pub fn author<'a>(
    message: &'a InboundMessage,
    authentication: &Authentication,
    snapshot: &'a Snapshot,
    settings: &Settings,
    trace: &mut Trace,
) -> Option<Author<'a>> {
    let from = message.from.first()?;
    let claimed = |mailbox: &'a Mailbox, conflict| Author {
        by_reply_to: mailbox.address != from.address,
        mailbox,
        user: snapshot.user_by_address(&mailbox.address),
        trust: authentication.trust_of(&mailbox.address),
        conflict,
    };
    let Some(reply_to) = other_reply_to(message, &from.address, snapshot, settings) else {
        trace.push("author", "from", "found", "From names the author");
        return Some(claimed(from, None));
    };
    if authentication.reply_to_is_aligned(&reply_to.address) {
        trace.push("author", "reply-to", "found", "Reply-To lies in the authenticated From domain");
        return Some(claimed(reply_to, None));
    }
    let names_agent = snapshot.user_by_address(&reply_to.address).is_some_and(User::is_agent);
    let conflict = if names_agent { ReplyToConflict::Agent } else { ReplyToConflict::EndUser };
    trace.push("author", "reply-to", "ignored", "Reply-To names somebody else and nothing vouches for it");
    Some(claimed(from, Some(conflict)))
}

/// The first Reply-To mailbox that is neither the From person nor an address of ours.
fn other_reply_to<'a>(
    message: &'a InboundMessage,
    from: &Address,
    snapshot: &Snapshot,
    settings: &Settings,
) -> Option<&'a Mailbox> {
    let from_user = snapshot.user_by_address(from).map(|user| user.id);
    message.reply_to.iter().find(|mailbox| {
        let user = snapshot.user_by_address(&mailbox.address).map(|user| user.id);
        let same_person = mailbox.address == *from || (user.is_some() && user == from_user);
        !same_person && !settings.is_own_address(&mailbox.address)
    })
}
