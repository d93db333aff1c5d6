//! The state machine of an SMTP connection. The first byte of an input picks the listener and how the bytes are cut; the rest
//! is what the client sends.
//!
//! Holds: how the bytes are cut into reads never matters; replies are well-formed lines; no mail without its DATA; what is held
//! is bounded; a closed session stays closed.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use postern::domain::address::Address;
use postern::domain::ids::JournalId;
use postern::domain::mail::{Entrance, Envelope, TrustSource};
use postern::domain::time::Timestamp;
use postern::smtp::Refused;
use postern::smtp::policy::{Limits, Recipients, SessionConfig};
use postern::smtp::session::{Ending, Session, Step};

const LIMITS: Limits = Limits {
    max_line_length: 600,
    max_message_size: 2_000,
    max_recipients: 3,
    max_errors: 5,
    max_commands: 40,
};

/// All that a session says and does.
#[derive(Debug, Default, PartialEq)]
pub struct Transcript {
    pub replies: Vec<u8>,
    pub mails: Vec<(Envelope, Vec<u8>)>,
    pub ending: Option<Ending>,
}

pub fn check(input: &[u8]) {
    let Some((&choice, sent)) = input.split_first() else { return };
    let whole = converse(choice, sent, |_| usize::MAX);
    check_replies(&whole.replies);
    let data_begun = lines(&whole.replies).filter(|line| line.starts_with("354")).count();
    assert!(whole.mails.len() <= data_begun, "{} mails of {data_begun} DATA", whole.mails.len());
    for (envelope, raw) in &whole.mails {
        assert!(raw.len() <= LIMITS.max_message_size, "{} bytes", raw.len());
        assert!((1..=LIMITS.max_recipients).contains(&envelope.recipients.len()), "{envelope:?}");
    }
    assert_eq!(converse(choice, sent, |_| 1), whole, "read byte by byte");
    let uneven = |at: usize| 1 + (at.wrapping_mul(31) + usize::from(choice)) % 23;
    assert_eq!(converse(choice, sent, uneven), whole, "read in uneven pieces");
}

/// Plays the client's bytes to a session; `piece` says how many are read at a place.
pub fn converse(choice: u8, sent: &[u8], piece: impl Fn(usize) -> usize) -> Transcript {
    let mut session = Session::new(config(choice), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let mut said = Transcript::default();
    let mut at = 0;
    let mut input: &[u8] = &[];
    loop {
        match session.handle(&mut input, Timestamp(0)) {
            Step::NeedInput(_) => {
                assert!(input.is_empty(), "{} bytes were left", input.len());
                assert!(session.held() <= 2 * LIMITS.max_message_size + 4_096, "{} held", session.held());
                said.replies.extend(session.take_replies());
                if at >= sent.len() {
                    return said;
                }
                let end = at.saturating_add(piece(at)).min(sent.len());
                input = &sent[at..end];
                at = end;
            }
            Step::Accept { envelope, raw } => {
                let verdict = verdict(&raw, said.mails.len());
                said.mails.push((*envelope, raw));
                session.answer(verdict);
            }
            Step::Close(ending) => {
                said.replies.extend(session.take_replies());
                let mut more: &[u8] = b"NOOP\r\n";
                assert_eq!(session.handle(&mut more, Timestamp(0)), Step::Close(ending));
                assert!(session.take_replies().is_empty(), "it speaks after the end");
                said.ending = Some(ending);
                return said;
            }
        }
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

fn config(_choice: u8) -> Arc<SessionConfig> {
    let address = |text| Address::parse(text).unwrap();
    Arc::new(SessionConfig {
        hostname: "desk.example".to_owned(),
        entrance: Entrance { name: "smtp".to_owned(), trust: TrustSource::None },
        recipients: Recipients {
            addresses: vec![address("support@desk.example"), address("bounce@desk.example")],
            postmaster: address("postmaster@desk.example"),
        },
        limits: LIMITS,
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
        if open.is_none()
            && let Some(enhanced) = rest.split_whitespace().next().filter(|word| is_enhanced(word))
        {
            assert_eq!(enhanced.as_bytes()[0], code.as_bytes()[0], "{line}");
        }
    }
    assert_eq!(open, None, "the last reply goes on");
}

/// `5.1.1` (RFC 3463 §2)
fn is_enhanced(word: &str) -> bool {
    let mut numbers = word.split('.');
    numbers.clone().count() == 3 && numbers.all(|number| number.parse::<u16>().is_ok())
}
