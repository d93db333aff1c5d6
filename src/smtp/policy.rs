//! What an operator decides about the gate: who we are, whom mail may be for, who must prove who he is, and how much
//! one session may ask.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::command::Recipient;
pub use super::refusal::Refusal;
use crate::domain::address::Address;
use crate::domain::mail::Entrance;

/// What a session needs to know; the same for all connections of a listener.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Our name in the greeting and the answer to EHLO.
    pub hostname: String,
    pub entrance: Entrance,
    pub recipients: Recipients,
    pub limits: Limits,
    pub protocol: Protocol,
    pub tls: TlsPolicy,
    pub logins: Logins,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Smtp,
    /// LHLO for EHLO and HELO, and a reply for each recipient after the message (RFC 2033).
    Lmtp,
}

impl Protocol {
    /// The command that comes first.
    pub(super) fn hello(self) -> &'static str {
        match self {
            Self::Smtp => "EHLO",
            Self::Lmtp => "LHLO",
        }
    }
}

/// What STARTTLS is on a plain connection (RFC 3207). On a listener with TLS from the first byte: `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsPolicy {
    #[default]
    None,
    Offered,
    /// Before TLS only EHLO, HELO, LHLO, NOOP, STARTTLS and QUIT are taken.
    Required,
}

/// Somebody who may send mail here after AUTH.
#[derive(Clone)]
pub struct Login {
    pub username: String,
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Who may send mail. If it is nobody, AUTH is not offered and mail needs none. Else mail needs AUTH, and AUTH
/// needs TLS.
///
/// Digests are held, not passwords: of equal length, they compare in constant time, and no memory dump shows one.
#[derive(Clone, Debug, Default)]
pub struct Logins(Vec<Credentials>);

#[derive(Clone)]
struct Credentials {
    username: [u8; 32],
    password: [u8; 32],
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    fn new(username: &[u8], password: &[u8]) -> Self {
        Self { username: Sha256::digest(username).into(), password: Sha256::digest(password).into() }
    }
}

impl Logins {
    #[must_use]
    pub fn new(logins: &[Login]) -> Self {
        let credentials =
            |login: &Login| Credentials::new(login.username.as_bytes(), login.password.as_bytes());
        Self(logins.iter().map(credentials).collect())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes equally long whether the name, the password or neither is known.
    pub(super) fn verify(&self, username: &[u8], password: &[u8]) -> bool {
        let given = Credentials::new(username, password);
        let matches = |known: &Credentials| {
            known.username.ct_eq(&given.username) & known.password.ct_eq(&given.password)
        };
        self.0.iter().map(matches).fold(Choice::from(0), |any, this| any | this).into()
    }
}

/// Whom mail may be for. Everybody else is answered 550.
///
/// A suffix is never judged here: a 550 would bounce a customer whose token is old, and tell a stranger which
/// tokens are good (DESIGN §5).
#[derive(Clone, Debug)]
pub struct Recipients {
    /// Support addresses and our return addresses; each also takes mail with any `+suffix`.
    pub addresses: Vec<Address>,
    /// Who gets mail for `<postmaster>`, with or without one of our domains (RFC 5321 §4.5.1).
    pub postmaster: Address,
}

/// What one session may make us hold or do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a command line, line end included. Default 2,048: RFC 5321 §4.5.3.1.4 asks for 512 and more for
    /// each extension.
    pub max_line_length: usize,
    /// Bytes of a message. Announced by SIZE. Default 50 MiB.
    pub max_message_size: usize,
    /// Fields in the header of a message. Default 1,000.
    pub max_headers: usize,
    /// Bytes of the header of a message. Default 256 KiB, all that the parser reads.
    pub max_header_size: usize,
    /// Recipients of a mail. Default 100, the least RFC 5321 §4.5.3.1.8 allows.
    pub max_recipients: usize,
    /// Commands refused with 5yz since the last accepted mail, before we hang up. Default 20.
    pub max_errors: usize,
    /// Commands since the last accepted mail, before we hang up. Default 1,000.
    pub max_commands: usize,
    /// Wrong passwords before we hang up. Default 3.
    pub max_auth_failures: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_line_length: 2048,
            max_message_size: 50 * 1024 * 1024,
            max_headers: 1000,
            max_header_size: 256 * 1024,
            max_recipients: 100,
            max_errors: 20,
            max_commands: 1000,
            max_auth_failures: 3,
        }
    }
}

impl Recipients {
    /// The address that mail for `recipient` is kept for, if we take it.
    pub(super) fn resolve(&self, recipient: Recipient) -> Option<Address> {
        let address = match recipient {
            Recipient::Postmaster => return Some(self.postmaster.clone()),
            Recipient::Address(address) => address,
        };
        if self.addresses.contains(&address) || self.addresses.contains(&address.without_detail()) {
            return Some(address);
        }
        let ours =
            self.addresses.iter().chain([&self.postmaster]).any(|own| own.domain() == address.domain());
        (ours && address.local().eq_ignore_ascii_case("postmaster")).then_some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(recipient: &str, expected: bool) {
        let address = |text| Address::parse(text).unwrap();
        let recipients = Recipients {
            addresses: vec![
                address("support@desk.example"),
                address("help@shop.example"),
                address("bounce@desk.example"),
            ],
            postmaster: address("postmaster@desk.example"),
        };
        let found = recipients.resolve(Recipient::Address(address(recipient)));
        assert_eq!(found, expected.then(|| address(recipient)), "{recipient}");
    }

    #[test]
    fn a_login_is_good_with_its_own_password_only() {
        let login =
            |username: &str, password: &str| Login { username: username.into(), password: password.into() };
        let logins = Logins::new(&[login("relay", "one"), login("backup", "two")]);
        for (username, password, expected) in [
            ("relay", "one", true),
            ("backup", "two", true),
            ("relay", "two", false),
            ("Relay", "one", false),
            ("relay", "", false),
            ("relay", "one ", false),
            ("", "", false),
        ] {
            assert_eq!(
                logins.verify(username.as_bytes(), password.as_bytes()),
                expected,
                "{username} {password}"
            );
        }
        assert!(!Logins::default().verify(b"", b""));
        assert!(!format!("{logins:?} {:?}", login("relay", "one")).contains("one"));
    }

    #[test]
    fn a_support_address_and_a_return_address_take_any_suffix() {
        for recipient in [
            "support@desk.example",
            "Support+ID4K2@DESK.example",
            "bounce+x@desk.example",
            "help+@shop.example",
        ] {
            check(recipient, true);
        }
    }

    #[test]
    fn every_domain_of_ours_has_a_postmaster() {
        check("PostMaster@desk.example", true);
        check("postmaster@shop.example", true);
        check("postmaster@example.net", false);
    }

    #[test]
    fn nobody_else_is_known() {
        for recipient in
            ["ada@desk.example", "support@example.net", "supporter@desk.example", "+support@desk.example"]
        {
            check(recipient, false);
        }
    }
}
