//! What holds for whole messages: the guards at the door, the choice of the text, and the invariants.

#[path = "structure_tests.rs"]
mod structure;

use proptest::prelude::*;

use super::*;
use crate::domain::mail::BodyText;

const HEAD: &str =
    "From: Ada <ada@x.example>\nDate: Sat, 21 Nov 2026 12:00:00 +0000\nMessage-ID: <1@x.example>\n";

fn mail(rest: &str) -> InboundMessage {
    parse(format!("{HEAD}{rest}").as_bytes())
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after_first)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(from) {
            out.extend_from_slice(to);
            rest = after;
        } else {
            out.push(*first);
            rest = after_first;
        }
    }
    out
}

/// Reads a mail that follows [`HEAD`]: text, names of attachments (`type` where there is no name), defects.
fn check(rest: &str, text: &str, attachments: &[&str], defects: &[Defect]) {
    let message = mail(rest);
    let names: Vec<&str> =
        message.attachments.iter().map(|file| file.name.as_deref().unwrap_or(&file.media_type)).collect();
    assert_eq!(message.text.full, text, "{rest}");
    assert_eq!(names, attachments, "{rest}");
    assert_eq!(message.defects, defects, "{rest}");
}

#[test]
fn the_text_part_is_the_text_and_html_only_where_there_is_none() {
    check("\nHello\n", "Hello\n", &[], &[]);
    check("Content-Type: text/html\n\n<p>Hello</p>\n", "Hello\n", &[], &[]);
    let alternative = |plain: &str, html: &str| {
        format!(
            "Content-Type: multipart/alternative; boundary=b\n\n--b\n\n{plain}\n--b\nContent-Type: text/html\n\n{html}\n--b--\n"
        )
    };
    check(&alternative("plain", "<p>html</p>"), "plain", &[], &[]);
    check(&alternative(" ", "<p>html</p>"), "html\n", &[], &[]);
    assert_eq!(mail(&alternative("plain", "<p>html</p>")).html.as_deref(), Some("<p>html</p>"));
    assert_eq!(mail("\nHello\n").html, None);
    // A list footer beside an HTML mail must not push the mail itself aside.
    check(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n\n<p>mail</p>\n--b\n\nfooter\n--b--\n",
        "mail\nfooter",
        &[],
        &[],
    );
}

#[test]
fn flowed_text_and_charsets_are_undone() {
    check("Content-Type: text/plain; format=flowed\n\none \ntwo\n", "one two\n", &[], &[]);
    check("Content-Type: text/plain; charset=x-none\n\nabc\n", "abc\n", &[], &[Defect::UnknownCharset]);
    let latin1 = parse(b"From: Ren\xe9 <r@x.example>\nSubject: Gr\xfc\xdfe\n\nd\xe9j\xe0 vu\n");
    assert_eq!((latin1.subject.as_str(), latin1.text.full.as_str()), ("Grüße", "déjà vu\n"));
    assert_eq!(latin1.from[0].name.as_deref(), Some("René"));
}

#[test]
fn files_keep_their_names_and_bytes() {
    let part = |head: &str, body: &str| {
        mail(&format!(
            "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nHi\n--b\n{head}\n\n{body}\n--b--\n"
        ))
    };
    let name = |head: &str| part(head, "x").attachments[0].name.clone();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(name("Content-Type: application/pdf; name=a.pdf"), some("a.pdf"));
    assert_eq!(
        name("Content-Type: text/plain\nContent-Disposition: attachment; filename=\"a b.txt\""),
        some("a b.txt")
    );
    assert_eq!(
        name("Content-Type: image/png\nContent-Disposition: inline; filename*=utf-8''%C3%A9.png"),
        some("é.png")
    );
    assert_eq!(
        name("Content-Type: image/png\nContent-Disposition: inline; filename*0=ab; filename*1=c.png"),
        some("abc.png")
    );
    assert_eq!(name("Content-Type: image/png; name=\"=?utf-8?Q?=C3=A9.png?=\""), some("é.png"));
    assert_eq!(name("Content-Type: image/png; name=\"../../x.png\""), some("x.png"));
    assert_eq!(name("Content-Type: image/png"), None);

    let encoded = part("Content-Type: text/csv; name=a.csv\nContent-Transfer-Encoding: base64", "YQ0KYg0K");
    assert_eq!(encoded.attachments[0].content, b"a\r\nb\r\n", "encoded line ends stay");
    let nested = part("Content-Type: message/rfc822", "Subject: inner\n\nbody\n");
    assert_eq!(nested.attachments[0].content, b"Subject: inner\n\nbody\n");
    assert_eq!(
        (nested.attachments[0].media_type.as_str(), nested.text.full.as_str()),
        ("message/rfc822", "Hi")
    );
}

