//! The references to tickets that a mail of ours carries, wherever one would count.

use postern::domain::address::Address;
use postern::domain::ids::UserId;
use postern::domain::token::{
    ClaimedToken, Purpose, address_token, find_body_tokens, message_id_token, reverse_path_token,
};
use postern::message::stripped;

use super::{Desk, Sent};

impl Desk {
    /// Live references in a mail that are bound to anybody but its recipient: where they stand.
    pub fn foreign_tokens(&self, sent: &Sent) -> Vec<String> {
        let recipient = self.person(&sent.recipient).unwrap().id;
        let claims = claims(sent, &self.config.settings.account.mail_domain);
        let tickets = claims.iter().map(|(_, _, claimed)| claimed.ticket());
        let snapshot = self.snapshot(tickets);
        let account = self.pipeline.account();
        let foreign = |(place, purpose, claimed): &(String, Purpose, ClaimedToken)| {
            let salt = snapshot.tickets.get(&claimed.ticket())?.ticket.salt;
            let says = account.keys.verify(claimed, *purpose, &salt)?;
            // The root of a thread is bound to nobody.
            let own =
                says.recipient == recipient || says.recipient == UserId(0) && *purpose == Purpose::MessageId;
            (!own).then(|| place.clone())
        };
        claims.iter().filter_map(foreign).collect()
    }
}

fn claims(sent: &Sent, mail_domain: &str) -> Vec<(String, Purpose, ClaimedToken)> {
    let message = &sent.message;
    let mailboxes = message.from.iter().chain(&message.reply_to).chain(&message.to).chain(&message.cc);
    let mailboxes: Vec<_> = mailboxes.collect();
    let names = mailboxes.iter().filter_map(|mailbox| mailbox.name.clone()).collect::<Vec<_>>().join("\n");
    let mut claims = Vec::new();
    for mailbox in mailboxes {
        let token = address_token(&mailbox.address);
        claims.extend(token.map(|token| (format!("{}", mailbox.address), Purpose::Address, token)));
    }
    for id in message.message_id.iter().chain(&message.in_reply_to).chain(&message.references) {
        let token = message_id_token(id, mail_domain);
        claims.extend(token.map(|token| (id.0.clone(), Purpose::MessageId, token)));
    }
    let path = reverse_path_token(&sent.reverse_path);
    claims.extend(path.map(|token| ("the return address".to_owned(), Purpose::Verp, token)));
    let html = sent.html().to_owned();
    for text in [message.text.full.clone(), stripped(&html), html, names, message.subject.clone()] {
        claims.extend(find_body_tokens(&text).into_iter().map(|token| (text.clone(), Purpose::Body, token)));
        for after in text.split("support+").skip(1) {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(after.len());
            let address = Address::parse(&format!("support+{}@acme.example", &after[..end]));
            let token = address.ok().as_ref().and_then(address_token);
            claims.extend(token.map(|token| (text.clone(), Purpose::Address, token)));
        }
    }
    claims
}
