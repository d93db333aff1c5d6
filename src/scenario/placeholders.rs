//! `%{…}` in a fixture's mail: what only exists once the stage is set.
//!
//! | placeholder | stands for |
//! |---|---|
//! | `%{address:TICKET:PERSON}` | the token in Reply-To of the mail this person got about the ticket |
//! | `%{body:TICKET:PERSON}` | the token of the body, without brackets |
//! | `%{message-id:TICKET:PERSON}` | a Message-ID of ours, without angle brackets |
//! | `%{return-path:TICKET:PERSON}` | the SMTP sender of such a mail: where it bounces to |
//! | `%{got:ADDRESS:reply-to}` | Reply-To of the newest mail that this address got from us in the story |
//! | `%{got:ADDRESS:message-id}`, `…:token}`, `…:text}` | its Message-ID, its body token, its text |
//! | `%{account-mark}` | the mark by which we know our own mail |
//!
//! The first four take options: `:private` (a token of a mail that showed a private comment), `:lower` (in lower case)
//! and `:wrapped` (broken over two lines). Lines after the first begin as the placeholder's line does, if that is `> `.

use std::collections::BTreeMap;

use crate::domain::ids::{OutboxId, Salt, TicketId, UserId};
use crate::domain::token::{KeyRing, Purpose, Rendered, TicketRef};

use super::ScenarioError;
use super::letters::Letters;

/// What placeholders can name.
pub(super) struct Names<'a> {
    pub keys: &'a KeyRing,
    pub tickets: &'a BTreeMap<String, (TicketId, Salt)>,
    pub people: &'a BTreeMap<String, UserId>,
    pub letters: &'a Letters,
}

impl Names<'_> {
    pub fn fill(&self, text: &str) -> Result<String, ScenarioError> {
        let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("%{") {
            let (inner, behind) = after
                .split_once('}')
                .ok_or_else(|| ScenarioError::Stage("a `%{` has no closing `}`".to_owned()))?;
            filled.push_str(before);
            let value =
                self.value(inner).map_err(|what| ScenarioError::Stage(format!("`%{{{inner}}}`: {what}")))?;
            let quote = filled.rsplit('\n').next().filter(|line| line.trim_matches(['>', ' ']).is_empty());
            let next_line = format!("{line_end}{}", quote.unwrap_or_default());
            filled.push_str(&value.lines().collect::<Vec<_>>().join(&next_line));
            rest = behind;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn value(&self, placeholder: &str) -> Result<String, &'static str> {
        let parts: Vec<&str> = placeholder.split(':').collect();
        match parts.as_slice() {
            ["account-mark"] => Ok(self.keys.account_mark()),
            ["got", address, what] => self.letters.newest_to(address)?.part(what),
            [kind, ticket, person, options @ ..] => self.token(kind, ticket, person, options),
            _ => Err("expected `KIND:TICKET:PERSON`, `got:ADDRESS:WHAT` or `account-mark`"),
        }
    }

    fn token(
        &self,
        kind: &str,
        ticket: &str,
        person: &str,
        options: &[&str],
    ) -> Result<String, &'static str> {
        let (ticket, salt) = self.tickets.get(ticket).ok_or("there is no such ticket")?;
        let recipient = *self.people.get(person).ok_or("there is no such person")?;
        let private = options.contains(&"private");
        let visibility = if private { Rendered::Private } else { Rendered::Public };
        let what = TicketRef { ticket: *ticket, recipient, visibility };
        let row = OutboxId(900_000);
        let mut value = match kind {
            "address" => self.keys.mint(Purpose::Address, &what, salt),
            "body" => self.keys.mint(Purpose::Body, &what, salt),
            "message-id" => self.keys.message_id(&what, salt, row).0,
            "return-path" => {
                self.keys.reverse_path(&what, salt, row).map_err(|_| "the address is too long")?.to_string()
            }
            _ => return Err("expected `address`, `body`, `message-id` or `return-path`"),
        };
        for option in options {
            match *option {
                "private" => {}
                "lower" => value.make_ascii_lowercase(),
                "wrapped" => value.insert(value.len() / 2, '\n'),
                _ => return Err("an option is `private`, `lower` or `wrapped`"),
            }
        }
        Ok(value)
    }
}
