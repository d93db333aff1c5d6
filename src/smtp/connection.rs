//! One client's connection, from its first byte to its last: drives a [`Session`] and hands its mails to [`Accept`].
//!
//! **Invariant:** a connection that waits for its client holds no buffer to read into.
//! **Invariant:** what came in the clear is never used once TLS was asked for (RFC 3207 §4.2).

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::ready;
use std::time::Duration;

use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Accept;
use super::bounds::{Buffer, Place, Share};
use super::listener::{Encryption, ListenerConfig};
use super::pace::Pace;
use super::policy::Refusal;
use super::proxy;
use super::reply::Reply;
use super::session::{Awaiting, Ending, Session, Step};
use super::stream::{Plain, Stream};
use crate::domain::mail::Envelope;
use crate::telemetry::{self, SessionEvent};

/// How long a closed connection is read on, so that the last reply is not lost: closing a socket that holds
/// unread bytes makes the system send RST, and the client drops what it has not read yet.
const LINGER: Duration = Duration::from_secs(1);

/// What all connections of a listener are served with.
pub(super) struct Host<A> {
    pub(super) config: Arc<ListenerConfig>,
    pub(super) accept: Arc<A>,
    pub(super) shutdown: CancellationToken,
}

/// Serves a connection to its end.
pub(super) async fn serve<A: Accept>(
    host: Arc<Host<A>>,
    stream: Plain,
    mut place: Place,
    mut record: Record,
) {
    let begun = begin(&host.config, stream, &mut place, &mut record);
    let Some(begun) = host.shutdown.run_until_cancelled(begun).await else {
        return record.ended("shutdown");
    };
    let Some(stream) = begun else { return };
    let connection = Connection {
        session: Session::new(Arc::clone(&host.config.session), record.client, stream.channel()),
        share: host.config.bounds.share(),
        host,
        stream,
        record,
        progress: 0,
        waiting_since: Instant::now(),
        receiving: None,
        pace: None,
    };
    connection.serve().await;
}

/// What comes before SMTP: a proxy says for whom it speaks, and TLS if the listener begins with it. None if it
/// ends there.
async fn begin(
    config: &ListenerConfig,
    mut stream: Plain,
    place: &mut Place,
    record: &mut Record,
) -> Option<Stream> {
    if config.is_proxy(record.client) {
        match proxy::read(&mut stream).await {
            // A proxy that speaks for itself is watched over, not limited.
            Ok(None) => {}
            Ok(Some(client)) => {
                record.client = Some(client);
                if !config.admits(place, record.client) {
                    refuse(config, stream, record, Refusal::TooManyFromNetwork);
                    return None;
                }
            }
            Err(error) => {
                record.failed("bad_proxy_header", &error);
                return None;
            }
        }
    }
    let Encryption::Implicit(tls) = &config.encryption else { return Some(Stream::Plain(stream)) };
    let secured = tls.handshake(stream).await;
    secured.map(Stream::Tls).map_err(|error| record.failed("tls_failed", &error)).ok()
}

/// Answers 421 and closes. Where TLS comes first there are no words for it yet.
pub(super) fn refuse(config: &ListenerConfig, stream: Plain, record: &mut Record, refusal: Refusal) {
    let mut reply = Vec::new();
    if !matches!(config.encryption, Encryption::Implicit(_)) {
        Reply::refusal(refusal).write_to(&mut reply);
    }
    stream.dismiss(&reply);
    record.refused(refusal);
    record.ended(refusal.name());
}

/// One client's connection.
struct Connection<A: Accept> {
    host: Arc<Host<A>>,
    stream: Stream,
    session: Session,
    share: Share,
    record: Record,
    /// The session's progress when we last looked, and when that was.
    progress: u64,
    waiting_since: Instant,
    /// From MAIL on, until it is known what became of the message.
    receiving: Option<A::Receiving>,
    /// How fast the message comes in: from DATA or the first BDAT on.
    pace: Option<Pace>,
}

