//! A client over any stream, and TLS for it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::PATIENCE;

pub const CERTIFICATE: &str = include_str!("../mailer/tls/server.pem");
pub const KEY: &str = include_str!("../mailer/tls/server.key");
pub const AUTHORITY: &str = include_str!("../mailer/tls/ca.pem");

pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// One side of a dialogue.
pub struct Talk<S: Read + Write>(BufReader<S>);

impl<S: Read + Write> Talk<S> {
    pub fn new(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    pub fn stream(&mut self) -> &mut S {
        self.0.get_mut()
    }

    /// What has been received and not asked for.
    pub fn unread(&self) -> &[u8] {
        self.0.buffer()
    }

    pub fn into_stream(self) -> S {
        assert!(self.0.buffer().is_empty(), "the server said more than was asked for");
        self.0.into_inner()
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream().write_all(bytes.as_ref())?;
        self.stream().flush()
    }

    /// All lines of the next reply; empty at the end of the stream.
    pub fn reply(&mut self) -> io::Result<String> {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            if self.0.read_line(&mut reply)? == 0 || reply.as_bytes().get(start + 3) != Some(&b'-') {
                return Ok(reply);
            }
        }
    }

    pub fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n")).unwrap();
        self.reply().unwrap()
    }

    /// Asks, and holds that the answer begins so.
    #[track_caller]
    pub fn say(&mut self, line: &str, expected: &str) {
        let reply = self.ask(line);
        assert!(reply.starts_with(expected), "`{line}` was answered `{reply}`, expected {expected}");
    }

    #[track_caller]
    pub fn expect(&mut self, expected: &str) {
        let reply = self.reply().unwrap();
        assert!(reply.starts_with(expected), "found `{reply}`, expected {expected}");
    }

    /// A mail from its first command to its last dot.
    #[track_caller]
    pub fn mail(&mut self, to: &str) {
        self.say("MAIL FROM:<rita@customer.example>", "250 ");
        self.say(&format!("RCPT TO:<{to}>"), "250 ");
        self.say("DATA", "354 ");
        self.say("Subject: hi\r\n\r\nhi\r\n.", "250 ");
    }

    /// What still comes until the other side closes in good order.
    pub fn rest(&mut self) -> io::Result<String> {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest)?;
        Ok(rest)
    }
}

pub fn connect(address: std::net::SocketAddr) -> Talk<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    Talk::new(stream)
}

/// The handshake, by the book: the certificate must be of an authority that is known, and for `localhost`.
pub fn handshake(mut stream: TcpStream) -> io::Result<Talk<TlsStream>> {
    let mut connection = tls_connection();
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(Talk::new(StreamOwned::new(connection, stream)))
}

pub fn tls_connection() -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(AUTHORITY.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap()
}

pub fn certified() -> Arc<CertifiedKey> {
    let chain = vec![CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    Arc::new(CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider()).unwrap())
}