#[test]
fn a_file_is_inline_if_it_says_so_or_the_html_shows_it() {
    let inline = |html: &str, head: &str| {
        let raw = format!(
            "Content-Type: multipart/related; boundary=b\n\n--b\nContent-Type: text/html\n\n{html}\n--b\nContent-Type: image/png\n{head}\n\nx\n--b--\n"
        );
        mail(&raw).attachments[0].inline
    };
    assert!(inline("<img src='cid:pic@x'>", "Content-ID: <pic@x>"));
    assert!(inline("<img src=cid:pic(1)@x>", "Content-ID: <pic(1)@x>"));
    assert!(inline("<p style='background: url(cid:pic@x)'>", "Content-ID: <pic@x>"));
    assert!(inline("<p style=\"background: url(&quot;cid:pic@x&quot;)\">", "Content-ID: <pic@x>"));
    assert!(inline("<p>no</p>", "Content-Disposition: inline"));
    assert!(!inline("<p>no</p>", "Content-ID: <pic@x>"));
}

#[test]
fn input_without_headers_is_its_own_text() {
    let check = |raw: &[u8], text: &str, files: usize| {
        let message = parse(raw);
        assert_eq!(
            (message.text.full.as_str(), message.attachments.len()),
            (text, files),
            "{}",
            raw.escape_ascii()
        );
        assert_eq!(message.defects, [Defect::NoHeaders], "{}", raw.escape_ascii());
    };
    check(b"Yes please.\n\nOn Monday: at nine.\n", "Yes please.\n\nOn Monday: at nine.\n", 0);
    check(b"Note: it is broken\n\nbye\n", "Note: it is broken\n\nbye\n", 0);
    check(b"", "", 0);
    check(b"\n\n", "", 0);
    check(b"\0\x01\x02\0", "", 1);
}

#[test]
fn whatever_stands_before_the_headers_is_passed_over() {
    let check = |before: &str| {
        let message = parse(format!("{before}{HEAD}Subject: x\n\ntext\n").as_bytes());
        assert_eq!((message.subject.as_str(), message.text.full.as_str()), ("x", "text\n"), "{before:?}");
        assert_eq!(message.defects, [], "{before:?}");
    };
    check("");
    check("\n\n");
    check("\u{feff}");
    check("From ada@x.example Sat Nov 21 12:00:00 2026\n");
}

#[test]
fn line_ends_of_every_kind_give_one_message() {
    let lf = format!(
        "{HEAD}Subject: a\n b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\none\ntwo\n--b\nContent-Type: text/x; name=f\n\nx\ny\n--b--\n"
    );
    let expected = parse(lf.as_bytes());
    assert_eq!(expected.attachments[0].content, b"x\ny");
    for end in ["\r\n", "\r\r\n", "\r"] {
        assert_eq!(parse(lf.replace('\n', end).as_bytes()), expected, "{end:?}");
    }
}

#[test]
fn a_header_block_beyond_the_limit_is_cut_and_no_author_hides_behind_it() {
    let padding = "X-Padding: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n".repeat(5000);
    let message = mail(&format!("{padding}From: agent@desk.example\n\ntext\n"));
    assert_eq!((message.from.len(), message.from_fields), (1, 2));
    assert_eq!(message.defects, [Defect::SeveralFromFields, Defect::HeadersTooLong]);
    assert_eq!(message.text.full, "text\n");
}

#[test]
fn long_text_and_many_parts_are_cut() {
    let long = mail(&format!("\n{}", "0123456789\n".repeat(200_000)));
    assert_eq!(long.defects, [Defect::BodyTooLong]);
    assert!(long.text.full.len() <= 1_000_000 && long.text.full.ends_with("789\n"));
    let parts = "--b\nContent-Type: image/png\n\nx\n".repeat(1500);
    let many = mail(&format!("Content-Type: multipart/mixed; boundary=b\n\n{parts}--b--\n"));
    assert_eq!((many.attachments.len(), many.defects), (1000, vec![Defect::TooManyParts]));
}

#[test]
fn a_panic_in_the_parser_is_a_defect() {
    let mut defects = Defects::new();
    let value: u32 = guard::catch(&mut defects, |_| panic!("as a parser might"));
    assert_eq!((value, defects), (0, Defects::from([Defect::ParserPanicked])));
}

