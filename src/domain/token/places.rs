//! Where tokens stand in a mail, how to write them there, and how to find them again.
//!
//! Finding is by form alone; every reader here returns claims. It runs in time linear in the text.

use std::ops::Range;

use super::{ClaimedToken, KeyRing, MAX_TOKEN_LEN, Purpose, Rendered, TicketRef};
use crate::domain::address::{Address, AddressError};
use crate::domain::ids::{OutboxId, Salt, TicketId, UserId};
use crate::domain::mail::MessageId;

/// Body tokens beyond this many are not looked at: no honest thread quotes as many mails of ours.
const MAX_BODY_TOKENS: usize = 50;

/// The farthest a closing bracket may be from its opening one, quote marks and white space included.
const MAX_BRACKET_SPAN: usize = 400;

impl KeyRing {
    /// `support+idTOKEN@…`: where the recipient answers to.
    ///
    /// # Errors
    /// If the local part would exceed 64 octets; the support address then stands plain in Reply-To.
    pub fn address(&self, support: &Address, what: &TicketRef, salt: &Salt) -> Result<Address, AddressError> {
        let token = self.mint(Purpose::Address, what, salt);
        Address::parse(&format!("{}+id{token}@{}", support.local(), support.domain()))
    }

    /// The Message-ID of one mail to one recipient. The same outbox row always has the same one, so a mail
    /// that is sent twice after a crash is known as one.
    #[must_use]
    pub fn message_id(&self, what: &TicketRef, salt: &Salt, outbox: OutboxId) -> MessageId {
        let token = self.mint(Purpose::MessageId, what, salt);
        MessageId(format!("{token}.{outbox}@{}", self.mail_domain()))
    }

    /// The Message-ID that stands first in the References of every mail about the ticket, so that clients
    /// show them as one thread. Bound to nobody.
    #[must_use]
    pub fn root_message_id(&self, ticket: TicketId, salt: &Salt) -> MessageId {
        let what = TicketRef { ticket, recipient: UserId(0), visibility: Rendered::None };
        MessageId(format!("{}@{}", self.mint(Purpose::MessageId, &what, salt), self.mail_domain()))
    }

    /// `bounce+TOKEN.ROW@…`: the SMTP sender of one mail, different for each outbox row.
    ///
    /// # Errors
    /// If the local part would exceed 64 octets, which takes ids above 2^40.
    pub fn reverse_path(
        &self,
        what: &TicketRef,
        salt: &Salt,
        outbox: OutboxId,
    ) -> Result<Address, AddressError> {
        let token = self.mint(Purpose::Verp, what, salt);
        Address::parse(&format!("bounce+{token}.{outbox}@{}", self.mail_domain()))
    }
}

/// The token of `support+idTOKEN@…`.
#[must_use]
pub fn address_token(address: &Address) -> Option<ClaimedToken> {
    let (marker, token) = address.detail()?.split_at_checked(2)?;
    marker.eq_ignore_ascii_case("id").then(|| ClaimedToken::read(token))?
}

/// The token of a Message-ID under our domain: `TOKEN.ROW@mail-domain` or `TOKEN@mail-domain`.
#[must_use]
pub fn message_id_token(id: &MessageId, mail_domain: &str) -> Option<ClaimedToken> {
    let (local, domain) = id.0.rsplit_once('@')?;
    let token = local.split('.').next()?;
    domain.eq_ignore_ascii_case(mail_domain).then(|| ClaimedToken::read(token))?
}

/// The token of a return address `bounce+TOKEN.ROW@…`.
#[must_use]
pub fn reverse_path_token(address: &Address) -> Option<ClaimedToken> {
    let (token, _row) = address.detail()?.split_once('.')?;
    ClaimedToken::read(token)
}

