//! What the SMTP tests share: an `Accept` that records, a configuration, and a listener on a port of its own.

// Each test binary uses a part of this.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern::domain::address::Address;
use postern::domain::endpoint::Endpoint;
use postern::domain::ids::JournalId;
use postern::domain::mail::{Entrance, Envelope, TrustSource};
use postern::domain::time::Timestamp;
use postern::smtp::listener::{self, Bounds, Capacity, Drained, ListenerConfig, Socket};
use postern::smtp::policy::{Limits, Logins, Protocol, Recipients, SessionConfig, TlsPolicy};
use postern::smtp::{Accept, Refused};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// When every mail of these tests is accepted.
pub const NOW: Timestamp = Timestamp(1_795_255_920_000_000);

pub fn session_config(limits: Limits) -> SessionConfig {
    let address = |text| Address::parse(text).unwrap();
    SessionConfig {
        hostname: "mail.desk.example".into(),
        entrance: Entrance { name: "test".into(), trust: TrustSource::None },
        recipients: Recipients {
            addresses: vec![address("support@desk.example"), address("bounce@desk.example")],
            postmaster: address("postmaster@desk.example"),
        },
        limits,
        protocol: Protocol::Smtp,
        tls: TlsPolicy::None,
        logins: Logins::default(),
    }
}

pub fn listener_config() -> ListenerConfig {
    ListenerConfig::new(Arc::new(session_config(Limits::default())), Arc::new(|| NOW))
}

/// Keeps mails in memory; answers the refusals it was given first, one a mail.
#[derive(Debug, Default)]
pub struct Recorder {
    pub refusals: Mutex<VecDeque<Refused>>,
    pub mails: Mutex<Vec<(Envelope, Vec<u8>)>>,
}

impl Recorder {
    pub fn take(&self, envelope: Envelope, raw: Vec<u8>) -> Result<JournalId, Refused> {
        if let Some(refused) = self.refusals.lock().unwrap().pop_front() {
            return Err(refused);
        }
        let mut mails = self.mails.lock().unwrap();
        mails.push((envelope, raw));
        Ok(JournalId(i64::try_from(mails.len()).unwrap()))
    }

    pub fn count(&self) -> usize {
        self.mails.lock().unwrap().len()
    }
}

impl Accept for Recorder {
    async fn accept(&self, envelope: Envelope, raw: Vec<u8>) -> Result<JournalId, Refused> {
        self.take(envelope, raw)
    }
}

/// A listening socket on a free port; to be called within a runtime.
pub fn loopback() -> (Socket, SocketAddr) {
    let socket = Socket::bind(&"127.0.0.1:0".parse().unwrap(), 0).unwrap();
    match socket.endpoint().unwrap() {
        Endpoint::Tcp(address) => (socket, address),
        Endpoint::Unix(_) => unreachable!("a TCP socket was bound"),
    }
}

/// A configuration whose listeners together may hold this.
pub fn with_capacity(capacity: Capacity) -> ListenerConfig {
    ListenerConfig { bounds: Bounds::new(capacity), ..listener_config() }
}

/// A listener that runs on threads of its own, so that tests can be plain blocking clients.
pub struct TestServer {
    pub address: SocketAddr,
    pub shutdown: CancellationToken,
    runtime: Runtime,
    running: JoinHandle<Drained>,
}

impl TestServer {
    pub fn start<A: Accept>(config: ListenerConfig, accept: Arc<A>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let shutdown = CancellationToken::new();
        let guard = runtime.enter();
        let (socket, address) = loopback();
        drop(guard);
        let running = runtime.spawn(listener::run(socket, Arc::new(config), accept, shutdown.clone()));
        Self { address, shutdown, runtime, running }
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Waits for `future`, at most five seconds.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(5), future).await }).unwrap()
    }

    /// Asks the listener to end and waits until it has.
    pub fn stop(self) -> Drained {
        self.shutdown.cancel();
        self.runtime.block_on(self.running).unwrap()
    }
}

/// A listener and what it keeps.
pub fn recording_server(config: ListenerConfig) -> (TestServer, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    (TestServer::start(config, Arc::clone(&recorder)), recorder)
}

/// A client that waits at most five seconds for anything.
#[derive(Debug)]
pub struct Client {
    pub stream: TcpStream,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
        Self { stream }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next line, without its line end; empty at the end of the stream.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\n") && self.stream.read(&mut byte).unwrap() == 1 {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    /// The next reply: all its lines, with spaces between.
    pub fn reply(&mut self) -> String {
        let mut lines = vec![self.line()];
        while lines.last().is_some_and(|line| line.as_bytes().get(3) == Some(&b'-')) {
            lines.push(self.line());
        }
        lines.join(" ")
    }

    /// Sends a line and gives the reply.
    pub fn say(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// Reads the greeting and says hello.
    pub fn hello(&mut self) {
        assert!(self.reply().starts_with("220 "));
        assert!(self.say("EHLO client.example").starts_with("250-"));
    }

    /// Sends the commands before a message, and gives the reply to DATA.
    pub fn begin_mail(&mut self, reverse_path: &str, recipient: &str) -> String {
        self.say(&format!("MAIL FROM:<{reverse_path}>"));
        self.say(&format!("RCPT TO:<{recipient}>"));
        self.say("DATA")
    }

    /// All that still comes until the other side closes; a connection reset counts as closed.
    pub fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = self.stream.read(&mut piece) {
            rest.extend_from_slice(&piece[..count]);
        }
        String::from_utf8(rest).unwrap()
    }
}
