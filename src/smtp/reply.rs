//! Replies as they go over the wire. What is refused is worded in `refusal`; here are the others.
//!
//! A reply never repeats an address.

use std::borrow::Cow;

use super::policy::{Protocol, Refusal};
use crate::domain::ids::JournalId;

/// One reply of one or several lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    /// Absent where RFC 2034 §3 forbids it: the greeting, EHLO and HELO, and 3yz.
    enhanced: Option<&'static str>,
    lines: Vec<Cow<'static, str>>,
    refusal: Option<Refusal>,
}

impl Reply {
    pub fn greeting(hostname: &str, protocol: Protocol) -> Self {
        let protocol = match protocol {
            Protocol::Smtp => "ESMTP",
            Protocol::Lmtp => "LMTP",
        };
        Self::bare(220, format!("{hostname} {protocol} Postern"))
    }
    pub fn helo(hostname: &str) -> Self {
        Self::bare(250, hostname.to_owned())
    }
    /// The answer to EHLO and LHLO: our name and what we offer, a keyword a line.
    pub fn ehlo(hostname: &str, offers: Vec<Cow<'static, str>>) -> Self {
        let mut reply = Self::helo(hostname);
        reply.lines.extend(offers);
        reply
    }
    pub fn ok() -> Self {
        Self::new(250, "2.0.0", "ok")
    }
    pub fn sender_ok() -> Self {
        Self::new(250, "2.1.0", "sender ok")
    }
    pub fn recipient_ok() -> Self {
        Self::new(250, "2.1.5", "recipient ok")
    }
    pub fn start_data() -> Self {
        Self::bare(354, "end data with <CR><LF>.<CR><LF>")
    }
    /// Not kept yet: that is said after the last chunk.
    pub fn chunk_received() -> Self {
        Self::new(250, "2.0.0", "chunk received")
    }
    pub fn kept(id: JournalId) -> Self {
        Self::new(250, "2.0.0", format!("kept as {id}"))
    }
    pub fn start_tls() -> Self {
        Self::new(220, "2.0.0", "ready to start TLS")
    }
    /// What AUTH asks, in base64.
    pub fn challenge(text: &'static str) -> Self {
        Self::bare(334, text)
    }
    pub fn authenticated() -> Self {
        Self::new(235, "2.7.0", "authenticated")
    }
    pub fn help(commands: &[&str]) -> Self {
        Self::new(214, "2.0.0", format!("commands: {}", commands.join(" ")))
    }
    /// RFC 5321 §3.5.3: a server that will not verify says 252, not 250 or 550.
    pub fn cannot_verify() -> Self {
        Self::new(252, "2.0.0", "cannot verify; send mail and see")
    }
    pub fn goodbye() -> Self {
        Self::new(221, "2.0.0", "goodbye")
    }
    pub fn shutting_down() -> Self {
        Self::new(421, "4.3.2", "shutting down, try again later")
    }

    pub fn refusal(refusal: Refusal) -> Self {
        let (code, enhanced, text) = refusal.wording();
        Self { refusal: Some(refusal), ..Self::new(code, enhanced, text) }
    }
    pub fn syntax(expected: &'static str) -> Self {
        Self::refusal(Refusal::Syntax).saying(format!("expected {expected}"))
    }
    pub fn bad_parameter(name: &'static str) -> Self {
        Self::refusal(Refusal::BadParameter).saying(format!("{name} has no such value"))
    }
    pub fn out_of_order(expected_first: &'static str) -> Self {
        Self::refusal(Refusal::OutOfOrder).saying(format!("expected {expected_first} first"))
    }
    /// LMTP has a code of its own for it (RFC 2033 §4.2).
    pub fn no_valid_recipients(protocol: Protocol) -> Self {
        let reply = Self::refusal(Refusal::NoValidRecipients);
        match protocol {
            Protocol::Smtp => reply,
            Protocol::Lmtp => Self { code: 503, ..reply },
        }
    }

    /// What this reply refuses.
    pub fn refused(&self) -> Option<Refusal> {
        self.refusal
    }

    /// 5yz: the peer did something it should not repeat.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.code >= 500
    }

    /// Appends the reply as it goes over the wire (RFC 5321 §4.2.1).
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let last = self.lines.len().saturating_sub(1);
        for (index, line) in self.lines.iter().enumerate() {
            let separator = if index == last { ' ' } else { '-' };
            let enhanced = self.enhanced.map(|code| format!("{code} ")).unwrap_or_default();
            out.extend_from_slice(format!("{}{separator}{enhanced}{line}\r\n", self.code).as_bytes());
        }
    }

    fn new(code: u16, enhanced: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self { enhanced: Some(enhanced), ..Self::bare(code, text) }
    }

    fn bare(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, enhanced: None, lines: vec![text.into()], refusal: None }
    }

    fn saying(self, text: String) -> Self {
        Self { lines: vec![text.into()], ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reply: &Reply, expected: &str) {
        let mut wire = Vec::new();
        reply.write_to(&mut wire);
        assert_eq!(String::from_utf8(wire).unwrap(), expected);
    }

    #[test]
    fn a_reply_of_one_line_has_its_enhanced_code() {
        check(&Reply::kept(JournalId(7)), "250 2.0.0 kept as 7\r\n");
        check(&Reply::refusal(Refusal::AuthNeedsTls), "538 5.7.11 authentication needs TLS\r\n");
    }

    #[test]
    fn the_last_line_of_several_has_a_space_after_the_code() {
        check(
            &Reply::ehlo("mail.desk.example", vec!["SIZE 1000".into(), "PIPELINING".into()]),
            "250-mail.desk.example\r\n250-SIZE 1000\r\n250 PIPELINING\r\n",
        );
    }

    #[test]
    fn an_empty_challenge_keeps_the_space_that_parsers_look_for() {
        check(&Reply::challenge(""), "334 \r\n");
    }
}
