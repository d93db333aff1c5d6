//! Mail of our own that comes back: a notification that was sent round to us, or a bounce of one.

use super::{Clues, verify};
use crate::domain::address::Address;
use crate::domain::mail::{Envelope, InboundMessage};
use crate::domain::snapshot::Snapshot;
use crate::domain::token::{KeyRing, Purpose, TicketRef};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnMail {
    /// A mail we sent, delivered to us.
    Notification,
    /// A mail we sent could not be delivered.
    BounceOf {
        /// The return address it came to: names the outbox row.
        reverse_path: Address,
        /// Whom the mail was for, and about which ticket.
        sent: TicketRef,
    },
}

/// Recognises our own mail. Takes nobody's word: a Message-ID or return address counts by its MAC, and the
/// account mark is known to nobody who never had a mail of ours.
#[must_use]
pub fn own_mail(
    message: &InboundMessage,
    envelope: &Envelope,
    clues: &Clues,
    snapshot: &Snapshot,
    keys: &KeyRing,
) -> Option<OwnMail> {
    let own_id = clues.own_message_id.as_ref();
    let has_our_id = own_id.is_some_and(|id| verify(id, Purpose::MessageId, snapshot, keys).is_some());
    let mark = message.automation.postern_account.as_deref();
    if has_our_id || mark.is_some_and(|mark| keys.is_account_mark(mark)) {
        return Some(OwnMail::Notification);
    }
    if !is_bounce(message, envelope) {
        return None;
    }
    clues.return_addresses.iter().find_map(|path| {
        let sent = verify(&path.token, Purpose::Verp, snapshot, keys)?;
        Some(OwnMail::BounceOf { reverse_path: path.address.clone(), sent })
    })
}

/// A delivery report, or what older servers send in its place. Absence notices go to the return address
/// too (RFC 3834 §4), and they mean that the mail did arrive.
fn is_bounce(message: &InboundMessage, envelope: &Envelope) -> bool {
    let from_mailer = message.from.first().is_none_or(|from| {
        ["mailer-daemon", "postmaster"].iter().any(|name| from.address.local().eq_ignore_ascii_case(name))
    });
    message.automation.delivery_report || envelope.reverse_path.is_none() && from_mailer
}
