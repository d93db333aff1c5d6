//! Sockets, time-outs, limits and shutdown: drives [`Session`]s and hands their mails to [`Accept`].
//!
//! **Invariant:** a session has a task of its own; what goes wrong in one, a panic included, ends that one only.
//! **Invariant:** each connection leaves exactly one log event, however it ends.
//! **Invariant:** after `shutdown` no new mail is begun, and a mail whose last dot has come is answered.

use std::fmt;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Accept;
use super::bounds::{Backoff, InFlight, Share};
use super::policy::{Refusal, SessionConfig};
use super::reply::Reply;
use super::session::{Awaiting, Channel, Ending, Session, Step};
use crate::domain::mail::Envelope;
use crate::domain::time::Timestamp;
use crate::telemetry::{self, SessionEvent};

/// A good length for the queue of connections not yet accepted. The default of 128 is too short: a client that
/// finds it full believes it is connected and waits for ever for a greeting that nobody will send.
pub const BACKLOG: u32 = 4096;

/// How much is read at once.
const READ_SIZE: usize = 16 * 1024;

/// How long a closed connection is read on, so that the last reply is not lost: closing a socket that holds
/// unread bytes makes the system send RST, and the client drops what it has not read yet.
const LINGER: Duration = Duration::from_secs(1);

/// How one listener behaves.
#[derive(Clone)]
pub struct ListenerConfig {
    pub session: Arc<SessionConfig>,
    /// Gives the time of acceptance.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Connections at a time; more are answered 421. Default 1,000.
    pub max_connections: usize,
    /// Bytes of all messages under way together; the message that would pass it is answered 452, and comes
    /// again. Default 128 MiB.
    pub max_bytes_in_flight: usize,
    /// From one command to the end of the next, and for the client to take our replies. Default 5 minutes
    /// (RFC 5321 §4.5.3.2.7).
    pub command_timeout: Duration,
    /// From one piece of a message to the next. Default 3 minutes (RFC 5321 §4.5.3.2.5).
    pub data_timeout: Duration,
    /// For a whole message, so that nobody can hold a place by sending a byte every two minutes. Default 15
    /// minutes.
    pub message_timeout: Duration,
    /// How long a shutdown waits for messages under way. Default 30 seconds.
    pub shutdown_grace: Duration,
}

impl ListenerConfig {
    /// A configuration with the defaults.
    #[must_use]
    pub fn new(session: Arc<SessionConfig>, clock: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        Self {
            session,
            clock,
            max_connections: 1000,
            max_bytes_in_flight: 128 * 1024 * 1024,
            command_timeout: Duration::from_secs(5 * 60),
            data_timeout: Duration::from_secs(3 * 60),
            message_timeout: Duration::from_secs(15 * 60),
            shutdown_grace: Duration::from_secs(30),
        }
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

/// Opens a listening socket; see [`BACKLOG`].
///
/// # Errors
/// The address is taken, not ours, or not allowed.
pub fn bind(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the connections of the last run to leave TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Serves SMTP until `shutdown`, then lets the sessions end.
pub async fn run<A: Accept>(
    listener: TcpListener,
    config: Arc<ListenerConfig>,
    accept: Arc<A>,
    shutdown: CancellationToken,
) -> Drained {
    let mut sessions = JoinSet::new();
    let in_flight = InFlight::new(config.max_bytes_in_flight);
    let mut backoff = Backoff::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = sessions.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(connection) => connection,
            Err(error) => {
                let pause = backoff.after(&error);
                telemetry::smtp_accept_failed(&config.session.entrance.name, pause, &error.to_string());
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = sleep(pause) => continue,
                }
            }
        };
        backoff = Backoff::default();
        if sessions.len() >= config.max_connections {
            refuse(stream, peer, &config);
            continue;
        }
        let connection = Connection {
            session: Session::new(
                Arc::clone(&config.session),
                Some(peer.ip().to_canonical()),
                Channel::Plain,
            ),
            record: Record::new(peer, &config),
            share: in_flight.share(),
            config: Arc::clone(&config),
            accept: Arc::clone(&accept),
            shutdown: shutdown.clone(),
            stream,
            progress: 0,
            waiting_since: Instant::now(),
        };
        sessions.spawn(connection.serve());
    }
    drop(listener);
    drain(sessions, config.shutdown_grace).await
}

async fn drain(mut sessions: JoinSet<()>, grace: Duration) -> Drained {
    let all_ended = async { while sessions.join_next().await.is_some() {} };
    let in_time = timeout(grace, all_ended).await.is_ok();
    let cut_off = if in_time { 0 } else { sessions.len() };
    sessions.shutdown().await;
    Drained { cut_off }
}

/// Says 421 and closes, without waiting for anything: a flood must not cost us tasks.
fn refuse(stream: TcpStream, peer: SocketAddr, config: &Arc<ListenerConfig>) {
    let mut reply = Vec::new();
    Reply::refusal(Refusal::TooManyConnections).write_to(&mut reply);
    // A fresh socket has room for one line; if the client is gone already, nobody misses it.
    let _ = stream.into_std().and_then(|mut stream| stream.write(&reply));
    Record::new(peer, config).ended("too_many_connections");
}

