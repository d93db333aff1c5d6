//! A line to a command. The grammar is `smtp-proto`'s; this file adds what a strict gate wants of it.
//!
//! **Invariant:** what comes out was written by the peer: no path is shortened, and `<>` and `<postmaster>`
//! are told apart (the grammar gives an empty address for both).
//! **Invariant:** numbers are read here. The grammar's run over the largest number starts anew: to it
//! `BDAT 184467440737095516165` is a chunk of 5 octets, and all that follows would be commands. It also takes any
//! word but LAST for the end of the line.

use smtp_proto::{
    AUTH_LOGIN, AUTH_PLAIN, Error, MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_BODY_BINARYMIME, MAIL_SMTPUTF8,
    MailFrom, RcptTo, Request,
};

use super::auth::{Auth, Mechanism};
use super::line::Line;
use super::policy::Refusal;
use super::reply::Reply;
use crate::domain::address::Address;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Ehlo(String),
    Helo(String),
    Lhlo(String),
    StartTls,
    Auth(Auth),
    Mail(Mail),
    Rcpt(Rcpt),
    Data,
    Bdat(Bdat),
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
    /// BODY=BINARYMIME.
    pub binary: bool,
    /// AUTH= was given. What it says is not used: here nobody's mail is passed on.
    pub auth: bool,
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

/// A command that octets follow, whatever becomes of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bdat {
    pub size: u64,
    /// Whether it says LAST; the reply if it says something else.
    pub last: Result<bool, Reply>,
}

/// Reads one line.
pub(super) fn parse(line: &Line) -> Result<Command, Reply> {
    if line.is_overlong() {
        return Err(Reply::refusal(Refusal::LineTooLong));
    }
    let text = line.text().ok_or_else(|| Reply::refusal(Refusal::BareLineEndInCommand))?;
    let text = std::str::from_utf8(text).map_err(|_| Reply::refusal(Refusal::NotText))?;
    if text.chars().any(char::is_control) {
        return Err(Reply::refusal(Refusal::NotText));
    }
    if line.is_bdat() {
        return bdat(text).map(Command::Bdat);
    }
    let request = Request::parse(&mut line.bytes().iter()).map_err(|error| grammar_error(&error))?;
    // Only these three have a place for non-ASCII text (RFC 6531 §3.4, §3.7.4.2).
    let may_hold_utf8 = matches!(request, Request::Mail { .. } | Request::Rcpt { .. } | Request::Vrfy { .. });
    if !text.is_ascii() && !may_hold_utf8 {
        return Err(Reply::refusal(Refusal::NotText));
    }
    match request {
        Request::Ehlo { host } => Ok(Command::Ehlo(host.into_owned())),
        Request::Helo { host } => Ok(Command::Helo(host.into_owned())),
        Request::Lhlo { host } => Ok(Command::Lhlo(host.into_owned())),
        Request::StartTls => alone(text, Command::StartTls, "STARTTLS without argument"),
        Request::Auth { mechanism, .. } => auth(mechanism, text).map(Command::Auth),
        Request::Mail { from } => mail(&from, text).map(Command::Mail),
        Request::Rcpt { to } => rcpt(&to, text).map(Command::Rcpt),
        Request::Data => alone(text, Command::Data, "DATA without argument"),
        Request::Rset => alone(text, Command::Rset, "RSET without argument"),
        Request::Quit => alone(text, Command::Quit, "QUIT without argument"),
        Request::Noop { .. } => Ok(Command::Noop),
        Request::Vrfy { .. } => Ok(Command::Vrfy),
        Request::Help { .. } => Ok(Command::Help),
        Request::Bdat { .. }
        | Request::Expn { .. }
        | Request::Etrn { .. }
        | Request::Atrn { .. }
        | Request::Burl { .. } => Err(Reply::refusal(Refusal::NotImplemented)),
    }
}

/// RFC 3030 §2: `BDAT chunk-size [LAST]`. Fails only if the size cannot be known.
fn bdat(text: &str) -> Result<Bdat, Reply> {
    let syntax = || Reply::syntax("BDAT chunk-size [LAST]");
    let mut words = text.split_ascii_whitespace().skip(1);
    let size = words.next().filter(|size| size.bytes().all(|digit| digit.is_ascii_digit()));
    let size = size.and_then(|size| size.parse().ok()).ok_or_else(syntax)?;
    let last = match (words.next(), words.next()) {
        (None, _) => Ok(false),
        (Some(last), None) if last.eq_ignore_ascii_case("LAST") => Ok(true),
        _ => Err(syntax()),
    };
    Ok(Bdat { size, last })
}

