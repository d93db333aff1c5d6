//! A mail with its envelope, as bytes: one line of JSON, then the mail as it is. The same in a file and on the socket.

use std::io::{self, BufRead, Read, Write};

use serde::{Deserialize, Serialize};

use crate::domain::address::Address;

/// The envelope's line is no longer.
pub(super) const MAX_HEAD: u64 = 1024 * 1024;

/// What `postern deliver` was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// `None` is the null reverse-path of bounces.
    pub reverse_path: Option<Address>,
    /// None given: the account's first support address.
    pub recipients: Vec<Address>,
    pub raw: Vec<u8>,
}

/// Why bytes are no letter, or none that is taken.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("found a mail of {found} bytes, expected at most `max_message_size`, {limit}")]
    TooLarge { found: u64, limit: usize },
    #[error(
        "found {found} bytes, expected at most {limit}; if it is a mail, raise `max_message_size` to its size, and restart"
    )]
    Huge { found: u64, limit: usize },
    #[error("found no letter of `postern deliver`: {0}")]
    Unreadable(String),
    #[error("{0}")]
    Strange(&'static str),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    reverse_path: Option<Address>,
    recipients: Vec<Address>,
    size: u64,
}

impl Letter {
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let head = Head {
            reverse_path: self.reverse_path.clone(),
            recipients: self.recipients.clone(),
            size: self.raw.len() as u64,
        };
        serde_json::to_writer(&mut *out, &head)?;
        out.write_all(b"\n")?;
        out.write_all(&self.raw)
    }

    pub(super) fn read(from: &mut impl BufRead, limit: usize) -> Result<Self, LetterError> {
        let mut line = Vec::new();
        from.by_ref().take(MAX_HEAD).read_until(b'\n', &mut line)?;
        let head: Head =
            serde_json::from_slice(&line).map_err(|error| LetterError::Unreadable(error.to_string()))?;
        if head.size > limit as u64 {
            return Err(LetterError::TooLarge { found: head.size, limit });
        }
        let mut raw = Vec::new();
        from.take(head.size).read_to_end(&mut raw)?;
        if raw.len() as u64 != head.size {
            let found = format!("it ends after {} bytes of {}", raw.len(), head.size);
            return Err(LetterError::Unreadable(found));
        }
        Ok(Self { reverse_path: head.reverse_path, recipients: head.recipients, raw })
    }
}