#[test]
fn a_bounce_shows_its_evidence() {
    let message = mail(
        "Subject: Returned\nAuto-Submitted: auto-replied\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nSorry\n--b\nContent-Type: message/delivery-status\n\nStatus: 5.1.1\n--b--\n",
    );
    assert!(message.automation.delivery_report);
    assert_eq!(message.automation.auto_submitted.as_deref(), Some("auto-replied"));
    assert_eq!(message.attachments[0].media_type, "message/delivery-status");
}

/// The invariants of [`BodyText`]: ranges ascend, do not overlap, lie on character borders, and cover every
/// line that is not blank exactly once.
fn assert_ranges_hold(text: &BodyText) {
    let mut all = Vec::new();
    for ranges in [&text.new, &text.quoted, &text.signature] {
        assert!(ranges.is_sorted_by(|left, right| left.end <= right.start), "{text:?}");
        assert!(
            ranges.iter().all(|range| text.full.get(range.clone()).is_some_and(|piece| !piece.is_empty())),
            "{text:?}"
        );
        all.extend(ranges.iter().cloned());
    }
    all.sort_by_key(|range| range.start);
    assert!(all.is_sorted_by(|left, right| left.end <= right.start), "{text:?}");
    let mut start = 0;
    for line in text.full.split_inclusive('\n') {
        let end = start + line.len();
        let holds = all.iter().any(|range| range.start <= start && end <= range.end);
        assert!(holds || line.trim().is_empty(), "{line:?} belongs nowhere in {text:?}");
        start = end;
    }
}

fn assert_invariants(raw: &[u8]) {
    let lf = replaced(raw, b"\r\n", b"\n");
    let message = parse(&lf);
    assert!(!message.defects.contains(&Defect::ParserPanicked), "{}", lf.escape_ascii());
    assert_ranges_hold(&message.text);
    assert!(!message.text.full.contains('\r'));
    assert_eq!(message, parse(&replaced(&lf, b"\n", b"\r\n")));
}

/// A mail with everything in it, to be damaged.
const RICH: &str = "Received: from a by b\nAuthentication-Results: b; spf=pass\nFrom: =?utf-8?Q?Ren=C3=A9?= <r@x.example>\nTo: Desk: a@x.example, \"B, C\" <b@x.example>;\nSubject: =?iso-8859-1?B?R3L832U=?= =?utf-8?q?_x?=\nReferences: <1@x> <2@x>\nDate: Sat, 21 Nov 2026 12:00:00 +0100\nContent-Type: multipart/mixed; boundary=\"o\"\n\n--o\nContent-Type: multipart/alternative; boundary=i\n\n--i\nContent-Type: text/plain; format=flowed; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nGr=C3=BC=C3=9Fe \nan alle\n-- \nAda\n\nOn 21 Nov 2026, Bob wrote:\n> old\n--i\nContent-Type: text/html\n\n<p>Gr&uuml;&szlig;e<blockquote>old</blockquote>\n--i--\n--o\nContent-Type: message/rfc822\n\nSubject: inner\n\nbody\n--o\nContent-Type: image/png; name*=utf-8''%C3%A9.png\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n--o--\n";

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_a_message(raw in prop::collection::vec(any::<u8>(), 0..2000)) {
        assert_invariants(&raw);
    }

    #[test]
    fn bytes_from_the_alphabet_of_mail_are_a_message(raw in "([a-zA-Z@<>:;,.=?\"()/*' \t\r\n>-]|From: |Content-Type: |multipart/mixed; boundary=b|--b|\n--\n|\n\n|text/html|wrote:|=\\?utf-8\\?q\\?){0,200}") {
        assert_invariants(raw.as_bytes());
        assert_invariants(format!("{HEAD}{raw}").as_bytes());
    }

    #[test]
    fn a_damaged_mail_is_a_message(cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..12)) {
        let mut raw = RICH.as_bytes().to_vec();
        for (index, byte, action) in cuts {
            let at = index.index(raw.len());
            match action {
                0 => raw[at] = byte,
                1 => raw.insert(at, byte),
                _ => {
                    let end = (at + usize::from(byte)).min(raw.len() - 1);
                    raw.drain(at..end);
                }
            }
        }
        assert_invariants(&raw);
    }
}

#[test]
fn hundreds_of_html_parts_cost_no_more_than_a_few() {
    let heavy = "<div><!--</div>-->".repeat(9_000);
    let part = format!("--b\r\nContent-Type: text/html\r\n\r\n{heavy}\r\n");
    let raw = format!(
        "From: a@b.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{}--b--\r\n",
        part.repeat(300)
    );
    let started = std::time::Instant::now();
    let message = parse(raw.as_bytes());
    assert!(message.html.is_some());
    assert!(started.elapsed().as_secs() < 20, "took {:?}", started.elapsed());
}
