//! `postern.toml` to a [`Config`]: the checks that look at more than one value.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use toml::Spanned;

use crate::domain::mail::TrustSource;
use crate::domain::people::People;
use crate::domain::settings::{AccountSettings, Settings, SupportAddress};

use super::document::{ConfigError, Source};
use super::file::{Admin, Deliver, Delivery, File, SmarthostFile, SupportEntry, Trust, TrustEntry, unplaced};
use super::locale;
use super::{
    AdminConfig, CertificateAuthority, Config, Credentials, DeliveryConfig, Secret, Smarthost, TlsMode,
};

/// `+id` and a token of at most 32 characters (DESIGN §5) must fit behind a support address's local part.
const TOKEN_SUFFIX_OCTETS: usize = 3 + 32;
/// RFC 5321 §4.5.3.1.1
const MAX_LOCAL_OCTETS: usize = 64;
const SMARTHOST: &str = "delivery.smarthost";
/// The entrance that the `deliver` command is.
pub(super) const DELIVER: &str = "deliver";

impl File {
    /// What the file comes to. Faults that no single value shows are added to `faults`.
    pub(super) fn into_config(self, source: Source<'_>, faults: &mut Vec<ConfigError>) -> Config {
        let mut check = Check { source, faults };
        let mut mail_domain = self.account.mail_domain;
        if let (true, Some(first)) = (mail_domain.is_empty(), self.support_addresses.first()) {
            first.address.get_ref().domain().clone_into(&mut mail_domain);
        }
        let mut server = self.server;
        if server.hostname.is_empty() {
            server.hostname.clone_from(&mail_domain);
        }
        Config {
            settings: Settings {
                support_addresses: check.support_addresses(self.support_addresses, &mail_domain),
                account: AccountSettings {
                    name: self.account.name,
                    mail_domain,
                    time_zone: self.account.time_zone,
                    locale: self.account.locale,
                },
                privacy: self.privacy,
                collaborators: self.collaborators,
                tickets: self.tickets,
                notifications: self.notifications,
                texts: locale::english(),
            },
            server,
            listeners: check.listeners(self.listeners),
            spool: self.deliver.spool.clone(),
            deliver: check.deliver(self.deliver),
            delivery: check.delivery(self.delivery),
            data: self.store.directory,
            deciders: self.pipeline.deciders,
            max_pending: self.pipeline.max_pending,
            disk_reserve: self.store.disk_reserve,
            admin: check.admin(self.admin),
            people: People::default(),
            triggers: Vec::new(),
            files: Vec::new(),
        }
    }
}

pub(super) struct Check<'a> {
    pub(super) source: Source<'a>,
    faults: &'a mut Vec<ConfigError>,
}

