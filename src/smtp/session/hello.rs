//! What we say about ourselves: EHLO, LHLO, HELO and HELP list exactly what is offered now.

use std::borrow::Cow;

use super::Session;
use crate::smtp::policy::Protocol;
use crate::smtp::reply::Reply;

impl Session {
    /// RFC 5321 §4.1.4: a second EHLO works like RSET.
    pub(super) fn hello(&mut self, name: String, answer: fn(&Self) -> Reply) -> Reply {
        self.helo = Some(name);
        self.transaction = None;
        answer(self)
    }

    pub(super) fn helo(&self) -> Reply {
        Reply::helo(&self.config.hostname)
    }

    pub(super) fn ehlo(&self) -> Reply {
        let mut offers: Vec<Cow<'static, str>> =
            vec![format!("SIZE {}", self.config.limits.max_message_size).into()];
        offers.extend(
            ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING", "BINARYMIME"]
                .map(Cow::from),
        );
        if self.offers_tls() {
            offers.push("STARTTLS".into());
        }
        if self.offers_auth() {
            offers.push("AUTH PLAIN LOGIN".into());
        }
        Reply::ehlo(&self.config.hostname, offers)
    }

    pub(super) fn help(&self) -> Reply {
        let mut commands = match self.config.protocol {
            Protocol::Smtp => vec!["EHLO", "HELO"],
            Protocol::Lmtp => vec!["LHLO"],
        };
        commands.extend(["MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "VRFY", "HELP", "QUIT"]);
        if self.offers_tls() {
            commands.push("STARTTLS");
        }
        if self.offers_auth() {
            commands.push("AUTH");
        }
        Reply::help(&commands)
    }
}