fn auth(mechanism: u64, text: &str) -> Result<Auth, Reply> {
    let mut words = text.split_ascii_whitespace().skip(2);
    let (initial, None) = (words.next(), words.next()) else {
        return Err(Reply::syntax("AUTH mechanism [initial-response]"));
    };
    let mechanism = match mechanism {
        AUTH_PLAIN => Some(Mechanism::Plain),
        AUTH_LOGIN => Some(Mechanism::Login),
        _ => None,
    };
    Ok(Auth { mechanism, initial: initial.map(str::to_owned) })
}

fn mail(from: &MailFrom<std::borrow::Cow<'_, str>>, text: &str) -> Result<Mail, Reply> {
    let offered = MAIL_BODY_7BIT | MAIL_BODY_8BITMIME | MAIL_BODY_BINARYMIME | MAIL_SMTPUTF8;
    let understood = MailFrom {
        address: from.address.clone(),
        size: from.size,
        auth: from.auth.clone(),
        flags: from.flags & offered,
        ..MailFrom::default()
    };
    // The grammar knows every registered parameter; a promise such as REQUIRETLS must not be taken unread.
    if *from != understood {
        return Err(Reply::refusal(Refusal::UnknownParameter));
    }
    let smtputf8 = from.flags & MAIL_SMTPUTF8 != 0;
    let reverse_path = match path(text) {
        "" => None,
        _ => Some(address(&from.address).ok_or_else(|| Reply::refusal(Refusal::BadSenderAddress))?),
    };
    if !smtputf8 && !text.is_ascii() {
        return Err(Reply::refusal(Refusal::SenderNeedsSmtputf8));
    }
    Ok(Mail {
        reverse_path,
        size: declared_size(from.size, text),
        smtputf8,
        binary: from.flags & MAIL_BODY_BINARYMIME != 0,
        auth: from.auth.is_some(),
    })
}

/// The grammar's `size`, unless the number was too large for it.
fn declared_size(size: usize, text: &str) -> usize {
    let overflows = text.split_ascii_whitespace().any(|word| match word.split_once('=') {
        Some((name, number)) => name.eq_ignore_ascii_case("SIZE") && number.parse::<usize>().is_err(),
        None => false,
    });
    if overflows { usize::MAX } else { size }
}

