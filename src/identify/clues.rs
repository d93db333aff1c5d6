//! The references to tickets that a mail carries, as claims: nothing here is believed yet.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::address::Address;
use crate::domain::ids::{Salt, TicketId};
use crate::domain::mail::{Envelope, InboundMessage, MessageId};
use crate::domain::settings::Settings;
use crate::domain::snapshot::Lookup;
use crate::domain::token::{
    ClaimedToken, KeyRing, Purpose, address_token, find_body_tokens, message_id_token, reverse_path_token,
};

/// Threads longer than this are known by their newest mails.
const MAX_REFERENCES: usize = 100;

/// Of one kind. Each token makes the store read a ticket, so a mail may not carry any number of them.
const MAX_TOKENS: usize = 50;

/// Everything in a mail that may name a ticket, each kind strongest first.
///
/// A ticket number or a subject is never a clue: anybody can guess one.
#[derive(Clone, Debug, Default)]
pub struct Clues {
    /// Of the support addresses the mail went to: envelope first, since that is why we have this copy.
    pub address: Vec<ClaimedToken>,
    /// In brackets in the text or the HTML, the topmost first.
    pub body: Vec<ClaimedToken>,
    /// In-Reply-To first, then References from last to first.
    pub references: Vec<Reference>,
    /// The token in the mail's own Message-ID: there is one in mail that we sent.
    pub own_message_id: Option<ClaimedToken>,
    /// Our return addresses that the mail went to.
    pub return_addresses: Vec<ReturnAddress>,
}

/// The Message-ID of an earlier mail.
#[derive(Clone, Debug)]
pub struct Reference {
    pub message_id: MessageId,
    /// If it has the form of a Message-ID of ours.
    pub token: Option<ClaimedToken>,
    /// The mail answers this one, and does not just stand in its thread.
    pub is_parent: bool,
}

/// `bounce+TOKEN.ROW@…`, the SMTP sender of one mail of ours.
#[derive(Clone, Debug)]
pub struct ReturnAddress {
    pub address: Address,
    pub token: ClaimedToken,
}

/// Reads the clues off a mail. `html_text` is the text of its HTML part, hidden text included.
#[must_use]
pub fn clues(message: &InboundMessage, envelope: &Envelope, html_text: &str, settings: &Settings) -> Clues {
    let visible = message.to.iter().chain(&message.cc).map(|mailbox| &mailbox.address);
    let addressed = envelope.recipients.iter().chain(&message.delivered_to).chain(visible);
    let takes_suffix =
        |address: &&Address| settings.support_address(address).is_some_and(|support| support.takes_suffix);
    let in_text = find_body_tokens(&message.text.full);
    let own_message_id = message.message_id.as_ref();
    Clues {
        address: distinct(addressed.filter(takes_suffix).filter_map(address_token)),
        body: distinct(in_text.into_iter().chain(find_body_tokens(html_text))),
        references: references(message, &settings.account.mail_domain),
        own_message_id: own_message_id.and_then(|id| message_id_token(id, &settings.account.mail_domain)),
        return_addresses: return_addresses(envelope, settings),
    }
}

impl Clues {
    /// The tickets that tokens claim. Anybody can claim any ticket: nothing but their salts is worth loading yet.
    #[must_use]
    pub fn claimed(&self) -> BTreeSet<TicketId> {
        self.tokens().map(|(claimed, _)| claimed.ticket()).collect()
    }

    /// Adds what the store must say before the clues can be judged: the tickets whose tokens fit their salts, and the
    /// Message-IDs.
    pub fn ask(&self, salts: &BTreeMap<TicketId, Salt>, keys: &KeyRing, lookup: &mut Lookup) {
        let fits = |(claimed, purpose): &(&ClaimedToken, Purpose)| {
            salts.get(&claimed.ticket()).is_some_and(|salt| keys.verify(claimed, *purpose, salt).is_some())
        };
        lookup.tickets.extend(self.tokens().filter(fits).map(|(claimed, _)| claimed.ticket()));
        lookup.message_ids.extend(self.references.iter().map(|reference| reference.message_id.clone()));
    }

    /// Every token in the mail, with what it would have to be good for.
    fn tokens(&self) -> impl Iterator<Item = (&ClaimedToken, Purpose)> {
        let references = self.references.iter().filter_map(|reference| reference.token.as_ref());
        let sent = references.chain(&self.own_message_id).map(|token| (token, Purpose::MessageId));
        let returns = self.return_addresses.iter().map(|path| (&path.token, Purpose::Verp));
        let addressed = self.address.iter().map(|token| (token, Purpose::Address));
        addressed.chain(self.body.iter().map(|token| (token, Purpose::Body))).chain(sent).chain(returns)
    }
}

/// In-Reply-To names the mail that is answered; where it is missing, the last of References does
/// (RFC 5322 §3.6.4).
fn references(message: &InboundMessage, mail_domain: &str) -> Vec<Reference> {
    let parents = if message.in_reply_to.is_empty() { message.references.last() } else { None }.into_iter();
    let parents: Vec<_> = message.in_reply_to.iter().chain(parents).collect();
    let mut found: Vec<Reference> = Vec::new();
    for id in parents.iter().copied().chain(message.references.iter().rev()).take(MAX_REFERENCES) {
        if found.iter().all(|reference| reference.message_id != *id) {
            found.push(Reference {
                message_id: id.clone(),
                token: message_id_token(id, mail_domain),
                is_parent: parents.contains(&id),
            });
        }
    }
    found
}

fn return_addresses(envelope: &Envelope, settings: &Settings) -> Vec<ReturnAddress> {
    let ours = envelope.recipients.iter().filter(|recipient| settings.is_return_address(recipient));
    ours.filter_map(|address| {
        Some(ReturnAddress { address: address.clone(), token: reverse_path_token(address)? })
    })
    .collect()
}

fn distinct(tokens: impl Iterator<Item = ClaimedToken>) -> Vec<ClaimedToken> {
    let mut kept = Vec::new();
    for token in tokens {
        if kept.len() == MAX_TOKENS {
            break;
        }
        if !kept.contains(&token) {
            kept.push(token);
        }
    }
    kept
}
