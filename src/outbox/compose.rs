//! One recipient's copy of a notification as RFC 5322 bytes (reference/outbound-email.md §2–§5).
//!
//! What everybody sees (From, To, Cc, subject, text) is the notification's; Reply-To, Message-ID and the token in the
//! body are the recipient's own.

use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox as LettreMailbox, Message, MultiPart, SinglePart};

use crate::domain::address::{Address, Mailbox};
use crate::domain::mail::MessageId;
use crate::domain::plan::{Notification, NotificationContent, OutboxEntry};

/// What every mail of the account looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letterhead {
    /// The line above which people reply; must come before the content.
    pub delimiter: Option<String>,
    /// One sentence below the content.
    pub footer: String,
    /// The value of X-Postern-Account, by which we know our own mail.
    pub account_mark: String,
}

/// Why a copy cannot be composed. Permanent: the same values give the same answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    #[error("the notification was never rendered: {0}")]
    Unrendered(String),
    #[error("the mail cannot be built: {0}")]
    Build(String),
}

const SEPARATOR: &str = "--------------------------------";
/// A word cannot be folded, and a line holds 998 octets (RFC 5322 §2.1.1).
const MAX_SUBJECT: usize = 255;
const MAX_NAME: usize = 100;
const MAX_MESSAGE_ID: usize = 250;

/// Composes the copy. The same values give the same bytes.
///
/// # Errors
/// If the notification holds no rendered content, or the mail library refuses an address or header.
pub fn compose(
    notification: &Notification,
    entry: &OutboxEntry,
    letterhead: &Letterhead,
) -> Result<Vec<u8>, ComposeError> {
    let (subject, text, html) = match &notification.content {
        NotificationContent::Rendered { subject, text, html } => (subject, text, html),
        NotificationContent::Unrendered { error, .. } => return Err(ComposeError::Unrendered(error.clone())),
    };
    let date = UNIX_EPOCH + Duration::from_secs(notification.created_at.0.max(0).unsigned_abs() / 1_000_000);
    let mut message = Message::builder()
        .from(lettre_mailbox(&notification.from))
        .reply_to(lettre_mailbox(&entry.reply_to))
        .subject(one_line(subject, MAX_SUBJECT))
        .date(date)
        .message_id(Some(bracketed(&entry.message_id)));
    let shown = |mailbox: &&Mailbox| is_ascii(&mailbox.address) || mailbox.address == entry.recipient;
    let to: Vec<&Mailbox> = notification.to.iter().filter(shown).collect();
    let cc: Vec<&Mailbox> = notification.cc.iter().filter(shown).collect();
    // Internal mail shows nobody but its recipient: followers are hidden from each other.
    let own = Mailbox { name: None, address: entry.recipient.clone() };
    for mailbox in if to.is_empty() && cc.is_empty() { vec![&own] } else { to } {
        message = message.to(lettre_mailbox(mailbox));
    }
    for mailbox in cc {
        message = message.cc(lettre_mailbox(mailbox));
    }
    if let Some(id) = notification.in_reply_to.as_ref().filter(|id| can_be_named(id)) {
        message = message.in_reply_to(bracketed(id));
    }
    let references: Vec<String> =
        notification.references.iter().filter(|id| can_be_named(id)).map(bracketed).collect();
    if !references.is_empty() {
        message = message.references(references.join(" "));
    }
    for (name, value) in marks(notification, letterhead) {
        message = message.raw_header(HeaderValue::new(HeaderName::new_from_ascii_str(name), value));
    }
    let body = MultiPart::alternative()
        .boundary(format!("=_postern_{}_{}", notification.id, entry.id))
        .singlepart(part(ContentType::TEXT_PLAIN, text_body(text, entry, letterhead))?)
        .singlepart(part(ContentType::TEXT_HTML, html_body(html, entry, letterhead))?);
    // The SMTP envelope is the outbox row's; lettre wants one that fits the headers, and it is not used.
    let message = message.multipart(body).map_err(|error| ComposeError::Build(error.to_string()))?;
    Ok(message.formatted())
}

