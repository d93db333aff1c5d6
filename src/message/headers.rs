//! Who wrote to whom, when, and in answer to what: the header fields as values (RFC 5322 §3.6).
//!
//! Fields are found by `fields`; what is inside one (addresses, dates, encoded words) is mail-parser's part.

use std::sync::LazyLock;

use jiff::fmt::rfc2822;
use mail_parser::HeaderValue;
use mail_parser::parsers::MessageStream;
use regex::Regex;

use super::fields::Fields;
use super::{Defects, decode};
use crate::domain::address::{Address, Mailbox};
use crate::domain::mail::{AuthenticationResultsField, Defect, InboundMessage, MessageId};
use crate::domain::time::{SECOND, Timestamp};

/// More References than this are cut in the middle: the first is the root, the last are the parents.
const MAX_IDS: usize = 1000;
/// RFC 5322 §2.1.1: no line is longer, so no identifier is.
const MAX_ID: usize = 998;
/// Marks that begin like an encoded word and begin none: beyond this they are taken away.
const MAX_STRAY_MARKS: usize = 20;

/// The message as far as its header fields tell it.
pub(super) fn read(fields: &Fields, from_fields: usize, defects: &mut Defects) -> InboundMessage {
    let mut message = InboundMessage {
        from: mailboxes(fields, "from", defects),
        from_fields,
        sender: mailboxes(fields, "sender", defects).into_iter().next(),
        reply_to: mailboxes(fields, "reply-to", defects),
        to: mailboxes(fields, "to", defects),
        cc: mailboxes(fields, "cc", defects),
        subject: fields.raw("subject").next().map(text).unwrap_or_default(),
        date: fields.raw("date").find_map(date),
        authentication_results: authentication_results(fields),
        received: fields.all("received").collect(),
        ..thread(fields)
    };
    let delivered = ["delivered-to", "x-original-to"].map(|name| mailboxes(fields, name, defects));
    message.delivered_to = delivered.into_iter().flatten().map(|mailbox| mailbox.address).collect();
    if !fields.is_empty() {
        defects.extend(missing(&message));
    }
    message
}

/// The message's place among others, and nothing else.
pub(super) fn thread(fields: &Fields) -> InboundMessage {
    InboundMessage {
        message_id: fields.raw("message-id").flat_map(ids_in).next(),
        in_reply_to: ids(fields, "in-reply-to"),
        references: ids(fields, "references"),
        ..InboundMessage::default()
    }
}

/// What a message must have and this one has not, or has too often (RFC 5322 §3.6).
fn missing(message: &InboundMessage) -> impl Iterator<Item = Defect> {
    let found = [
        (message.from.is_empty(), Defect::NoFrom),
        (message.from_fields > 1, Defect::SeveralFromFields),
        (message.from.len() > 1, Defect::SeveralFromAddresses),
        (message.date.is_none(), Defect::NoDate),
        (message.message_id.is_none(), Defect::NoMessageId),
    ];
    found.into_iter().filter(|(wrong, _)| *wrong).map(|(_, defect)| defect)
}

/// A field's text with encoded words decoded (RFC 2047), unfolded, without control characters.
pub(super) fn text(value: &[u8]) -> String {
    match MessageStream::new(prepared(value).as_bytes()).parse_unstructured() {
        HeaderValue::Text(text) => decode::line(&text),
        _ => String::new(),
    }
}

/// Identifiers of a field: those in angle brackets, else the words that hold an `@`.
pub(super) fn ids_in(value: &[u8]) -> Vec<MessageId> {
    let text = decode::guess(value);
    let mut found: Vec<String> = Vec::new();
    // White space inside the brackets comes from folding by careless relays, and is no part of the identifier.
    for piece in text.split('<').skip(1) {
        let inside =
            piece.split_once('>').map_or_else(|| piece.split_whitespace().next(), |(id, _)| Some(id));
        found.extend(inside.map(|id| id.split_whitespace().collect()));
    }
    if found.iter().all(String::is_empty) {
        let separator = |c: char| c.is_whitespace() || ",;\"'()<>".contains(c);
        found = text.split(separator).filter(|word| word.contains('@')).map(str::to_owned).collect();
    }
    found.retain(|id| !id.is_empty() && id.len() <= MAX_ID && !id.contains(char::is_control));
    found.into_iter().map(MessageId).collect()
}

