//! Which ticket a mail belongs to, and how sure that is (DESIGN §5).
//!
//! ```text
//! clues(message) ─► Clues ─► ask the store ─► identify(clues, author, snapshot, keys) ─► Identification
//! ```
//!
//! **Invariants:** a token counts only if its MAC verifies with the salt of the ticket it claims. A token says
//! which ticket, never who writes: whoever holds a copy of a mail holds its tokens. Tokens bound to the
//! author outrank all else, since somebody may have planted a token of his own ticket in text that the author
//! quotes; then addresses outrank the body, and the body outranks the header.

use std::cmp::Reverse;

use crate::domain::ids::{Salt, TicketId, UserId};
use crate::domain::snapshot::{KnownMessage, Snapshot};
use crate::domain::ticket::Visibility;
use crate::domain::token::{ClaimedToken, KeyRing, Purpose, Rendered, TicketRef};
use crate::domain::trace::Trace;

mod clues;
mod own_mail;

pub use clues::{Clues, Reference, ReturnAddress, clues};
pub use own_mail::{OwnMail, own_mail};

/// The ticket a mail belongs to, and by which clue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identification {
    /// Merges followed. None: the mail makes a new ticket.
    pub ticket: Option<TicketId>,
    pub by: Clue,
    /// An address or body token names the ticket too, whichever clue decided: what privacy calls "encoded ID".
    pub by_encoded_id: bool,
    /// A token of the ticket is bound to the author (DESIGN §7).
    pub token_bound_to_author: bool,
    /// Clues of the highest rank named several tickets: the strongest was taken.
    pub ambiguous: bool,
    /// The mail answers one of ours that showed a private comment (rules F and 9).
    pub notified_comment_was_private: bool,
    /// The ticket of the strongest address or body token: tells duplicates from mail to several tickets.
    pub token_ticket: Option<TicketId>,
    pub trace: Trace,
}

/// What named the ticket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Clue {
    AddressToken,
    BodyToken,
    Header,
    #[default]
    None,
}

impl Clue {
    /// The word in traces and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::AddressToken => "address-token",
            Self::BodyToken => "body-token",
            Self::Header => "header",
            Self::None => "none",
        }
    }
}

/// Picks the ticket. `snapshot` must answer what [`Clues::ask`] asked.
#[must_use]
pub fn identify(
    clues: &Clues,
    author: Option<UserId>,
    snapshot: &Snapshot,
    keys: &KeyRing,
) -> Identification {
    let judge = Judge { author, snapshot, keys };
    let mut trace = Trace::default();
    let address = judge.tokens(Clue::AddressToken, &clues.address, &mut trace);
    let body = judge.tokens(Clue::BodyToken, &clues.body, &mut trace);
    let mut matches: Vec<Match> = address.into_iter().chain(body).chain(judge.header(clues)).collect();
    matches.sort_by_key(|found| (Reverse(found.is_bound), found.by)); // stable: keeps the order in each kind
    let Some(best) = matches.first() else {
        trace.push(
            STAGE,
            "ticket",
            "none",
            "nothing in the mail names a ticket of ours, so it makes a new one",
        );
        return Identification { trace, ..Identification::default() };
    };

    let of_ticket = || matches.iter().filter(|found| found.ticket == best.ticket);
    let is_rival =
        |found: &Match| found.is_bound == best.is_bound && !judge.are_one(best.ticket, found.ticket);
    let identification = Identification {
        ticket: Some(best.ticket),
        by: best.by,
        by_encoded_id: of_ticket().any(Match::is_encoded_id),
        token_bound_to_author: of_ticket().any(|found| found.is_bound),
        ambiguous: matches.iter().any(is_rival),
        notified_comment_was_private: of_ticket().any(|found| {
            found.showed_private
                && (found.is_parent || found.is_encoded_id() && found.is_bound || found == best)
        }),
        token_ticket: matches.iter().find(|found| found.is_encoded_id()).map(|found| found.ticket),
        trace,
    };
    explain(identification, &matches, best)
}

const STAGE: &str = "identify";

/// How many merges are followed from one ticket to the next.
const MAX_MERGES: usize = 10;

/// A clue that holds: it names a ticket we know.
#[derive(Clone, PartialEq)]
struct Match {
    by: Clue,
    ticket: TicketId,
    is_bound: bool,
    /// The mail of ours that it comes from showed a private comment.
    showed_private: bool,
    is_parent: bool,
}