fn rcpt(to: &RcptTo<std::borrow::Cow<'_, str>>, text: &str) -> Result<Rcpt, Reply> {
    let understood = RcptTo { address: to.address.clone(), ..RcptTo::default() };
    if *to != understood {
        return Err(Reply::refusal(Refusal::UnknownParameter));
    }
    let recipient = if path(text).eq_ignore_ascii_case("postmaster") {
        Recipient::Postmaster
    } else {
        Recipient::Address(address(&to.address).ok_or_else(|| Reply::refusal(Refusal::BadRecipientAddress))?)
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
        Error::UnknownCommand => Reply::refusal(Refusal::UnknownCommand),
        Error::InvalidSenderAddress => Reply::refusal(Refusal::BadSenderAddress),
        Error::InvalidRecipientAddress => Reply::refusal(Refusal::BadRecipientAddress),
        Error::SyntaxError { syntax } => Reply::syntax(syntax),
        Error::InvalidParameter { param } => Reply::bad_parameter(param),
        Error::UnsupportedParameter { .. } => Reply::refusal(Refusal::UnknownParameter),
        Error::NeedsMoreData { .. } | Error::ResponseTooLong | Error::InvalidResponse { .. } => {
            Reply::syntax("a complete command")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, Reply> {
        parse_bytes(format!("{line}\r\n").as_bytes())
    }

    fn parse_bytes(line: &[u8]) -> Result<Command, Reply> {
        parse(&Line::from(line))
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
        assert_eq!(read("MAIL FROM:<postmaster>"), Err(Reply::refusal(Refusal::BadSenderAddress)));
        assert_eq!(read("RCPT TO:<>"), Err(Reply::refusal(Refusal::BadRecipientAddress)));
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
        assert_eq!(read("MAIL FROM:<@a.example:>"), Err(Reply::refusal(Refusal::BadSenderAddress)));
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
        for parameter in ["REQUIRETLS", "RET=HDRS", "ENVID=x", "HOLDFOR=5", "X=Y"] {
            assert_eq!(
                read(&format!("MAIL FROM:<> {parameter}")),
                Err(Reply::refusal(Refusal::UnknownParameter)),
                "{parameter}"
            );
        }
        assert_eq!(
            read("RCPT TO:<a@b.example> NOTIFY=NEVER"),
            Err(Reply::refusal(Refusal::UnknownParameter))
        );
    }

    #[test]
    fn a_line_with_a_line_end_of_its_own_is_refused_whole() {
        for line in ["NOOP\rQUIT\r\n", "NOOP\n", "NOOP\r", "NOOP\nQUIT\r\n", "NOOP\r\r\n"] {
            assert_eq!(
                parse_bytes(line.as_bytes()),
                Err(Reply::refusal(Refusal::BareLineEndInCommand)),
                "{line:?}"
            );
        }
    }

    #[test]
    fn control_characters_and_broken_utf8_are_no_text() {
        for line in
            [b"NOOP \0\r\n".as_slice(), b"NOOP\t\r\n", b"EHLO a\x7f\r\n", b"MAIL FROM:<\xff@b.example>\r\n"]
        {
            assert_eq!(parse_bytes(line), Err(Reply::refusal(Refusal::NotText)), "{line:?}");
        }
    }

    #[test]
    fn non_ascii_text_has_its_place_in_addresses_only() {
        assert_eq!(read("EHLO bücher.example"), Err(Reply::refusal(Refusal::NotText)));
        assert_eq!(read("MAIL FROM:<ü@example.net>"), Err(Reply::refusal(Refusal::SenderNeedsSmtputf8)));
        assert_eq!(sender("MAIL FROM:<ü@example.net> SMTPUTF8").as_deref(), Some("ü@example.net"));
    }

    fn check_bdat(line: &str, expected: Option<(u64, Option<bool>)>) {
        let found = match read(line) {
            Ok(Command::Bdat(bdat)) => Some((bdat.size, bdat.last.ok())),
            Err(reply) if reply == Reply::syntax("BDAT chunk-size [LAST]") => None,
            other => panic!("`{line}` gave {other:?}"),
        };
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn a_chunk_has_its_size_or_none_at_all() {
        check_bdat("BDAT 0", Some((0, Some(false))));
        check_bdat("bdat 12 last", Some((12, Some(true))));
        check_bdat("BDAT 007  LAST ", Some((7, Some(true))));
        check_bdat("BDAT 18446744073709551615", Some((u64::MAX, Some(false))));
        for line in ["BDAT 5 FIRST", "BDAT 5 LAST now", "BDAT 5 LASTING", "BDAT 5 @", "BDAT 5 6"] {
            check_bdat(line, Some((5, None)));
        }
        for line in [
            "BDAT",
            "BDAT x",
            "BDAT +5",
            "BDAT -1",
            "BDAT 5x",
            "BDAT LAST",
            "BDAT 184467440737095516165",
            "BDAT 99999999999999999999999 LAST",
            "BDAT=5",
        ] {
            check_bdat(line, None);
        }
    }

    #[test]
    fn a_size_over_any_number_is_not_a_small_one() {
        let size = |line: &str| match read(line) {
            Ok(Command::Mail(mail)) => mail.size,
            other => panic!("`{line}` gave {other:?}"),
        };
        assert_eq!(size("MAIL FROM:<> SIZE=12"), 12);
        assert_eq!(size("MAIL FROM:<> size=184467440737095516165"), usize::MAX);
        assert_eq!(size("MAIL FROM:<> AUTH=<> SIZE=99999999999999999999999 BODY=7BIT"), usize::MAX);
    }

    #[test]
    fn auth_names_a_mechanism_and_may_bring_a_response() {
        let read_auth = |line: &str| match read(line) {
            Ok(Command::Auth(auth)) => Some((auth.mechanism, auth.initial)),
            Err(reply) if reply == Reply::syntax("AUTH mechanism [initial-response]") => None,
            other => panic!("`{line}` gave {other:?}"),
        };
        assert_eq!(read_auth("auth plain"), Some((Some(Mechanism::Plain), None)));
        assert_eq!(read_auth("AUTH PLAIN ="), Some((Some(Mechanism::Plain), Some("=".into()))));
        assert_eq!(
            read_auth("AUTH LOGIN cmVsYXk= "),
            Some((Some(Mechanism::Login), Some("cmVsYXk=".into())))
        );
        assert_eq!(read_auth("AUTH CRAM-MD5"), Some((None, None)));
        assert_eq!(read_auth("AUTH PLAINER"), Some((None, None)));
        assert_eq!(read_auth("AUTH"), None);
        assert_eq!(read_auth("AUTH PLAIN a b"), None);
    }
}
