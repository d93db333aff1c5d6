//! Every reply the gate can give: code, enhanced code, text.
//!
//! Texts are for the peer and its log: they say what is wrong with what the peer sent, and nothing about
//! our inside. A reply never repeats an address.

use std::borrow::Cow;

use super::Refused;
use crate::domain::ids::JournalId;

/// One reply of one or several lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    /// Absent where RFC 2034 §3 forbids it: the greeting, EHLO and HELO, and 3yz.
    enhanced: Option<&'static str>,
    lines: Vec<Cow<'static, str>>,
}

impl Reply {
    pub fn greeting(hostname: &str) -> Self {
        Self::bare(220, vec![format!("{hostname} ESMTP Postern").into()])
    }

    pub fn helo(hostname: &str) -> Self {
        Self::bare(250, vec![hostname.to_owned().into()])
    }

    pub fn ehlo(hostname: &str, max_message_size: usize) -> Self {
        Self::bare(
            250,
            vec![
                hostname.to_owned().into(),
                format!("SIZE {max_message_size}").into(),
                "PIPELINING".into(),
                "8BITMIME".into(),
                "SMTPUTF8".into(),
                "ENHANCEDSTATUSCODES".into(),
            ],
        )
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
        Self::bare(354, vec!["end data with <CR><LF>.<CR><LF>".into()])
    }
    pub fn kept(id: JournalId) -> Self {
        Self::new(250, "2.0.0", format!("kept as {id}"))
    }
    pub fn goodbye() -> Self {
        Self::new(221, "2.0.0", "goodbye")
    }
    pub fn help() -> Self {
        Self::new(214, "2.0.0", "commands: EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT")
    }
    /// RFC 5321 §3.5.3: a server that will not verify says 252, not 250 or 550.
    pub fn cannot_verify() -> Self {
        Self::new(252, "2.0.0", "cannot verify; send mail and see")
    }

    pub fn shutting_down() -> Self {
        Self::new(421, "4.3.2", "shutting down, try again later")
    }
    pub fn too_many_connections() -> Self {
        Self::new(421, "4.3.2", "too many connections, try again later")
    }
    pub fn timed_out() -> Self {
        Self::new(421, "4.4.2", "timed out")
    }
    pub fn too_many_errors() -> Self {
        Self::new(421, "4.7.0", "too many errors")
    }
    pub fn too_many_commands() -> Self {
        Self::new(421, "4.7.0", "too many commands without a mail")
    }
    /// RFC 5321 §4.5.3.1.10: 452, so that the client sends the rest in another transaction.
    pub fn too_many_recipients() -> Self {
        Self::new(452, "4.5.3", "too many recipients")
    }

    pub fn unknown_command() -> Self {
        Self::new(500, "5.5.1", "command not recognised")
    }
    pub fn line_too_long() -> Self {
        Self::new(500, "5.5.2", "line too long")
    }
    pub fn bare_line_end_in_command() -> Self {
        Self::new(500, "5.5.2", "a line must end in <CR><LF> and hold no other CR or LF")
    }
    pub fn not_text() -> Self {
        Self::new(500, "5.5.2", "a command must be UTF-8 text without control characters")
    }
    pub fn syntax(expected: &'static str) -> Self {
        Self::new(501, "5.5.4", format!("expected {expected}"))
    }
    pub fn bad_parameter(name: &'static str) -> Self {
        Self::new(501, "5.5.4", format!("{name} has no such value"))
    }
    pub fn not_implemented() -> Self {
        Self::new(502, "5.5.1", "command not implemented")
    }
    pub fn out_of_order(expected_first: &'static str) -> Self {
        Self::new(503, "5.5.1", format!("expected {expected_first} first"))
    }
    pub fn nested_mail() -> Self {
        Self::new(503, "5.5.1", "a sender was already given")
    }
    pub fn no_valid_recipients() -> Self {
        Self::new(554, "5.5.1", "no valid recipients")
    }
    pub fn unknown_parameter() -> Self {
        Self::new(555, "5.5.4", "parameter not recognised or not offered")
    }

    pub fn no_such_recipient() -> Self {
        Self::new(550, "5.1.1", "no such recipient here")
    }
    pub fn bad_recipient_address() -> Self {
        Self::new(550, "5.1.3", "not a mail address")
    }
    pub fn bad_sender_address() -> Self {
        Self::new(553, "5.1.7", "not a mail address")
    }
    // RFC 6531 §3.5 names these two codes.
    pub fn sender_needs_smtputf8() -> Self {
        Self::new(550, "5.6.7", "a non-ASCII sender needs SMTPUTF8")
    }
    pub fn recipient_needs_smtputf8() -> Self {
        Self::new(553, "5.6.7", "a non-ASCII recipient needs SMTPUTF8 in MAIL")
    }
    pub fn message_too_large() -> Self {
        Self::new(552, "5.3.4", "message too large")
    }
    pub fn bare_line_end_in_message() -> Self {
        Self::new(554, "5.6.0", "message refused: it holds a CR or LF outside of <CR><LF>")
    }

    /// Refused in words that fit the sender's log; the cause is in ours.
    pub fn refused(refused: Refused) -> Self {
        match refused {
            Refused::Storage => Self::new(451, "4.3.0", "could not keep the message, try again later"),
            Refused::Full => Self::new(452, "4.3.1", "no room for the message now, try again later"),
            Refused::Busy => Self::new(451, "4.3.2", "too busy for the message now, try again later"),
        }
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
        Self { code, enhanced: Some(enhanced), lines: vec![text.into()] }
    }

    fn bare(code: u16, lines: Vec<Cow<'static, str>>) -> Self {
        Self { code, enhanced: None, lines }
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
    }

    #[test]
    fn the_last_line_of_several_has_a_space_after_the_code() {
        check(
            &Reply::ehlo("mail.desk.example", 1000),
            "250-mail.desk.example\r\n250-SIZE 1000\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n\
             250 ENHANCEDSTATUSCODES\r\n",
        );
    }

    #[test]
    fn a_refusal_to_keep_is_always_temporary() {
        for refused in [Refused::Storage, Refused::Full, Refused::Busy] {
            assert!(!Reply::refused(refused).is_error());
        }
    }
}
