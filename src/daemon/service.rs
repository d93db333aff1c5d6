//! What systemd and we tell one another. Started by anything else, there is nobody to tell and nothing to take.

use std::collections::BTreeSet;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::time::sleep;

use crate::config::ListenerSettings;
use crate::domain::endpoint::Endpoint;
use crate::smtp::listener::Socket;
use crate::store::{Store, StoreError};

/// We take mail from now on: at the start, and after a reload.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

pub(super) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}

/// Tells systemd that we are well, as often as it wants to hear it, while the writer of `store` answers, whatever it
/// answers: a full disk is not mended by a new start. When it hears nothing for too long, systemd starts us anew.
pub(super) async fn watchdog(store: Store) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    // Two tries within the limit.
    let pause = limit / 4;
    loop {
        if store.ask_writer(pause).await.is_some_and(|answer| answer != Err(StoreError::Closed)) {
            tell(&[NotifyState::Watchdog]);
        }
        sleep(pause).await;
    }
}

/// Sockets that systemd listened on before we ran (`sd_listen_fds(3)`).
pub(super) struct HandedOver {
    sockets: ListenFd,
    /// `FileDescriptorName=` of each, or nothing if they are told apart by their order.
    names: Option<Vec<String>>,
    taken: BTreeSet<usize>,
    /// Listeners that have asked so far.
    asked: usize,
}

impl HandedOver {
    /// To be called before there are threads, as the environment is changed. With a name that is a listener's, the
    /// sockets are told apart by their names; else they are for the listeners in their order.
    pub(super) fn from_env(listeners: &[ListenerSettings]) -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<String> = names.split(':').map(str::to_owned).collect();
        let sockets = ListenFd::from_env();
        let is_listener = |name: &String| listeners.iter().any(|listener| listener.name == *name);
        let by_name = names.len() == sockets.len() && names.iter().any(is_listener);
        Self { sockets, names: by_name.then_some(names), taken: BTreeSet::new(), asked: 0 }
    }

    /// The socket for this listener, if there is one. To be asked for every listener, in their order.
    pub(super) fn take(&mut self, listener: &ListenerSettings) -> Result<Option<Socket>, String> {
        let index = match &self.names {
            Some(names) => names.iter().position(|name| *name == listener.name),
            None => Some(self.asked),
        };
        self.asked += 1;
        let Some(index) = index.filter(|index| *index < self.sockets.len()) else { return Ok(None) };
        self.taken.insert(index);
        let ListenerSettings { name, address, .. } = listener;
        let fault = |what: &str| {
            format!(
                "listener `{name}`: the socket that systemd handed over {what}, expected one at {address}"
            )
        };
        let socket = match address {
            Endpoint::Tcp(_) => self.sockets.take_tcp_listener(index).map(|found| found.map(Socket::of_tcp)),
            Endpoint::Unix(_) => {
                self.sockets.take_unix_listener(index).map(|found| found.map(Socket::of_unix))
            }
        };
        let socket = socket
            .and_then(Option::transpose)
            .map_err(|error| fault(&format!("is of another kind ({error})")))?;
        let Some(socket) = socket else { return Ok(None) };
        let found = socket.endpoint().map_err(|error| fault(&format!("cannot be used ({error})")))?;
        let any_port = matches!((address, &found), (Endpoint::Tcp(wanted), Endpoint::Tcp(found))
            if wanted.port() == 0 && wanted.ip() == found.ip());
        if found != *address && !any_port {
            return Err(fault(&format!("is at {found}")));
        }
        Ok(Some(socket))
    }

    /// # Errors
    /// If a socket is for no listener: mail would wait there for ever.
    pub(super) fn all_taken(&self) -> Result<(), String> {
        let left = (0..self.sockets.len()).find(|index| !self.taken.contains(index));
        let Some(left) = left else { return Ok(()) };
        let name = self.names.as_ref().and_then(|names| names.get(left));
        let which = name.map_or_else(|| format!("number {}", left + 1), |name| format!("named `{name}`"));
        Err(format!(
            "systemd handed over a socket ({which}) that is for no listener, expected one for each at most"
        ))
    }
}
