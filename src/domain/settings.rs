//! The account's policy as values: what decisions read. Files become these in `crate::config`.

use serde::{Deserialize, Serialize};

use super::address::Address;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub account: AccountSettings,
    /// Addresses that make tickets; the first is the default. Never empty.
    pub support_addresses: Vec<SupportAddress>,
    pub privacy: PrivacySettings,
    pub collaborators: CollaboratorSettings,
    pub tickets: TicketSettings,
    pub notifications: NotificationSettings,
    pub texts: Texts,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountSettings {
    pub name: String,
    /// The domain of our Message-IDs, of `bounce+…@` and of postmaster; an A-label.
    pub mail_domain: String,
    /// An IANA name; dates in mails are shown in it.
    pub time_zone: String,
    pub locale: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupportAddress {
    pub address: Address,
    /// The name shown beside it in From and Reply-To.
    pub name: Option<String>,
    /// The address can take a `+id…` suffix, so Reply-To carries a token.
    pub takes_suffix: bool,
}

/// Settings S1, S2, S5 and the decisions of DESIGN §6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivacySettings {
    /// S1. Off: agents' mail is private unless they write `#public`.
    pub agent_comments_public_by_default: bool,
    /// S2. Lets a CC write publicly without the requester on the mail.
    pub cc_comments_public: bool,
    /// S5. What an agent who is the requester may see.
    pub agent_requester: AgentRequester,
    pub public_command_overrides_default: bool,
    pub follower_replies: FollowerReplies,
    pub end_user_mail_on_private_ticket: EndUserMailOnPrivateTicket,
}

impl Default for PrivacySettings {
    fn default() -> Self {
        Self {
            agent_comments_public_by_default: true,
            cc_comments_public: false,
            agent_requester: AgentRequester::ShowAll,
            public_command_overrides_default: true,
            follower_replies: FollowerReplies::Private,
            end_user_mail_on_private_ticket: EndUserMailOnPrivateTicket::Public,
        }
    }
}

/// Setting S5, "agent is the requester".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentRequester {
    #[default]
    ShowAll,
    /// Notes are hidden on tickets of private groups the agent is not in.
    HideOnPrivateGroups,
    /// Notes are hidden on tickets of any group the agent is not in.
    HideAll,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FollowerReplies {
    #[default]
    Private,
    /// Private only where the notified comment was private.
    Mirror,
    /// Like any agent's.
    AsAgent,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndUserMailOnPrivateTicket {
    /// The list's order: rule 4, and the ticket turns public.
    #[default]
    Public,
    /// Rule 8 settles it.
    Private,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CollaboratorSettings {
    pub allow_ccs: bool,
    pub allow_followers: bool,
    pub end_users_may_add_ccs: bool,
    pub light_agents_may_be_ccs: bool,
    pub cced_agent_becomes_follower: bool,
    /// Addresses and domains (without `@`) that never become CCs.
    pub cc_blocklist: Vec<String>,
    pub max_ccs: usize,
}

impl Default for CollaboratorSettings {
    fn default() -> Self {
        Self {
            allow_ccs: true,
            allow_followers: true,
            end_users_may_add_ccs: true,
            light_agents_may_be_ccs: true,
            cced_agent_becomes_follower: true,
            cc_blocklist: Vec::new(),
            max_ccs: 48,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TicketSettings {
    /// `#solved` on an unassigned ticket assigns the sender; off: the command is ignored.
    pub assign_solver: bool,
    /// A follow-up takes over group and assignee of the closed ticket.
    pub copy_assignee_to_follow_up: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationSettings {
    /// Show the comment author's name in From.
    pub personalised: bool,
    /// The line above which people reply; none: mails have no such line.
    pub delimiter: Option<String>,
    /// Automatic mails per recipient and ticket per hour (DESIGN §7).
    pub budget_per_ticket: u32,
    /// Automatic mails per recipient per hour over all tickets.
    pub budget_per_recipient: u32,
}

pub const DEFAULT_DELIMITER: &str = "##- Please type your reply above this line -##";

impl Default for NotificationSettings {
    fn default() -> Self {
        Self {
            personalised: true,
            delimiter: Some(DEFAULT_DELIMITER.to_owned()),
            budget_per_ticket: 5,
            budget_per_recipient: 20,
        }
    }
}

/// The texts of our own mails in the account's language, from `config/locales/`. Subjects and bodies are Liquid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Texts {
    /// One sentence below every mail.
    pub footer: String,
    pub follower_subject: String,
    pub follower_body: String,
    /// What `{{ticket.follower_reply_type_message}}` says when a follower's reply becomes a note, and when it is public.
    pub follower_reply_note: String,
    pub follower_reply_comment: String,
    pub stayed_internal_subject: String,
    pub stayed_internal_body: String,
}

impl Settings {
    /// The support address that `address` is, with or without a `+detail`.
    #[must_use]
    pub fn support_address(&self, address: &Address) -> Option<&SupportAddress> {
        let with_key = |key: &str| self.support_addresses.iter().find(|support| support.address.key() == key);
        with_key(address.key()).or_else(|| with_key(&address.base_key()))
    }

    /// `bounce+…@` of our mail domain: where mail that could not be delivered comes back.
    #[must_use]
    pub fn is_return_address(&self, address: &Address) -> bool {
        address.domain() == self.account.mail_domain
            && address.without_detail().local().eq_ignore_ascii_case("bounce")
    }

    /// An address of ours, which never becomes a person.
    #[must_use]
    pub fn is_own_address(&self, address: &Address) -> bool {
        self.support_address(address).is_some() || self.is_return_address(address)
    }

    /// A policy with one support address and every setting at its default.
    ///
    /// # Errors
    /// If `support` is not a mail address.
    pub fn for_address(support: &str) -> Result<Self, super::address::AddressError> {
        let address = Address::parse(support)?;
        Ok(Self {
            account: AccountSettings {
                name: "Postern".to_owned(),
                mail_domain: address.domain().to_owned(),
                time_zone: "UTC".to_owned(),
                locale: "en".to_owned(),
            },
            support_addresses: vec![SupportAddress {
                address,
                name: Some("Support".to_owned()),
                takes_suffix: true,
            }],
            privacy: PrivacySettings::default(),
            collaborators: CollaboratorSettings::default(),
            tickets: TicketSettings::default(),
            notifications: NotificationSettings::default(),
            texts: Texts::default(),
        })
    }
}