impl Match {
    fn is_encoded_id(&self) -> bool {
        matches!(self.by, Clue::AddressToken | Clue::BodyToken)
    }
}

struct Judge<'a> {
    author: Option<UserId>,
    snapshot: &'a Snapshot,
    keys: &'a KeyRing,
}

impl Judge<'_> {
    fn tokens(&self, by: Clue, claims: &[ClaimedToken], trace: &mut Trace) -> Vec<Match> {
        let purpose = if by == Clue::AddressToken { Purpose::Address } else { Purpose::Body };
        let verified = claims.iter().filter_map(|claimed| verify(claimed, purpose, self.snapshot, self.keys));
        let held: Vec<_> = verified.map(|says| self.by_token(by, says, false)).collect();
        let ignored = claims.len() - held.len();
        if ignored > 0 {
            let because = format!("not ours, or of a ticket we do not have: {ignored}");
            trace.push(STAGE, by.word(), "ignored", because);
        }
        held
    }

    /// A Message-ID of ours holds by its MAC, even if the store has forgotten it.
    fn header(&self, clues: &Clues) -> Vec<Match> {
        let judge = |reference: &Reference| {
            let says = reference.token.as_ref();
            let says = says.and_then(|token| verify(token, Purpose::MessageId, self.snapshot, self.keys));
            let known = self.snapshot.message_ids.get(&reference.message_id);
            match says {
                Some(says) => Some(self.by_token(Clue::Header, says, reference.is_parent)),
                None => known.and_then(|known| self.by_known_message(known, reference.is_parent)),
            }
        };
        clues.references.iter().filter_map(judge).collect()
    }

    fn by_token(&self, by: Clue, says: TicketRef, is_parent: bool) -> Match {
        Match {
            by,
            ticket: self.after_merges(says.ticket),
            is_bound: self.author == Some(says.recipient),
            showed_private: says.visibility == Rendered::Private,
            is_parent,
        }
    }

    fn by_known_message(&self, known: &KnownMessage, is_parent: bool) -> Option<Match> {
        self.snapshot.tickets.get(&known.ticket)?;
        Some(Match {
            by: Clue::Header,
            ticket: self.after_merges(known.ticket),
            is_bound: false,
            showed_private: known.sent == Some(Visibility::Private),
            is_parent,
        })
    }

    /// Where replies to this ticket go now.
    fn after_merges(&self, ticket: TicketId) -> TicketId {
        let target = |id: &TicketId| {
            let merged_into = self.snapshot.tickets.get(id)?.ticket.merged_into?;
            self.snapshot.tickets.contains_key(&merged_into).then_some(merged_into)
        };
        std::iter::successors(Some(ticket), target).take(MAX_MERGES + 1).last().unwrap_or(ticket)
    }

    /// The same ticket, or the closed one that `chosen` follows up: its thread goes on in `chosen`, so mails
    /// there quote both.
    fn are_one(&self, chosen: TicketId, other: TicketId) -> bool {
        let follows = self.snapshot.tickets.get(&chosen).and_then(|file| file.ticket.follow_up_of);
        chosen == other || follows == Some(other)
    }
}

/// What the token says, if its MAC fits the salt of the ticket it claims.
fn verify(
    claimed: &ClaimedToken,
    purpose: Purpose,
    snapshot: &Snapshot,
    keys: &KeyRing,
) -> Option<TicketRef> {
    let salt: &Salt = &snapshot.tickets.get(&claimed.ticket())?.ticket.salt;
    keys.verify(claimed, purpose, salt)
}

fn explain(mut identification: Identification, matches: &[Match], best: &Match) -> Identification {
    let mut told: Vec<(Clue, TicketId, bool)> = Vec::new();
    for found in matches {
        if told.contains(&(found.by, found.ticket, found.is_bound)) {
            continue;
        }
        told.push((found.by, found.ticket, found.is_bound));
        let answer = if found.ticket == best.ticket { "found" } else { "outranked" };
        let bound = if found.is_bound { ", in a mail that we sent to this author" } else { "" };
        let because = format!("it names ticket {}{bound}", found.ticket);
        identification.trace.push(STAGE, found.by.word(), answer, because);
    }
    let because = match (identification.ambiguous, identification.by_encoded_id) {
        (true, _) => "clues of equal rank name several tickets; the strongest is taken",
        (false, true) => "an encoded ID names it",
        (false, false) => "only the header names it",
    };
    identification.trace.push(STAGE, "ticket", "found", format!("ticket {}: {because}", best.ticket));
    identification
}

#[cfg(test)]
mod tests;
