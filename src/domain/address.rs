//! Mail addresses and how they compare (DESIGN §7).
//!
//! Addresses compare by ASCII case folding only; domains as IDNA A-labels; a non-ASCII local part
//! compares byte for byte after NFC, so look-alikes never become equal.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

/// One mail address, `local@domain`, as written plus the form it compares by.
///
/// Made only by [`Address::parse`]: it has a local part of 1 to 64 octets, a domain of 1 to 253 octets,
/// and neither holds control characters, white space, angle brackets or commas.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    local: String,
    /// Lower-case A-labels, or an address literal in brackets.
    domain: String,
    /// `local@domain` folded for comparison.
    key: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a mail address: {why}, expected `name@domain`")]
pub struct AddressError {
    pub found: String,
    pub why: &'static str,
}

impl Address {
    /// Reads one bare address (RFC 5321 §4.1.2 Mailbox, without display name or angle brackets).
    ///
    /// # Errors
    /// Says which part is missing, too long (RFC 5321 §4.5.3.1) or holds a character it may not.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let fail = |why| AddressError { found: text.chars().take(100).collect(), why };
        let text = text.trim();
        let (local, domain) = text.rsplit_once('@').ok_or_else(|| fail("there is no `@`"))?;
        // NFC turns a few signs into ASCII (the Kelvin sign into K): such a look-alike must not become equal. It comes
        // before the checks, so that what is kept passes them again when it is read back.
        let composed: String = if local.is_ascii() { String::new() } else { local.nfc().collect() };
        let local = if composed.is_ascii() { local } else { composed.as_str() };
        if local.is_empty() || local.len() > 64 {
            return Err(fail("the part before `@` must have 1 to 64 octets"));
        }
        let unquoted = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let forbidden = |c: char| c.is_control() || c.is_whitespace() || "<>,;@\"()".contains(c);
        let allowed_in_quotes = |c: char| !c.is_control() && !"<>\"\\".contains(c);
        let local_is_sound = match unquoted {
            Some(inner) => !inner.is_empty() && inner.chars().all(allowed_in_quotes),
            None => !local.contains(forbidden),
        };
        if !local_is_sound {
            return Err(fail("the part before `@` holds a character it may not"));
        }
        let domain = domain_to_ascii(domain).ok_or_else(|| fail("the part after `@` is not a domain"))?;
        let local = local.to_owned();
        let folded = if local.is_ascii() { local.to_ascii_lowercase() } else { local.clone() };
        let key = format!("{folded}@{domain}");
        Ok(Self { local, domain, key })
    }

    #[must_use]
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain as lower-case A-labels.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The form two equal addresses share; what the store indexes.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The `+detail` part of the local part, if any: `idX` of `support+idX@…`.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.local.split_once('+').map(|(_, detail)| detail)
    }

    /// This address without its `+detail`.
    #[must_use]
    pub fn without_detail(&self) -> Self {
        match self.local.split_once('+') {
            Some((base, _)) if self.has_base() => {
                let key = self.base_key().into_owned();
                Self { local: base.to_owned(), domain: self.domain.clone(), key }
            }
            _ => self.clone(),
        }
    }

    /// The form that [`Address::without_detail`] compares by.
    #[must_use]
    pub fn base_key(&self) -> Cow<'_, str> {
        match self.key.split_once('+') {
            Some((base, _)) if self.has_base() => {
                // The detail may be why the whole was not folded.
                let folded = if base.is_ascii() { base.to_ascii_lowercase() } else { base.to_owned() };
                Cow::Owned(format!("{folded}@{}", self.domain))
            }
            _ => Cow::Borrowed(&self.key),
        }
    }

    /// Before the `+` stands what could be a local part by itself: something, and no quoted string that is cut.
    fn has_base(&self) -> bool {
        !self.local.starts_with(['+', '"'])
    }

    /// `r***@example.net`: for logs, which never hold whole addresses (DESIGN §10).
    #[must_use]
    pub fn masked(&self) -> String {
        let first = self.local.chars().next().unwrap_or('*');
        format!("{first}***@{}", self.domain)
    }
}