fn ids(fields: &Fields, name: &str) -> Vec<MessageId> {
    let mut ids: Vec<MessageId> = fields.raw(name).flat_map(ids_in).collect();
    if ids.len() > MAX_IDS {
        ids.drain(1..=ids.len() - MAX_IDS);
    }
    ids
}

/// The mailboxes of all fields of this name; groups are opened (RFC 5322 §3.4).
fn mailboxes(fields: &Fields, name: &str, defects: &mut Defects) -> Vec<Mailbox> {
    let mut mailboxes = Vec::new();
    for value in fields.raw(name) {
        let value = prepared(value);
        let HeaderValue::Address(list) = MessageStream::new(value.as_bytes()).parse_address() else {
            continue;
        };
        for entry in list.iter() {
            let address = entry.address().map(|address| address.trim().trim_matches('\''));
            let Some(address) = address.and_then(|address| Address::parse(address).ok()) else {
                defects.insert(Defect::UnreadableAddress);
                continue;
            };
            let name = entry.name().map(decode::line).filter(|name| !name.is_empty());
            mailboxes.push(Mailbox { name, address });
        }
    }
    mailboxes
}

/// jiff reads what the standard allows, obsolete zones included; mail-parser much of what it does not.
fn date(value: &[u8]) -> Option<Timestamp> {
    static STANDARD: rfc2822::DateTimeParser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
    let text = prepared(value);
    if let Ok(instant) = STANDARD.parse_timestamp(text.trim()) {
        return Some(Timestamp(instant.as_microsecond()));
    }
    match MessageStream::new(text.as_bytes()).parse_date() {
        HeaderValue::DateTime(date) if date.is_valid() => {
            Some(Timestamp(date.to_timestamp().saturating_mul(SECOND)))
        }
        _ => None,
    }
}

fn authentication_results(fields: &Fields) -> Vec<AuthenticationResultsField> {
    let mut received_above = 0;
    let mut results = Vec::new();
    for (name, body) in fields.iter() {
        match name {
            "received" => received_above += 1,
            "authentication-results" => results.push(AuthenticationResultsField { body, received_above }),
            _ => {}
        }
    }
    results
}

/// The value as mail-parser wants it: UTF-8, ended by a line feed, encoded words joined where one goes on in
/// the next (mailers cut long words between the bytes of one character).
pub(super) fn prepared(value: &[u8]) -> String {
    static ENCODED_WORD: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"=\?([^?\s]{1,40})\?([bBqQ])\?([^?\n]*)\?=").ok());
    let text = decode::guess(value) + "\n";
    match ENCODED_WORD.as_ref() {
        Some(word) if text.contains("=?") => defused(join_adjacent(&text, word), word),
        _ => text.into_owned(),
    }
}

/// Takes the mark from what only begins like an encoded word, if there is much of it: for each, mail-parser looks through the rest of the field.
fn defused(text: String, word: &Regex) -> String {
    if text.matches("=?").count().saturating_sub(word.find_iter(&text).count()) <= MAX_STRAY_MARKS {
        return text;
    }
    let mut end = 0;
    let mut defused = String::with_capacity(text.len());
    for found in word.find_iter(&text) {
        defused.push_str(&text.get(end..found.start()).unwrap_or_default().replace("=?", "= ?"));
        defused.push_str(found.as_str());
        end = found.end();
    }
    defused + &text.get(end..).unwrap_or_default().replace("=?", "= ?")
}

