//! Takes connections on one socket, each within the bounds that all listeners share, and ends them in order.
//!
//! **Invariant:** a session has a task of its own; what goes wrong in one, a panic included, ends that one only.
//! **Invariant:** each connection leaves exactly one log event, however it ends.
//! **Invariant:** after `shutdown` no new mail is begun, and a mail whose last dot has come is answered.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Accept;
use super::connection::{self, Host, Record};
use super::policy::{Refusal, SessionConfig};
use super::tls::Tls;
use crate::domain::time::Timestamp;
use crate::telemetry;

pub use super::bounds::{Bounds, Capacity};
pub use super::pace::MinRate;
pub use super::socket::Socket;

use super::bounds::{Backoff, Place};

/// How one listener behaves.
#[derive(Clone)]
pub struct ListenerConfig {
    pub session: Arc<SessionConfig>,
    /// Gives the time of acceptance.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// What all listeners together may hold.
    pub bounds: Arc<Bounds>,
    pub encryption: Encryption,
    /// Networks whose connections begin with a PROXY header that names the client. Default none.
    pub proxies: Vec<IpNet>,
    /// Clients whose network may have as many connections as there are, besides this machine. Default none.
    pub unlimited: Vec<IpNet>,
    /// From one command to the end of the next, and for the client to take our replies. Default 5 minutes
    /// (RFC 5321 §4.5.3.2.7).
    pub command_timeout: Duration,
    /// From one piece of a message to the next. Default 3 minutes (RFC 5321 §4.5.3.2.5).
    pub data_timeout: Duration,
    /// For a whole message, so that nobody can hold a place by sending a byte every two minutes. Default 15
    /// minutes.
    pub message_timeout: Duration,
    pub min_rate: MinRate,
    /// How long a shutdown waits for messages under way. Default 30 seconds.
    pub shutdown_grace: Duration,
}

/// Whether and when connections are encrypted.
#[derive(Clone, Debug, Default)]
pub enum Encryption {
    #[default]
    None,
    /// After STARTTLS; the session's policy says whether it must be.
    StartTls(Arc<Tls>),
    /// From the first byte.
    Implicit(Arc<Tls>),
}

impl ListenerConfig {
    /// A configuration with the defaults, and bounds of its own.
    #[must_use]
    pub fn new(session: Arc<SessionConfig>, clock: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        Self {
            session,
            clock,
            bounds: Bounds::new(Capacity::default()),
            encryption: Encryption::None,
            proxies: Vec::new(),
            unlimited: Vec::new(),
            command_timeout: Duration::from_secs(5 * 60),
            data_timeout: Duration::from_secs(3 * 60),
            message_timeout: Duration::from_secs(15 * 60),
            min_rate: MinRate::default(),
            shutdown_grace: Duration::from_secs(30),
        }
    }

    pub(super) fn entrance(&self) -> &str {
        &self.session.entrance.name
    }

    /// Whether a connection from this address speaks for somebody else.
    pub(super) fn is_proxy(&self, peer: Option<IpAddr>) -> bool {
        peer.is_some_and(|peer| self.proxies.iter().any(|network| network.contains(&peer)))
    }

    /// Takes a place of the client's network. What comes from this machine is not counted: behind a loopback address or
    /// a Unix socket may be a mail server that brings everybody's mail.
    pub(super) fn admits(&self, place: &mut Place, client: Option<IpAddr>) -> bool {
        let Some(client) = client else { return true };
        let is_unlimited =
            client.is_loopback() || self.unlimited.iter().any(|network| network.contains(&client));
        is_unlimited || place.of_client(client)
    }
}

impl fmt::Debug for ListenerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerConfig").field("session", &self.session).finish_non_exhaustive()
    }
}

/// How a listener ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Sessions that had not ended when the grace period was over. Their mails were not answered, so their
    /// clients send them again.
    pub cut_off: usize,
}

/// Serves clients until `shutdown`, then lets the sessions end.
pub async fn run<A: Accept>(
    socket: Socket,
    config: Arc<ListenerConfig>,
    accept: Arc<A>,
    shutdown: CancellationToken,
) -> Drained {
    let mut sessions = JoinSet::new();
    let mut backoff = Backoff::default();
    let host = Arc::new(Host { config, accept, shutdown });
    let Host { config, shutdown, .. } = host.as_ref();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = sessions.join_next() => continue,
            accepted = socket.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(connection) => connection,
            Err(error) => {
                let pause = backoff.after(&error);
                telemetry::smtp_accept_failed(config.entrance(), pause, &error.to_string());
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = sleep(pause) => continue,
                }
            }
        };
        backoff = Backoff::default();
        let mut record = Record::new(config, peer);
        // Refused here and not in a task: a flood must not cost us tasks. Whom a proxy speaks for is not known yet.
        let Some(mut place) = config.bounds.place() else {
            connection::refuse(config, stream, &mut record, Refusal::TooManyConnections);
            continue;
        };
        if !config.is_proxy(peer) && !config.admits(&mut place, peer) {
            connection::refuse(config, stream, &mut record, Refusal::TooManyFromNetwork);
            continue;
        }
        sessions.spawn(connection::serve(Arc::clone(&host), stream, place, record));
    }
    drop(socket);
    drain(sessions, config.shutdown_grace).await
}

async fn drain(mut sessions: JoinSet<()>, grace: Duration) -> Drained {
    let all_ended = async { while sessions.join_next().await.is_some() {} };
    let in_time = timeout(grace, all_ended).await.is_ok();
    let cut_off = if in_time { 0 } else { sessions.len() };
    sessions.shutdown().await;
    Drained { cut_off }
}
