//! What follows DATA, against a slow reader that is plainly right: the whole wire in memory, searched from the start.
//!
//! Holds: the same bytes make the same message or the same refusal, end at the same place, and what follows is commands.

use super::session::{LIMITS, Transcript, converse};

const BEFORE: &[u8] =
    b"EHLO c.example\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<support@desk.example>\r\nDATA\r\n";
const END: &[u8] = b"\r\n.\r\n";
/// What the slow reader makes of the bytes after DATA.
#[derive(Debug, PartialEq)]
enum Expected {
    Unfinished,
    Message(Vec<u8>),
    /// With the codes that fit.
    Refused(&'static [&'static str]),
}

pub fn check(input: &[u8]) {
    let sent = [BEFORE, input].concat();
    let (expected, after) = slow_reader(input);
    for piece in [usize::MAX, 1, 7] {
        compare(&converse(0, &sent, |_| piece), &expected, after);
    }
}

fn compare(found: &Transcript, expected: &Expected, after: &[u8]) {
    let replies = String::from_utf8_lossy(&found.replies);
    let answer = replies.split("\r\n").skip_while(|line| !line.starts_with("354")).nth(1).unwrap_or_default();
    match expected {
        Expected::Unfinished => assert_eq!((found.mails.len(), answer), (0, ""), "it ended early"),
        Expected::Message(message) => {
            let (_, raw) = found.mails.first().expect("a mail");
            assert_eq!(String::from_utf8_lossy(raw), String::from_utf8_lossy(message));
        }
        Expected::Refused(codes) => {
            assert!(codes.iter().any(|code| answer.starts_with(code)), "`{answer}`, expected {codes:?}");
        }
    }
    // What comes after the end is read as commands, and as nothing else.
    if after.is_empty() && *expected != Expected::Unfinished {
        assert!(found.mails.len() <= 1, "{} mails", found.mails.len());
        assert_eq!(found.ending, None);
    }
}

fn slow_reader(input: &[u8]) -> (Expected, &[u8]) {
    // The CRLF of DATA itself is the first half of what may end the message (RFC 5321 §4.1.1.4).
    let wire = [b"\r\n", input].concat();
    let Some(end) = wire.windows(END.len()).position(|window| window == END) else {
        return (Expected::Unfinished, &[]);
    };
    let after = &input[(end + END.len() - 2).min(input.len())..];
    let body = if end == 0 { &[] } else { &wire[2..end + 2] };
    (judge(body), after)
}

fn judge(body: &[u8]) -> Expected {
    let mut kept = Vec::new();
    let mut bare = false;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        bare |= text.contains(&b'\r') || text.contains(&b'\n');
        kept.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
    match (bare, kept.len() > LIMITS.max_message_size) {
        (false, false) => Expected::Message(kept),
        (false, true) => Expected::Refused(&["552"]),
        (true, _) => Expected::Refused(&["5"]),
    }
}
