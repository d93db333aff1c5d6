//! Configuration: `postern.toml` and the files beside it, read together and checked together.
//!
//! **Invariant:** a [`Config`] has passed every check; with one fault in any file there is none, and all faults of
//! all files are told, each with file, line, key, what was found and what would be right.
//! **Invariant:** secrets are never shown: not by `Debug`, not by [`describe`], not in a fault.

mod certificate;
mod check;
mod document;
mod file;
mod listeners;
mod locale;
mod people;
pub mod rules;
mod values;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::domain::mail::TrustSource;
use crate::domain::people::{People, PersonEntry, RoleKind};
use crate::domain::rule::Trigger;
use crate::domain::settings::Settings;

pub use certificate::ServerCertificate;
pub use document::ConfigError;
pub use listeners::{ListenerSettings, Protocol, TlsSettings, TlsUse};
pub use values::Secret;

use document::{Source, read};
use file::File;
use values::{at_least, domain, networks, seconds};

/// The file that is read if none is named.
pub const DEFAULT_FILE: &str = "./config/postern.toml";
const PEOPLE_FILE: &str = "people.toml";
const TRIGGERS_FILE: &str = "triggers.toml";

/// Everything that files say, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The account's policy.
    pub settings: Settings,
    pub server: ServerConfig,
    pub listeners: Vec<ListenerSettings>,
    /// What the `deliver` command may be believed.
    pub deliver: TrustSource,
    /// Where `deliver` leaves mail for the daemon; none is `spool` in the data directory.
    pub spool: Option<PathBuf>,
    pub delivery: DeliveryConfig,
    /// The data directory, if the command line names no other.
    pub data: PathBuf,
    /// Mails that are decided at a time; 0 is one per core.
    pub deciders: usize,
    /// Mails that may be accepted and not yet decided; beyond it new mail is asked to come again.
    pub max_pending: usize,
    /// Bytes of the disk that no new mail may take.
    pub disk_reserve: u64,
    pub admin: AdminConfig,
    pub people: People,
    /// In the order in which they run; without a `triggers.toml`, the standard set.
    pub triggers: Vec<Trigger>,
    /// The files it was read from; none for the built-in defaults.
    pub files: Vec<PathBuf>,
}

/// How every listener behaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct ServerConfig {
    /// The name in the greeting. A file that leaves it out means the account's mail domain.
    #[serde(deserialize_with = "domain")]
    pub hostname: String,
    /// RFC 5321 §4.5.3.1.7 asks for 64K octets at least.
    #[serde(deserialize_with = "at_least::<_, 65536>")]
    pub max_message_size: usize,
    #[serde(deserialize_with = "at_least::<_, 1>")]
    pub max_headers: usize,
    #[serde(deserialize_with = "at_least::<_, 1024>")]
    pub max_header_size: usize,
    #[serde(deserialize_with = "at_least::<_, 1>")]
    pub max_recipients: usize,
    #[serde(deserialize_with = "at_least::<_, 1>")]
    pub max_connections: usize,
    #[serde(deserialize_with = "at_least::<_, 1>")]
    pub max_connections_per_network: usize,
    #[serde(with = "networks")]
    pub unlimited_networks: Vec<IpNet>,
    #[serde(deserialize_with = "at_least::<_, 65536>")]
    pub max_bytes_in_flight: usize,
    #[serde(deserialize_with = "at_least::<_, 1>")]
    pub max_errors: usize,
    #[serde(deserialize_with = "at_least::<_, 10>")]
    pub max_commands: usize,
    #[serde(deserialize_with = "at_least::<_, 1>")]
    pub max_auth_failures: usize,
    /// RFC 5321 §4.5.3.1.4 asks for 512 octets at least.
    #[serde(deserialize_with = "at_least::<_, 512>")]
    pub max_line_length: usize,
    #[serde(rename = "command_timeout_secs", with = "seconds")]
    pub command_timeout: Duration,
    #[serde(rename = "data_timeout_secs", with = "seconds")]
    pub data_timeout: Duration,
    #[serde(rename = "message_timeout_secs", with = "seconds")]
    pub message_timeout: Duration,
    /// Bytes a second; 0 is none.
    pub min_data_rate: u32,
    #[serde(rename = "shutdown_grace_secs", with = "seconds")]
    pub shutdown_grace: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            hostname: String::new(),
            max_message_size: 50 * 1024 * 1024,
            max_headers: 1000,
            max_header_size: 256 * 1024,
            max_recipients: 100,
            max_connections: 1000,
            max_connections_per_network: 100,
            unlimited_networks: Vec::new(),
            max_bytes_in_flight: 128 * 1024 * 1024,
            max_errors: 20,
            max_commands: 1000,
            max_auth_failures: 3,
            max_line_length: 2048,
            command_timeout: Duration::from_secs(5 * 60),
            data_timeout: Duration::from_secs(3 * 60),
            message_timeout: Duration::from_secs(15 * 60),
            min_data_rate: 100,
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

/// Where our own mail goes: to a smarthost, or without one into a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryConfig {
    pub smarthost: Option<Smarthost>,
    /// Where mails are written as files if there is no smarthost; none is `outgoing` in the data directory.
    pub directory: Option<PathBuf>,
    /// How long a mail is tried before it is dead.
    pub retry_days: u32,
    /// Mails under way at a time.
    pub concurrency: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smarthost {
    pub host: String,
    pub port: u16,
    pub tls: TlsMode,
    pub credentials: Option<Credentials>,
    /// Believed besides the authorities that the system knows.
    pub authority: Option<CertificateAuthority>,
    /// For every step of the dialogue.
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: Secret,
}

