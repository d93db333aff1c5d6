//! What a notification looks like on the wire: reference/outbound-email.md §11, and what nobody may smuggle in.

use postern::domain::address::Mailbox;
use postern::domain::mail::{InboundMessage, MessageId};
use postern::domain::plan::{Notification, NotificationContent, OutboxEntry};
use postern::message;
use postern::outbox::compose::{ComposeError, Letterhead, compose};

use crate::world::*;

const TO: &str = "kim@cust.example";

/// The copy of the first recipient, with these changes.
fn composed(change: impl FnOnce(&mut Notification, &mut OutboxEntry)) -> String {
    let mut firing = notification(&[TO, "bo@cust.example"]);
    let mut row = entry(1, TO);
    change(&mut firing, &mut row);
    let bytes = compose(&firing, &row, &letterhead()).unwrap();
    check_wire(&bytes);
    assert_eq!(compose(&firing, &row, &letterhead()).unwrap(), bytes, "the same values give the same bytes");
    String::from_utf8(bytes).unwrap()
}

fn as_is(_: &mut Notification, _: &mut OutboxEntry) {}

fn said(firing: &mut Notification, new_subject: &str, new_text: &str, new_html: &str) {
    firing.content = NotificationContent::Rendered {
        subject: new_subject.to_owned(),
        text: new_text.to_owned(),
        html: new_html.to_owned(),
    };
}

/// Every server takes it: seven bits, CRLF, short lines (RFC 5322 §2.1.1, §2.3).
fn check_wire(bytes: &[u8]) {
    assert!(bytes.is_ascii(), "{}", String::from_utf8_lossy(bytes));
    assert!(
        bytes.iter().all(|byte| matches!(byte, b'\t' | b'\r' | b'\n' | 0x20..0x7f)),
        "control characters"
    );
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "a bare line end");
    for line in text.split("\r\n") {
        assert!(line.len() <= 998, "{} octets: {line}", line.len());
    }
}

/// The header fields, unfolded, in order.
fn fields(mail: &str) -> Vec<(String, String)> {
    let head = mail.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ").replace("\r\n\t", " ");
    let field = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("`{line}` is no field"));
        (name.to_owned(), value.to_owned())
    };
    head.split("\r\n").map(field).collect()
}

fn field(mail: &str, name: &str) -> Option<String> {
    let mut found = fields(mail).into_iter().filter(|(known, _)| known == name);
    let value = found.next().map(|(_, value)| value);
    assert!(found.next().is_none(), "two fields `{name}`:\n{mail}");
    value
}

fn names(mail: &str) -> Vec<String> {
    fields(mail).into_iter().map(|(name, _)| name).collect()
}

fn read_back(mail: &str) -> InboundMessage {
    let read = message::parse(mail.as_bytes());
    assert_eq!(read.defects, [], "{mail}");
    read
}

#[test]
fn from_and_reply_to_are_shown_as_they_were_decided() {
    let check = |from: (&str, &str), reply_to: (&str, &str), expected: [&str; 2]| {
        let mail = composed(|firing, row| {
            firing.from = mailbox(from.0, from.1);
            row.reply_to = mailbox(reply_to.0, reply_to.1);
        });
        let read = read_back(&mail);
        let shown = |mailboxes: &[Mailbox]| {
            let [Mailbox { name: Some(name), address }] = mailboxes else { panic!("{mailboxes:?}") };
            format!("{name} <{address}>")
        };
        assert_eq!([shown(&read.from), shown(&read.reply_to)], expected);
        assert!(mail.contains("\r\n[TOKEN1]\r\n"), "the body names the ticket whatever the address can take");
        assert_eq!(field(&mail, "Message-ID").unwrap(), "<row1@desk.example>");
    };
    // 1: an agent's reply, an address that takes a suffix; 4: the alias is a name like any other.
    check(
        ("Ana Ruiz (Desk Support)", "support@desk.example"),
        ("Desk Support", "support+idTOKEN@desk.example"),
        ["Ana Ruiz (Desk Support) <support@desk.example>", "Desk Support <support+idTOKEN@desk.example>"],
    );
    // 2: an address that takes none; 3: nobody's name.
    check(
        ("Support", "help@company.example"),
        ("Support", "help@company.example"),
        ["Support <help@company.example>", "Support <help@company.example>"],
    );
}

#[test]
fn the_thread_goes_from_the_root_to_the_mail_that_is_answered() {
    // 5 and 6.
    let mail = composed(|firing, _| {
        firing.in_reply_to = Some(MessageId("abc123@mail.cust.example".to_owned()));
        firing.references = ["root@desk.example", "first@desk.example", "abc123@mail.cust.example"]
            .map(|id| MessageId(id.to_owned()))
            .to_vec();
    });
    assert_eq!(field(&mail, "In-Reply-To").unwrap(), "<abc123@mail.cust.example>");
    assert_eq!(
        field(&mail, "References").unwrap(),
        "<root@desk.example> <first@desk.example> <abc123@mail.cust.example>"
    );
    let first = composed(|firing, _| {
        firing.in_reply_to = None;
        firing.references.clear();
    });
    assert_eq!((field(&first, "In-Reply-To"), field(&first, "References")), (None, None));
}

