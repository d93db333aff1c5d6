//! The numbers of things. They start at 1, may have gaps and are never used twice (DESIGN §8).

use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

ids! {
    TicketId,
    UserId,
    CommentId,
    GroupId,
    OrganizationId,
    AuditId,
    NotificationId,
    OutboxId,
    SuspendedId,
    /// One accepted DATA: the row of the journal.
    JournalId,
}

/// Secret random bytes of one ticket; part of every token's MAC, so a token of another database never fits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub [u8; 16]);

/// A secret is never shown.
impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt(..)")
    }
}

/// Hands out numbers and secrets, so that a plan carries its final ids before it is committed
/// (tokens and texts are composed from them) and tests can inject their own.
pub trait Fresh {
    fn ticket(&mut self) -> TicketId;
    fn user(&mut self) -> UserId;
    fn comment(&mut self) -> CommentId;
    fn audit(&mut self) -> AuditId;
    fn notification(&mut self) -> NotificationId;
    fn outbox(&mut self) -> OutboxId;
    fn suspended(&mut self) -> SuspendedId;
    fn salt(&mut self) -> Salt;
}

/// A `Fresh` that counts from 1 and derives salts from the count: for tests and for trying things out.
#[derive(Debug, Default)]
pub struct CountingFresh {
    last: i64,
}

impl CountingFresh {
    fn next(&mut self) -> i64 {
        self.last += 1;
        self.last
    }
}

impl Fresh for CountingFresh {
    fn ticket(&mut self) -> TicketId {
        TicketId(self.next())
    }
    fn user(&mut self) -> UserId {
        UserId(self.next())
    }
    fn comment(&mut self) -> CommentId {
        CommentId(self.next())
    }
    fn audit(&mut self) -> AuditId {
        AuditId(self.next())
    }
    fn notification(&mut self) -> NotificationId {
        NotificationId(self.next())
    }
    fn outbox(&mut self) -> OutboxId {
        OutboxId(self.next())
    }
    fn suspended(&mut self) -> SuspendedId {
        SuspendedId(self.next())
    }
    fn salt(&mut self) -> Salt {
        let mut bytes = [0; 16];
        for (place, byte) in bytes.iter_mut().zip(self.next().to_be_bytes()) {
            *place = byte;
        }
        Salt(bytes)
    }
}