/// `=?utf-8?Q?a=C3?= =?utf-8?Q?=A9?=` to `=?utf-8?Q?a=C3=A9?=`. Base64 words join only where the first needs no
/// padding; a padded one ends with a whole byte, and then nearly always with a whole character.
fn join_adjacent(text: &str, word: &Regex) -> String {
    let mut joined = String::with_capacity(text.len());
    let mut end_of_last = 0;
    let mut open_word = None;
    for found in word.captures_iter(text) {
        let Some(whole) = found.get(0) else { continue };
        let [charset, encoding, payload] =
            [1, 2, 3].map(|index| found.get(index).map_or("", |group| group.as_str()));
        let kind = (charset.to_ascii_lowercase(), encoding.to_ascii_lowercase());
        let gap = text.get(end_of_last..whole.start()).unwrap_or_default();
        if gap.trim().is_empty() && open_word.as_ref() == Some(&kind) {
            joined.truncate(joined.len().saturating_sub("?=".len()));
            joined.push_str(payload);
            joined.push_str("?=");
        } else {
            joined.push_str(gap);
            joined.push_str(whole.as_str());
        }
        end_of_last = whole.end();
        let joinable = kind.1 == "q" || !payload.contains('=') && payload.len().is_multiple_of(4);
        open_word = joinable.then_some(kind);
    }
    joined.push_str(text.get(end_of_last..).unwrap_or_default());
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_block(block: &str) -> (InboundMessage, Defects) {
        let mut defects = Defects::new();
        let fields = Fields::read(block.as_bytes());
        let message = read(&fields, fields.count("from"), &mut defects);
        (message, defects)
    }

    #[test]
    fn text_is_decoded_and_unfolded() {
        let check =
            |value: &[u8], expected: &str| assert_eq!(text(value), expected, "{}", value.escape_ascii());
        check(b" Hello\n  world\n", "Hello world");
        check(b"=?utf-8?Q?Gr=C3=BC=C3=9Fe?= from =?iso-8859-1?q?K=F6ln?=\n", "Grüße from Köln");
        check(b"=?utf-8?Q?caf=C3?=\n =?UTF-8?q?=A9?=\n", "café");
        check(b"=?utf-8?B?Y2Fmw6kg?= =?utf-8?B?w6k=?=\n", "café é");
        check(b"Gr\xfc\xdfe\n", "Grüße");
        check("Grüße\n".as_bytes(), "Grüße");
        check(b"a\x07b\x00c\x7f\n", "abc");
        check(b"=?utf-8?Q?a=0D=0ABcc:_x?=\n", "a Bcc: x");
        check(b"=?unknown?Q?x", "=?unknown?Q?x");
        check(b"", "");
    }

    #[test]
    fn identifiers_are_found_in_whatever_stands_around_them() {
        let check = |value: &str, expected: &[&str]| {
            let ids: Vec<String> = ids_in(value.as_bytes()).into_iter().map(|id| id.0).collect();
            assert_eq!(ids, expected, "{value:?}");
        };
        check(" <a@x>\n", &["a@x"]);
        check("<a@x><b@x> junk\n\t<c@x>", &["a@x", "b@x", "c@x"]);
        check("<very-long\n -id@x>", &["very-long-id@x"]);
        check("a@x, b@x", &["a@x", "b@x"]);
        check("Message from Ada of Monday <a@x>", &["a@x"]);
        check("<a@x", &["a@x"]);
        check("<no-at-sign>", &["no-at-sign"]);
        check("<>", &[]);
        check("none", &[]);
    }

    #[test]
    fn mailboxes_are_read_from_every_field_of_the_name() {
        let check = |block: &str, expected: &[&str], defect: bool| {
            let mut defects = Defects::new();
            let found = mailboxes(&Fields::read(block.as_bytes()), "from", &mut defects);
            let found: Vec<String> = found
                .into_iter()
                .map(|mailbox| format!("{}|{}", mailbox.name.unwrap_or_default(), mailbox.address))
                .collect();
            assert_eq!(found, expected, "{block:?}");
            assert_eq!(defects.contains(&Defect::UnreadableAddress), defect, "{block:?}");
        };
        check("From: ada@x.example", &["|ada@x.example"], false);
        check(
            "From: \"Lovelace, Ada\" <ada@x.example>, bob@y.example",
            &["Lovelace, Ada|ada@x.example", "|bob@y.example"],
            false,
        );
        check("From: a@x.example\nTo: z@z\nFrom: b@x.example", &["|a@x.example", "|b@x.example"], false);
        check("From: =?utf-8?Q?Ren=C3=A9?= <r@x.example>", &["René|r@x.example"], false);
        check(
            "From: Desk: a@x.example, B <b@x.example>; c@x.example",
            &["|a@x.example", "B|b@x.example", "|c@x.example"],
            false,
        );
        check("From: undisclosed-recipients:;", &[], false);
        check("From: 'ada@x.example'", &["|ada@x.example"], false);
        check("From: Ada", &[], true);
        check("From: Ada <ada at x>, b@x.example", &["|b@x.example"], true);
        check("From: ada@x.example (Ada)", &["Ada|ada@x.example"], false);
        check("From: \"agent@desk.example\" <evil@x.example>", &["agent@desk.example|evil@x.example"], false);
        check("From: agent@desk.example <evil@x.example>", &["agent@desk.example|evil@x.example"], false);
        check("From:\n Ada\n <ada@x.example>", &["Ada|ada@x.example"], false);
        check("From: <>", &[], false);
    }

    #[test]
    fn dates_are_instants() {
        let check = |value: &str, expected: Option<&str>| {
            assert_eq!(date(value.as_bytes()).map(Timestamp::rfc3339).as_deref(), expected, "{value}");
        };
        check("Sat, 21 Nov 2026 12:00:00 +0200", Some("2026-11-21T10:00:00Z"));
        check("21 Nov 26 12:00 EST", Some("2026-11-21T17:00:00Z"));
        check("Sat, 21 Nov 2026 10:00:00 GMT (a comment)", Some("2026-11-21T10:00:00Z"));
        check("yesterday", None);
        check("99 Xxx 99999 99:99:99 +9999", None);
        check("", None);
    }

    #[test]
    fn authentication_results_know_how_many_relays_stand_above() {
        let block = "Authentication-Results: top; spf=pass\nReceived: a\nReceived: b\nAuthentication-Results: low;\n dkim=fail\n";
        let (message, _) = read_block(block);
        let found: Vec<(&str, usize)> = message
            .authentication_results
            .iter()
            .map(|field| (field.body.as_str(), field.received_above))
            .collect();
        assert_eq!(found, [("top; spf=pass", 0), ("low; dkim=fail", 2)]);
        assert_eq!(message.received, ["a", "b"]);
    }

    #[test]
    fn what_is_missing_or_there_twice_is_a_defect() {
        let check = |block: &str, expected: &[Defect]| {
            assert_eq!(read_block(block).1.into_iter().collect::<Vec<_>>(), expected, "{block:?}");
        };
        let rest = "Date: Sat, 21 Nov 2026 12:00:00 +0000\nMessage-ID: <1@x>\n";
        check(&format!("From: a@x.example\n{rest}"), &[]);
        check(
            &format!("From: a@x.example\nfrom : a@x.example\n{rest}"),
            &[Defect::SeveralFromFields, Defect::SeveralFromAddresses],
        );
        check(&format!("From: a@x.example, b@x.example\n{rest}"), &[Defect::SeveralFromAddresses]);
        check("Subject: x\n", &[Defect::NoFrom, Defect::NoDate, Defect::NoMessageId]);
    }

    #[test]
    fn too_many_references_keep_the_root_and_the_parents() {
        let list: String = (0..3000).map(|n| format!("<{n}@x> ")).collect();
        let ids = read_block(&format!("References: {list}\n")).0.references;
        assert_eq!(ids.len(), MAX_IDS);
        assert_eq!(ids.first().unwrap().0, "0@x");
        assert_eq!(ids.last().unwrap().0, "2999@x");
    }
}
