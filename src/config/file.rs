//! `postern.toml` as it is written, and what it comes to.
//!
//! Each key has its default here or in `domain::settings`; `config/postern.toml` documents them, and
//! `tests/config_files.rs` holds the two together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::domain::address::Address;
use crate::domain::mail::TrustSource;
use crate::domain::settings::{
    AgentRequester, CollaboratorSettings, EndUserMailOnPrivateTicket, FollowerReplies, NotificationSettings,
    PrivacySettings, SupportAddress, TicketSettings,
};

use super::listeners::Listener;
use super::values::{
    Network, Secret, at_least, blocklist, domain, empty_is_none, locale, seconds, time_zone, within,
};
use super::{Config, ServerConfig, Smarthost, TlsMode};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct File {
    pub(super) account: Account,
    #[serde(with = "Privacy")]
    pub(super) privacy: PrivacySettings,
    #[serde(with = "Collaborators")]
    pub(super) collaborators: CollaboratorSettings,
    #[serde(with = "Tickets")]
    pub(super) tickets: TicketSettings,
    #[serde(with = "Notifications")]
    pub(super) notifications: NotificationSettings,
    pub(super) server: ServerConfig,
    pub(super) deliver: Deliver,
    pub(super) delivery: Delivery,
    pub(super) store: Store,
    pub(super) pipeline: Pipeline,
    pub(super) admin: Admin,
    pub(super) support_addresses: Vec<SupportEntry>,
    pub(super) listeners: Vec<Listener>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Account {
    pub(super) name: String,
    /// Empty: the domain of the first support address.
    #[serde(deserialize_with = "domain")]
    pub(super) mail_domain: String,
    #[serde(deserialize_with = "time_zone")]
    pub(super) time_zone: String,
    #[serde(deserialize_with = "locale")]
    pub(super) locale: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct SupportEntry {
    pub(super) address: Spanned<Address>,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default = "yes")]
    pub(super) takes_suffix: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "PrivacySettings", default = "PrivacySettings::default", deny_unknown_fields)]
#[serde(expecting = "a table")]
pub(super) struct Privacy {
    pub(super) agent_comments_public_by_default: bool,
    pub(super) cc_comments_public: bool,
    pub(super) agent_requester: AgentRequester,
    pub(super) public_command_overrides_default: bool,
    pub(super) follower_replies: FollowerReplies,
    pub(super) end_user_mail_on_private_ticket: EndUserMailOnPrivateTicket,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "CollaboratorSettings", default = "CollaboratorSettings::default", deny_unknown_fields)]
#[serde(expecting = "a table")]
pub(super) struct Collaborators {
    pub(super) allow_ccs: bool,
    pub(super) allow_followers: bool,
    pub(super) end_users_may_add_ccs: bool,
    pub(super) light_agents_may_be_ccs: bool,
    pub(super) cced_agent_becomes_follower: bool,
    #[serde(deserialize_with = "blocklist")]
    pub(super) cc_blocklist: Vec<String>,
    pub(super) max_ccs: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "TicketSettings", default = "TicketSettings::default", deny_unknown_fields)]
#[serde(expecting = "a table")]
pub(super) struct Tickets {
    pub(super) assign_solver: bool,
    pub(super) copy_assignee_to_follow_up: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "NotificationSettings", default = "NotificationSettings::default", deny_unknown_fields)]
#[serde(expecting = "a table")]
pub(super) struct Notifications {
    pub(super) personalised: bool,
    #[serde(with = "empty_is_none")]
    pub(super) delimiter: Option<String>,
    pub(super) budget_per_ticket: u32,
    pub(super) budget_per_recipient: u32,
}

/// The `deliver` command as an entrance.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Deliver {
    pub(super) spool: Option<PathBuf>,
    pub(super) trust: Option<Spanned<Trust>>,
    pub(super) authserv_id: Option<Spanned<String>>,
    pub(super) relays: Vec<Spanned<Network>>,
}

