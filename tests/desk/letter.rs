//! A mail as somebody writes it.

use std::net::IpAddr;

use postern::domain::address::Address;
use postern::domain::mail::{Entrance, Envelope, TrustSource};
use postern::domain::settings::Settings;
use postern::domain::time::Timestamp;

use super::Sent;

pub const SUPPORT: &str = "support@acme.example";

#[derive(Clone, Debug)]
pub struct Letter {
    pub from: String,
    pub reply_to: Option<String>,
    pub to: Vec<String>,
    pub cc: Vec<String>,
    pub subject: String,
    /// Without angle brackets.
    pub message_id: String,
    pub in_reply_to: Option<String>,
    pub references: Vec<String>,
    /// Further header lines, above all others.
    pub top: Vec<String>,
    /// When it was written; without it, just now.
    pub date: Option<Timestamp>,
    pub text: String,
    /// If there is some, the mail has no text part.
    pub html: Option<String>,
    /// `none`, `upstream` or `authserv-id=NAME`.
    pub trust: String,
    pub client: IpAddr,
    /// The null reverse-path, else the From address.
    pub is_bounce: bool,
    /// The envelope's recipients, if they are not those of To and Cc.
    pub recipients: Vec<String>,
}

impl Letter {
    /// A mail to the support address that nobody vouches for.
    pub fn from(from: &str, message_id: &str, text: &str) -> Self {
        Self {
            from: from.to_owned(),
            reply_to: None,
            to: vec![SUPPORT.to_owned()],
            cc: Vec::new(),
            subject: "Printer".to_owned(),
            message_id: message_id.to_owned(),
            in_reply_to: None,
            references: Vec::new(),
            top: Vec::new(),
            date: None,
            text: text.to_owned(),
            html: None,
            trust: "none".to_owned(),
            client: IpAddr::from([127, 0, 0, 1]),
            is_bounce: false,
            recipients: Vec::new(),
        }
    }

    /// The answer that a mail client would send to a mail of ours, by its recipient, without quoting it.
    pub fn answer(sent: &Sent, message_id: &str, text: &str) -> Self {
        let mut letter = Self::from(&sent.recipient.to_string(), message_id, text);
        letter.to = vec![sent.reply_to()];
        letter.subject = format!("Re: {}", sent.message.subject);
        letter.in_reply_to = Some(sent.message_id());
        letter.references = sent.message.references.iter().map(|id| id.0.clone()).collect();
        letter.references.push(sent.message_id());
        letter
    }

    /// Vouched for by a relay that we are told to trust.
    pub fn trusted(mut self) -> Self {
        self.trust = "upstream".to_owned();
        self
    }

    pub fn cc(mut self, address: &str) -> Self {
        self.cc.push(address.to_owned());
        self
    }

    pub fn to(mut self, addresses: &[&str]) -> Self {
        self.to = addresses.iter().map(|address| (*address).to_owned()).collect();
        self
    }

    pub fn written_as(mut self, from: &str) -> Self {
        self.from = from.to_owned();
        self
    }

    /// Below the text, all of the mail that is answered, as most clients do it.
    pub fn quoting(mut self, sent: &Sent) -> Self {
        let quoted: Vec<String> = sent.message.text.full.lines().map(|line| format!("> {line}")).collect();
        let said = "On Mon, 2 Mar 2026 at 10:00, Acme Support <support@acme.example> wrote:";
        self.text = format!("{}\n\n{said}\n{}\n", self.text, quoted.join("\n"));
        self
    }

    pub fn raw(&self, now: Timestamp) -> Vec<u8> {
        let mut lines = self.top.clone();
        lines.push(format!("From: {}", self.from));
        lines.extend(self.reply_to.iter().map(|reply_to| format!("Reply-To: {reply_to}")));
        lines.push(format!("To: {}", self.to.join(", ")));
        if !self.cc.is_empty() {
            lines.push(format!("Cc: {}", self.cc.join(", ")));
        }
        lines.push(format!("Subject: {}", self.subject));
        let date = jiff::Timestamp::from_microsecond(self.date.unwrap_or(now).0).unwrap();
        lines.push(format!(
            "Date: {}",
            jiff::fmt::rfc2822::to_string(&date.to_zoned(jiff::tz::TimeZone::UTC)).unwrap()
        ));
        lines.push(format!("Message-ID: <{}>", self.message_id));
        lines.extend(self.in_reply_to.iter().map(|id| format!("In-Reply-To: <{id}>")));
        if !self.references.is_empty() {
            let ids: Vec<String> = self.references.iter().map(|id| format!("<{id}>")).collect();
            lines.push(format!("References: {}", ids.join("\r\n ")));
        }
        let (kind, body) = match &self.html {
            Some(html) => ("html", html),
            None => ("plain", &self.text),
        };
        lines.push("MIME-Version: 1.0".to_owned());
        if !self.top.iter().any(|line| line.starts_with("Content-Type:")) {
            lines.push(format!("Content-Type: text/{kind}; charset=utf-8"));
        }
        lines.push("Content-Transfer-Encoding: 8bit".to_owned());
        let body = body.replace("\r\n", "\n").replace('\n', "\r\n");
        format!("{}\r\n\r\n{body}\r\n", lines.join("\r\n")).into_bytes()
    }

    pub fn envelope(&self, settings: &Settings, now: Timestamp) -> Envelope {
        let bare = |text: &String| {
            let inner = text.rsplit_once('<').map_or(text.as_str(), |(_, inner)| inner.trim_end_matches('>'));
            Address::parse(inner).unwrap()
        };
        let mut recipients: Vec<Address> = if self.recipients.is_empty() {
            self.to
                .iter()
                .chain(&self.cc)
                .map(bare)
                .filter(|address| settings.is_own_address(address))
                .collect()
        } else {
            self.recipients.iter().map(bare).collect()
        };
        if recipients.is_empty() {
            // Forwarded to us, or in Bcc.
            recipients.push(Address::parse(SUPPORT).unwrap());
        }
        Envelope {
            entrance: Entrance {
                name: "test".to_owned(),
                trust: TrustSource::from_word(&self.trust).unwrap(),
            },
            client: Some(self.client),
            helo: None,
            reverse_path: (!self.is_bounce).then(|| bare(&self.from)),
            recipients,
            accepted_at: now,
        }
    }
}
