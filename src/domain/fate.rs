//! What becomes of an accepted mail (DESIGN §1.2).

use serde::{Deserialize, Serialize};

use super::ids::{CommentId, TicketId};

/// Why a mail is held for a person: the published names and numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuspensionCause {
    /// Automated reply mail.
    AutoMailer,
    Loop,
    /// An unknown person tried to update an existing ticket.
    UnknownUserUpdate,
    /// A known person tried to update a ticket of others.
    OtherUserUpdate,
    /// A bounce of mail that is not ours.
    AutoDeliveryFailure,
    AutoVacation,
    /// The author is a user suspended by an admin.
    SystemUser,
    /// Nothing in it.
    Blank,
    FromSupportAddress,
    /// Processing failed: no author, or `#requester` names somebody it may not.
    UnprocessableEmail,
    /// Nobody vouches that the author is the agent the mail names.
    FailedEmailAuthentication,
    FromNoreply,
    /// More CCs than a ticket may have.
    NumberRecipientsExceeded,
}

impl SuspensionCause {
    pub const ALL: [Self; 13] = [
        Self::AutoMailer,
        Self::Loop,
        Self::UnknownUserUpdate,
        Self::OtherUserUpdate,
        Self::AutoDeliveryFailure,
        Self::AutoVacation,
        Self::SystemUser,
        Self::Blank,
        Self::FromSupportAddress,
        Self::UnprocessableEmail,
        Self::FailedEmailAuthentication,
        Self::FromNoreply,
        Self::NumberRecipientsExceeded,
    ];

    /// The published number.
    #[must_use]
    pub fn id(self) -> i64 {
        match self {
            Self::AutoMailer => 3,
            Self::Loop => 4,
            Self::UnknownUserUpdate => 5,
            Self::OtherUserUpdate => 6,
            Self::AutoDeliveryFailure => 7,
            Self::AutoVacation => 8,
            Self::SystemUser => 9,
            Self::Blank => 11,
            Self::UnprocessableEmail => 19,
            Self::FromSupportAddress => 22,
            Self::FailedEmailAuthentication => 26,
            Self::FromNoreply => 27,
            Self::NumberRecipientsExceeded => 30,
        }
    }

    /// The published name: `auto_mailer`, `loop`, …
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AutoMailer => "auto_mailer",
            Self::Loop => "loop",
            Self::UnknownUserUpdate => "unknown_user_update",
            Self::OtherUserUpdate => "other_user_update",
            Self::AutoDeliveryFailure => "auto_delivery_failure",
            Self::AutoVacation => "auto_vacation",
            Self::SystemUser => "system_user",
            Self::Blank => "blank",
            Self::FromSupportAddress => "from_support_address",
            Self::UnprocessableEmail => "unprocessable_email",
            Self::FailedEmailAuthentication => "failed_email_authentication",
            Self::FromNoreply => "from_noreply",
            Self::NumberRecipientsExceeded => "number_recipients_exceeded",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }
}

/// Why a mail made nothing, and needs nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiscardReason {
    /// The same mail was delivered before.
    Duplicate,
    /// A bounce of a mail of ours; the outbox row was marked.
    OwnBounce,
    /// Our own notification came back to us.
    OwnMail,
    /// A person deleted it from the suspended queue.
    DeletedBy,
}

impl DiscardReason {
    pub const ALL: [Self; 4] = [Self::Duplicate, Self::OwnBounce, Self::OwnMail, Self::DeletedBy];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::OwnBounce => "own_bounce",
            Self::OwnMail => "own_mail",
            Self::DeletedBy => "deleted_by",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// The state of one accepted DATA. Exactly one at any time; the books count them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Pending,
    /// Became a ticket update; `comment` is none when the mail held commands only.
    Done {
        ticket: TicketId,
        comment: Option<CommentId>,
    },
    Suspended(SuspensionCause),
    Discarded(DiscardReason),
    Failed {
        error: String,
    },
}

impl Fate {
    /// The state's word in the database and the books.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done { .. } => "done",
            Self::Suspended(_) => "suspended",
            Self::Discarded(_) => "discarded",
            Self::Failed { .. } => "failed",
        }
    }
}