/// One or more certificates, read and checked when the configuration was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateAuthority {
    /// As `postern.toml` names it.
    pub file: PathBuf,
    pub pem: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    None,
    #[default]
    Starttls,
    Tls,
}

/// Where metrics and health can be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdminConfig {
    /// None: nowhere.
    pub address: Option<SocketAddr>,
    /// The address may be one that everybody can reach.
    pub public: bool,
}

/// Every fault of every file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}
impl std::error::Error for ConfigErrors {}

impl Default for Config {
    /// What holds without any file: loopback only, nobody is believed, no agents, the standard triggers,
    /// notifications as files.
    fn default() -> Self {
        let nowhere = Source { file: Path::new(DEFAULT_FILE), text: "" };
        let triggers = standard_triggers();
        Self { triggers, ..File::default().into_config(nowhere, &mut Vec::new()) }
    }
}

impl Config {
    /// The directory between `deliver` and the daemon.
    #[must_use]
    pub fn spool_directory(&self) -> PathBuf {
        self.spool.clone().unwrap_or_else(|| self.data.join("spool"))
    }

    /// What is allowed and yet probably not meant.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let agents = || self.people.people.iter().filter(|person| person.role.kind == RoleKind::Agent);
        let mut entrances = self.listeners.iter().map(|listener| &listener.trust).chain([&self.deliver]);
        if agents().next().is_some() && entrances.all(|trust| *trust == TrustSource::None) {
            warnings.push(
                "there are agents, but no entrance can authenticate them: all their mail will be suspended; \
                 set `trust` for a listener or for `deliver`"
                    .to_owned(),
            );
        }
        let ServerConfig { max_message_size, max_bytes_in_flight, .. } = self.server;
        if max_message_size > max_bytes_in_flight {
            warnings.push(format!(
                "`server.max_message_size` is {max_message_size} and `server.max_bytes_in_flight` {max_bytes_in_flight}: \
                 a mail between the two is put off each time it comes"
            ));
        }
        let groupless = |person: &&PersonEntry| person.role.assignable && person.groups.is_empty();
        warnings.extend(agents().filter(groupless).map(|person| {
            format!("agent `{}` is in no group, so no ticket can be assigned to them", person.key)
        }));
        warnings
    }
}

/// Reads the named file, or [`DEFAULT_FILE`] if it is there, and the files beside it; else the built-in defaults.
///
/// # Errors
/// With every fault of every file.
pub fn load(path: Option<&Path>) -> Result<Config, ConfigErrors> {
    let default = Path::new(DEFAULT_FILE);
    let Some(path) = path.or_else(|| default.exists().then_some(default)) else {
        return Ok(Config::default());
    };
    let mut faults = Vec::new();
    let mut files = vec![path.to_owned()];
    let config = read_text(path, &mut faults).and_then(|text| {
        let source = Source { file: path, text: &text };
        read::<File>(source, &mut faults).map(|file| file.into_config(source, &mut faults))
    });
    let mut beside = |name: &str, faults: &mut Vec<ConfigError>| {
        let file = path.with_file_name(name);
        let text = file.exists().then(|| read_text(&file, faults)).flatten()?;
        files.push(file.clone());
        Some((file, text))
    };
    let people = beside(PEOPLE_FILE, &mut faults).and_then(|(file, text)| {
        let settings = config.as_ref().map(|config| &config.settings);
        people::parse(Source { file: &file, text: &text }, settings, &mut faults)
    });
    let triggers = beside(TRIGGERS_FILE, &mut faults)
        .map_or_else(standard_triggers, |(file, text)| triggers(&file, &text, &mut faults));
    let locale_file = |config: &Config| format!("locales/{}.toml", config.settings.account.locale);
    let texts = config
        .as_ref()
        .and_then(|config| beside(&locale_file(config), &mut faults))
        .and_then(|(file, text)| locale::parse(Source { file: &file, text: &text }, &mut faults));
    match config {
        Some(mut config) if faults.is_empty() => {
            if let Some(texts) = texts {
                config.settings.texts = texts;
            }
            Ok(Config { people: people.unwrap_or_default(), triggers, files, ..config })
        }
        _ => Err(ConfigErrors(faults)),
    }
}

fn triggers(file: &Path, text: &str, faults: &mut Vec<ConfigError>) -> Vec<Trigger> {
    rules::parse_triggers(&file.display().to_string(), text).unwrap_or_else(|errors| {
        faults.extend(errors.into_iter().map(|error| ConfigError {
            file: file.to_owned(),
            line: Some(error.line),
            key: error.key,
            message: format!("found `{}`, expected {}", error.found, error.expected),
        }));
        Vec::new()
    })
}

/// What runs where no file says otherwise; a test holds that it has no fault.
fn standard_triggers() -> Vec<Trigger> {
    triggers(Path::new(TRIGGERS_FILE), rules::STANDARD_TRIGGERS, &mut Vec::new())
}

/// The effective configuration as a `postern.toml` would say it, passwords masked.
#[must_use]
pub fn describe(config: &Config) -> String {
    toml::to_string(&File::from(config)).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
}

fn read_text(path: &Path, faults: &mut Vec<ConfigError>) -> Option<String> {
    let fault = |error| ConfigError {
        file: path.to_owned(),
        line: None,
        key: String::new(),
        message: format!("cannot be read: {error}"),
    };
    std::fs::read_to_string(path).map_err(|error| faults.push(fault(error))).ok()
}