/// The headers that keep machines from answering, and let us know our own mail again (RFC 3834 §5).
fn marks(notification: &Notification, letterhead: &Letterhead) -> [(&'static str, String); 5] {
    [
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("X-Auto-Response-Suppress", "All".to_owned()),
        ("X-Mailer", "Postern".to_owned()),
        ("X-Postern-Account", letterhead.account_mark.clone()),
        ("X-Postern-Event", format!("{}-{}", notification.rule, notification.audit)),
    ]
}

/// Base64 would hide the text from people who read raw mail; quoted-printable keeps every server content.
fn part(content_type: ContentType, body: String) -> Result<SinglePart, ComposeError> {
    let body = Body::new_with_encoding(body, ContentTransferEncoding::QuotedPrintable)
        .map_err(|_| ComposeError::Build("the text cannot be encoded".to_owned()))?;
    Ok(SinglePart::builder().header(content_type).body(body))
}

/// The token comes last, in brackets, where clients that quote keep it.
fn text_body(text: &str, entry: &OutboxEntry, letterhead: &Letterhead) -> String {
    let delimiter = letterhead.delimiter.as_deref().map(|line| format!("{line}\n\n")).unwrap_or_default();
    let footer = &letterhead.footer;
    let token = &entry.body_token;
    crlf(&format!("{delimiter}{}\n\n{SEPARATOR}\n{footer}\n\n\n\n[{token}]\n", text.trim_end()))
}

fn html_body(html: &str, entry: &OutboxEntry, letterhead: &Letterhead) -> String {
    let delimiter = letterhead
        .delimiter
        .as_deref()
        .map(|line| format!("<div style=\"color:#b5b5b5\">{}</div>\n", escape(line)))
        .unwrap_or_default();
    let footer = escape(&letterhead.footer);
    let token = escape(&entry.body_token);
    crlf(&format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"></head><body>\n{delimiter}<div>{html}</div>\n\
         <div style=\"color:#9ea1a6;margin-top:20px;border-top:1px solid #d8d8d8\">{footer}</div>\n\
         <span style=\"color:#ffffff\" aria-hidden=\"true\">[{token}]</span>\n</body></html>\n"
    ))
}

fn crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\n', "\r\n")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn bracketed(id: &MessageId) -> String {
    format!("<{}>", id.0)
}

/// An address beyond ASCII in a header makes a mail that many servers refuse (RFC 6531). Only the mail to that very
/// address shows it: nobody else loses theirs by it.
fn is_ascii(address: &Address) -> bool {
    address.local().is_ascii()
}

/// Message-IDs that came with mail can be anything; what breaks a header field is left out.
fn can_be_named(id: &MessageId) -> bool {
    id.0.len() <= MAX_MESSAGE_ID && id.0.chars().all(|c| c.is_ascii_graphic() && !"<>".contains(c))
}

/// Names and subjects come from outside: control characters break a header field, or have lettre panic.
fn one_line(text: &str, max: usize) -> String {
    let is_break = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let line: String = text.chars().map(|c| if is_break(c) { ' ' } else { c }).collect();
    let line = line.trim();
    match line.char_indices().nth(max) {
        None => line.to_owned(),
        Some(_) => line.chars().take(max.saturating_sub(1)).chain(['…']).collect(),
    }
}

fn lettre_mailbox(mailbox: &Mailbox) -> LettreMailbox {
    let name = mailbox.name.as_deref().map(|name| one_line(name, MAX_NAME));
    LettreMailbox::new(name.filter(|name| !name.is_empty()), lettre_address(&mailbox.address))
}

/// Ours is at least as strict as lettre's about what could break a header (no control characters, white space or angle
/// brackets), and knows address forms that lettre's check refuses.
pub fn lettre_address(address: &Address) -> lettre::Address {
    lettre::Address::new_dangerous(address.local(), address.domain())
}
