//! What a decision asks the store, and the store's answer: one read, and nothing is asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::address::Address;
use super::fate::{Fate, SuspensionCause};
use super::ids::{CommentId, GroupId, JournalId, OrganizationId, SuspendedId, TicketId, UserId};
use super::mail::{Envelope, MessageId};
use super::people::{Group, Organization, User};
use super::ticket::{Comment, Ticket, Visibility};
use super::time::Timestamp;
use super::trace::Trace;

/// The question: everything a mail (or a command) names that the store may know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// Tickets that tokens claim; no MAC was checked yet.
    pub tickets: BTreeSet<TicketId>,
    pub users: BTreeSet<UserId>,
    pub addresses: BTreeSet<Address>,
    pub message_ids: BTreeSet<MessageId>,
    /// The mail to look for earlier deliveries of.
    pub mail: Option<MailKey>,
}

/// What two deliveries of one mail have in common (DESIGN §1 *Duplicate*).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailKey {
    pub journal: JournalId,
    pub author: Address,
    pub message_id: Option<MessageId>,
    pub digest: [u8; 32],
    pub accepted_at: Timestamp,
}

/// The answer, as of one instant. Immutable.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Everybody the lookup named or a loaded ticket refers to, agents included.
    pub users: BTreeMap<UserId, User>,
    /// The lookup's addresses that belong to somebody.
    pub by_address: BTreeMap<Address, UserId>,
    /// Agents, groups and organizations of the account.
    pub directory: Arc<Directory>,
    pub tickets: BTreeMap<TicketId, TicketFile>,
    /// Which of the lookup's Message-IDs belong to a ticket.
    pub message_ids: BTreeMap<MessageId, KnownMessage>,
    /// Earlier mails, newest first, of the last 30 days: with the lookup's author and digest, or with its Message-ID.
    pub earlier: Vec<EarlierMail>,
}

impl Snapshot {
    /// The user with this id, from the lookup or the directory.
    #[must_use]
    pub fn user(&self, id: UserId) -> Option<&User> {
        self.users.get(&id).or_else(|| self.directory.agents.get(&id))
    }

    #[must_use]
    pub fn user_by_address(&self, address: &Address) -> Option<&User> {
        self.by_address.get(address).and_then(|id| self.user(*id))
    }
}

/// The account's own people; changes rarely, so it is shared between snapshots.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// Counts up with each change; plans check it.
    pub version: i64,
    /// All active internal users.
    pub agents: BTreeMap<UserId, User>,
    pub groups: BTreeMap<GroupId, Group>,
    pub organizations: BTreeMap<OrganizationId, Organization>,
}

impl Directory {
    /// The organization that unknown senders of this address's domain belong to.
    #[must_use]
    pub fn organization_of(&self, address: &Address) -> Option<OrganizationId> {
        let owns = |organization: &&Organization| {
            organization.active && organization.domains.iter().any(|domain| domain == address.domain())
        };
        self.organizations.values().find(owns).map(|organization| organization.id)
    }
}

/// A ticket with what decisions need of its history.
#[derive(Clone, Debug)]
pub struct TicketFile {
    pub ticket: Ticket,
    /// The newest 100, oldest first.
    pub comments: Vec<Comment>,
    /// Of the private comments of this ticket and of tickets merged into it.
    pub private_prints: Vec<PrivatePrint>,
    /// Message-IDs of the public mails received about this ticket, oldest first, at most the newest 20: what may stand
    /// in the References of a mail to anybody.
    pub thread: Vec<MessageId>,
}

/// The fingerprint of one private comment (rule 9); `privacy::recall` makes and reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrivatePrint {
    pub comment: Option<CommentId>,
    /// Keyed hashes of windows of the normalised text, ascending.
    pub windows: Vec<u64>,
    /// For a comment too short for windows: its length in normalised characters, and the hash of the whole.
    pub whole: Option<WholePrint>,
    /// SHA-256 of the comment's attachments.
    pub attachments: Vec<[u8; 32]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholePrint {
    pub chars: u32,
    pub hash: u64,
}

/// A Message-ID we know: of a mail we received, or of one we sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownMessage {
    pub ticket: TicketId,
    /// We sent it: `Private` if a private comment was rendered into it. `None` if we received it.
    pub sent: Option<Visibility>,
}

/// A mail from before that looks like this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierMail {
    pub journal: JournalId,
    /// The lookup's author wrote it too. Anybody can send anybody's Message-ID.
    pub by_author: bool,
    pub message_id: Option<MessageId>,
    pub digest: [u8; 32],
    pub fate: Fate,
    pub trust: SenderTrust,
    /// The ticket a valid token in it named.
    pub token_ticket: Option<TicketId>,
}

/// How far an address may be believed (DESIGN §7). Ordered: more trust is greater.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum SenderTrust {
    /// What was checked says that the mail is not from this address's domain.
    Failed,
    /// Nobody says anything.
    #[default]
    None,
    /// What was authenticated covers this address.
    Authenticated,
}

impl SenderTrust {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::None => "none",
            Self::Authenticated => "authenticated",
        }
    }

    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Failed, Self::None, Self::Authenticated].into_iter().find(|trust| trust.word() == word)
    }
}

/// An accepted mail as kept: what is decided, and decided again after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    pub id: JournalId,
    pub envelope: Envelope,
    pub raw: Vec<u8>,
    pub fate: Fate,
    /// Unclean ends (crash, panic) of earlier tries to decide it.
    pub attempts: u32,
}

/// A mail held for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuspendedTicket {
    pub id: SuspendedId,
    pub journal: JournalId,
    pub cause: SuspensionCause,
    /// One sentence for the person who reviews it.
    pub detail: String,
    pub author: Option<Address>,
    pub author_name: Option<String>,
    pub subject: String,
    /// The ticket it would have updated.
    pub ticket: Option<TicketId>,
    pub created_at: Timestamp,
    /// Every check that looked at it, up to the one that held it.
    pub trace: Trace,
}
