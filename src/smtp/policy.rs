//! What an operator decides about the gate: who we are, whom mail may be for, and how much one session may ask.

use super::command::Recipient;
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
    /// Recipients of a mail. Default 100, the least RFC 5321 §4.5.3.1.8 allows.
    pub max_recipients: usize,
    /// Commands refused with 5yz since the last accepted mail, before we hang up. Default 20.
    pub max_errors: usize,
    /// Commands since the last accepted mail, before we hang up. Default 1,000.
    pub max_commands: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_line_length: 2048,
            max_message_size: 50 * 1024 * 1024,
            max_recipients: 100,
            max_errors: 20,
            max_commands: 1000,
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
