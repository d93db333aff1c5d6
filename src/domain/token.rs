//! The ticket reference that cannot be forged (DESIGN §5).
//!
//! ```text
//! version 4 bit ‖ key id 4 bit ‖ visibility 2 bit ‖ lengths 2 × 3 bit ‖ ticket ‖ recipient ‖ MAC 80 bit
//! ```
//!
//! Numbers are big-endian in as few octets as they need (their lengths come first, so the whole is made of
//! octets). The MAC is HMAC-SHA-256 over all before it, the purpose, the mail domain and the ticket's salt.
//! Written in Crockford base32: 32 characters for ids below 2^32, [`MAX_TOKEN_LEN`] at most.
//!
//! **Invariants:** a token is canonical: but for case and the letters O, I and L, exactly one text reads as
//! it. What a [`ClaimedToken`] says is a claim until [`KeyRing::verify`] has returned it. `Debug` shows
//! neither secrets nor MACs, so that neither gets into a log.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::address::Address;
use super::ids::{Salt, TicketId, UserId};

mod places;

pub use places::{address_token, defuse, find_body_tokens, message_id_token, reverse_path_token};

/// What a token says: which ticket, for which recipient, and whether a private comment was in that mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketRef {
    pub ticket: TicketId,
    pub recipient: UserId,
    pub visibility: Rendered,
}

/// Which comments were rendered into the mail that carries the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rendered {
    None,
    Public,
    Private,
}

/// Where a token stands. A token of one purpose never verifies as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Address,
    Body,
    MessageId,
    Verp,
}

/// The longest a token can be, with both ids at their greatest.
pub const MAX_TOKEN_LEN: usize = 45;

const MIN_TOKEN_LEN: usize = 23;
const VERSION: u8 = 1;
const MAX_KEY_ID: u8 = 15;
const MAC_LEN: usize = 10;

/// A secret that tokens are made with.
#[derive(Clone)]
pub struct TokenKey {
    /// 0 to 15; stands in every token made with this key.
    pub id: u8,
    pub secret: [u8; 32],
    pub state: KeyState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Makes tokens, and verifies them.
    Active,
    /// Verifies tokens made before the rotation.
    Retired,
    /// Is as if it never was.
    Revoked,
}

/// The keys of one account: makes tokens and tells which ones it made.
///
/// Has exactly one active key; revoked keys are not in it, so nothing can verify by one.
#[derive(Clone, Debug)]
pub struct KeyRing {
    mail_domain: String,
    active: TokenKey,
    retired: Vec<TokenKey>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    #[error("`{0}` is not a mail domain, expected a name such as `desk.example`")]
    MailDomain(String),
    #[error("key id `{0}` is too large, expected 0 to 15")]
    KeyId(u8),
    #[error("key id `{0}` is there twice, expected each key to have its own")]
    KeyIdTwice(u8),
    #[error("found {0} active keys, expected exactly 1")]
    ActiveKeys(usize),
}

impl KeyRing {
    /// # Errors
    /// If `mail_domain` is no domain, two keys share an id, an id is above 15, or not exactly one key is active.
    pub fn new(mail_domain: &str, keys: Vec<TokenKey>) -> Result<Self, KeyRingError> {
        let postmaster = Address::parse(&format!("postmaster@{mail_domain}"))
            .map_err(|_| KeyRingError::MailDomain(mail_domain.to_owned()))?;
        let mut ids = BTreeSet::new();
        for key in &keys {
            if key.id > MAX_KEY_ID {
                return Err(KeyRingError::KeyId(key.id));
            }
            if !ids.insert(key.id) {
                return Err(KeyRingError::KeyIdTwice(key.id));
            }
        }
        let (mut active, others): (Vec<_>, Vec<_>) =
            keys.into_iter().partition(|key| key.state == KeyState::Active);
        let found = active.len();
        let (1, Some(active)) = (found, active.pop()) else { return Err(KeyRingError::ActiveKeys(found)) };
        let retired = others.into_iter().filter(|key| key.state == KeyState::Retired).collect();
        Ok(Self { mail_domain: postmaster.domain().to_owned(), active, retired })
    }

    /// The domain of our Message-IDs and return addresses; part of every token's MAC.
    #[must_use]
    pub fn mail_domain(&self) -> &str {
        &self.mail_domain
    }

