//! Reads one Authentication-Results field (RFC 8601 §2.2).
//!
//! Accepts what relays really write (unquoted values, properties without a dot, nothing after an equals
//! sign) but guesses nothing: a field with an open quote, an open comment or a part that is no result is
//! not read at all. Linear in the field.

use std::iter::Peekable;
use std::str::Chars;

/// What one server says about a mail.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Results {
    pub(super) authserv_id: String,
    pub(super) results: Vec<MethodResult>,
}

/// `dkim=pass header.d=example.net`; names in lower case, values as they stand.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MethodResult {
    pub(super) method: String,
    pub(super) result: String,
    properties: Vec<(String, String)>,
}

impl MethodResult {
    /// The property's value, unless it is missing or there twice with different values.
    pub(super) fn property(&self, name: &str) -> Option<&str> {
        let mut values =
            self.properties.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let first = values.next()?;
        values.all(|value| value.eq_ignore_ascii_case(first)).then_some(first)
    }
}

/// Reads the unfolded field body.
pub(super) fn parse(body: &str) -> Option<Results> {
    let tokens = tokens(body)?;
    let mut statements = tokens.split(|token| *token == Token::Semicolon);
    let authserv_id = match statements.next()? {
        [Token::Word(id)] | [Token::Word(id), Token::Word(_)] => id.clone(), // the second is the version
        _ => return None,
    };
    let mut results = Vec::new();
    for statement in statements {
        match statement {
            [] => {}
            [Token::Word(word)] if word.eq_ignore_ascii_case("none") => {}
            _ => results.push(method_result(statement)?),
        }
    }
    Some(Results { authserv_id, results })
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Equals,
    Semicolon,
}

fn method_result(statement: &[Token]) -> Option<MethodResult> {
    let mut pairs = Vec::new();
    let mut rest = statement;
    while let [Token::Word(key), Token::Equals, after @ ..] = rest {
        let (value, after) = match after {
            [Token::Word(value), after @ ..] => (value.clone(), after),
            _ => (String::new(), after), // `smtp.mailfrom=` for the null reverse-path
        };
        pairs.push((key.to_ascii_lowercase(), value));
        rest = after;
    }
    if !rest.is_empty() || pairs.is_empty() {
        return None;
    }
    let (method, result) = pairs.remove(0);
    let method = method.split('/').next().unwrap_or_default().to_owned(); // `dkim/1`: a version
    Some(MethodResult { method, result: result.to_ascii_lowercase(), properties: pairs })
}

fn tokens(body: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = body.chars().peekable();
    while let Some(&c) = chars.peek() {
        match c {
            '(' => skip_comment(&mut chars)?,
            ';' => {
                chars.next();
                tokens.push(Token::Semicolon);
            }
            '=' => {
                chars.next();
                tokens.push(Token::Equals);
            }
            _ if c.is_whitespace() => {
                chars.next();
            }
            // A value may hold an equals sign: return addresses of lists do, unquoted.
            _ => tokens.push(Token::Word(word(&mut chars, tokens.last() == Some(&Token::Equals))?)),
        }
    }
    Some(tokens)
}

fn word(chars: &mut Peekable<Chars<'_>>, is_value: bool) -> Option<String> {
    let mut word = String::new();
    while let Some(&c) = chars.peek() {
        match c {
            '"' => word.push_str(&quoted(chars)?),
            ';' | '(' => break,
            '=' if !is_value => break,
            _ if c.is_whitespace() => break,
            _ => {
                word.push(c);
                chars.next();
            }
        }
    }
    Some(word)
}

/// The text of a quoted string (RFC 5322 §3.2.4).
fn quoted(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut text = String::new();
    chars.next();
    loop {
        match chars.next()? {
            '"' => return Some(text),
            '\\' => text.push(chars.next()?),
            c => text.push(c),
        }
    }
}

