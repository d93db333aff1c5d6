//! A mail from its bytes to the text that is shown, and on to all that is read from it.
//!
//! Holds: it never fails; LF and CRLF make no difference, let alone a second reading; what comes out is bounded by
//! what went in; ranges of the text fit.

use postern::commands;
use postern::domain::address::Address;
use postern::domain::mail::{Entrance, Envelope, InboundMessage, TrustSource};
use postern::domain::settings::Settings;
use postern::domain::time::Timestamp;
use postern::domain::token::{defuse, find_body_tokens};
use postern::identify;
use postern::message::{parse, stripped};

/// Text may grow on its way to UTF-8 and from HTML to plain text, but only by so much.
const GROWTH: usize = 32;
const SMALL: usize = 64 * 1024;

pub fn check(input: &[u8]) {
    let message = parse(input);
    check_line_ends(input);
    check_size(input.len(), &message);
    check_ranges(&message);
    read_on(&message);
}

fn check_line_ends(input: &[u8]) {
    let lf = replace(input, b"\r\n", b"\n");
    let crlf = replace(&lf, b"\n", b"\r\n");
    assert_eq!(parse(&lf), parse(&crlf), "line ends make another message");
}

fn check_size(input: usize, message: &InboundMessage) {
    let most = GROWTH * input + SMALL;
    let attachments: usize = message.attachments.iter().map(|file| file.content.len()).sum();
    let html = message.html.as_ref().map_or(0, String::len);
    for (what, size) in [
        ("text", message.text.full.len()),
        ("HTML", html),
        ("attachments", attachments),
        ("subject", message.subject.len()),
    ] {
        assert!(size <= most, "{size} bytes of {what} from {input}");
    }
}

fn check_ranges(message: &InboundMessage) {
    let text = &message.text;
    for ranges in [&text.new, &text.quoted, &text.signature] {
        let mut end = 0;
        for range in ranges {
            assert!(range.start >= end, "{range:?} comes before {end}");
            assert!(text.full.get(range.clone()).is_some(), "{range:?} does not fit");
            end = range.end;
        }
    }
}

/// What the core reads from a mail before it asks the store.
fn read_on(message: &InboundMessage) {
    let html = message.html.as_deref().map(stripped).unwrap_or_default();
    let support = Address::parse("support@desk.example").unwrap();
    let settings = Settings::for_address("support@desk.example").unwrap();
    let envelope = Envelope {
        entrance: Entrance { name: "smtp".to_owned(), trust: TrustSource::None },
        client: None,
        helo: None,
        reverse_path: None,
        recipients: vec![support],
        accepted_at: Timestamp(0),
    };
    let clues = identify::clues(message, &envelope, &html, &settings);
    let _ = clues.claimed();
    let own = message.text.new_text();
    let block = commands::parse(&own);
    assert!(block.body.len() <= own.len(), "the text grew without its commands");
    assert!(find_body_tokens(&defuse(&own)).is_empty(), "a token survived");
}

fn replace(text: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(what.len()).position(|window| window == what) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(with);
        rest = &rest[at + what.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}