impl<A: Accept> Connection<A> {
    async fn serve(mut self) {
        loop {
            match self.converse().await {
                Ok(End::Closed(reason)) => return self.record.ended(reason),
                Ok(End::StartTls) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return self.record.ended("client_does_not_read");
                }
                Err(error) => return self.record.failed("connection_lost", &error),
            }
            // What was read and not used is gone with its buffer.
            match secure(&self.host, self.stream).await {
                Ok(stream) => self.stream = stream,
                Err(error) => return self.record.failed("tls_failed", &error),
            }
            self.session.secured();
        }
    }

    /// The loop that the top of `session` describes, until the connection is closed or changes.
    async fn converse(&mut self) -> io::Result<End> {
        let mut read: Option<Buffer> = None;
        loop {
            let buffer = read.take();
            let mut input = buffer.as_ref().map_or(&[][..], Buffer::filled);
            let awaiting = loop {
                match self.session.handle(&mut input, (self.host.config.clock)()) {
                    Step::NeedInput(awaiting) => break awaiting,
                    Step::Accept { envelope, raw } => self.keep(*envelope, raw).await,
                    Step::StartTls => {
                        self.write_replies().await?;
                        return Ok(End::StartTls);
                    }
                    Step::Close(ending) => {
                        self.write_replies().await?;
                        self.linger().await;
                        return Ok(End::Closed(name(ending)));
                    }
                }
            };
            drop(buffer);
            if !self.share.hold(self.session.held()) {
                self.session.drop_message();
                self.share.hold(0);
            }
            self.write_replies().await?;
            match self.read(awaiting).await? {
                Event::Bytes(buffer) if buffer.filled().is_empty() => {
                    self.linger().await;
                    return Ok(End::Closed("client_left"));
                }
                Event::Bytes(buffer) => read = Some(buffer),
                Event::Refused(refusal) => self.session.refuse_connection(refusal),
                Event::Shutdown => self.session.shut_down(),
            }
        }
    }

    async fn keep(&mut self, envelope: Envelope, raw: Vec<u8>) {
        // Its bytes stay in the count until the answer; the message itself is past refusing.
        self.share.hold(raw.capacity());
        let verdict = self.host.accept.accept(envelope, raw).await;
        self.share.hold(0);
        match verdict {
            Ok(_) => self.record.mails += 1,
            Err(_) => self.record.not_kept += 1,
        }
        self.session.answer(verdict);
        (self.receiving, self.pace) = (None, None);
        self.waiting_since = Instant::now();
    }

    /// Tells the client, and the log of what was refused.
    async fn write_replies(&mut self) -> io::Result<()> {
        for refusal in self.session.take_refusals() {
            self.record.refused(refusal);
        }
        let replies = self.session.take_replies();
        if replies.is_empty() {
            return Ok(());
        }
        let write = async {
            self.stream.write_all(&replies).await?;
            self.stream.flush().await
        };
        timeout(self.host.config.command_timeout, write).await?
    }

    /// Waits for the client, but not longer than it may take for what is awaited.
    async fn read(&mut self, awaiting: Awaiting) -> io::Result<Event> {
        let now = Instant::now();
        let config = &self.host.config;
        if self.session.progress() != self.progress {
            self.progress = self.session.progress();
            self.waiting_since = now;
        }
        if self.session.has_transaction() {
            self.receiving.get_or_insert_with(|| self.host.accept.receiving());
        } else {
            self.receiving = None;
        }
        let deadline = match awaiting {
            Awaiting::Command => {
                self.pace = None;
                self.waiting_since + config.command_timeout
            }
            Awaiting::Data => {
                let pace = self.pace.get_or_insert_with(|| Pace::new(config.min_rate, now));
                (now + config.data_timeout).min(pace.began + config.message_timeout)
            }
        };
        loop {
            if self.pace.as_mut().is_some_and(|pace| !pace.keeps_up(Instant::now())) {
                return Ok(Event::Refused(Refusal::TooSlow));
            }
            let look_up = self.pace.as_ref().map_or(deadline, |pace| deadline.min(pace.window_ends()));
            tokio::select! {
                biased;
                () = self.host.shutdown.cancelled(), if !self.session.is_stopping() => return Ok(Event::Shutdown),
                read = timeout_at(look_up, receive(&mut self.stream, config)) => match read {
                    Ok(buffer) => {
                        let buffer = buffer?;
                        if let Some(pace) = &mut self.pace {
                            pace.received(buffer.filled().len());
                        }
                        return Ok(Event::Bytes(buffer));
                    }
                    Err(_) if look_up == deadline => return Ok(Event::Refused(Refusal::TimedOut)),
                    Err(_) => {}
                },
            }
        }
    }

    async fn linger(&mut self) {
        let until_the_client_leaves = async {
            if self.stream.shutdown().await.is_ok() {
                while receive(&mut self.stream, &self.host.config)
                    .await
                    .is_ok_and(|read| !read.filled().is_empty())
                {}
            }
        };
        let _ = timeout(LINGER, until_the_client_leaves).await;
    }
}

