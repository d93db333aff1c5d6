//! `%{…}` in a fixture's mail: tokens and Message-IDs that only exist once the stage is set.
//!
//! | placeholder | stands for |
//! |---|---|
//! | `%{address:TICKET:PERSON}` | the token in Reply-To of the mail this person got about the ticket |
//! | `%{body:TICKET:PERSON}` | the token of the body, without brackets |
//! | `%{message-id:TICKET:PERSON}` | a Message-ID of ours, without angle brackets |
//!
//! A fourth part `:private` makes it a token of a mail that showed a private comment.

use std::collections::BTreeMap;

use crate::domain::ids::{OutboxId, Salt, TicketId, UserId};
use crate::domain::token::{KeyRing, Purpose, Rendered, TicketRef};

use super::ScenarioError;

/// What placeholders can name.
pub(super) struct Names<'a> {
    pub keys: &'a KeyRing,
    pub tickets: &'a BTreeMap<String, (TicketId, Salt)>,
    pub people: &'a BTreeMap<String, UserId>,
}

impl Names<'_> {
    pub fn fill(&self, text: &str) -> Result<String, ScenarioError> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("%{") {
            let (inner, behind) = after
                .split_once('}')
                .ok_or_else(|| ScenarioError::Stage("a `%{` has no closing `}`".to_owned()))?;
            filled.push_str(before);
            filled.push_str(&self.value(inner)?);
            rest = behind;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn value(&self, placeholder: &str) -> Result<String, ScenarioError> {
        let unknown = |what: &str| ScenarioError::Stage(format!("`%{{{placeholder}}}`: {what}"));
        let mut parts = placeholder.split(':');
        let (Some(kind), Some(ticket), Some(person)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(unknown("expected `kind:TICKET:PERSON`"));
        };
        let (ticket, salt) = self.tickets.get(ticket).ok_or_else(|| unknown("there is no such ticket"))?;
        let recipient = *self.people.get(person).ok_or_else(|| unknown("there is no such person"))?;
        let visibility = match parts.next() {
            None | Some("public") => Rendered::Public,
            Some("private") => Rendered::Private,
            Some(_) => return Err(unknown("the fourth part is `public` or `private`")),
        };
        let what = TicketRef { ticket: *ticket, recipient, visibility };
        match kind {
            "address" => Ok(self.keys.mint(Purpose::Address, &what, salt)),
            "body" => Ok(self.keys.mint(Purpose::Body, &what, salt)),
            "message-id" => Ok(self.keys.message_id(&what, salt, OutboxId(900_000)).0),
            _ => Err(unknown("expected `address`, `body` or `message-id`")),
        }
    }
}
