//! Single values of configuration files: how each is read, and what is told if it is not sound.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::Spanned;

use crate::domain::address::Address;

const LOCALES: &[&str] = &["en"];

/// A password: never shown, never logged.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The password itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("********")
    }
}

/// A network in CIDR form; a bare address is a network of one.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Network(pub(super) IpNet);

impl TryFrom<String> for Network {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        net.map(Self).ok_or_else(|| format!("`{text}` is not a network, expected one like `192.0.2.0/24`"))
    }
}
impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.0.to_string()
    }
}

/// Networks, each as a [`Network`].
pub(super) mod networks {
    use super::*;

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<IpNet>, D::Error> {
        let networks = Vec::<Network>::deserialize(deserializer)?;
        Ok(networks.into_iter().map(|network| network.0).collect())
    }

    pub(in super::super) fn serialize<S: Serializer>(
        networks: &[IpNet],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(networks.iter().map(|network| Network(*network)))
    }
}

/// The permission bits of a file, written in octal as for `chmod`.
pub(super) mod mode {
    use super::*;

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Spanned<u32>>, D::Error> {
        let text = Spanned::<String>::deserialize(deserializer)?;
        let (span, text) = (text.span(), text.into_inner());
        let bits = u32::from_str_radix(&text, 8).ok().filter(|bits| *bits <= 0o777);
        let bits = bits.ok_or_else(|| {
            D::Error::custom(format!("`{text}` is not a file mode, expected one like `0660`"))
        })?;
        Ok(Some(Spanned::new(span, bits)))
    }

    pub(in super::super) fn serialize<S: Serializer>(
        mode: &Option<Spanned<u32>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match mode {
            Some(mode) => serializer.serialize_str(&format!("{:04o}", mode.get_ref())),
            None => serializer.serialize_none(),
        }
    }
}

/// A mail domain as its A-labels.
pub(super) fn domain_name(text: &str) -> Result<String, String> {
    let address = Address::parse(&format!("postmaster@{text}"));
    let sound = address.ok().filter(|_| !text.contains('@'));
    sound
        .map(|address| address.domain().to_owned())
        .ok_or_else(|| format!("`{text}` is not a domain, expected one like `example.net`"))
}

pub(super) fn domain<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    domain_name(&text).map_err(D::Error::custom)
}

pub(super) fn domains<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| domain_name(text)).collect::<Result<_, _>>().map_err(D::Error::custom)
}

/// Addresses, and domains without `@`; both in the form that addresses compare by.
pub(super) fn blocklist<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let entry = |text: &String| match Address::parse(text) {
        Ok(address) => Ok(address.key().to_owned()),
        Err(error) if text.contains('@') => Err(error.to_string()),
        Err(_) => domain_name(text),
    };
    texts.iter().map(entry).collect::<Result<_, _>>().map_err(D::Error::custom)
}

pub(super) fn time_zone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if jiff::tz::TimeZone::get(&name).is_err() {
        let message =
            format!("`{name}` is not a known time zone, expected an IANA name like `Europe/Berlin`");
        return Err(D::Error::custom(message));
    }
    Ok(name)
}

pub(super) fn locale<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if !LOCALES.contains(&name.as_str()) {
        return Err(D::Error::unknown_variant(&name, LOCALES));
    }
    Ok(name)
}

pub(super) fn at_least<'de, D: Deserializer<'de>, const MIN: usize>(
    deserializer: D,
) -> Result<usize, D::Error> {
    let number = usize::deserialize(deserializer)?;
    if number < MIN {
        return Err(D::Error::custom(format!("`{number}` is too small, expected at least {MIN}")));
    }
    Ok(number)
}

pub(super) fn within<'de, D: Deserializer<'de>, const MIN: usize, const MAX: usize>(
    deserializer: D,
) -> Result<usize, D::Error> {
    let number = at_least::<D, MIN>(deserializer)?;
    if number > MAX {
        return Err(D::Error::custom(format!("`{number}` is too large, expected at most {MAX}")));
    }
    Ok(number)
}

/// A string; the empty one says that there is none.
pub(super) mod empty_is_none {
    use super::*;

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<String>, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
    }

    pub(in super::super) fn serialize<S: Serializer>(
        text: &Option<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text.as_deref().unwrap_or_default())
    }
}

/// A time-out in whole seconds.
pub(super) mod seconds {
    use std::time::Duration;

    use super::*;

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        match u32::deserialize(deserializer)? {
            0 => Err(D::Error::custom("`0` is too small, expected at least 1 second")),
            seconds => Ok(Duration::from_secs(seconds.into())),
        }
    }

    pub(in super::super) fn serialize<S: Serializer>(
        time: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(time.as_secs())
    }
}
