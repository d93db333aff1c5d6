//! `[[listeners]]`: as they are written, and what they come to.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::Credentials;
use super::certificate::{Part, ServerCertificate};
use super::check::{Check, DELIVER};
use super::file::{Trust, TrustEntry, trust_entry, unplaced};
use super::values::{Network, Secret, mode};
use crate::domain::endpoint::Endpoint;
use crate::domain::mail::TrustSource;

/// A socket that mail comes in at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    pub name: String,
    pub address: Endpoint,
    /// The permission bits of a Unix socket.
    pub mode: u32,
    pub protocol: Protocol,
    pub tls: Option<TlsSettings>,
    /// Who must say in a PROXY header whom they speak for.
    pub proxies: Vec<IpNet>,
    /// With any, nobody sends mail who has not logged in.
    pub logins: Vec<Credentials>,
    pub trust: TrustSource,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Smtp,
    Lmtp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    pub begins: TlsUse,
    pub certificate: ServerCertificate,
}

/// When a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsUse {
    /// After STARTTLS, if the client likes.
    Offered,
    /// After STARTTLS, without which no mail is taken.
    Required,
    /// From the first byte.
    Implicit,
}

/// A Unix socket that only its owner and group may use.
const MODE: u32 = 0o660;
/// RFC 2033 §5: LMTP must not be spoken there.
const SMTP_PORT: u16 = 25;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Listener {
    name: Spanned<String>,
    address: Spanned<Endpoint>,
    #[serde(default, with = "mode", skip_serializing_if = "Option::is_none")]
    mode: Option<Spanned<u32>>,
    #[serde(default)]
    protocol: Protocol,
    #[serde(default)]
    tls: Option<Spanned<Tls>>,
    #[serde(default)]
    certificate: Option<Spanned<PathBuf>>,
    #[serde(default)]
    key: Option<Spanned<PathBuf>>,
    #[serde(default)]
    proxies: Vec<Spanned<Network>>,
    #[serde(default)]
    trust: Option<Spanned<Trust>>,
    #[serde(default)]
    authserv_id: Option<Spanned<String>>,
    #[serde(default)]
    relays: Vec<Spanned<Network>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    logins: Vec<Login>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Tls {
    #[default]
    None,
    Starttls,
    Required,
    Implicit,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct Login {
    username: Spanned<String>,
    #[serde(default)]
    password: Option<Spanned<Secret>>,
    #[serde(default)]
    password_file: Option<Spanned<PathBuf>>,
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            name: unplaced("smtp".to_owned()),
            address: unplaced(Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], 2525)))),
            mode: None,
            protocol: Protocol::Smtp,
            tls: None,
            certificate: None,
            key: None,
            proxies: Vec::new(),
            trust: None,
            authserv_id: None,
            relays: Vec::new(),
            logins: Vec::new(),
        }
    }
}

/// As a file would say it. Passwords are masked.
impl From<&ListenerSettings> for Listener {
    fn from(listener: &ListenerSettings) -> Self {
        let TrustEntry { trust, authserv_id, relays } = trust_entry(&listener.trust);
        let tls = listener.tls.as_ref();
        let is_unix = matches!(listener.address, Endpoint::Unix(_));
        Self {
            name: unplaced(listener.name.clone()),
            address: unplaced(listener.address.clone()),
            mode: is_unix.then(|| unplaced(listener.mode)),
            protocol: listener.protocol,
            tls: Some(unplaced(tls.map_or(Tls::None, |tls| tls.begins.into()))),
            certificate: tls.map(|tls| unplaced(tls.certificate.certificate.clone())),
            key: tls.map(|tls| unplaced(tls.certificate.key.clone())),
            proxies: listener.proxies.iter().map(|network| unplaced(Network(*network))).collect(),
            trust,
            authserv_id,
            relays,
            logins: listener.logins.iter().map(Login::from).collect(),
        }
    }
}

impl From<&Credentials> for Login {
    fn from(known: &Credentials) -> Self {
        Self {
            username: unplaced(known.username.clone()),
            password: Some(unplaced(known.password.clone())),
            password_file: None,
        }
    }
}

impl From<TlsUse> for Tls {
    fn from(begins: TlsUse) -> Self {
        match begins {
            TlsUse::Offered => Self::Starttls,
            TlsUse::Required => Self::Required,
            TlsUse::Implicit => Self::Implicit,
        }
    }
}

