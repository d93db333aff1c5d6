//! Handing mail to a smarthost with lettre's connection type, step by step (reference/crates.md §C).
//!
//! Every step has a deadline of its own, and a connection is dropped on any doubt: one that is out of step would take
//! the answer to the last mail for the answer to the next. It is kept after a clear answer to this mail, be it yes or
//! no. See docs/decisions/0002-lettre-by-hand.md.

use std::fmt::Display;
use std::time::Duration;

use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::{Response, Severity};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::outbox::compose::lettre_address;

use super::transport::{Delivery, Outgoing};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smarthost {
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    pub login: Option<Login>,
    /// What we call ourselves in EHLO.
    pub hello: String,
    /// A certificate authority to believe besides the system's, as PEM.
    pub extra_root: Option<Vec<u8>>,
    pub timeouts: Timeouts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    None,
    /// Required: a server that does not offer it is a fault of the site.
    StartTls,
    /// From the first byte (RFC 8314).
    Implicit,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub username: String,
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Deadlines per step (RFC 5321 §4.5.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    pub command: Duration,
    /// For the answer to the final dot: the server may be storing the mail, and asking again doubles it.
    pub final_dot: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(60),
            command: Duration::from_secs(300),
            final_dot: Duration::from_secs(600),
        }
    }
}

impl Timeouts {
    /// How long one mail can take at most: a kept connection that does not answer, then all steps of a new one.
    #[must_use]
    pub fn longest(&self) -> Duration {
        // RSET and MAIL on the kept one; greeting, STARTTLS, AUTH, MAIL, RCPT, DATA on the new one.
        self.connect + self.command * 8 + self.final_dot
    }
}

/// As much of an answer is worth keeping.
const MAX_TEXT: usize = 500;

/// An open session with the smarthost, logged in, between two mails.
pub struct Connection(AsyncSmtpConnection);

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

/// A step that went wrong.
struct Fault {
    kind: FaultKind,
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FaultKind {
    /// 5yz: never.
    Permanent,
    /// 4yz: later.
    Temporary,
    /// Silence, garbage, a closed connection, an answer out of turn: nobody knows where the dialog stands.
    Lost,
}

impl Smarthost {
    /// Sends one mail, over the open connection if there is one.
    pub async fn send(&self, open: &mut Option<Connection>, mail: &Outgoing) -> Delivery {
        // Nothing that is wrong with a kept connection is a fault of anybody: the server may close it when it likes.
        let begun = match open.take() {
            Some(Connection(kept)) => self.begin_again(kept, mail).await.ok(),
            None => None,
        };
        let begun = match begun {
            Some(begun) => Ok(begun),
            None => self.begin(mail).await,
        };
        match begun {
            Ok(connection) => self.hand_over(connection, open, mail).await,
            Err(fault) => Delivery::SiteFault(fault.text),
        }
    }

    pub async fn quit(&self, Connection(mut connection): Connection) {
        // The answer does not matter: everything sent was answered before.
        let _ = timeout(Duration::from_secs(5), connection.quit()).await;
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Fault> {
        let hello = ClientId::Domain(self.hello.clone());
        let target = (self.host.as_str(), self.port);
        let mut connection = if self.tls == Tls::Implicit {
            let tls = self.tls_parameters()?;
            let limit = Some(self.timeouts.connect);
            let connecting = AsyncSmtpConnection::connect_tokio1(target, limit, &hello, Some(tls), None);
            self.step("greeting", connecting).await?
        } else {
            let connecting = timeout(self.timeouts.connect, TcpStream::connect(target)).await;
            let stream = match connecting {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return Err(Fault::lost(format!("connect to {}: {error}", self.host))),
                Err(_) => return Err(Fault::lost(format!("connect to {}: timed out", self.host))),
            };
            // Without it each command of the dialog waits for the peer's delayed ACK.
            let _ = stream.set_nodelay(true);
            self.step("greeting", AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello))
                .await?
        };
        if self.tls == Tls::StartTls {
            if !connection.can_starttls() {
                return Err(Fault::lost(format!("{} does not offer STARTTLS", self.host)));
            }
            self.step("STARTTLS", connection.starttls(self.tls_parameters()?, &hello)).await?;
        }
        if let Some(login) = &self.login {
            let credentials = Credentials::new(login.username.clone(), login.password.clone());
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            let answer = self.step("AUTH", connection.auth(&mechanisms, &credentials)).await?;
            if !answer.has_code(235) {
                return Err(Fault::lost(format!(
                    "AUTH: expected 235, the server answered {}",
                    answer.code()
                )));
            }
        }
        Ok(connection)
    }

    fn tls_parameters(&self) -> Result<TlsParameters, Fault> {
        let fault = |error: lettre::transport::smtp::Error| Fault::lost(format!("TLS: {error}"));
        let mut builder = TlsParameters::builder(self.host.clone());
        if let Some(pem) = &self.extra_root {
            builder = builder.add_root_certificate(Certificate::from_pem(pem).map_err(fault)?);
        }
        builder.build_rustls().map_err(fault)
    }

    async fn begin(&self, mail: &Outgoing) -> Result<AsyncSmtpConnection, Fault> {
        let mut connection = self.connect().await?;
        self.announce(&mut connection, mail).await?;
        Ok(connection)
    }

