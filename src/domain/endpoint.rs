//! Where a listener is found: `192.0.2.1:25`, `[::1]:2525` or `unix:/run/postern/smtp.sock`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The address of a socket that takes connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Endpoint {
    Tcp(SocketAddr),
    /// Always absolute: a daemon may run anywhere.
    Unix(PathBuf),
}

/// What the kernel keeps of a Unix socket's path (`sun_path`), its final NUL included.
const MAX_PATH_OCTETS: usize = 108;
const UNIX: &str = "unix:";

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix(UNIX) else {
            return text.parse().map(Self::Tcp).map_err(|_| {
                format!("`{text}` is not an address, expected one like `127.0.0.1:2525` or `unix:/path`")
            });
        };
        if !path.starts_with('/') {
            return Err(format!("`{text}` is not an absolute path, expected one like `unix:/path`"));
        }
        if path.len() >= MAX_PATH_OCTETS {
            let (found, most) = (path.len(), MAX_PATH_OCTETS - 1);
            return Err(format!("the path of `{text}` has {found} octets, expected at most {most}"));
        }
        Ok(Self::Unix(path.into()))
    }
}

impl TryFrom<String> for Endpoint {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<Endpoint, &str>) {
        let found = text.parse::<Endpoint>();
        assert_eq!(found.as_ref().map_err(String::as_str), expected.as_ref().map_err(|text| *text));
        if let Ok(endpoint) = found {
            assert_eq!(endpoint.to_string(), text);
        }
    }

    #[test]
    fn an_endpoint_is_an_address_with_a_port_or_an_absolute_path() {
        check("127.0.0.1:25", Ok(Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], 25)))));
        check("[::]:0", Ok(Endpoint::Tcp("[::]:0".parse().unwrap())));
        check("unix:/run/a b", Ok(Endpoint::Unix("/run/a b".into())));
    }

    #[test]
    fn anything_else_is_told() {
        for wrong in ["", "25", "localhost:25", "127.0.0.1", "/run/a"] {
            let told =
                format!("`{wrong}` is not an address, expected one like `127.0.0.1:2525` or `unix:/path`");
            check(wrong, Err(&told));
        }
        check("unix:run/a", Err("`unix:run/a` is not an absolute path, expected one like `unix:/path`"));
        let longest = format!("unix:/{}", "a".repeat(106));
        check(&longest, Ok(Endpoint::Unix(longest.trim_start_matches(UNIX).into())));
        let told = format!("the path of `{longest}a` has 108 octets, expected at most 107");
        check(&format!("{longest}a"), Err(&told));
    }
}
