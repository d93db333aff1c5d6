//! The state machine of an SMTP or LMTP connection. The first byte of an input picks the listener and how the bytes are cut; the
//! rest is what the client sends. Where TLS is offered, a SYN (0x16, the first byte of a TLS record) stands for where the client began the
//! handshake: what it sent before and nobody had read is thrown away there if the session was asked for TLS.
//!
//! Holds: how the bytes are cut into reads never matters; replies are well-formed lines; no mail without its DATA or BDAT; what is
//! held is bounded; a closed session stays closed; nothing that came before TLS is known after it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use postern::domain::address::Address;
use postern::domain::ids::JournalId;
use postern::domain::mail::{Entrance, Envelope, TrustSource};
use postern::domain::time::Timestamp;
use postern::smtp::Refused;
use postern::smtp::policy::{Limits, Login, Logins, Protocol, Recipients, Refusal, SessionConfig, TlsPolicy};
use postern::smtp::session::{Channel, Ending, Session, Step};

pub const LIMITS: Limits = Limits {
    max_line_length: 600,
    max_message_size: 2_000,
    max_headers: 1_000,
    max_header_size: 2_000,
    max_recipients: 3,
    max_errors: 5,
    max_commands: 40,
    max_auth_failures: 2,
};
const HANDSHAKE: u8 = 0x16;

/// What the first byte of an input may ask for, each by its bit.
const LMTP: u8 = 1;
const TLS_OFFERED: u8 = 2;
const TLS_REQUIRED: u8 = 4;
const LOGINS: u8 = 8;
const SECURE: u8 = 64;
const SHORT_HEADERS: u8 = 128;

/// All that a session says and does.
#[derive(Debug, Default, PartialEq)]
pub struct Transcript {
    pub replies: Vec<u8>,
    pub mails: Vec<(Envelope, Vec<u8>)>,
    pub refusals: Vec<Refusal>,
    pub ending: Option<Ending>,
}

pub fn check(input: &[u8]) {
    let Some((&choice, sent)) = input.split_first() else { return };
    let whole = converse(choice, sent, |_| usize::MAX);
    check_replies(&whole.replies);
    let begun = lines(&whole.replies).filter(|line| line.starts_with("354")).count();
    let chunked = sent.windows(4).filter(|word| word.eq_ignore_ascii_case(b"LAST")).count();
    assert!(
        whole.mails.len() <= begun + chunked,
        "{} mails of {begun} DATA, {chunked} BDAT",
        whole.mails.len()
    );
    for (envelope, raw) in &whole.mails {
        assert!(raw.len() <= LIMITS.max_message_size, "{} bytes", raw.len());
        assert!((1..=LIMITS.max_recipients).contains(&envelope.recipients.len()), "{envelope:?}");
    }
    if choice & LOGINS != 0 && choice & (TLS_OFFERED | TLS_REQUIRED | SECURE) == 0 {
        assert_eq!(whole.mails, [], "mail without the login that it needs");
    }
    assert_eq!(converse(choice, sent, |_| 1), whole, "read byte by byte");
    let uneven = |at: usize| 1 + (at.wrapping_mul(31) + usize::from(choice)) % 23;
    assert_eq!(converse(choice, sent, uneven), whole, "read in uneven pieces");
    check_forgets(choice, sent);
}

/// Plays the client's bytes to a session; `piece` says how many are read at a place.
pub fn converse(choice: u8, sent: &[u8], piece: impl Fn(usize) -> usize) -> Transcript {
    let channel = if choice & SECURE != 0 { Channel::Secure } else { Channel::Plain };
    let mut session = Session::new(config(choice), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), channel);
    let mut said = Transcript::default();
    let handshakes = choice & (TLS_OFFERED | TLS_REQUIRED) != 0;
    for flight in sent.split(|byte| handshakes && *byte == HANDSHAKE) {
        if !play(&mut session, flight, &piece, &mut said) {
            break;
        }
    }
    said
}

/// Plays what the client sends up to a handshake; false when the session has ended.
fn play(session: &mut Session, flight: &[u8], piece: impl Fn(usize) -> usize, said: &mut Transcript) -> bool {
    let mut at = 0;
    let mut input: &[u8] = &[];
    loop {
        let step = session.handle(&mut input, Timestamp(0));
        said.refusals.extend(session.take_refusals());
        match step {
            Step::NeedInput(_) => {
                assert!(input.is_empty(), "{} bytes were left", input.len());
                assert!(session.held() <= 2 * LIMITS.max_message_size + 4_096, "{} held", session.held());
                said.replies.extend(session.take_replies());
                if at >= flight.len() {
                    return true;
                }
                let end = at.saturating_add(piece(at)).min(flight.len());
                input = &flight[at..end];
                at = end;
            }
            Step::Accept { envelope, raw } => {
                let verdict = verdict(&raw, said.mails.len());
                said.mails.push((*envelope, raw));
                session.answer(verdict);
            }
            Step::StartTls => {
                said.replies.extend(session.take_replies());
                session.secured();
                // The rest of the flight was sent before the handshake: nobody reads it.
                return true;
            }
            Step::Close(ending) => {
                said.replies.extend(session.take_replies());
                let mut more: &[u8] = b"NOOP\r\n";
                assert_eq!(session.handle(&mut more, Timestamp(0)), Step::Close(ending));
                assert!(session.take_replies().is_empty(), "it speaks after the end");
                said.ending = Some(ending);
                return false;
            }
        }
    }
}

