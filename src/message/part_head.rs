//! The headers of a part, and where they end: with what people and broken programs make of them.

use super::fields::{Fields, is_delimiter, is_written_by_programs, name_in};

/// The headers of a part.
#[derive(Debug, Default)]
pub(super) struct PartHead {
    /// Those whose names begin with `Content-`: no other means anything here (RFC 2046 §5.1).
    pub(super) fields: Fields,
    pub(super) body_at: usize,
    /// There was more of them than could be kept.
    pub(super) is_cut: bool,
}

impl PartHead {
    /// Reads up to an empty line. What somebody wrote is not passed over as in the header block of a message: at a line that is no field the
    /// body begins, unless a `Content-` field stands between it and the empty line. And without a field that programs write there are
    /// no headers: a word and a colon begin many a sentence. At most `limit` octets are kept.
    pub(super) fn read(part: &[u8], limit: usize) -> Self {
        let mut kept = Vec::new();
        let (mut at, mut is_header, mut is_cut, mut keeps) = (0, false, false, false);
        // The first line that is no field, and how much was kept before it; and whether the lines here still belong to it.
        let (mut stray, mut astray) = (None, false);
        let mut ends_well = false;
        for line in part.split_inclusive(|&byte| byte == b'\n') {
            ends_well = line == b"\n";
            let folded = at > 0 && line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t'));
            if ends_well || !folded && is_delimiter(line) {
                break;
            }
            let goes_on = keeps && kept.trim_ascii_end().ends_with(b";") && is_parameter(line);
            if goes_on {
                // A mailer forgot to fold.
                kept.push(b' ');
            } else if !folded {
                let name = name_in(line).map(|(name, _)| name.to_ascii_lowercase());
                let tells = name.as_deref().is_some_and(|name| name.starts_with("content-"));
                astray = name.is_none() || astray && !tells;
                stray = stray.or(astray.then_some((at, kept.len())));
                is_header |= !astray && name.is_some_and(|name| is_written_by_programs(&name));
                keeps = tells;
            }
            at += line.len();
            let fits = kept.len() + line.len() <= limit;
            is_cut |= keeps && !fits;
            keeps &= fits;
            if keeps {
                kept.extend_from_slice(line);
            }
        }
        let body_at = match stray {
            Some((start, kept_before)) if astray || !ends_well => {
                kept.truncate(kept_before);
                start
            }
            _ => at + usize::from(ends_well),
        };
        if !is_header {
            // All is body, but for an empty line at the start.
            return Self { body_at: usize::from(ends_well && at == 0), ..Self::default() };
        }
        Self { fields: Fields::read(&kept), body_at, is_cut }
    }
}

/// `name=value`, and no field.
fn is_parameter(line: &[u8]) -> bool {
    name_in(line).is_none() && memchr::memchr(b'=', line).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_ends_where_somebody_began_to_write() {
        let check = |part: &str, fields: &[(&str, &str)], body: &str| {
            let head = PartHead::read(part.as_bytes(), 60);
            let found: Vec<_> = head.fields.iter().collect();
            let found: Vec<_> = found.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!((found.as_slice(), part.get(head.body_at..).unwrap()), (fields, body), "{part:?}");
        };
        let html = [("content-type", "text/html")];
        check("", &[], "");
        check("\nHello", &[], "Hello");
        check("Hello\n", &[], "Hello\n");
        check("Note: x\n\nHello", &[], "Note: x\n\nHello");
        check("X-Own: 1\nContent-Type: text/html\n\nHello", &html, "Hello");
        check("Content-Type: text/html\nHello\nyou", &html, "Hello\nyou");
        check("Content-Type: text/html\nHello\nContent: x", &html, "Hello\nContent: x");
        check("junk line\n folded\nContent-Type: text/html\n\nHello", &html, "Hello");
        check("Content-Type: text/html\n--i\nContent-Type: x\n\n", &html, "--i\nContent-Type: x\n\n");
        check("Content-Type: a/b;\nc=d\n\nHello", &[("content-type", "a/b; c=d")], "Hello");
    }

    #[test]
    fn no_more_is_kept_than_the_limit() {
        let cut = |part: &str| PartHead::read(part.as_bytes(), 40).is_cut;
        assert!(!cut(&format!("X-Own: {}\nContent-Type: text/html\n\n", "x".repeat(50))));
        assert!(cut(&format!("Content-Type: text/html\nContent-ID: {}\n\n", "x".repeat(30))));
    }
}