/// What an entrance may be believed.
#[derive(Debug)]
pub(super) struct TrustEntry {
    pub(super) trust: Option<Spanned<Trust>>,
    pub(super) authserv_id: Option<Spanned<String>>,
    pub(super) relays: Vec<Spanned<Network>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Trust {
    #[default]
    None,
    AuthservId,
    Upstream,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Delivery {
    pub(super) directory: Option<Spanned<PathBuf>>,
    pub(super) retry_days: u32,
    /// Each that was sent is a job for the store, whose queue must have room for all: a mail that cannot be recorded is sent twice.
    #[serde(deserialize_with = "within::<_, 1, 256>")]
    pub(super) concurrency: usize,
    pub(super) smarthost: Option<SmarthostFile>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct SmarthostFile {
    pub(super) host: String,
    #[serde(default)]
    pub(super) port: Option<u16>,
    #[serde(default)]
    pub(super) tls: TlsMode,
    #[serde(default)]
    pub(super) username: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) password: Option<Spanned<Secret>>,
    #[serde(default)]
    pub(super) password_file: Option<Spanned<PathBuf>>,
    #[serde(default)]
    pub(super) ca_file: Option<Spanned<PathBuf>>,
    #[serde(rename = "timeout_secs", default = "smarthost_timeout", with = "seconds")]
    pub(super) timeout: Duration,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Store {
    pub(super) directory: PathBuf,
    pub(super) disk_reserve: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Pipeline {
    pub(super) deciders: usize,
    #[serde(deserialize_with = "at_least::<_, 2>")]
    pub(super) max_pending: usize,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Admin {
    pub(super) address: Option<Spanned<SocketAddr>>,
    pub(super) public: bool,
}

impl Default for File {
    fn default() -> Self {
        let support = SupportEntry {
            address: unplaced(default_support_address()),
            name: Some("Support".to_owned()),
            takes_suffix: true,
        };
        Self {
            account: Account::default(),
            privacy: PrivacySettings::default(),
            collaborators: CollaboratorSettings::default(),
            tickets: TicketSettings::default(),
            notifications: NotificationSettings::default(),
            server: ServerConfig::default(),
            deliver: Deliver::default(),
            delivery: Delivery::default(),
            store: Store::default(),
            pipeline: Pipeline::default(),
            admin: Admin::default(),
            support_addresses: vec![support],
            listeners: vec![Listener::default()],
        }
    }
}

impl Default for Account {
    fn default() -> Self {
        Self {
            name: "Postern".to_owned(),
            mail_domain: String::new(),
            time_zone: "UTC".to_owned(),
            locale: "en".to_owned(),
        }
    }
}

impl Default for Delivery {
    fn default() -> Self {
        Self { directory: None, retry_days: 5, concurrency: 4, smarthost: None }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self { directory: PathBuf::from("./data"), disk_reserve: 256 << 20 }
    }
}

impl Default for Pipeline {
    fn default() -> Self {
        Self { deciders: 0, max_pending: 50_000 }
    }
}

#[expect(clippy::expect_used, reason = "the text is a constant")]
fn default_support_address() -> Address {
    Address::parse("support@localhost").expect("`support@localhost` is an address")
}

fn yes() -> bool {
    true
}

fn smarthost_timeout() -> Duration {
    Duration::from_secs(60)
}

/// A value that stands in no file.
pub(super) fn unplaced<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

/// The configuration as a file would say it, with what a file may leave out filled in. Passwords are masked.
impl From<&Config> for File {
    fn from(config: &Config) -> Self {
        let account = &config.settings.account;
        let smarthost = config.delivery.smarthost.as_ref();
        Self {
            account: Account {
                name: account.name.clone(),
                mail_domain: account.mail_domain.clone(),
                time_zone: account.time_zone.clone(),
                locale: account.locale.clone(),
            },
            privacy: config.settings.privacy.clone(),
            collaborators: config.settings.collaborators.clone(),
            tickets: config.settings.tickets.clone(),
            notifications: config.settings.notifications.clone(),
            server: config.server.clone(),
            deliver: deliver_entry(config),
            delivery: Delivery {
                directory: config.delivery.directory.clone().map(unplaced),
                retry_days: config.delivery.retry_days,
                concurrency: config.delivery.concurrency,
                smarthost: smarthost.map(smarthost_entry),
            },
            store: Store { directory: config.data.clone(), disk_reserve: config.disk_reserve },
            pipeline: Pipeline { deciders: config.deciders, max_pending: config.max_pending },
            admin: Admin { address: config.admin.address.map(unplaced), public: config.admin.public },
            support_addresses: config.settings.support_addresses.iter().map(support_entry).collect(),
            listeners: config.listeners.iter().map(Listener::from).collect(),
        }
    }
}

fn support_entry(support: &SupportAddress) -> SupportEntry {
    SupportEntry {
        address: unplaced(support.address.clone()),
        name: support.name.clone(),
        takes_suffix: support.takes_suffix,
    }
}

fn deliver_entry(config: &Config) -> Deliver {
    let TrustEntry { trust, authserv_id, relays } = trust_entry(&config.deliver);
    Deliver { spool: config.spool.clone(), trust, authserv_id, relays }
}

fn smarthost_entry(smarthost: &Smarthost) -> SmarthostFile {
    let credentials = smarthost.credentials.as_ref();
    SmarthostFile {
        host: smarthost.host.clone(),
        port: Some(smarthost.port),
        tls: smarthost.tls,
        username: credentials.map(|known| unplaced(known.username.clone())),
        password: credentials.map(|known| unplaced(known.password.clone())),
        password_file: None,
        ca_file: smarthost.authority.as_ref().map(|known| unplaced(known.file.clone())),
        timeout: smarthost.timeout,
    }
}

pub(super) fn trust_entry(trust: &TrustSource) -> TrustEntry {
    let of = |word, authserv_id: Option<&String>, relays: &[IpNet]| TrustEntry {
        trust: Some(unplaced(word)),
        authserv_id: authserv_id.cloned().map(unplaced),
        relays: relays.iter().map(|network| unplaced(Network(*network))).collect(),
    };
    match trust {
        TrustSource::None => of(Trust::None, None, &[]),
        TrustSource::Upstream => of(Trust::Upstream, None, &[]),
        TrustSource::AuthservId { authserv_id, relays } => of(Trust::AuthservId, Some(authserv_id), relays),
    }
}
