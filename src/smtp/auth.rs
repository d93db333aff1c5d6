//! The two mechanisms of AUTH: PLAIN (RFC 4616), and LOGIN as it is widely used.
//!
//! **Invariant:** what clients send here is in no log and in no `Debug` output.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::policy::Refusal;

/// The longest line of an exchange, line end left out (RFC 4954 §4).
pub(super) const MAX_LINE: usize = 12288;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    Plain,
    Login,
}

/// An AUTH command.
#[derive(PartialEq, Eq)]
pub(super) struct Auth {
    /// `None`: one that we do not offer.
    pub mechanism: Option<Mechanism>,
    pub initial: Option<String>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

/// An exchange that waits for the client's next response.
pub(super) enum Exchange {
    Plain,
    LoginName,
    LoginPassword { username: Vec<u8> },
}

/// What a response brought.
pub(super) enum Turn {
    Ask(Exchange),
    Credentials { username: Vec<u8>, password: Vec<u8> },
}

impl Exchange {
    /// Begins with what stood in the AUTH command; `=` there is an empty response (RFC 4954 §4).
    pub(super) fn begin(mechanism: Mechanism, initial: Option<&str>) -> Result<Turn, Refusal> {
        let exchange = match mechanism {
            Mechanism::Plain => Self::Plain,
            Mechanism::Login => Self::LoginName,
        };
        match initial {
            None => Ok(Turn::Ask(exchange)),
            Some("=") => exchange.take(Vec::new()),
            Some(response) => exchange.answer(response.as_bytes()),
        }
    }

    /// What the client is asked, in base64: nothing, `Username:` or `Password:`.
    pub(super) fn challenge(&self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::LoginName => "VXNlcm5hbWU6",
            Self::LoginPassword { .. } => "UGFzc3dvcmQ6",
        }
    }

    /// Goes on with a line of the client's, its line end left out.
    pub(super) fn answer(self, line: &[u8]) -> Result<Turn, Refusal> {
        if line == b"*" {
            return Err(Refusal::AuthCancelled);
        }
        self.take(BASE64.decode(line).map_err(|_| Refusal::NotBase64)?)
    }

    fn take(self, response: Vec<u8>) -> Result<Turn, Refusal> {
        match self {
            Self::Plain => plain(&response),
            Self::LoginName => Ok(Turn::Ask(Self::LoginPassword { username: response })),
            Self::LoginPassword { username } => Ok(Turn::Credentials { username, password: response }),
        }
    }
}

/// `[authzid] NUL authcid NUL passwd`. Nobody may act for somebody else.
fn plain(response: &[u8]) -> Result<Turn, Refusal> {
    let mut parts = response.splitn(3, |byte| *byte == 0);
    let (Some(acts_for), Some(username), Some(password)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Refusal::AuthFailed);
    };
    if !acts_for.is_empty() && acts_for != username {
        return Err(Refusal::AuthFailed);
    }
    Ok(Turn::Credentials { username: username.to_vec(), password: password.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(response: &[u8], expected: Result<(&str, &str), Refusal>) {
        let found = match Exchange::Plain.answer(BASE64.encode(response).as_bytes()) {
            Ok(Turn::Credentials { username, password }) => {
                Ok((String::from_utf8(username).unwrap(), String::from_utf8(password).unwrap()))
            }
            Ok(Turn::Ask(_)) => panic!("PLAIN asked again"),
            Err(refusal) => Err(refusal),
        };
        assert_eq!(found, expected.map(|(name, password)| (name.to_owned(), password.to_owned())));
    }

    #[test]
    fn plain_holds_a_name_and_a_password() {
        check(b"\0relay\0secret", Ok(("relay", "secret")));
        check(b"relay\0relay\0secret", Ok(("relay", "secret")));
        check(b"\0relay\0a\0b", Ok(("relay", "a\0b")));
    }

    #[test]
    fn nobody_acts_for_somebody_else_and_a_part_must_not_be_missing() {
        for response in [b"admin\0relay\0secret".as_slice(), b"", b"relay", b"relay\0secret", b"secret"] {
            check(response, Err(Refusal::AuthFailed));
        }
    }

    #[test]
    fn a_command_shows_no_response_when_it_is_printed() {
        let auth = Auth { mechanism: Some(Mechanism::Plain), initial: Some("AHJlbGF5AHNlY3JldA==".into()) };
        assert!(!format!("{auth:?}").contains("AHJl"));
    }
}