impl Check<'_> {
    pub(super) fn listeners(&mut self, entries: Vec<Listener>) -> Vec<ListenerSettings> {
        let mut names = BTreeSet::from([DELIVER.to_owned()]);
        let mut addresses = BTreeSet::new();
        let mut listeners = Vec::new();
        for entry in entries {
            let (name, address) = (entry.name.get_ref(), entry.address.get_ref());
            if !names.insert(name.clone()) {
                let message = format!("`{name}` is taken, expected a name that no other entrance has");
                self.fault(&entry.name, "listeners.name", message);
            }
            // Port 0 lets the system choose, a different one each time.
            let is_fixed = !matches!(address, Endpoint::Tcp(address) if address.port() == 0);
            if is_fixed && !addresses.insert(address.clone()) {
                let message = format!("`{address}` is taken, expected an address that no other listener has");
                self.fault(&entry.address, "listeners.address", message);
            }
            listeners.push(self.listener(entry));
        }
        listeners
    }

    fn listener(&mut self, entry: Listener) -> ListenerSettings {
        match entry.address.get_ref() {
            Endpoint::Tcp(address) => {
                if entry.protocol == Protocol::Lmtp && address.port() == SMTP_PORT {
                    let message = "port 25 is for SMTP only (RFC 2033 §5), expected another port for `lmtp`";
                    self.fault(&entry.address, "listeners.address", message);
                }
                self.without_effect(entry.mode.as_ref(), "mode", "an `address` that begins with `unix:`");
            }
            Endpoint::Unix(_) => {
                const TCP: &str =
                    "an `address` with a port: what comes by a Unix socket comes from this machine";
                self.without_effect(entry.proxies.first(), "proxies", TCP);
                let tls = entry.tls.as_ref().filter(|tls| *tls.get_ref() != Tls::None);
                self.without_effect(tls, "tls", TCP);
            }
        }
        let is_encrypted = entry.tls.as_ref().is_some_and(|tls| *tls.get_ref() != Tls::None);
        let in_the_clear = !is_encrypted && matches!(entry.address.get_ref(), Endpoint::Tcp(_));
        let tls = self.tls(entry.tls, entry.certificate, entry.key);
        let logins = self.logins(entry.logins, in_the_clear);
        let trust = TrustEntry { trust: entry.trust, authserv_id: entry.authserv_id, relays: entry.relays };
        ListenerSettings {
            name: entry.name.into_inner(),
            address: entry.address.into_inner(),
            mode: entry.mode.map_or(MODE, Spanned::into_inner),
            protocol: entry.protocol,
            tls,
            proxies: entry.proxies.into_iter().map(|network| network.into_inner().0).collect(),
            logins,
            trust: self.trust("listeners", trust),
        }
    }

    fn without_effect<T>(&mut self, given: Option<&Spanned<T>>, key: &str, expected: &str) {
        if let Some(given) = given {
            let message = format!("has no effect here, expected {expected}");
            self.fault(given, &format!("listeners.{key}"), message);
        }
    }

    fn tls(
        &mut self,
        tls: Option<Spanned<Tls>>,
        certificate: Option<Spanned<PathBuf>>,
        key: Option<Spanned<PathBuf>>,
    ) -> Option<TlsSettings> {
        let tls = tls.unwrap_or_else(|| unplaced(Tls::None));
        let begins = match tls.get_ref() {
            Tls::None => {
                const TLS: &str = "`tls = \"starttls\"`, `\"required\"` or `\"implicit\"` beside it";
                self.without_effect(certificate.as_ref(), "certificate", TLS);
                self.without_effect(key.as_ref(), "key", TLS);
                return None;
            }
            Tls::Starttls => TlsUse::Offered,
            Tls::Required => TlsUse::Required,
            Tls::Implicit => TlsUse::Implicit,
        };
        let Some((certificate, key)) = certificate.zip(key) else {
            let message = "needs a certificate to show, expected `certificate` and `key` beside it";
            self.fault(&tls, "listeners.tls", message);
            return None;
        };
        match ServerCertificate::read(self.source.file, certificate.get_ref(), key.get_ref()) {
            Ok(certificate) => Some(TlsSettings { begins, certificate }),
            Err(fault) => {
                match fault.of {
                    Part::Certificate => self.fault(&certificate, "listeners.certificate", fault.message),
                    Part::Key => self.fault(&key, "listeners.key", fault.message),
                }
                None
            }
        }
    }

    fn logins(&mut self, entries: Vec<Login>, in_the_clear: bool) -> Vec<Credentials> {
        const TABLE: &str = "listeners.logins";
        let mut names = BTreeSet::new();
        let mut logins = Vec::new();
        for Login { username, password, password_file } in entries {
            if !names.insert(username.get_ref().clone()) {
                let message = format!("`{}` is taken, expected a name used once", username.get_ref());
                self.fault(&username, &format!("{TABLE}.username"), message);
            }
            if in_the_clear {
                let message = "the password would come in the clear, expected `tls` for this listener";
                self.fault(&username, &format!("{TABLE}.username"), message);
            }
            logins.extend(self.credentials(TABLE, Some(username), password, password_file));
        }
        logins.into_iter().map(|(_, credentials)| credentials).collect()
    }
}
