//! The listeners as the configuration wants them: sockets, bounds, certificates.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::service::HandedOver;
use crate::clock::Clock;
use crate::config::{self, Config, Credentials, ListenerSettings, ServerCertificate, ServerConfig, TlsUse};
use crate::domain::address::Address;
use crate::domain::mail::{Entrance, TrustSource};
use crate::domain::settings::Settings;
use crate::smtp::listener::{Bounds, Capacity, Encryption, ListenerConfig, MinRate, Socket};
use crate::smtp::policy::{Limits, Login, Logins, Protocol, Recipients, SessionConfig, TlsPolicy};
use crate::smtp::tls::Tls;
use crate::telemetry;

/// A listener that is ready to be served.
pub(super) struct Opened {
    /// Its name and where it is found, for people.
    pub(super) place: String,
    pub(super) socket: Socket,
    pub(super) config: ListenerConfig,
}

/// Opens every listener: takes the sockets that systemd handed over, and binds the others.
pub(super) fn open(
    config: &Config,
    clock: &Clock,
    mut handed_over: HandedOver,
) -> Result<(Vec<Opened>, Certificates), String> {
    let bounds = Bounds::new(Capacity {
        max_connections: config.server.max_connections,
        max_connections_per_network: config.server.max_connections_per_network,
        max_bytes_in_flight: config.server.max_bytes_in_flight,
    });
    let recipients = recipients(&config.settings)?;
    let mut certificates = Certificates::default();
    let mut opened = Vec::new();
    for settings in &config.listeners {
        let ListenerSettings { name, address, mode, .. } = settings;
        let socket = match handed_over.take(settings)? {
            Some(socket) => socket,
            None => Socket::bind(address, *mode)
                .map_err(|error| format!("listener `{name}`: cannot listen on {address}: {error}"))?,
        };
        let endpoint = socket.endpoint().map_err(|error| error.to_string())?;
        let clock = clock.clone();
        let session = session_config(&config.server, settings, recipients.clone());
        let timing = ListenerConfig::new(Arc::new(session), Arc::new(move || clock.now()));
        opened.push(Opened {
            place: format!("{name} {endpoint}"),
            socket,
            config: ListenerConfig {
                bounds: Arc::clone(&bounds),
                encryption: certificates.encryption(settings)?,
                proxies: settings.proxies.clone(),
                unlimited: unlimited(&config.server, settings),
                command_timeout: config.server.command_timeout,
                data_timeout: config.server.data_timeout,
                message_timeout: config.server.message_timeout,
                min_rate: MinRate { bytes_per_second: config.server.min_data_rate, ..timing.min_rate },
                shutdown_grace: config.server.shutdown_grace,
                ..timing
            },
        });
    }
    handed_over.all_taken()?;
    Ok((opened, certificates))
}

fn session_config(
    server: &ServerConfig,
    listener: &ListenerSettings,
    recipients: Recipients,
) -> SessionConfig {
    let login = |known: &Credentials| Login {
        username: known.username.clone(),
        password: known.password.expose().to_owned(),
    };
    let logins: Vec<Login> = listener.logins.iter().map(login).collect();
    SessionConfig {
        hostname: server.hostname.clone(),
        entrance: Entrance { name: listener.name.clone(), trust: listener.trust.clone() },
        recipients,
        limits: Limits {
            max_line_length: server.max_line_length,
            max_message_size: server.max_message_size,
            max_headers: server.max_headers,
            max_header_size: server.max_header_size,
            max_recipients: server.max_recipients,
            max_errors: server.max_errors,
            max_commands: server.max_commands,
            max_auth_failures: server.max_auth_failures,
        },
        protocol: match listener.protocol {
            config::Protocol::Smtp => Protocol::Smtp,
            config::Protocol::Lmtp => Protocol::Lmtp,
        },
        tls: match listener.tls.as_ref().map(|tls| tls.begins) {
            None | Some(TlsUse::Implicit) => TlsPolicy::None,
            Some(TlsUse::Offered) => TlsPolicy::Offered,
            Some(TlsUse::Required) => TlsPolicy::Required,
        },
        logins: Logins::new(&logins),
    }
}

/// Who may come with as many connections as there are: a relay that we know brings the mail of many.
fn unlimited(server: &ServerConfig, listener: &ListenerSettings) -> Vec<ipnet::IpNet> {
    let relays = match &listener.trust {
        TrustSource::AuthservId { relays, .. } => relays.as_slice(),
        TrustSource::None | TrustSource::Upstream => &[],
    };
    server.unlimited_networks.iter().chain(relays).copied().collect()
}

/// Support addresses, our return addresses and postmaster; nothing else (DESIGN §5).
fn recipients(settings: &Settings) -> Result<Recipients, String> {
    let of_domain = |local: &str| {
        Address::parse(&format!("{local}@{}", settings.account.mail_domain))
            .map_err(|error| error.to_string())
    };
    let support: BTreeSet<Address> =
        settings.support_addresses.iter().map(|support| support.address.clone()).collect();
    let addresses = support.into_iter().chain([of_domain("bounce")?]).collect();
    Ok(Recipients { addresses, postmaster: of_domain("postmaster")? })
}

/// The certificates in force, and the files they came from.
#[derive(Default)]
pub(super) struct Certificates(Vec<Shown>);

struct Shown {
    entrance: String,
    tls: Arc<Tls>,
    certificate: ServerCertificate,
}

impl Certificates {
    fn encryption(&mut self, listener: &ListenerSettings) -> Result<Encryption, String> {
        let Some(settings) = &listener.tls else { return Ok(Encryption::None) };
        let certificate = settings.certificate.clone();
        let tls = Tls::new(Arc::clone(&certificate.certified))
            .map_err(|error| format!("listener `{}`: no TLS: {error}", listener.name))?;
        let tls = Arc::new(tls);
        self.0.push(Shown { entrance: listener.name.clone(), tls: Arc::clone(&tls), certificate });
        Ok(match settings.begins {
            TlsUse::Offered | TlsUse::Required => Encryption::StartTls(tls),
            TlsUse::Implicit => Encryption::Implicit(tls),
        })
    }

    /// Reads the files again. A listener whose files are not sound keeps what it has: an old certificate is better
    /// than none.
    pub(super) fn reload(&self) {
        for Shown { entrance, tls, certificate } in &self.0 {
            match certificate.reread() {
                Ok(found) => {
                    tls.show(found.certified);
                    telemetry::tls_reloaded(entrance);
                }
                Err(error) => telemetry::tls_reload_failed(entrance, &error),
            }
        }
    }
}
