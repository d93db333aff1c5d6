//! Mails as tests write them, and those the desk has sent.

use std::path::{Path, PathBuf};

pub const SUPPORT: &str = "support@localhost";
pub const AGENT: &str = "agent@localhost";

/// A mail from `from` to `to`, with its Message-ID.
pub fn compose(from: &str, to: &str, message_id: &str, subject: &str, text: &str) -> String {
    format!("From: <{from}>\nTo: <{to}>\nSubject: {subject}\nMessage-ID: <{message_id}>\n\n{text}\n")
}

/// A mail that was written to the outgoing directory.
#[derive(Clone, Debug)]
pub struct Sent {
    pub path: PathBuf,
    pub text: String,
}

impl Sent {
    /// The value of a header field, with folds undone.
    pub fn field(&self, name: &str) -> Option<String> {
        let head = self.text.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
        let mut fields = head.split("\r\n").filter_map(|line| line.split_once(": "));
        fields.find(|(field, _)| *field == name).map(|(_, value)| value.to_owned())
    }

    pub fn to(&self) -> String {
        self.field("X-Envelope-To").unwrap()
    }

    /// The address in Reply-To, which carries the recipient's own token.
    pub fn reply_to(&self) -> String {
        let field = self.field("Reply-To").unwrap();
        field.rsplit_once('<').map_or(field.clone(), |(_, address)| address.trim_end_matches('>').to_owned())
    }

    pub fn is_to(&self, address: &str) -> bool {
        self.to() == address
    }
}

/// All mails in the outgoing directory, oldest first.
pub fn sent(outgoing: &Path) -> Vec<Sent> {
    let Ok(entries) = std::fs::read_dir(outgoing) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "eml")).collect();
    paths.sort();
    paths.into_iter().map(|path| Sent { text: std::fs::read_to_string(&path).unwrap(), path }).collect()
}
