//! What ties one mail to another, so that the later waits for the earlier.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::LazyLock;

use crate::domain::address::Mailbox;
use crate::domain::ids::TicketId;
use crate::domain::mail::InboundMessage;

/// What a mail shares with others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ties {
    authors: Marks,
    /// People in To and Cc, who become known by this mail if nobody knew them.
    mentioned: Marks,
    /// The mail's own Message-ID and those it refers to.
    thread: Marks,
    tickets: BTreeSet<TicketId>,
}

impl Ties {
    #[must_use]
    pub fn of(message: &InboundMessage) -> Self {
        let addresses = |one: &[Mailbox], other: &[Mailbox]| {
            Marks::of(one.iter().chain(other).map(|mailbox| &mailbox.address))
        };
        let thread = message.message_id.iter().chain(&message.in_reply_to).chain(&message.references);
        Self {
            authors: addresses(&message.from, &message.reply_to),
            mentioned: addresses(&message.to, &message.cc),
            thread: Marks::of(thread),
            tickets: BTreeSet::new(),
        }
    }

    /// Of a mail of which no more is known than what names its conversation.
    #[must_use]
    pub fn of_conversation(message: &InboundMessage, tickets: BTreeSet<TicketId>) -> Self {
        let whole = Self::of(message);
        Self { thread: whole.thread, tickets, ..Self::default() }
    }

    /// The mail is about these tickets too.
    pub(super) fn add_tickets(&mut self, tickets: BTreeSet<TicketId>) {
        self.tickets.extend(tickets);
    }

    /// It is about all that the conversation of `earlier` is about.
    pub(super) fn join(&mut self, earlier: &Self) {
        self.thread.extend(&earlier.thread);
        self.tickets.extend(&earlier.tickets);
    }

    pub(super) fn shares_people_with(&self, earlier: &Self) -> bool {
        self.authors.meets(&earlier.authors)
            || self.authors.meets(&earlier.mentioned)
            || self.mentioned.meets(&earlier.authors)
    }

    pub(super) fn is_tied_to(&self, earlier: &Self) -> bool {
        self.shares_conversation_with(earlier) || self.shares_people_with(earlier)
    }

    pub(super) fn shares_conversation_with(&self, earlier: &Self) -> bool {
        !self.tickets.is_disjoint(&earlier.tickets) || self.thread.meets(&earlier.thread)
    }
}

/// A set of addresses or Message-IDs, by hashes that nobody can foresee: each mail is compared with all that are in work. If two
/// things ever share a hash, a mail waits for another that it need not wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Marks {
    /// Ascending, each once.
    hashes: Vec<u64>,
}

impl Marks {
    fn of<T: Hash>(things: impl Iterator<Item = T>) -> Self {
        static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Self::sorted(things.map(|thing| STATE.hash_one(thing)).collect())
    }

    fn sorted(mut hashes: Vec<u64>) -> Self {
        hashes.sort_unstable();
        hashes.dedup();
        Self { hashes }
    }

    fn extend(&mut self, other: &Self) {
        let mut hashes = std::mem::take(&mut self.hashes);
        hashes.extend_from_slice(&other.hashes);
        *self = Self::sorted(hashes);
    }

    /// Whether something is in both. A list of recipients is as long as a stranger likes, the other side nearly always short.
    fn meets(&self, other: &Self) -> bool {
        let (short, long) =
            if self.hashes.len() <= other.hashes.len() { (self, other) } else { (other, self) };
        short.hashes.iter().any(|hash| long.hashes.binary_search(hash).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sets_meet_if_something_is_in_both(
            one in prop::collection::vec(0_u8..30, 0..6),
            other in prop::collection::vec(0_u8..30, 0..6),
            third in prop::collection::vec(0_u8..30, 0..6),
        ) {
            let common = |one: &[u8], other: &[u8]| one.iter().any(|thing| other.contains(thing));
            let marks = |things: &[u8]| Marks::of(things.iter());
            prop_assert_eq!(marks(&one).meets(&marks(&other)), common(&one, &other));
            let mut joined = marks(&one);
            joined.extend(&marks(&third));
            prop_assert_eq!(joined.meets(&marks(&other)), common(&[one, third].concat(), &other));
        }
    }
}