/// One client's connection.
struct Connection<A> {
    stream: TcpStream,
    session: Session,
    config: Arc<ListenerConfig>,
    accept: Arc<A>,
    shutdown: CancellationToken,
    share: Share,
    record: Record,
    /// The session's progress when we last looked, and when that was.
    progress: u64,
    waiting_since: Instant,
}

impl<A: Accept> Connection<A> {
    async fn serve(mut self) {
        // Replies go out as they are; if it fails the connection is gone, and the first read says so.
        let _ = self.stream.set_nodelay(true);
        let reason = match self.converse().await {
            Ok(reason) => reason,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => "client_does_not_read",
            Err(_) => "connection_lost",
        };
        self.record.ended(reason);
    }

    /// The loop that the top of `session` describes. Gives the reason of the end.
    async fn converse(&mut self) -> io::Result<&'static str> {
        let mut buffer = vec![0; READ_SIZE];
        let mut filled = 0;
        loop {
            let mut input = buffer.get(..filled).unwrap_or_default();
            let awaiting = loop {
                match self.session.handle(&mut input, (self.config.clock)()) {
                    Step::NeedInput(awaiting) => break awaiting,
                    Step::Accept { envelope, raw } => self.keep(*envelope, raw).await,
                    // No listener offers STARTTLS yet.
                    Step::StartTls => return Ok("connection_lost"),
                    Step::Close(ending) => {
                        self.write_replies().await?;
                        self.linger(&mut buffer).await;
                        return Ok(name(ending));
                    }
                }
            };
            if !self.share.hold(self.session.held()) {
                self.session.drop_message();
                self.share.hold(0);
            }
            self.write_replies().await?;
            filled = match self.read(&mut buffer, awaiting).await? {
                Event::Bytes(0) => return Ok("client_left"),
                Event::Bytes(count) => count,
                Event::TimeOut => {
                    self.session.time_out();
                    0
                }
                Event::Shutdown => {
                    self.session.shut_down();
                    0
                }
            };
        }
    }

    async fn keep(&mut self, envelope: Envelope, raw: Vec<u8>) {
        // Its bytes stay in the count until the answer; the message itself is past refusing.
        self.share.hold(raw.capacity());
        let verdict = self.accept.accept(envelope, raw).await;
        self.share.hold(0);
        match verdict {
            Ok(_) => self.record.mails += 1,
            Err(_) => self.record.refused += 1,
        }
        self.session.answer(verdict);
        self.waiting_since = Instant::now();
    }

    async fn write_replies(&mut self) -> io::Result<()> {
        let replies = self.session.take_replies();
        if replies.is_empty() {
            return Ok(());
        }
        timeout(self.config.command_timeout, self.stream.write_all(&replies)).await?
    }

    async fn read(&mut self, buffer: &mut [u8], awaiting: Awaiting) -> io::Result<Event> {
        if self.session.progress() != self.progress {
            self.progress = self.session.progress();
            self.waiting_since = Instant::now();
        }
        let deadline = match awaiting {
            Awaiting::Command => self.waiting_since + self.config.command_timeout,
            Awaiting::Data => (self.waiting_since + self.config.message_timeout)
                .min(Instant::now() + self.config.data_timeout),
        };
        tokio::select! {
            biased;
            () = self.shutdown.cancelled(), if !self.session.is_stopping() => Ok(Event::Shutdown),
            read = timeout_at(deadline, self.stream.read(buffer)) => match read {
                Ok(count) => count.map(Event::Bytes),
                Err(_) => Ok(Event::TimeOut),
            },
        }
    }

    async fn linger(&mut self, buffer: &mut [u8]) {
        let until_the_client_leaves = async {
            if self.stream.shutdown().await.is_ok() {
                while self.stream.read(buffer).await.is_ok_and(|count| count > 0) {}
            }
        };
        let _ = timeout(LINGER, until_the_client_leaves).await;
    }
}

/// What a connection waited for.
enum Event {
    /// 0 is the end of the stream.
    Bytes(usize),
    TimeOut,
    Shutdown,
}

fn name(ending: Ending) -> &'static str {
    match ending {
        Ending::Quit => "quit",
        Ending::Shutdown => "shutdown",
        Ending::Refused(refusal) => refusal.name(),
    }
}

/// The one log event of a connection, written when it is dropped, so that no way out can miss it.
struct Record {
    config: Arc<ListenerConfig>,
    client: IpAddr,
    began: Instant,
    mails: u64,
    refused: u64,
    reason: Option<&'static str>,
}

impl Record {
    fn new(peer: SocketAddr, config: &Arc<ListenerConfig>) -> Self {
        telemetry::smtp_session_began(&config.session.entrance.name);
        Self {
            config: Arc::clone(config),
            client: peer.ip().to_canonical(),
            began: Instant::now(),
            mails: 0,
            refused: 0,
            reason: None,
        }
    }

    fn ended(&mut self, reason: &'static str) {
        self.reason = Some(reason);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let unfinished = if std::thread::panicking() { "panicked" } else { "cut_off" };
        telemetry::smtp_session(&SessionEvent {
            entrance: &self.config.session.entrance.name,
            client: self.client,
            mails: self.mails,
            refused: self.refused,
            reason: self.reason.unwrap_or(unfinished),
            duration: self.began.elapsed(),
        });
    }
}
