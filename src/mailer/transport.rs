//! Where outgoing mail goes: a smarthost over SMTP, or a directory with one `.eml` per mail.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::address::Address;
use crate::domain::ids::OutboxId;
use crate::domain::time::MINUTE;

use super::smarthost::{Connection, Smarthost};

/// One mail as the transport sees it.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub id: OutboxId,
    /// The SMTP sender: the recipient's own return address.
    pub reverse_path: Address,
    pub recipient: Address,
    pub bytes: Vec<u8>,
}

/// What came of one try. Temporary or permanent is decided here, where the answer is seen (DESIGN §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    Sent,
    /// A 5xx to RCPT or to the final dot: this recipient never.
    Rejected(String),
    /// Anything else about this mail: try again.
    Deferred(String),
    /// A fault of the site (no connection, TLS, login, 5xx to MAIL): the queue pauses, no row dies of it.
    SiteFault(String),
}

#[derive(Clone, Debug)]
pub enum Transport {
    Smarthost(Smarthost),
    Directory(PathBuf),
}

impl Transport {
    /// Microseconds after which a claimed mail cannot be on its way any more, and recording it was tried too.
    #[must_use]
    pub fn lease(&self) -> i64 {
        let longest = match self {
            Self::Smarthost(smarthost) => smarthost.timeouts.longest(),
            Self::Directory(_) => Duration::from_secs(10 * 60),
        };
        i64::try_from(longest.as_micros()).unwrap_or(i64::MAX).saturating_add(2 * MINUTE)
    }
}

/// A way out with what it keeps open between mails.
#[derive(Debug)]
pub struct Sender {
    transport: Transport,
    connection: Option<Connection>,
}

impl Sender {
    #[must_use]
    pub fn new(transport: Transport) -> Self {
        Self { transport, connection: None }
    }

    pub async fn send(&mut self, mail: &Outgoing) -> Delivery {
        match &self.transport {
            Transport::Smarthost(smarthost) => smarthost.send(&mut self.connection, mail).await,
            Transport::Directory(directory) => write_file(directory.clone(), mail.clone()).await,
        }
    }

    /// Says goodbye to the smarthost before an idle pause, so that it need not time us out.
    pub async fn rest(&mut self) {
        if let (Transport::Smarthost(smarthost), Some(connection)) = (&self.transport, self.connection.take())
        {
            smarthost.quit(connection).await;
        }
    }
}

/// Writes `ID.eml` whole or not at all. A second try overwrites the same file: the same mail is there once.
async fn write_file(directory: PathBuf, mail: Outgoing) -> Delivery {
    let written = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        std::fs::create_dir_all(&directory)?;
        let envelope =
            format!("X-Envelope-From: {}\r\nX-Envelope-To: {}\r\n", mail.reverse_path, mail.recipient);
        let name = format!("{:08}.eml", mail.id.0);
        let temporary = directory.join(format!(".{name}.tmp"));
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(envelope.as_bytes())?;
        file.write_all(&mail.bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, directory.join(name))?;
        std::fs::File::open(&directory)?.sync_all()
    })
    .await;
    match written {
        Ok(Ok(())) => Delivery::Sent,
        Ok(Err(error)) => Delivery::SiteFault(format!("cannot write to the outgoing directory: {error}")),
        Err(error) => Delivery::Deferred(format!("the writing task ended: {error}")),
    }
}