    /// The token that says `what`, in upper case.
    #[must_use]
    pub fn mint(&self, purpose: Purpose, what: &TicketRef, salt: &Salt) -> String {
        let mut octets = head(self.active.id, what);
        let mac = self.mac(&self.active, purpose, &octets, salt).finalize().into_bytes();
        octets.extend(mac.iter().take(MAC_LEN));
        CROCKFORD.encode(&octets)
    }

    /// What the token says, if this ring made it for this purpose and the ticket with this salt.
    #[must_use]
    pub fn verify(&self, claimed: &ClaimedToken, purpose: Purpose, salt: &Salt) -> Option<TicketRef> {
        let key = self.keys().find(|key| key.id == claimed.key_id)?;
        let mac = self.mac(key, purpose, &head(key.id, &claimed.says), salt);
        mac.verify_truncated_left(&claimed.mac).ok()?; // in constant time
        Some(claimed.says)
    }

    /// What our mails carry in `X-Postern-Account`: says that they are ours, to nobody but us.
    #[must_use]
    pub fn account_mark(&self) -> String {
        self.mark_by(&self.active)
    }

    /// Whether this is the account mark of a key that is not revoked.
    #[must_use]
    pub fn is_account_mark(&self, text: &str) -> bool {
        self.keys().any(|key| self.mark_by(key).eq_ignore_ascii_case(text.trim()))
    }

    fn mark_by(&self, key: &TokenKey) -> String {
        let mac =
            keyed(key).chain_update(b"account\0").chain_update(&self.mail_domain).finalize().into_bytes();
        CROCKFORD.encode(mac.get(..MAC_LEN).unwrap_or_default())
    }

    fn keys(&self) -> impl Iterator<Item = &TokenKey> {
        std::iter::once(&self.active).chain(&self.retired)
    }

    fn mac(&self, key: &TokenKey, purpose: Purpose, head: &[u8], salt: &Salt) -> Hmac<Sha256> {
        let label: &[u8] = match purpose {
            Purpose::Address => b"address\0",
            Purpose::Body => b"body\0",
            Purpose::MessageId => b"message-id\0",
            Purpose::Verp => b"verp\0",
        };
        // Each part ends where its length or a zero says, so no two inputs run together the same way.
        keyed(key)
            .chain_update(label)
            .chain_update(salt.0)
            .chain_update(&self.mail_domain)
            .chain_update([0])
            .chain_update(head)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").field("id", &self.id).field("state", &self.state).finish_non_exhaustive()
    }
}

/// A text that has the form of a token. Anybody can write one.
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimedToken {
    key_id: u8,
    says: TicketRef,
    mac: [u8; MAC_LEN],
}

impl ClaimedToken {
    /// Reads a bare token in either case, with O for 0 and I or L for 1; nothing else is forgiven.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        if !(MIN_TOKEN_LEN..=MAX_TOKEN_LEN).contains(&text.len()) {
            return None;
        }
        let octets = CROCKFORD.decode(text.as_bytes()).ok()?; // refuses padding bits that are not zero
        let (&[first, second], rest) = octets.split_first_chunk()?;
        let visibility = match second >> 6 {
            0 => Rendered::None,
            1 => Rendered::Public,
            2 => Rendered::Private,
            _ => return None,
        };
        let (ticket, rest) = read_number(rest, second >> 3)?;
        let (recipient, rest) = read_number(rest, second)?;
        let says = TicketRef { ticket: TicketId(ticket), recipient: UserId(recipient), visibility };
        let mac = rest.try_into().ok()?; // as long as a MAC: neither cut short nor followed by anything
        (first >> 4 == VERSION).then_some(Self { key_id: first & 0xf, says, mac })
    }

    /// The ticket it claims: what to ask the store for, so that the MAC can be checked with its salt.
    #[must_use]
    pub fn ticket(&self) -> TicketId {
        self.says.ticket
    }
}

impl fmt::Debug for ClaimedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ClaimedToken");
        shown.field("key_id", &self.key_id).field("says", &self.says).finish_non_exhaustive()
    }
}

/// <https://www.crockford.com/base32.html>, without check symbol and hyphens.
static CROCKFORD: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("0123456789ABCDEFGHJKMNPQRSTVWXYZ");
    specification.translate.from.push_str("abcdefghjkmnpqrstvwxyzOoIiLl");
    specification.translate.to.push_str("ABCDEFGHJKMNPQRSTVWXYZ001111");
    #[expect(clippy::expect_used, reason = "the specification is a constant that every test reads")]
    specification.encoding().expect("32 different symbols, and each letter translated once")
});