/// The next bytes; none at the end of the stream. The buffer is taken only while the stream is asked.
async fn receive(stream: &mut Stream, config: &ListenerConfig) -> io::Result<Buffer> {
    poll_fn(|cx| {
        let mut buffer = config.bounds.buffer();
        let mut room = ReadBuf::new(buffer.room());
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut room))?;
        let count = room.filled().len();
        buffer.fill(count);
        std::task::Poll::Ready(Ok(buffer))
    })
    .await
}

/// TLS after STARTTLS.
async fn secure<A>(host: &Host<A>, stream: Stream) -> io::Result<Stream> {
    let (Encryption::StartTls(tls), Stream::Plain(stream)) = (&host.config.encryption, stream) else {
        return Err(io::Error::other("STARTTLS was taken where it is not offered"));
    };
    match host.shutdown.run_until_cancelled(tls.handshake(stream)).await {
        Some(secured) => secured.map(Stream::Tls),
        None => Err(io::Error::other("shutting down")),
    }
}

/// What a connection waited for.
enum Event {
    /// None are the end of the stream.
    Bytes(Buffer),
    Refused(Refusal),
    Shutdown,
}

/// Why a conversation ended.
enum End {
    /// For good, for this reason.
    Closed(&'static str),
    StartTls,
}

fn name(ending: Ending) -> &'static str {
    match ending {
        Ending::Quit => "quit",
        Ending::Shutdown => "shutdown",
        Ending::Refused(refusal) => refusal.name(),
    }
}

/// The one log event of a connection, written when it is dropped, so that no way out can miss it.
pub(super) struct Record {
    config: Arc<ListenerConfig>,
    /// The peer, until a proxy says for whom it speaks.
    pub(super) client: Option<IpAddr>,
    began: Instant,
    mails: u64,
    not_kept: u64,
    reason: Option<&'static str>,
    error: Option<String>,
}

impl Record {
    pub(super) fn new(config: &Arc<ListenerConfig>, peer: Option<IpAddr>) -> Self {
        telemetry::smtp_session_began(config.entrance());
        Self {
            config: Arc::clone(config),
            client: peer,
            began: Instant::now(),
            mails: 0,
            not_kept: 0,
            reason: None,
            error: None,
        }
    }

    fn refused(&self, refusal: Refusal) {
        telemetry::smtp_refused(self.config.entrance(), self.client, refusal.name());
    }

    fn ended(&mut self, reason: &'static str) {
        self.reason = Some(reason);
    }

    fn failed(&mut self, reason: &'static str, error: &io::Error) {
        self.reason = Some(reason);
        self.error = Some(error.to_string());
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let unfinished = if std::thread::panicking() { "panicked" } else { "cut_off" };
        telemetry::smtp_session(&SessionEvent {
            entrance: self.config.entrance(),
            client: self.client,
            mails: self.mails,
            refused: self.not_kept,
            reason: self.reason.unwrap_or(unfinished),
            error: self.error.as_deref(),
            duration: self.began.elapsed(),
        });
    }
}