impl Check<'_> {
    pub(super) fn fault<T>(&mut self, at: &Spanned<T>, key: &str, message: impl Into<String>) {
        self.faults.push(self.source.fault(&at.span(), key, message));
    }

    fn support_addresses(&mut self, entries: Vec<SupportEntry>, mail_domain: &str) -> Vec<SupportAddress> {
        const KEY: &str = "support_addresses.address";
        if entries.is_empty() {
            self.fault(&unplaced(()), "support_addresses", "there is none, expected at least one");
        }
        let mut seen = BTreeSet::new();
        for entry in &entries {
            let address = entry.address.get_ref();
            if !seen.insert(address) {
                self.fault(&entry.address, KEY, format!("`{address}` is listed twice, expected once"));
            }
            if address.without_detail().key() == format!("bounce@{mail_domain}") {
                let message =
                    format!("`{address}` is where undeliverable mail comes back, expected another address");
                self.fault(&entry.address, KEY, message);
            }
            let local = address.local();
            let longest = MAX_LOCAL_OCTETS - TOKEN_SUFFIX_OCTETS;
            if entry.takes_suffix && (local.len() > longest || local.contains(['+', '"'])) {
                let message = format!(
                    "`{local}` cannot take the suffix `+id…` (at most {longest} octets, no `+`, no quotes), \
                     expected `takes_suffix = false`"
                );
                self.fault(&entry.address, KEY, message);
            }
        }
        let support = |entry: SupportEntry| SupportAddress {
            address: entry.address.into_inner(),
            name: entry.name,
            takes_suffix: entry.takes_suffix,
        };
        entries.into_iter().map(support).collect()
    }

    fn deliver(&mut self, deliver: Deliver) -> TrustSource {
        let Deliver { trust, authserv_id, relays, .. } = deliver;
        self.trust(DELIVER, TrustEntry { trust, authserv_id, relays })
    }

    pub(super) fn trust(&mut self, table: &str, entry: TrustEntry) -> TrustSource {
        let TrustEntry { trust, authserv_id, relays } = entry;
        let word = trust.unwrap_or_else(|| unplaced(Trust::None));
        match (word.get_ref(), authserv_id) {
            (Trust::AuthservId, Some(authserv_id)) if !relays.is_empty() => TrustSource::AuthservId {
                authserv_id: authserv_id.into_inner(),
                relays: relays.into_iter().map(|network| network.into_inner().0).collect(),
            },
            (Trust::AuthservId, _) => {
                let message = "`authserv-id` needs to know whose word counts, expected `authserv_id` and `relays` beside it";
                self.fault(&word, &format!("{table}.trust"), message);
                TrustSource::None
            }
            (other, authserv_id) => {
                const MESSAGE: &str = "has no effect here, expected `trust = \"authserv-id\"` beside it";
                if let Some(given) = authserv_id {
                    self.fault(&given, &format!("{table}.authserv_id"), MESSAGE);
                }
                if let Some(given) = relays.first() {
                    self.fault(given, &format!("{table}.relays"), MESSAGE);
                }
                if *other == Trust::Upstream { TrustSource::Upstream } else { TrustSource::None }
            }
        }
    }

    fn admin(&mut self, admin: Admin) -> AdminConfig {
        if let Some(address) = admin.address.as_ref().filter(|_| !admin.public)
            && !is_private(address.get_ref().ip())
        {
            let message = format!(
                "`{}` can be reached from anywhere and asks for no password, expected an address of this machine or of a \
                 private network, or `public = true` beside it",
                address.get_ref()
            );
            self.fault(address, "admin.address", message);
        }
        AdminConfig { address: admin.address.map(Spanned::into_inner), public: admin.public }
    }

    fn delivery(&mut self, delivery: Delivery) -> DeliveryConfig {
        if let (Some(directory), Some(_)) = (&delivery.directory, &delivery.smarthost) {
            let message = "has no effect beside `delivery.smarthost`, expected one of the two";
            self.fault(directory, "delivery.directory", message);
        }
        DeliveryConfig {
            smarthost: delivery.smarthost.map(|smarthost| self.smarthost(smarthost)),
            directory: delivery.directory.map(Spanned::into_inner),
            retry_days: delivery.retry_days,
            concurrency: delivery.concurrency,
        }
    }

    fn smarthost(&mut self, file: SmarthostFile) -> Smarthost {
        let credentials = self.credentials(SMARTHOST, file.username, file.password, file.password_file);
        if let Some((given, _)) = &credentials
            && file.tls == TlsMode::None
            && !is_loopback(&file.host)
        {
            let message = "would be sent in the clear, expected `tls = \"starttls\"` or `tls = \"tls\"`";
            self.fault(given, &format!("{SMARTHOST}.password"), message);
        }
        let port = file.port.unwrap_or(match file.tls {
            TlsMode::None => 25,
            TlsMode::Starttls => 587,
            TlsMode::Tls => 465,
        });
        if let Some(path) = file.ca_file.as_ref().filter(|_| file.tls == TlsMode::None) {
            let message = "has no effect here, expected `tls = \"starttls\"` or `tls = \"tls\"`";
            self.fault(path, "delivery.smarthost.ca_file", message);
        }
        let authority = file.ca_file.and_then(|path| self.authority(&path));
        Smarthost {
            host: file.host,
            port,
            tls: file.tls,
            credentials: credentials.map(|(_, credentials)| credentials),
            authority,
            timeout: file.timeout,
        }
    }

    /// The certificates of the file, which is looked for beside `postern.toml`.
    fn authority(&mut self, path: &Spanned<PathBuf>) -> Option<CertificateAuthority> {
        let key = &format!("{SMARTHOST}.ca_file");
        let beside = self.source.file.with_file_name(path.get_ref());
        let pem = std::fs::read(&beside)
            .map_err(|error| self.fault(path, key, format!("`{}` cannot be read: {error}", beside.display())))
            .ok()?;
        if !holds_authorities(&pem) {
            let found = beside.display();
            self.fault(path, key, format!("`{found}` holds no certificates, expected some in PEM form"));
            return None;
        }
        Some(CertificateAuthority { file: path.get_ref().clone(), pem })
    }

    /// A user name and its password, or neither; with the place of the password.
    pub(super) fn credentials(
        &mut self,
        table: &str,
        username: Option<Spanned<String>>,
        password: Option<Spanned<Secret>>,
        password_file: Option<Spanned<PathBuf>>,
    ) -> Option<(Spanned<()>, Credentials)> {
        let password = match (password, password_file) {
            (Some(_), Some(path)) => {
                let message = "there is also a `password`, expected one of the two";
                self.fault(&path, &format!("{table}.password_file"), message);
                return None;
            }
            (Some(password), None) => Some(password),
            (None, Some(path)) => Some(self.password_of(table, &path)?),
            (None, None) => None,
        };
        match (username, password) {
            (Some(username), Some(password)) => {
                let given = Spanned::new(password.span(), ());
                let (username, password) = (username.into_inner(), password.into_inner());
                Some((given, Credentials { username, password }))
            }
            (None, Some(password)) => {
                let message = "there is no `username`, expected both";
                self.fault(&password, &format!("{table}.password"), message);
                None
            }
            (Some(username), None) => {
                let message = "there is no password, expected `password` or `password_file`";
                self.fault(&username, &format!("{table}.username"), message);
                None
            }
            (None, None) => None,
        }
    }

    /// The first line of the file, which is looked for beside `postern.toml`.
    fn password_of(&mut self, table: &str, path: &Spanned<PathBuf>) -> Option<Spanned<Secret>> {
        let key = format!("{table}.password_file");
        let beside = self.source.file.with_file_name(path.get_ref());
        match std::fs::read_to_string(&beside) {
            Ok(text) if text.trim().is_empty() => {
                self.fault(path, &key, format!("`{}` is empty, expected a password", beside.display()));
                None
            }
            Ok(text) => {
                let secret = Secret::new(text.lines().next().unwrap_or_default().trim());
                Some(Spanned::new(path.span(), secret))
            }
            Err(error) => {
                self.fault(path, &key, format!("`{}` cannot be read: {error}", beside.display()));
                None
            }
        }
    }
}

/// At least one certificate, and nothing that cannot be read as one.
fn holds_authorities(pem: &[u8]) -> bool {
    let mut roots = RootCertStore::empty();
    let sound = CertificateDer::pem_slice_iter(pem)
        .all(|certificate| certificate.is_ok_and(|certificate| roots.add(certificate).is_ok()));
    sound && !roots.is_empty()
}

/// Of this machine, or of a network that is nobody else's (RFC 1918, RFC 3927, RFC 4193, RFC 4291).
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}
