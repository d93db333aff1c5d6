//! The fixed words of tickets and comments: each is one word in files, database and API.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    New,
    Open,
    Pending,
    Hold,
    Solved,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    Low,
    Normal,
    High,
    Urgent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TicketType {
    Question,
    Incident,
    Problem,
    Task,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    Public,
    Private,
}

/// How something came in, by the published channel names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Mail,
    Api,
    Rule,
    ClosedTicket,
    /// The operator at the command line.
    System,
}

macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $type {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word used in data: files, database, API.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The value with this word, in any case.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.word().eq_ignore_ascii_case(word))
            }
        }
    };
}

words!(Status { New = "new", Open = "open", Pending = "pending", Hold = "hold", Solved = "solved", Closed = "closed" });
words!(Priority { Low = "low", Normal = "normal", High = "high", Urgent = "urgent" });
words!(TicketType { Question = "question", Incident = "incident", Problem = "problem", Task = "task" });
words!(Visibility { Public = "public", Private = "private" });
words!(Channel { Mail = "mail", Api = "api", Rule = "rule", ClosedTicket = "closed_ticket", System = "system" });
words!(Flag {
    Outsider = "outsider",
    CcDroppedRequester = "cc_dropped_requester",
    ReplyToDiffers = "reply_to_differs",
    SeveralTickets = "several_tickets",
    MessageIdReused = "message_id_reused",
    AccessWithheld = "access_withheld",
    AuthenticationFailed = "authentication_failed",
    Recovered = "recovered",
});

/// A warning an agent sees beside a comment; it cannot be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// The author was not part of the conversation (rules 1.1, 1.2).
    Outsider,
    /// A CC wrote publicly without the requester on the mail.
    CcDroppedRequester,
    /// Reply-To names somebody else, and nothing vouches for it.
    ReplyToDiffers,
    /// The mail named more than one ticket.
    SeveralTickets,
    /// The Message-ID was seen before with other content.
    MessageIdReused,
    /// The mail asked for access its author's trust did not allow (DESIGN §7).
    AccessWithheld,
    AuthenticationFailed,
    /// A person let it in from the suspended queue.
    Recovered,
}