/// The different tokens in brackets, `[TOKEN]`, the topmost first.
///
/// People answer above what they quote, so of several quoted mails the topmost is the newest. Clients lower
/// the case, wrap lines, put quote marks before them, and escape brackets as HTML; all of that is read.
#[must_use]
pub fn find_body_tokens(text: &str) -> Vec<ClaimedToken> {
    let mut tokens = Vec::new();
    for found in bracket_tokens(text) {
        if tokens.len() == MAX_BODY_TOKENS {
            break;
        }
        if !tokens.contains(&found.token) {
            tokens.push(found.token);
        }
    }
    tokens
}

/// The text with everything that reads as a token made harmless, and still readable: `(TOKEN)` for
/// `[TOKEN]`, `+id-TOKEN@` for `+idTOKEN@`.
///
/// For all text of others that we send. Else somebody could plant a token of a ticket of his own in a
/// text that an agent will quote.
#[must_use]
pub fn defuse(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    let mut done = 0;
    for BracketToken { inner, end, start, .. } in bracket_tokens(text) {
        harmless.push_str(text.get(done..start).unwrap_or_default());
        harmless.push('(');
        harmless.push_str(text.get(inner).unwrap_or_default());
        harmless.push(')');
        done = end;
    }
    harmless.push_str(text.get(done..).unwrap_or_default());
    defuse_addresses(&harmless)
}

fn defuse_addresses(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('+') {
        harmless.push_str(before);
        harmless.push('+');
        rest = after;
        let Some((marker, candidate)) = rest.split_at_checked(2) else { continue };
        let length = candidate.bytes().take(MAX_TOKEN_LEN + 1).take_while(u8::is_ascii_alphanumeric).count();
        let is_token = candidate.get(..length).and_then(ClaimedToken::read).is_some();
        if marker.eq_ignore_ascii_case("id") && is_token && candidate.as_bytes().get(length) == Some(&b'@') {
            harmless.push_str(marker);
            harmless.push('-');
            rest = candidate;
        }
    }
    harmless.push_str(rest);
    harmless
}

/// A bracket token and where it stands, brackets included; `inner` is what lies between them.
struct BracketToken {
    start: usize,
    inner: Range<usize>,
    end: usize,
    token: ClaimedToken,
}

fn bracket_tokens(text: &str) -> impl Iterator<Item = BracketToken> {
    memchr::memchr2_iter(b'[', b'&', text.as_bytes()).filter_map(move |start| {
        let inner_start = start + OPENING.iter().find_map(|form| starts_with(text.get(start..)?, form))?;
        let (inner_len, closing_len, token) = read_to_bracket(text.get(inner_start..)?)?;
        let inner = inner_start..inner_start + inner_len;
        Some(BracketToken { start, end: inner.end + closing_len, inner, token })
    })
}

const OPENING: [&str; 5] = ["[", "&#91;", "&#x5b;", "&lbrack;", "&lsqb;"];
const CLOSING: [&str; 5] = ["]", "&#93;", "&#x5d;", "&rbrack;", "&rsqb;"];

/// The token from here to the closing bracket: lengths of what lies before the bracket and of the bracket.
///
/// Stops at the next opening bracket, so that a text of nothing but brackets is read once.
fn read_to_bracket(text: &str) -> Option<(usize, usize, ClaimedToken)> {
    let mut letters = String::new();
    let mut at_line_start = false;
    for (at, c) in text.char_indices().take_while(|(at, _)| *at < MAX_BRACKET_SPAN) {
        match c {
            ']' | '&' => {
                let closing_len = CLOSING.iter().find_map(|form| starts_with(text.get(at..)?, form))?;
                return Some((at, closing_len, ClaimedToken::read(&letters)?));
            }
            '\n' => at_line_start = true,
            '>' | '|' if at_line_start => {}
            _ if c.is_whitespace() || is_invisible(c) => {}
            _ if c.is_ascii_alphanumeric() && letters.len() < MAX_TOKEN_LEN => {
                letters.push(c);
                at_line_start = false;
            }
            _ => return None,
        }
    }
    None
}

fn starts_with(text: &str, form: &str) -> Option<usize> {
    text.get(..form.len()).is_some_and(|start| start.eq_ignore_ascii_case(form)).then_some(form.len())
}

/// Soft hyphens and zero-width characters, which clients put into long words so that they can break.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}