/// Comments nest (RFC 5322 §3.2.2).
fn skip_comment(chars: &mut Peekable<Chars<'_>>) -> Option<()> {
    let mut depth = 0usize;
    loop {
        match chars.next()? {
            '(' => depth += 1,
            ')' if depth == 1 => return Some(()),
            ')' => depth -= 1,
            '\\' => {
                chars.next()?;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The results as `method=result key=value …`, joined by `; `, after the id.
    fn check(body: &str, expected: Option<&str>) {
        let read = parse(body).map(|read| {
            let result = |it: &MethodResult| {
                let pairs = it.properties.iter().map(|(key, value)| format!(" {key}={value}"));
                format!("; {}={}{}", it.method, it.result, pairs.collect::<String>())
            };
            format!("{}{}", read.authserv_id, read.results.iter().map(result).collect::<String>())
        });
        assert_eq!(read.as_deref(), expected, "{body}");
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        // RFC 8601, appendices B.2 to B.6.
        check("example.org 1; none", Some("example.org"));
        check(
            "example.com; spf=pass smtp.mailfrom=example.net",
            Some("example.com; spf=pass smtp.mailfrom=example.net"),
        );
        check(
            "example.com; auth=pass (cram-md5) smtp.auth=sender@example.net; spf=pass smtp.mailfrom=example.net",
            Some("example.com; auth=pass smtp.auth=sender@example.net; spf=pass smtp.mailfrom=example.net"),
        );
        check(
            "foo.example.net (foobar) 1 (baz); dkim (Because I like it) / 1 (One yay) = (wait for it) fail \
             policy (A dot can go here) . (like that) expired (this surprised me) = (as I wasn't expecting it) \
             1362471462",
            None, // allowed, and written by nobody: comments inside a name
        );
        check(
            "example.com 1; DKIM/1=Pass HEADER.D = example.net",
            Some("example.com; dkim=pass header.d=example.net"),
        );
    }

    #[test]
    fn what_relays_write_is_read() {
        check(
            "mx.example; dkim=pass (2048-bit key; (secure)) header.d=x.example header.b=\"aB+/=\"; dmarc=pass (p=none; dis=none) header.from=x.example",
            Some("mx.example; dkim=pass header.d=x.example header.b=aB+/=; dmarc=pass header.from=x.example"),
        );
        check(
            "mx.example; dmarc=pass action=none header.from=x.example;",
            Some("mx.example; dmarc=pass action=none header.from=x.example"),
        );
        check(
            "mx.example; spf=none smtp.mailfrom=; dkim=none",
            Some("mx.example; spf=none smtp.mailfrom=; dkim=none"),
        );
        check(
            "mx.example; spf=pass smtp.mailfrom=b+a=b.example@l.example",
            Some("mx.example; spf=pass smtp.mailfrom=b+a=b.example@l.example"),
        );
        check(
            "mx.example; spf=pass smtp.mailfrom=\"a;dmarc=pass b\"@l.example",
            Some("mx.example; spf=pass smtp.mailfrom=a;dmarc=pass b@l.example"),
        );
        check("spf=pass smtp.mailfrom=x.example; dkim=none", None); // no authserv-id
    }

    #[test]
    fn what_is_broken_is_not_read_at_all() {
        for body in [
            "",
            ";",
            "mx.example; dkim=pass (open",
            "mx.example; dkim=pass header.d=\"open",
            "mx.example; dkim",
            "mx.example; =pass",
            "mx.example; dkim=pass stray; spf=pass",
            "mx example 1; dkim=pass",
            "mx.example; (\\",
        ] {
            check(body, None);
        }
        check(&format!("mx.example; {}", "(".repeat(1_000_000)), None);
    }

    #[test]
    fn a_property_that_contradicts_itself_has_no_value() {
        let read = |body: &str| parse(body).unwrap().results.remove(0);
        let twice = read("mx; dkim=pass header.d=a.example header.d=A.example");
        assert_eq!(twice.property("header.d"), Some("a.example"));
        let contradiction = read("mx; dkim=pass header.d=a.example header.d=b.example");
        assert_eq!(contradiction.property("header.d"), None);
    }
}