/// A session that went over to TLS says what one that began in TLS says (RFC 3207 §4.2), but for its greeting and its counts.
fn check_forgets(choice: u8, sent: &[u8]) {
    if choice & (TLS_OFFERED | TLS_REQUIRED) == 0 || choice & SECURE != 0 {
        return;
    }
    let hello: &[u8] = if choice & LMTP != 0 { b"LHLO c\r\n" } else { b"EHLO c\r\n" };
    let before = [hello, b"MAIL FROM:<a@c.example>\r\nSTARTTLS\r\nMAIL FROM:<b@c.example>\r\n\x16"].concat();
    let upgraded = converse(choice, &[&before, sent].concat(), |_| usize::MAX);
    let fresh = converse(choice | SECURE, sent, |_| usize::MAX);
    // Where a count ends a session, the one that said more ends earlier.
    if upgraded.ending.is_none() && fresh.ending.is_none() {
        assert_eq!(upgraded.mails, fresh.mails, "it remembers what came before TLS");
        let after_greeting =
            |said: &Transcript| lines(&said.replies).skip(1).map(str::to_owned).collect::<Vec<_>>();
        assert!(after_greeting(&upgraded).ends_with(&after_greeting(&fresh)), "{upgraded:?}\n{fresh:?}");
    }
}

/// Some mails are not kept, as the mails themselves say.
fn verdict(raw: &[u8], number: usize) -> Result<JournalId, Refused> {
    match raw.len() % 8 {
        5 => Err(Refused::Full),
        6 => Err(Refused::Storage),
        7 => Err(Refused::Busy),
        _ => Ok(JournalId(i64::try_from(number).unwrap() + 1)),
    }
}

fn config(choice: u8) -> Arc<SessionConfig> {
    let address = |text| Address::parse(text).unwrap();
    let login = Login { username: "relay".to_owned(), password: "secret".to_owned() };
    let limits = match choice & SHORT_HEADERS {
        0 => LIMITS,
        _ => Limits { max_headers: 4, max_header_size: 200, ..LIMITS },
    };
    Arc::new(SessionConfig {
        hostname: "desk.example".to_owned(),
        entrance: Entrance { name: "smtp".to_owned(), trust: TrustSource::None },
        recipients: Recipients {
            addresses: vec![address("support@desk.example"), address("bounce@desk.example")],
            postmaster: address("postmaster@desk.example"),
        },
        limits,
        protocol: if choice & LMTP != 0 { Protocol::Lmtp } else { Protocol::Smtp },
        tls: match (choice & TLS_REQUIRED, choice & TLS_OFFERED) {
            (0, 0) => TlsPolicy::None,
            (0, _) => TlsPolicy::Offered,
            _ => TlsPolicy::Required,
        },
        logins: if choice & LOGINS != 0 { Logins::new(vec![login]) } else { Logins::default() },
    })
}

fn lines(replies: &[u8]) -> impl Iterator<Item = &str> {
    std::str::from_utf8(replies).expect("replies are text").split_terminator("\r\n")
}

/// RFC 5321 §4.2: three digits, a hyphen on all lines but the last, the same code on all; at most 512 octets a line.
fn check_replies(replies: &[u8]) {
    assert!(replies.is_empty() || replies.ends_with(b"\r\n"), "the last reply is not ended");
    let mut open: Option<&str> = None;
    for line in lines(replies) {
        assert!(line.len() <= 510, "{} octets: {line}", line.len());
        assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
        let (code, rest) = line.split_at_checked(3).unwrap_or_else(|| panic!("`{line}` is no reply"));
        assert!(code.bytes().all(|digit| digit.is_ascii_digit()), "{line}");
        assert!(matches!(code.as_bytes()[0], b'2'..=b'5'), "{line}");
        assert!(open.is_none_or(|earlier| earlier == code), "{line} goes on after {open:?}");
        open = match rest.as_bytes().first() {
            Some(b'-') => Some(code),
            Some(b' ') => None,
            _ => panic!("`{line}` is no reply"),
        };
        // RFC 3463 §2: the class of both codes is the same.
        if let Some(enhanced) =
            rest.get(1..).and_then(|rest| rest.split(' ').next()).filter(|word| is_enhanced(word))
        {
            assert_eq!(enhanced.as_bytes()[0], code.as_bytes()[0], "{line}");
        }
    }
    assert_eq!(open, None, "the last reply goes on");
}

/// `5.1.1`
fn is_enhanced(word: &str) -> bool {
    let mut numbers = word.split('.');
    numbers.clone().count() == 3 && numbers.all(|number| number.parse::<u16>().is_ok())
}