/// A domain as lower-case A-labels; address literals (`[192.0.2.1]`) pass as they are.
fn domain_to_ascii(domain: &str) -> Option<String> {
    let literal = domain.starts_with('[') && domain.ends_with(']');
    let inner = domain.trim_start_matches('[').trim_end_matches(']');
    let literal_char = |c: char| c.is_ascii_alphanumeric() || ".:-".contains(c);
    if literal {
        return (!inner.is_empty() && inner.chars().all(literal_char)).then(|| domain.to_ascii_lowercase());
    }
    let ascii =
        if domain.is_ascii() { domain.to_ascii_lowercase() } else { idna::domain_to_ascii(domain).ok()? };
    let ascii = ascii.strip_suffix('.').unwrap_or(&ascii).to_owned();
    let label_char = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let sound = ascii.len() <= 253
        && ascii
            .split('.')
            .all(|label| !label.is_empty() && label.len() <= 63 && label.chars().all(label_char));
    sound.then_some(ascii)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}
impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}
impl Eq for Address {}
impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}
impl Ord for Address {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}
impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl TryFrom<String> for Address {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        Self::parse(&text)
    }
}
impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

/// An address with the name its owner shows beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    pub name: Option<String>,
    pub address: Address,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(left: &str, right: &str) -> bool {
        Address::parse(left).unwrap() == Address::parse(right).unwrap()
    }

    #[test]
    fn ascii_case_never_matters_and_domains_compare_as_a_labels() {
        assert!(same("Ada@Example.NET", "ada@example.net"));
        assert!(same("x@bücher.example", "x@xn--bcher-kva.example"));
    }

    #[test]
    fn a_non_ascii_local_part_compares_byte_for_byte_after_nfc() {
        assert!(same("jos\u{e9}@example.net", "jose\u{301}@example.net"));
        assert!(!same("JOS\u{c9}@example.net", "jos\u{e9}@example.net"));
        assert!(!same("\u{430}da@example.net", "ada@example.net"), "a Cyrillic look-alike is somebody else");
        assert!(!same("\u{212a}im@example.net", "kim@example.net"), "the Kelvin sign is not a k");
    }

    #[test]
    fn what_is_no_address_is_refused_with_a_reason() {
        for bad in
            ["", "ada", "@example.net", "a b@example.net", "ada@", "ada@a..b", "a@b@c", "a\n@b.c", "<a@b.c>"]
        {
            assert!(Address::parse(bad).is_err(), "`{bad}` passed");
        }
    }

    #[test]
    fn what_is_kept_of_an_address_can_be_read_back() {
        // NFC makes a semicolon of the Greek question mark, and 120 octets of sixty.
        assert!(Address::parse("\u{e9}\u{37e}x@evil.example").is_err());
        assert!(Address::parse(&format!("{}@evil.example", "\u{958}".repeat(20))).is_err());
        for kept in [
            "jose\u{301}@example.net",
            "\u{212a}im@example.net",
            "\"a b\"@example.net",
            "x@b\u{fc}cher.example",
        ] {
            let address = Address::parse(kept).unwrap();
            assert_eq!(Address::parse(&address.to_string()), Ok(address));
        }
    }

    #[test]
    fn the_detail_is_what_follows_the_first_plus() {
        let address = Address::parse("support+idABC@desk.example").unwrap();
        assert_eq!(address.detail(), Some("idABC"));
        assert_eq!(address.without_detail().to_string(), "support@desk.example");
        for (written, base) in [
            ("Support+a+b@Desk.Example", "support@desk.example"),
            ("support@desk.example", "support@desk.example"),
            ("+a@desk.example", "+a@desk.example"),
            ("\"a+b\"@desk.example", "\"a+b\"@desk.example"),
            ("jos\u{e9}+a@desk.example", "jos\u{e9}@desk.example"),
            ("Support+\u{e9}@desk.example", "support@desk.example"),
        ] {
            let address = Address::parse(written).unwrap();
            assert_eq!(address.base_key(), base);
            assert_eq!(address.without_detail(), Address::parse(base).unwrap());
        }
    }
}
