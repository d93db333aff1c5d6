//! Bytes to lines, and a line to a command. The grammar is `smtp-proto`'s; this file adds what a strict gate wants of it.
//!
//! **Invariant:** what comes out was written by the peer: no path is shortened, and `<>` and `<postmaster>`
//! are told apart (the grammar gives an empty address for both).

use memchr::memchr;
use smtp_proto::{Error, MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_SMTPUTF8, MailFrom, RcptTo, Request};

use super::reply::Reply;
use crate::domain::address::Address;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Ehlo(String),
    Helo(String),
    Mail(Mail),
    Rcpt(Rcpt),
    Data,
    Rset,
    Noop,
    Vrfy,
    Help,
    Quit,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mail {
    /// `None` is `<>`.
    pub reverse_path: Option<Address>,
    /// The declared size in bytes; 0 if none was declared.
    pub size: usize,
    pub smtputf8: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rcpt {
    pub recipient: Recipient,
    pub needs_smtputf8: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Recipient {
    /// `<postmaster>` without a domain (RFC 5321 §4.5.1).
    Postmaster,
    Address(Address),
}

/// Reads one line, its line end included.
pub(super) fn parse(line: &[u8]) -> Result<Command, Reply> {
    let Some(text) =
        line.strip_suffix(b"\r\n").filter(|text| !text.iter().any(|byte| b"\r\n".contains(byte)))
    else {
        return Err(Reply::bare_line_end_in_command());
    };
    let text = std::str::from_utf8(text).map_err(|_| Reply::not_text())?;
    if text.chars().any(char::is_control) {
        return Err(Reply::not_text());
    }
    let request = Request::parse(&mut line.iter()).map_err(|error| grammar_error(&error))?;
    // Only these three have a place for non-ASCII text (RFC 6531 §3.4, §3.7.4.2).
    let may_hold_utf8 = matches!(request, Request::Mail { .. } | Request::Rcpt { .. } | Request::Vrfy { .. });
    if !text.is_ascii() && !may_hold_utf8 {
        return Err(Reply::not_text());
    }
    match request {
        Request::Ehlo { host } => Ok(Command::Ehlo(host.into_owned())),
        Request::Helo { host } => Ok(Command::Helo(host.into_owned())),
        Request::Mail { from } => mail(&from, text).map(Command::Mail),
        Request::Rcpt { to } => rcpt(&to, text).map(Command::Rcpt),
        Request::Data => alone(text, Command::Data, "DATA without argument"),
        Request::Rset => alone(text, Command::Rset, "RSET without argument"),
        Request::Quit => alone(text, Command::Quit, "QUIT without argument"),
        Request::Noop { .. } => Ok(Command::Noop),
        Request::Vrfy { .. } => Ok(Command::Vrfy),
        Request::Help { .. } => Ok(Command::Help),
        Request::Lhlo { .. }
        | Request::Bdat { .. }
        | Request::Auth { .. }
        | Request::Expn { .. }
        | Request::Etrn { .. }
        | Request::Atrn { .. }
        | Request::Burl { .. }
        | Request::StartTls => Err(Reply::not_implemented()),
    }
}

/// The command line under way, never longer than the limit.
#[derive(Debug, Default)]
pub(super) struct Line {
    bytes: Vec<u8>,
    overlong: bool,
}

impl Line {
    /// Takes bytes off the front of `input` up to the next LF. A line that ends without CR, or is too long, ends
    /// there as well, and is refused as a whole: a person who types at `nc` gets an answer, and nothing runs.
    pub(super) fn take_from(&mut self, input: &mut &[u8], limit: usize) -> Option<Result<Vec<u8>, Reply>> {
        let end = memchr(b'\n', input).map(|index| index + 1);
        let (piece, rest) = input.split_at(end.unwrap_or(input.len()));
        *input = rest;
        if self.overlong || self.bytes.len() + piece.len() > limit {
            self.overlong = true;
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(piece);
        }
        end?;
        let line = std::mem::take(self);
        Some(if line.overlong { Err(Reply::line_too_long()) } else { Ok(line.bytes) })
    }
}

fn mail(from: &MailFrom<std::borrow::Cow<'_, str>>, text: &str) -> Result<Mail, Reply> {
    let offered = MAIL_BODY_7BIT | MAIL_BODY_8BITMIME | MAIL_SMTPUTF8;
    let understood = MailFrom {
        address: from.address.clone(),
        size: from.size,
        flags: from.flags & offered,
        ..MailFrom::default()
    };
    // The grammar knows every registered parameter; a promise such as REQUIRETLS must not be taken unread.
    if *from != understood {
        return Err(Reply::unknown_parameter());
    }
    let smtputf8 = from.flags & MAIL_SMTPUTF8 != 0;
    let reverse_path = match path(text) {
        "" => None,
        _ => Some(address(&from.address).ok_or_else(Reply::bad_sender_address)?),
    };
    if !smtputf8 && !text.is_ascii() {
        return Err(Reply::sender_needs_smtputf8());
    }
    Ok(Mail { reverse_path, size: from.size, smtputf8 })
}

fn rcpt(to: &RcptTo<std::borrow::Cow<'_, str>>, text: &str) -> Result<Rcpt, Reply> {
    let understood = RcptTo { address: to.address.clone(), ..RcptTo::default() };
    if *to != understood {
        return Err(Reply::unknown_parameter());
    }
    let recipient = if path(text).eq_ignore_ascii_case("postmaster") {
        Recipient::Postmaster
    } else {
        Recipient::Address(address(&to.address).ok_or_else(Reply::bad_recipient_address)?)
    };
    Ok(Rcpt { recipient, needs_smtputf8: !text.is_ascii() })
}

/// What stands between the first angle brackets of a line.
fn path(text: &str) -> &str {
    let after = text.split_once('<').map_or("", |(_, after)| after);
    after.split_once('>').map_or(after, |(path, _)| path).trim()
}

/// The address of a path. The grammar has taken the quotes off a quoted local part; they are put back where
/// the local part cannot stand without them.
fn address(unquoted: &str) -> Option<Address> {
    let (local, domain) = unquoted.rsplit_once('@')?;
    let needs_quotes = local.contains(|c: char| c.is_whitespace() || "()<>[]:;@\\,\"".contains(c));
    if needs_quotes {
        Address::parse(&format!("\"{local}\"@{domain}")).ok()
    } else {
        Address::parse(unquoted).ok()
    }
}

/// RFC 5321 §4.1.1: a command that takes no argument and gets one is answered 501.
fn alone(text: &str, command: Command, expected: &'static str) -> Result<Command, Reply> {
    match text.split_ascii_whitespace().count() {
        1 => Ok(command),
        _ => Err(Reply::syntax(expected)),
    }
}

fn grammar_error(error: &Error) -> Reply {
    match error {
        Error::UnknownCommand => Reply::unknown_command(),
        Error::InvalidSenderAddress => Reply::bad_sender_address(),
        Error::InvalidRecipientAddress => Reply::bad_recipient_address(),
        Error::SyntaxError { syntax } => Reply::syntax(syntax),
        Error::InvalidParameter { param } => Reply::bad_parameter(param),
        Error::UnsupportedParameter { .. } => Reply::unknown_parameter(),
        Error::NeedsMoreData { .. } | Error::ResponseTooLong | Error::InvalidResponse { .. } => {
            Reply::syntax("a complete command")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, Reply> {
        parse(format!("{line}\r\n").as_bytes())
    }

    fn sender(line: &str) -> Option<String> {
        match read(line) {
            Ok(Command::Mail(mail)) => mail.reverse_path.map(|address| address.to_string()),
            other => panic!("`{line}` gave {other:?}"),
        }
    }

    #[test]
    fn verbs_and_keywords_are_read_in_any_case_and_with_spare_spaces() {
        assert_eq!(read("quit "), Ok(Command::Quit));
        assert_eq!(sender("mail from: <ada@example.net> size=12").as_deref(), Some("ada@example.net"));
    }

    #[test]
    fn the_null_path_is_not_the_postmaster() {
        assert_eq!(sender("MAIL FROM:<>"), None);
        assert_eq!(read("MAIL FROM:<postmaster>"), Err(Reply::bad_sender_address()));
        assert_eq!(read("RCPT TO:<>"), Err(Reply::bad_recipient_address()));
        assert_eq!(
            read("RCPT TO:<Postmaster>"),
            Ok(Command::Rcpt(Rcpt { recipient: Recipient::Postmaster, needs_smtputf8: false })),
        );
    }

    #[test]
    fn a_source_route_is_dropped_as_rfc_5321_asks() {
        assert_eq!(
            sender("MAIL FROM:<@a.example,@b.example:ada@example.net>").as_deref(),
            Some("ada@example.net")
        );
        assert_eq!(read("MAIL FROM:<@a.example:>"), Err(Reply::bad_sender_address()));
    }

    #[test]
    fn a_quoted_local_part_keeps_its_quotes_only_where_it_needs_them() {
        assert_eq!(sender(r#"MAIL FROM:<"ada l"@example.net>"#).as_deref(), Some(r#""ada l"@example.net"#));
        assert_eq!(sender(r#"MAIL FROM:<" ada"@example.net>"#).as_deref(), Some(r#"" ada"@example.net"#));
        assert_eq!(sender(r#"MAIL FROM:<"ada"@example.net>"#).as_deref(), Some("ada@example.net"));
        assert_eq!(sender(r#"MAIL FROM:<"a@b"@example.net>"#).as_deref(), Some(r#""a@b"@example.net"#));
    }

    #[test]
    fn a_parameter_that_is_known_but_not_offered_is_refused() {
        for parameter in
            ["REQUIRETLS", "RET=HDRS", "ENVID=x", "BODY=BINARYMIME", "AUTH=<>", "HOLDFOR=5", "X=Y"]
        {
            assert_eq!(
                read(&format!("MAIL FROM:<> {parameter}")),
                Err(Reply::unknown_parameter()),
                "{parameter}"
            );
        }
        assert_eq!(read("RCPT TO:<a@b.example> NOTIFY=NEVER"), Err(Reply::unknown_parameter()));
    }

    #[test]
    fn a_line_with_a_line_end_of_its_own_is_refused_whole() {
        for line in ["NOOP\rQUIT\r\n", "NOOP\n", "NOOP\r", "NOOP\nQUIT\r\n", "NOOP\r\r\n"] {
            assert_eq!(parse(line.as_bytes()), Err(Reply::bare_line_end_in_command()), "{line:?}");
        }
    }

    #[test]
    fn control_characters_and_broken_utf8_are_no_text() {
        for line in
            [b"NOOP \0\r\n".as_slice(), b"NOOP\t\r\n", b"EHLO a\x7f\r\n", b"MAIL FROM:<\xff@b.example>\r\n"]
        {
            assert_eq!(parse(line), Err(Reply::not_text()), "{line:?}");
        }
    }

    #[test]
    fn non_ascii_text_has_its_place_in_addresses_only() {
        assert_eq!(read("EHLO bücher.example"), Err(Reply::not_text()));
        assert_eq!(read("MAIL FROM:<ü@example.net>"), Err(Reply::sender_needs_smtputf8()));
        assert_eq!(sender("MAIL FROM:<ü@example.net> SMTPUTF8").as_deref(), Some("ü@example.net"));
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut line = Line::default();
        for _ in 0..1000 {
            assert_eq!(line.take_from(&mut [b'x'; 1000].as_slice(), 100), None);
            assert_eq!(line.bytes.capacity(), 0);
        }
        let mut input: &[u8] = b"\r\nNOOP\r\n";
        assert_eq!(line.take_from(&mut input, 100), Some(Err(Reply::line_too_long())));
        assert_eq!(line.take_from(&mut input, 100), Some(Ok(b"NOOP\r\n".to_vec())));
    }
}