#[test]
fn every_mail_asks_machines_not_to_answer_and_bears_our_mark() {
    // 7.
    let mail = composed(as_is);
    for (name, value) in [
        ("Auto-Submitted", "auto-generated"),
        ("X-Auto-Response-Suppress", "All"),
        ("X-Mailer", "Postern"),
        ("X-Postern-Account", "MARK"),
        ("X-Postern-Event", "notify-requester-1"),
        ("Date", "Sat, 21 Nov 2026 10:12:00 +0000"),
        ("To", "Somebody <kim@cust.example>"),
        ("Cc", "Somebody <bo@cust.example>"),
    ] {
        assert_eq!(field(&mail, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(field(&mail, "Precedence"), None, "others would suspend it");
}

#[test]
fn both_parts_end_with_the_token_in_brackets() {
    // 8.
    let mail = composed(as_is);
    let read = read_back(&mail);
    assert!(read.text.full.trim_end().ends_with("\n[TOKEN1]"), "{:?}", read.text.full);
    let html = read.html.unwrap();
    let shown = message::stripped(&html);
    assert!(shown.trim_end().ends_with("[TOKEN1]"), "{shown:?}");
}

#[test]
fn the_delimiter_stands_above_the_content_if_it_is_on() {
    let on = read_back(&composed(as_is)).text.full;
    assert!(on.starts_with("##- Please type your reply above this line -##\n\nPlease unplug it."), "{on:?}");
    let plain = Letterhead { delimiter: None, ..letterhead() };
    let bytes = compose(&notification(&[TO]), &entry(1, TO), &plain).unwrap();
    let off = read_back(std::str::from_utf8(&bytes).unwrap());
    assert!(off.text.full.starts_with("Please unplug it."));
    assert!(off.html.unwrap().contains("<body>\n<div><p>Please"), "no empty line of nobody's");
}

#[test]
fn what_stands_below_the_delimiter_is_quoted_in_an_answer() {
    let sent = read_back(&composed(as_is)).text.full;
    let quoted: String = sent.lines().map(|line| format!("> {line}\r\n")).collect();
    for below in [quoted, sent.replace('\n', "\r\n")] {
        let answer =
            format!("From: kim@cust.example\r\nSubject: Re: fire\r\n\r\nIt burns still.\r\n\r\n{below}");
        let text = message::parse(answer.as_bytes()).text;
        assert_eq!(text.pieces(&text.new).trim(), "It burns still.");
        let quoted = text.pieces(&text.quoted);
        assert!(quoted.contains("Please unplug it.") && quoted.contains("[TOKEN1]"), "{quoted:?}");
    }
}

#[test]
fn no_name_subject_or_text_makes_a_header_of_its_own() {
    let usual = names(&composed(as_is));
    for evil in [
        "x\r\nBcc: victim@example.net",
        "x\nBcc: victim@example.net",
        "x\rBcc: victim@example.net",
        "x\r\n\r\nA body of my own",
        "x\r\n .\r\nQUIT",
        "\"<evil@example.net>, \"",
        "\\\" <evil@example.net>",
        "nul \0 bell \u{7} delete \u{7f} next line \u{85} separator \u{2028}Bcc: victim@example.net",
        "=?utf-8?q?=0D=0ABcc:_victim@example.net?=",
        "josé\r\nBcc: victim@example.net",
    ] {
        let mail = composed(|firing, row| {
            firing.from.name = Some(evil.to_owned());
            firing.to[0].name = Some(evil.to_owned());
            firing.cc[0].name = Some(evil.to_owned());
            row.reply_to.name = Some(evil.to_owned());
            said(firing, evil, evil, "<p>x</p>");
        });
        assert_eq!(names(&mail), usual, "{evil:?}");
        let read = message::parse(mail.as_bytes());
        let addresses = |mailboxes: &[Mailbox]| {
            mailboxes.iter().map(|mailbox| mailbox.address.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(addresses(&read.from), ["support@desk.example"], "{evil:?}");
        assert_eq!(addresses(&read.to), [TO], "{evil:?}");
        assert_eq!(addresses(&read.cc), ["bo@cust.example"], "{evil:?}");
        assert_eq!(addresses(&read.reply_to), ["support+idTOKEN1@desk.example"], "{evil:?}");
        assert_eq!(read.attachments.len(), 0);
    }
}

#[test]
fn names_and_subjects_in_any_script_arrive_as_they_were_written() {
    for name in ["José Ñandú", "李雷", "Ян Ко", "a, b; c: (d)", "x \u{1f525} y", "O\"Brien \\ Sons", "'q'"]
    {
        let mail = composed(|firing, _| {
            firing.from.name = Some(name.to_owned());
            said(firing, &format!("Re: {name}"), name, "<p>ü</p>");
        });
        let read = read_back(&mail);
        assert_eq!(read.from[0].name.as_deref(), Some(name), "{mail}");
        assert_eq!(read.subject, format!("Re: {name}"), "{mail}");
        assert!(read.text.full.contains(name));
    }
}

#[test]
fn long_fields_are_folded() {
    let ids: Vec<MessageId> =
        (0..60).map(|number| MessageId(format!("{number}.{}@mail.cust.example", "x".repeat(60)))).collect();
    for subject in ["word ".repeat(400), "ж".repeat(2000), "x".repeat(3000), "🔥".repeat(500)] {
        let mail = composed(|firing, _| {
            firing.references = ids.clone();
            firing.from.name = Some(subject.clone());
            said(firing, &subject, &"x".repeat(5000), &format!("<p>{}</p>", "y".repeat(5000)));
        });
        let read = read_back(&mail);
        assert_eq!(read.references, ids);
        let shown = |max: usize| subject.chars().take(max - 1).collect::<String>() + "…";
        assert_eq!(read.subject, shown(255), "a ticket's subject can be longer than a line");
        assert_eq!(read.from[0].name, Some(shown(100)));
        assert!(read.text.full.contains(&"x".repeat(5000)));
    }
}

#[test]
fn a_message_id_that_breaks_the_field_is_left_out() {
    let long = format!("{}@mail.cust.example", "x".repeat(2000));
    for evil in
        ["a@b>\r\nBcc: victim@example.net", "a b@c", "a@b> <c@d", "ж@mail.cust.example", "nul\0@b", &long]
    {
        let mail = composed(|firing, _| {
            firing.in_reply_to = Some(MessageId(evil.to_owned()));
            firing.references =
                ["root@desk.example", evil, "last@desk.example"].map(|id| MessageId(id.to_owned())).to_vec();
        });
        assert_eq!(field(&mail, "In-Reply-To"), None, "{evil:?}");
        assert_eq!(field(&mail, "References").unwrap(), "<root@desk.example> <last@desk.example>");
    }
}

#[test]
fn a_hundred_participants_fit() {
    let people: Vec<String> = (0..100).map(|number| format!("person{number}@cust.example")).collect();
    let mail = composed(|firing, _| {
        firing.cc = people.iter().map(|person| mailbox("Ein Name, mit Ümläuten", person)).collect();
    });
    let cc: Vec<String> = read_back(&mail).cc.iter().map(|mailbox| mailbox.address.to_string()).collect();
    assert_eq!(cc, people);
}

#[test]
fn a_line_of_dots_and_a_boundary_in_the_text_are_text() {
    let text = ".\n..\n--=_postern_1_1--\nFrom here on\n-- \nAna";
    let mail = composed(|firing, _| said(firing, "x", text, "<p>x</p>"));
    let full = read_back(&mail).text.full;
    assert!(full.contains(text), "{full:?}");
    assert!(full.ends_with("[TOKEN1]\n") || full.trim_end().ends_with("[TOKEN1]"), "{full:?}");
}

#[test]
fn internal_mail_shows_nobody_but_its_recipient() {
    let mail = composed(|firing, _| {
        firing.to.clear();
        firing.cc.clear();
    });
    assert_eq!(field(&mail, "To").unwrap(), TO);
    assert_eq!(field(&mail, "Cc"), None);
}

#[test]
fn an_address_beyond_ascii_is_shown_to_its_owner_only() {
    let people = ["josé@cust.example", TO];
    let copy = |number: i64, to: &str| {
        String::from_utf8(compose(&notification(&people), &entry(number, to), &letterhead()).unwrap())
            .unwrap()
    };
    let others = copy(2, TO);
    check_wire(others.as_bytes());
    assert_eq!(field(&others, "To"), None);
    assert_eq!(field(&others, "Cc").unwrap(), "Somebody <kim@cust.example>");
    let own = copy(1, "josé@cust.example");
    assert!(field(&own, "To").unwrap().contains("josé@cust.example"));
}

#[test]
fn a_mail_whose_text_is_owed_cannot_be_composed() {
    let mut firing = notification(&[TO]);
    firing.content = NotificationContent::Unrendered {
        error: "unknown filter `shout`".to_owned(),
        subject_template: String::new(),
        body_template: String::new(),
        values: serde_json::Value::Null,
    };
    let error = compose(&firing, &entry(1, TO), &letterhead()).unwrap_err();
    assert_eq!(error, ComposeError::Unrendered("unknown filter `shout`".to_owned()));
}
