//! The mails that left us in the course of a story: what its people answer to.

use std::path::Path;

use crate::domain::mail::InboundMessage;
use crate::message;

/// Every mail sent so far, oldest first.
#[derive(Debug, Default)]
pub(super) struct Letters(Vec<Letter>);

#[derive(Debug)]
pub(super) struct Letter {
    recipient: String,
    message: InboundMessage,
}

impl Letters {
    /// Reads the directory that our mail is delivered to.
    pub fn read(directory: &Path) -> std::io::Result<Self> {
        let mut files = Vec::new();
        if directory.is_dir() {
            for entry in std::fs::read_dir(directory)? {
                files.push(entry?.path());
            }
        }
        files.sort();
        let letter = |file| std::fs::read(file).map(|raw| Letter::read(&raw));
        files.into_iter().map(letter).collect::<Result<_, _>>().map(Self)
    }

    pub fn newest_to(&self, address: &str) -> Result<&Letter, &'static str> {
        let found = self.0.iter().rev().find(|letter| letter.recipient == address);
        found.ok_or("this address got no mail from us so far")
    }
}

impl Letter {
    fn read(raw: &[u8]) -> Self {
        let text = String::from_utf8_lossy(raw);
        let envelope = text.lines().find_map(|line| line.strip_prefix("X-Envelope-To: "));
        Self { recipient: envelope.unwrap_or_default().to_owned(), message: message::parse(raw) }
    }

    pub fn part(&self, what: &str) -> Result<String, &'static str> {
        let message = &self.message;
        let found = match what {
            "reply-to" => message.reply_to.first().map(|mailbox| mailbox.address.to_string()),
            "message-id" => message.message_id.as_ref().map(|id| id.0.clone()),
            "token" => {
                let last = message.text.full.trim_end().lines().last().unwrap_or_default();
                last.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(str::to_owned)
            }
            "text" => Some(message.text.full.clone()),
            _ => return Err("expected `reply-to`, `message-id`, `token` or `text`"),
        };
        found.ok_or("the mail has none")
    }
}
