//! What ties one mail to another, so that the later waits for the earlier.

use std::collections::BTreeSet;

use crate::domain::address::{Address, Mailbox};
use crate::domain::ids::TicketId;
use crate::domain::mail::{InboundMessage, MessageId};

/// What a mail shares with others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ties {
    pub(super) authors: BTreeSet<Address>,
    /// People in To and Cc, who become known by this mail if nobody knew them.
    pub(super) mentioned: BTreeSet<Address>,
    /// The mail's own Message-ID and those it refers to.
    pub(super) thread: BTreeSet<MessageId>,
    pub(super) tickets: BTreeSet<TicketId>,
}

impl Ties {
    #[must_use]
    pub fn of(message: &InboundMessage) -> Self {
        let addresses =
            |mailboxes: &[Mailbox]| mailboxes.iter().map(|mailbox| mailbox.address.clone()).collect();
        let thread = message.message_id.iter().chain(&message.in_reply_to).chain(&message.references);
        Self {
            authors: addresses(&[message.from.as_slice(), &message.reply_to].concat()),
            mentioned: addresses(&[message.to.as_slice(), &message.cc].concat()),
            thread: thread.cloned().collect(),
            tickets: BTreeSet::new(),
        }
    }

    /// Of a mail of which no more is known than what names its conversation.
    #[must_use]
    pub fn of_conversation(message: &InboundMessage, tickets: BTreeSet<TicketId>) -> Self {
        let whole = Self::of(message);
        Self { thread: whole.thread, tickets, ..Self::default() }
    }

    pub(super) fn shares_people_with(&self, earlier: &Self) -> bool {
        !self.authors.is_disjoint(&earlier.authors)
            || !self.authors.is_disjoint(&earlier.mentioned)
            || !self.mentioned.is_disjoint(&earlier.authors)
    }

    pub(super) fn is_tied_to(&self, earlier: &Self) -> bool {
        self.shares_conversation_with(earlier) || self.shares_people_with(earlier)
    }

    pub(super) fn shares_conversation_with(&self, earlier: &Self) -> bool {
        !self.tickets.is_disjoint(&earlier.tickets) || !self.thread.is_disjoint(&earlier.thread)
    }
}