/// A MAC under this key. HMAC pads a key to its block, so padding it here changes nothing (RFC 2104 §2).
fn keyed(key: &TokenKey) -> Hmac<Sha256> {
    let mut block = [0; 64];
    for (place, octet) in block.iter_mut().zip(key.secret) {
        *place = octet;
    }
    Hmac::new(&block.into())
}

/// All of a token but its MAC.
fn head(key_id: u8, what: &TicketRef) -> Vec<u8> {
    let visibility = match what.visibility {
        Rendered::None => 0,
        Rendered::Public => 1,
        Rendered::Private => 2,
    };
    let ticket = what.ticket.0.cast_unsigned();
    let recipient = what.recipient.0.cast_unsigned();
    let lengths = length_code(ticket) << 3 | length_code(recipient);
    let mut octets = vec![VERSION << 4 | key_id, visibility << 6 | lengths];
    for number in [ticket, recipient] {
        let unused = 7 - usize::from(length_code(number));
        octets.extend(number.to_be_bytes().iter().skip(unused));
    }
    octets
}

/// How many octets the number needs, less 1: 0 to 7.
fn length_code(number: u64) -> u8 {
    let bits = 64 - number.leading_zeros().min(63);
    u8::try_from((bits - 1) / 8).unwrap_or(7)
}

/// Takes a number of `code + 1` octets (the low 3 bits count); refuses leading zeros and what no id can be.
fn read_number(octets: &[u8], code: u8) -> Option<(i64, &[u8])> {
    let code = code & 0b111;
    let (digits, rest) = octets.split_at_checked(usize::from(code) + 1)?;
    let number = digits.iter().fold(0u64, |number, digit| number << 8 | u64::from(*digit));
    let number = (length_code(number) == code).then_some(number)?;
    Some((i64::try_from(number).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u8, state: KeyState) -> TokenKey {
        TokenKey { id, secret: [id + 1; 32], state }
    }

    fn check(keys: Vec<TokenKey>, domain: &str, expected: KeyRingError) {
        assert_eq!(KeyRing::new(domain, keys).unwrap_err(), expected);
    }

    #[test]
    fn a_ring_has_one_active_key_and_no_id_twice() {
        use KeyState::{Active, Retired, Revoked};
        check(vec![], "desk.example", KeyRingError::ActiveKeys(0));
        check(vec![key(0, Retired), key(1, Revoked)], "desk.example", KeyRingError::ActiveKeys(0));
        check(vec![key(0, Active), key(1, Active)], "desk.example", KeyRingError::ActiveKeys(2));
        check(vec![key(3, Active), key(3, Revoked)], "desk.example", KeyRingError::KeyIdTwice(3));
        check(vec![key(16, Active)], "desk.example", KeyRingError::KeyId(16));
        check(vec![key(0, Active)], "no domain", KeyRingError::MailDomain("no domain".to_owned()));
    }

    #[test]
    fn debug_shows_neither_secrets_nor_macs() {
        let ring = KeyRing::new("desk.example", vec![key(6, KeyState::Active)]).unwrap();
        let what = TicketRef { ticket: TicketId(9), recipient: UserId(8), visibility: Rendered::Public };
        let claimed = ClaimedToken::read(&ring.mint(Purpose::Body, &what, &Salt([0; 16]))).unwrap();
        let shown = format!("{ring:?} {claimed:?}");
        assert!(!shown.contains("secret") && !shown.contains("7, 7") && !shown.contains("mac:"), "{shown}");
    }

    #[test]
    fn the_account_mark_outlives_a_rotation_but_not_a_revocation() {
        let ring = |states: [KeyState; 2]| {
            let keys = states.into_iter().zip(0..).map(|(state, id)| key(id, state)).collect();
            KeyRing::new("desk.example", keys).unwrap()
        };
        let mark = ring([KeyState::Active, KeyState::Retired]).account_mark();
        assert!(ring([KeyState::Retired, KeyState::Active]).is_account_mark(&mark));
        assert!(!ring([KeyState::Revoked, KeyState::Active]).is_account_mark(&mark));
    }
}
