//! STARTTLS (RFC 3207) and AUTH (RFC 4954).

use super::{Channel, Phase, Session};
use crate::smtp::auth::{self, Auth, Exchange, Turn};
use crate::smtp::line::Line;
use crate::smtp::policy::{Refusal, TlsPolicy};
use crate::smtp::reply::Reply;

impl Session {
    pub(super) fn needs_tls(&self) -> bool {
        self.channel == Channel::Plain && self.config.tls == TlsPolicy::Required
    }

    pub(super) fn offers_tls(&self) -> bool {
        self.channel == Channel::Plain && self.config.tls != TlsPolicy::None
    }

    pub(super) fn offers_auth(&self) -> bool {
        self.channel == Channel::Secure && !self.config.logins.is_empty() && !self.authenticated
    }

    pub(super) fn needs_auth(&self) -> bool {
        !self.config.logins.is_empty() && !self.authenticated
    }

    pub(super) fn start_tls(&mut self) -> Reply {
        match (self.config.tls, self.channel) {
            (TlsPolicy::None, _) => Reply::refusal(Refusal::NotImplemented),
            (_, Channel::Secure) => Reply::refusal(Refusal::TlsActive),
            (_, Channel::Plain) => {
                self.phase = Phase::Handshake;
                Reply::start_tls()
            }
        }
    }

    pub(super) fn auth(&mut self, auth: Auth) {
        match self.may_authenticate(&auth) {
            Ok(begun) => self.take_turn(begun),
            Err(reply) => self.conclude(&reply),
        }
    }

    /// The first turn of the exchange, if there may be one.
    fn may_authenticate(&self, auth: &Auth) -> Result<Result<Turn, Refusal>, Reply> {
        let refusal = if self.config.logins.is_empty() {
            Refusal::NotImplemented
        } else if self.channel == Channel::Plain {
            Refusal::AuthNeedsTls
        } else if self.authenticated {
            // Inside of a mail as well (RFC 4954 §4): none is begun before AUTH.
            Refusal::AlreadyAuthenticated
        } else if self.helo.is_none() {
            return Err(Reply::out_of_order(self.config.protocol.hello()));
        } else if let Some(mechanism) = auth.mechanism {
            return Ok(Exchange::begin(mechanism, auth.initial.as_deref()));
        } else {
            Refusal::UnknownMechanism
        };
        Err(Reply::refusal(refusal))
    }

    pub(super) fn auth_line(&mut self, line: &Line) {
        self.progress += 1;
        let Phase::Auth(exchange) = std::mem::replace(&mut self.phase, Phase::Command) else {
            return;
        };
        let turn = match line.text() {
            _ if line.is_overlong() => Err(Refusal::AuthLineTooLong),
            Some(response) if response.len() > auth::MAX_LINE => Err(Refusal::AuthLineTooLong),
            Some(response) => exchange.answer(response),
            None => Err(Refusal::BareLineEndInCommand),
        };
        self.take_turn(turn);
    }

    fn take_turn(&mut self, turn: Result<Turn, Refusal>) {
        let refusal = match turn {
            Ok(Turn::Ask(exchange)) => {
                self.say(&Reply::challenge(exchange.challenge()));
                self.phase = Phase::Auth(exchange);
                return;
            }
            Ok(Turn::Credentials { username, password })
                if self.config.logins.verify(&username, &password) =>
            {
                self.authenticated = true;
                self.say(&Reply::authenticated());
                return;
            }
            Ok(Turn::Credentials { .. }) => Refusal::AuthFailed,
            Err(refusal) => refusal,
        };
        self.conclude(&Reply::refusal(refusal));
        self.auth_failures += usize::from(refusal == Refusal::AuthFailed);
        if self.auth_failures >= self.config.limits.max_auth_failures {
            self.refuse_connection(Refusal::TooManyAuthFailures);
        }
    }
}