    async fn begin_again(
        &self,
        mut kept: AsyncSmtpConnection,
        mail: &Outgoing,
    ) -> Result<AsyncSmtpConnection, Fault> {
        // Looked at once, without waiting: a farewell that nobody asked for, or an answer too many.
        if timeout(Duration::ZERO, kept.read_response()).await.is_ok() {
            return Err(Fault::lost("the server spoke out of turn".to_owned()));
        }
        self.command("RSET", &mut kept, Rset, Severity::PositiveCompletion).await?;
        self.announce(&mut kept, mail).await?;
        Ok(kept)
    }

    /// MAIL: a refusal up to here is about us, not about a recipient.
    async fn announce(&self, connection: &mut AsyncSmtpConnection, mail: &Outgoing) -> Result<(), Fault> {
        let mut parameters = Vec::new();
        if needs_utf8(mail) && takes_utf8(connection) {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
            parameters.push(MailParameter::SmtpUtfEight);
        }
        let from = Mail::new(Some(lettre_address(&mail.reverse_path)), parameters);
        self.command("MAIL", connection, from, Severity::PositiveCompletion).await
    }

    /// RCPT, DATA and the mail itself: what is said here is about this mail.
    async fn hand_over(
        &self,
        mut connection: AsyncSmtpConnection,
        open: &mut Option<Connection>,
        mail: &Outgoing,
    ) -> Delivery {
        let delivery = if needs_utf8(mail) && !takes_utf8(&connection) {
            Delivery::Rejected("the smarthost does not take addresses beyond ASCII (SMTPUTF8)".to_owned())
        } else {
            match self.try_to_hand_over(&mut connection, mail).await {
                Ok(()) => Delivery::Sent,
                Err(Fault { kind: FaultKind::Permanent, text }) => Delivery::Rejected(text),
                Err(Fault { kind: FaultKind::Temporary, text }) => Delivery::Deferred(text),
                Err(Fault { kind: FaultKind::Lost, text }) => return Delivery::Deferred(text),
            }
        };
        *open = Some(Connection(connection));
        delivery
    }

    async fn try_to_hand_over(
        &self,
        connection: &mut AsyncSmtpConnection,
        mail: &Outgoing,
    ) -> Result<(), Fault> {
        let to = Rcpt::new(lettre_address(&mail.recipient), Vec::new());
        self.command("RCPT", connection, to, Severity::PositiveCompletion).await?;
        let ready = self.command("DATA", connection, Data, Severity::PositiveIntermediate).await;
        ready.map_err(Fault::not_final)?;
        let answer = timeout(self.timeouts.final_dot, connection.message(&mail.bytes)).await;
        in_turn("final dot", &judge("final dot", answer)?, Severity::PositiveCompletion)
    }

    /// One command and its answer, which must be of this kind.
    async fn command(
        &self,
        name: &str,
        connection: &mut AsyncSmtpConnection,
        command: impl Display,
        wanted: Severity,
    ) -> Result<(), Fault> {
        let answer = self.step(name, connection.command(command)).await?;
        in_turn(name, &answer, wanted)
    }

    async fn step<T>(
        &self,
        name: &str,
        step: impl Future<Output = Result<T, lettre::transport::smtp::Error>>,
    ) -> Result<T, Fault> {
        judge(name, timeout(self.timeouts.command, step).await)
    }
}

/// A header beyond ASCII makes the mail one that only SMTPUTF8 carries (RFC 6531 §3.4), like such an address.
fn needs_utf8(mail: &Outgoing) -> bool {
    !mail.recipient.local().is_ascii() || !mail.reverse_path.local().is_ascii() || !mail.bytes.is_ascii()
}

fn takes_utf8(connection: &AsyncSmtpConnection) -> bool {
    let server = connection.server_info();
    server.supports_feature(Extension::SmtpUtfEight) && server.supports_feature(Extension::EightBitMime)
}

fn judge<T, E>(name: &str, answer: Result<Result<T, lettre::transport::smtp::Error>, E>) -> Result<T, Fault> {
    let error = match answer {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error,
        Err(_) => return Err(Fault::lost(format!("{name}: no answer in time"))),
    };
    let kind = match error.status().map(u16::from) {
        // 421: the server closes the connection (RFC 5321 §3.8).
        None | Some(421) => FaultKind::Lost,
        Some(_) if error.is_permanent() => FaultKind::Permanent,
        Some(_) => FaultKind::Temporary,
    };
    let text = format!("{name}: {error}").chars().take(MAX_TEXT).collect();
    Err(Fault { kind, text })
}

/// lettre takes any 2yz or 3yz for a yes. A connection that is one answer behind is told by the answer to DATA.
fn in_turn(name: &str, answer: &Response, wanted: Severity) -> Result<(), Fault> {
    let code = answer.code();
    if code.severity == wanted {
        return Ok(());
    }
    Err(Fault::lost(format!("{name}: the server answered {code}, which is no answer to this")))
}

impl Fault {
    fn lost(text: String) -> Self {
        Self { kind: FaultKind::Lost, text }
    }

    /// Only RCPT and the final dot can refuse a mail for good (DESIGN §4).
    fn not_final(self) -> Self {
        let kind = if self.kind == FaultKind::Permanent { FaultKind::Temporary } else { self.kind };
        Self { kind, ..self }
    }
}
