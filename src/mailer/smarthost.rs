//! Handing mail to a smarthost with lettre's connection type, step by step (reference/crates.md §C).
//!
//! Every step has a deadline of its own, and a connection is dropped on any doubt: one that is out of step would take
//! the answer to the last mail for the answer to the next.

use std::fmt::Display;
use std::time::Duration;

use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
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

/// An open session with the smarthost, logged in, between two mails.
pub struct Connection(AsyncSmtpConnection);

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

/// A step that went wrong: what the server said, or that it said nothing.
enum Fault {
    Permanent(String),
    Temporary(String),
}

impl Smarthost {
    /// Sends one mail, over the open connection if there is one.
    pub async fn send(&self, open: &mut Option<Connection>, mail: &Outgoing) -> Delivery {
        // A kept connection may have been closed by the server meanwhile: that is no fault, so one is made anew.
        if let Some(Connection(mut kept)) = open.take()
            && self.step("RSET", kept.command(Rset)).await.is_ok()
        {
            return self.transact(kept, open, mail).await;
        }
        match self.connect().await {
            Ok(connection) => self.transact(connection, open, mail).await,
            Err(fault) => Delivery::SiteFault(fault.text()),
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
                Ok(Err(error)) => return Err(Fault::Temporary(format!("connect to {}: {error}", self.host))),
                Err(_) => return Err(Fault::Temporary(format!("connect to {}: timed out", self.host))),
            };
            // Without it each command of the dialog waits for the peer's delayed ACK.
            let _ = stream.set_nodelay(true);
            self.step("greeting", AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello))
                .await?
        };
        if self.tls == Tls::StartTls {
            if !connection.can_starttls() {
                return Err(Fault::Temporary(format!("{} does not offer STARTTLS", self.host)));
            }
            self.step("STARTTLS", connection.starttls(self.tls_parameters()?, &hello)).await?;
        }
        if let Some(login) = &self.login {
            let credentials = Credentials::new(login.username.clone(), login.password.clone());
            self.step("AUTH", connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials)).await?;
        }
        Ok(connection)
    }

    fn tls_parameters(&self) -> Result<TlsParameters, Fault> {
        let fault = |error: lettre::transport::smtp::Error| Fault::Temporary(format!("TLS: {error}"));
        let mut builder = TlsParameters::builder(self.host.clone());
        if let Some(pem) = &self.extra_root {
            builder = builder.add_root_certificate(Certificate::from_pem(pem).map_err(fault)?);
        }
        builder.build_rustls().map_err(fault)
    }

    /// MAIL, RCPT, DATA. Up to MAIL a refusal is the site's; from RCPT on it is about this recipient.
    async fn transact(
        &self,
        mut connection: AsyncSmtpConnection,
        open: &mut Option<Connection>,
        mail: &Outgoing,
    ) -> Delivery {
        let needs_utf8 = !mail.recipient.local().is_ascii() || !mail.reverse_path.local().is_ascii();
        let mut parameters = Vec::new();
        if needs_utf8 {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                *open = Some(Connection(connection));
                return Delivery::Rejected(
                    "the smarthost does not take addresses beyond ASCII (SMTPUTF8)".to_owned(),
                );
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        let from = Mail::new(Some(lettre_address(&mail.reverse_path)), parameters);
        if let Err(fault) = self.step("MAIL", connection.command(from)).await {
            return Delivery::SiteFault(fault.text());
        }
        let to = Rcpt::new(lettre_address(&mail.recipient), Vec::new());
        if let Err(fault) = self.step("RCPT", connection.command(to)).await {
            return fault.about_the_mail();
        }
        if let Err(fault) = self.step("DATA", connection.command(Data)).await {
            return Delivery::Deferred(fault.text());
        }
        let dot = timeout(self.timeouts.final_dot, connection.message(&mail.bytes)).await;
        match judge("final dot", dot) {
            Ok(()) => {
                *open = Some(Connection(connection));
                Delivery::Sent
            }
            Err(fault) => fault.about_the_mail(),
        }
    }

    async fn step<T>(
        &self,
        name: &str,
        step: impl Future<Output = Result<T, lettre::transport::smtp::Error>>,
    ) -> Result<T, Fault> {
        judge_value(name, timeout(self.timeouts.command, step).await)
    }
}

fn judge<T, E>(name: &str, answer: Result<Result<T, lettre::transport::smtp::Error>, E>) -> Result<(), Fault>
where
    E: Display,
{
    judge_value(name, answer).map(|_| ())
}

fn judge_value<T, E: Display>(
    name: &str,
    answer: Result<Result<T, lettre::transport::smtp::Error>, E>,
) -> Result<T, Fault> {
    match answer {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if error.is_permanent() => Err(Fault::Permanent(format!("{name}: {error}"))),
        Ok(Err(error)) => Err(Fault::Temporary(format!("{name}: {error}"))),
        Err(_) => Err(Fault::Temporary(format!("{name}: no answer in time"))),
    }
}

impl Fault {
    fn text(self) -> String {
        match self {
            Self::Permanent(text) | Self::Temporary(text) => text,
        }
    }

    fn about_the_mail(self) -> Delivery {
        match self {
            Self::Permanent(text) => Delivery::Rejected(text),
            Self::Temporary(text) => Delivery::Deferred(text),
        }
    }
}
