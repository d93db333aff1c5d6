//! TLS on our side of a connection: one certificate per listener, which may be changed while it runs.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::stream::Plain;

/// How long a client may take for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// Who we say we are. Handshakes under way go on with the certificate they began with.
pub struct Tls {
    acceptor: TlsAcceptor,
    shown: Arc<Shown>,
}

impl Tls {
    /// # Errors
    /// If the library cannot do TLS with this certificate.
    pub fn new(certificate: Arc<CertifiedKey>) -> Result<Self, rustls::Error> {
        let shown = Arc::new(Shown(ArcSwap::new(certificate)));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), shown })
    }

    /// Shows another certificate from the next handshake on.
    pub fn show(&self, certificate: Arc<CertifiedKey>) {
        self.shown.0.store(certificate);
    }

    pub(super) async fn handshake(&self, stream: Plain) -> io::Result<Box<TlsStream<Plain>>> {
        // Boxed: its state is large, and a connection that is done with it keeps the room.
        let handshake = Box::pin(self.acceptor.accept(stream));
        timeout(HANDSHAKE, handshake).await?.map(Box::new)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// The certificate that is in force.
#[derive(Debug)]
struct Shown(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}
