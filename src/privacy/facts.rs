//! Everything a privacy check may look at: plain fields, known before the list runs.
//!
//! The field names are public vocabulary (DESIGN §6): code, trace, `postern privacy decide` and documents use the
//! same ones. Facts are required, settings have the documented defaults.

use serde::{Deserialize, Serialize};

use crate::domain::settings::{EndUserMailOnPrivateTicket, FollowerReplies};

/// One mail, seen with the eyes of the privacy list. Relations are those from before this mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    // How the mail found its ticket
    /// The mail updates a ticket; otherwise it creates one.
    pub updating_ticket: bool,
    /// A valid token in the address or the body named the ticket, not only message headers.
    pub identified_by_encoded_id: bool,
    /// A person let the mail in after it was suspended.
    pub recovered: bool,

    // The author
    pub author_kind: AuthorKind,
    pub author_can_edit_ticket: bool,
    pub author_is_requester: bool,
    pub author_is_assignee: bool,
    pub author_is_cc: bool,
    pub author_is_follower: bool,
    /// The author is an agent, the requester, and setting S5 hides the ticket's notes from them.
    pub agent_treated_as_end_user: bool,
    pub role_may_comment_publicly: bool,

    // The mail
    /// An address of the requester is in To or Cc.
    pub requester_is_direct_recipient: bool,
    /// To or Cc name an address that is not one of our support addresses.
    pub recipients_beyond_support_addresses: bool,
    /// The mail command about visibility. An end user has none; of an agent who may not use commands, only a wish for
    /// a note counts.
    pub command: Command,
    /// The mail holds text or an attachment of a private comment (`privacy::recall`).
    pub repeats_private_comment: bool,

    // The ticket
    /// The ticket has no public comment.
    pub ticket_is_private: bool,
    /// The mail answers the notification of a private comment.
    pub notified_comment_was_private: bool,

    // The settings
    /// Setting S2.
    #[serde(default)]
    pub cc_comments_public: bool,
    /// Setting S1.
    #[serde(default = "on")]
    pub agent_comments_public_by_default: bool,
    #[serde(default = "on")]
    pub public_command_overrides_default: bool,
    #[serde(default)]
    pub follower_replies: FollowerReplies,
    #[serde(default)]
    pub end_user_mail_on_private_ticket: EndUserMailOnPrivateTicket,
}

fn on() -> bool {
    true
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthorKind {
    /// Any internal user: agent, light agent, admin.
    Agent,
    EndUser,
}

/// What the author's mail commands say about visibility.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    None,
    /// `#note`, also together with `#public`.
    Note,
    /// `#public` or `#public true`.
    Public,
    /// `#public false`.
    NotPublic,
}

/// The answers that several rules ask for; rule 0 lives here.
impl Facts {
    /// Rule 0 makes an end user of an agent whose own request hides its notes from them.
    pub(super) fn rule_0_applies(&self) -> bool {
        self.author_kind == AuthorKind::Agent && self.agent_treated_as_end_user
    }

    pub(super) fn acts_as_agent(&self) -> bool {
        self.author_kind == AuthorKind::Agent && !self.agent_treated_as_end_user
    }

    /// Whoever rule 0 makes an end user may edit their own request.
    pub(super) fn may_edit(&self) -> bool {
        self.author_can_edit_ticket || self.rule_0_applies()
    }

    /// A person vouched for a recovered mail: it counts as found by encoded ID.
    pub(super) fn found_by_encoded_id(&self) -> bool {
        self.identified_by_encoded_id || self.recovered
    }

    pub(super) fn updates_private_ticket(&self) -> bool {
        self.updating_ticket && self.ticket_is_private
    }

    pub(super) fn cc_left_requester_off(&self) -> bool {
        self.author_is_cc && !self.requester_is_direct_recipient
    }
}
