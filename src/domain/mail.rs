//! A mail: what SMTP said about it, and what it says itself.

use std::net::IpAddr;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::address::{Address, Mailbox};
use super::time::Timestamp;

/// What SMTP said: all that the message itself cannot know (RFC 5321 §2.3.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Where the mail came in, and what that place may be believed.
    pub entrance: Entrance,
    /// None of a Unix socket or a pipe: then it is on this machine.
    pub client: Option<IpAddr>,
    /// The EHLO or HELO argument.
    pub helo: Option<String>,
    /// `None` is the null reverse-path `<>` of bounces and automatic answers.
    pub reverse_path: Option<Address>,
    pub recipients: Vec<Address>,
    pub accepted_at: Timestamp,
}

/// A listener or a command that takes mail in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entrance {
    pub name: String,
    pub trust: TrustSource,
}

/// Why an entrance may believe that an author is who `From:` says (DESIGN §7).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TrustSource {
    /// Nothing is believed.
    #[default]
    None,
    /// Authentication-Results fields (RFC 8601) of this authserv-id, from these relays.
    AuthservId { authserv_id: String, relays: Vec<ipnet::IpNet> },
    /// The relay refuses spoofed mail; its word is taken for the From domain.
    Upstream,
}

impl TrustSource {
    /// Reads `none`, `upstream` or `authserv-id=NAME` (results of that name, from a relay on this machine).
    ///
    /// # Errors
    /// Says what was found and what was expected.
    pub fn from_word(word: &str) -> Result<Self, String> {
        match (word, word.strip_prefix("authserv-id=")) {
            ("none", _) => Ok(Self::None),
            ("upstream", _) => Ok(Self::Upstream),
            (_, Some(name)) if !name.is_empty() => Ok(Self::AuthservId {
                authserv_id: name.to_owned(),
                relays: vec![ipnet::IpNet::from(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))],
            }),
            _ => Err(format!("found `{word}`, expected `none`, `upstream` or `authserv-id=NAME`")),
        }
    }
}

/// A Message-ID without its angle brackets (RFC 5322 §3.6.4). Compares byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub String);

/// A message as read: never refused, never partial; what could not be understood is in `defects`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InboundMessage {
    pub message_id: Option<MessageId>,
    pub in_reply_to: Vec<MessageId>,
    /// Oldest first, as in the field.
    pub references: Vec<MessageId>,

    /// Every mailbox of every From field, in order.
    pub from: Vec<Mailbox>,
    /// How many From fields there were; anything but 1 is believed in nothing.
    pub from_fields: usize,
    pub sender: Option<Mailbox>,
    pub reply_to: Vec<Mailbox>,
    pub to: Vec<Mailbox>,
    pub cc: Vec<Mailbox>,
    /// Delivered-To and X-Original-To: where a forwarding server says the mail was for.
    pub delivered_to: Vec<Address>,

    pub subject: String,
    pub date: Option<Timestamp>,
    /// The text of the mail: the text part, else the HTML part as text. LF line ends.
    pub text: BodyText,
    /// The HTML parts that are shown, as they came, one below another; never sanitised here. LF line ends.
    pub html: Option<String>,
    pub attachments: Vec<Attachment>,

    pub automation: Automation,
    /// Authentication-Results fields, topmost first.
    pub authentication_results: Vec<AuthenticationResultsField>,
    /// Received fields, topmost first, unfolded.
    pub received: Vec<String>,

    /// SHA-256 over From, To, Cc, Date, Subject and body with line ends made equal: trace headers left
    /// out, so that two deliveries of one mail agree (DESIGN §1 *Duplicate*).
    pub content_digest: [u8; 32],
    pub defects: Vec<Defect>,
}

/// The text of a mail with every part kept: what is new, what is quoted, what is signature.
///
/// The ranges are byte offsets into `full`, ascending, on character borders, and do not overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BodyText {
    pub full: String,
    pub new: Vec<Range<usize>>,
    pub quoted: Vec<Range<usize>>,
    pub signature: Vec<Range<usize>>,
}

impl BodyText {
    /// The pieces of `ranges`, joined as they stand; a range that does not fit is left out.
    #[must_use]
    pub fn pieces(&self, ranges: &[Range<usize>]) -> String {
        ranges.iter().filter_map(|range| self.full.get(range.clone())).collect()
    }

    /// What the author wrote in this mail, trimmed, signature included.
    #[must_use]
    pub fn new_text(&self) -> String {
        let mut own: Vec<_> = self.new.iter().chain(&self.signature).cloned().collect();
        own.sort_by_key(|range| range.start);
        self.pieces(&own).trim().to_owned()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub name: Option<String>,
    /// `type/subtype`, lower case.
    pub media_type: String,
    pub content_id: Option<String>,
    /// Shown inside the text (Content-Disposition: inline or referred to by Content-ID).
    pub inline: bool,
    pub content: Vec<u8>,
    pub sha256: [u8; 32],
}

/// One Authentication-Results field and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticationResultsField {
    /// The unfolded field body.
    pub body: String,
    /// How many Received fields stand above it: 0 means the last relay before us may have written it.
    pub received_above: usize,
}

/// Evidence that no person wrote this mail by hand (RFC 3834, RFC 3464).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Automation {
    /// The value of Auto-Submitted, lower case, parameters cut, if present and not `no`.
    pub auto_submitted: Option<String>,
    /// Precedence of `bulk`, `junk`, `list` or `auto_reply`.
    pub precedence: Option<String>,
    /// Names of other telling headers that were present, lower case (`x-autoreply`, `list-id`, …).
    pub headers: Vec<String>,
    /// A known mailer of machine mail in X-Mailer or User-Agent.
    pub mailer: Option<String>,
    /// `multipart/report; report-type=delivery-status`, or a part of that type: a bounce.
    pub delivery_report: bool,
    /// `multipart/report; report-type=feedback-report` and the like: a machine's report that is no bounce.
    pub other_report: bool,
    /// The subject says the author is away.
    pub out_of_office: bool,
    /// The X-Postern-Account value, if the mail says a Postern sent it.
    pub postern_account: Option<String>,
}

/// Something in the message that was not as the standards ask; kept for the trace, never a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Defect {
    NoHeaders,
    NoFrom,
    SeveralFromFields,
    SeveralFromAddresses,
    NoDate,
    NoMessageId,
    HeadersTooLong,
    SeveralContentTypes,
    TooManyLevels,
    TooManyParts,
    MissingCloseBoundary,
    UnknownCharset,
    BrokenTransferEncoding,
    BodyTooLong,
    HtmlTooDeep,
    UnreadableAddress,
    ParserPanicked,
}
