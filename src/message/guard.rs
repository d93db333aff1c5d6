//! The door: makes line ends equal, finds the end of the headers and keeps from the parser what would hurt it.
//!
//! The limits exist because mail-parser 0.11 has none of its own: a megabyte of nested messages overflows the
//! stack when its result is dropped (which nothing can catch), a megabyte of parameters takes seconds, and each
//! part of five bytes costs it some two hundred.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use memchr::memmem;
use regex::bytes::Regex;

use super::Defects;
use super::fields::Fields;
use crate::domain::mail::Defect;

/// Header blocks beyond this are cut at a line end; Exim's limit is 1 MB, Postfix's 100 KB.
const MAX_HEADERS: usize = 256 * 1024;
/// The longest Content-Type, Content-Disposition or Content-ID field: its parameters cost quadratic time.
const MAX_MIME_FIELD: usize = 8 * 1024;
const MAX_NESTED_MESSAGES: usize = 100;
const MAX_BOUNDARIES: usize = 200;
/// Delimiter lines of all boundaries together.
const MAX_DELIMITERS: usize = 10_000;

/// A message with LF line ends whose headers have been read.
#[derive(Debug)]
pub(super) struct Source {
    /// The whole message, its header block cut to the limit.
    pub(super) raw: Vec<u8>,
    /// Where the body starts in `raw`.
    body_at: usize,
    pub(super) fields: Fields,
    pub(super) from_fields: usize,
    /// The structure of the body must not be looked at: it is one opaque piece.
    pub(super) opaque: bool,
}

impl Source {
    pub(super) fn body(&self) -> &[u8] {
        self.raw.get(self.body_at..).unwrap_or_default()
    }

    pub(super) fn has_headers(&self) -> bool {
        !self.fields.is_empty()
    }
}

/// The header fields alone, up to the limit; the rest of the message is not looked at.
pub(super) fn head(raw: &[u8]) -> Fields {
    let mut head = with_lf_line_ends(raw.get(..raw.len().min(MAX_HEADERS)).unwrap_or_default());
    drop_before_headers(&mut head);
    let end = memmem::find(&head, b"\n\n").map_or(head.len(), |at| at + 1);
    Fields::read(head.get(..end).unwrap_or_default())
}

pub(super) fn open(raw: &[u8], defects: &mut Defects) -> Source {
    let mut raw = with_lf_line_ends(raw);
    drop_before_headers(&mut raw);
    let head_end = memmem::find(&raw, b"\n\n").map_or(raw.len(), |at| at + 1);
    let mut fields = Fields::read(raw.get(..head_end).unwrap_or_default());
    if !fields.look_like_headers() {
        defects.insert(Defect::NoHeaders);
        return Source { raw, body_at: 0, fields: Fields::default(), from_fields: 0, opaque: false };
    }
    // Counted before the cut: a mail that hides a second From behind the limit must not look as if it had one.
    let from_fields = fields.count("from");
    let mut body_at = (head_end + 1).min(raw.len());
    if head_end > MAX_HEADERS {
        defects.insert(Defect::HeadersTooLong);
        let kept = raw.get(..MAX_HEADERS).unwrap_or_default();
        let cut = memchr::memrchr(b'\n', kept).map_or(MAX_HEADERS, |at| at + 1);
        fields = Fields::read(raw.get(..cut).unwrap_or_default());
        raw.drain(cut..head_end);
        body_at = (cut + 1).min(raw.len());
    }
    let danger = danger_in(&raw);
    defects.extend(danger);
    Source { raw, body_at, fields, from_fields, opaque: danger.is_some() }
}

/// Runs `read`; a panic inside becomes [`Defect::ParserPanicked`] and the default value.
pub(super) fn catch<T: Default>(defects: &mut Defects, read: impl FnOnce(&mut Defects) -> T) -> T {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut found = Defects::new();
        let value = read(&mut found);
        (value, found)
    }));
    let Ok((value, found)) = outcome else {
        defects.insert(Defect::ParserPanicked);
        return T::default();
    };
    defects.extend(found);
    value
}

/// Any run of CRs before an LF goes (some relays double the CR); lone CRs are line ends only in a message that
/// has no LF at all.
fn with_lf_line_ends(raw: &[u8]) -> Vec<u8> {
    if memchr::memchr(b'\n', raw).is_none() {
        return raw.iter().map(|&byte| if byte == b'\r' { b'\n' } else { byte }).collect();
    }
    let mut clean = Vec::with_capacity(raw.len());
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', raw) {
        let text = raw.get(start..end).unwrap_or_default();
        let crs = text.iter().rev().take_while(|&&byte| byte == b'\r').count();
        clean.extend_from_slice(text.get(..text.len() - crs).unwrap_or_default());
        clean.push(b'\n');
        start = end + 1;
    }
    clean.extend_from_slice(raw.get(start..).unwrap_or_default());
    clean
}

/// A byte order mark, blank lines and an mbox `From ` line may stand before the headers.
fn drop_before_headers(raw: &mut Vec<u8>) {
    let mut rest = raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(raw);
    let blank = rest.iter().take_while(|&&byte| byte == b'\n').count();
    rest = rest.get(blank..).unwrap_or_default();
    if rest.starts_with(b"From ") {
        let line_end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let after = rest.get(line_end..).unwrap_or_default();
        let head_end = memmem::find(after, b"\n\n").unwrap_or(after.len());
        if Fields::read(after.get(..head_end).unwrap_or_default()).look_like_headers() {
            rest = after;
        }
    }
    let dropped = raw.len() - rest.len();
    raw.drain(..dropped);
}

/// Why the structure of this message must not be looked at, if so.
fn danger_in(raw: &[u8]) -> Option<Defect> {
    static NESTED: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?i)message\s*/\s*(?:rfc822|global)").ok());
    static MIME_FIELD: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?im)^content-(?:type|disposition|id)[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*").ok()
    });
    let count =
        |regex: &Option<Regex>| regex.as_ref().map_or(usize::MAX, |found| found.find_iter(raw).count());
    // Patterns cost more than to see that there cannot be so many.
    if memchr::memchr_iter(b'/', raw).nth(MAX_NESTED_MESSAGES).is_some()
        && count(&NESTED) > MAX_NESTED_MESSAGES
    {
        return Some(Defect::TooManyNestedMessages);
    }
    let longest =
        || MIME_FIELD.as_ref().and_then(|regex| regex.find_iter(raw).map(|field| field.len()).max());
    if may_hold_long_field(raw) && longest().unwrap_or_default() > MAX_MIME_FIELD {
        return Some(Defect::HeadersTooLong);
    }
    (delimiters_in(raw) > MAX_DELIMITERS).then_some(Defect::TooManyParts)
}

/// Whether some field could be too long, folding included. Looks from one end of a field for the last one that is near enough:
/// a step for each eight kilobytes, where a pattern would look at every line.
fn may_hold_long_field(raw: &[u8]) -> bool {
    let mut rest = raw;
    while rest.len() > MAX_MIME_FIELD {
        let near = rest.get(..=MAX_MIME_FIELD).unwrap_or_default();
        let ends = |at: &usize| !matches!(rest.get(at + 1), Some(b' ' | b'\t'));
        let Some(end) = memchr::memrchr_iter(b'\n', near).find(ends) else { return true };
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    false
}

/// At most how many delimiter lines of declared boundaries there are; a boundary given in pieces (RFC 2231) or
/// with white space in it counts by its first piece, which can only count too many.
fn delimiters_in(raw: &[u8]) -> usize {
    static BOUNDARY: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r#"(?i)boundary[*0-9]*\s*=\s*"?\s*([^"\s;]{1,70})"#).ok());
    let Some(regex) = BOUNDARY.as_ref() else { return usize::MAX };
    let may_be_many = memchr::memchr_iter(b'=', raw).nth(MAX_BOUNDARIES).is_some();
    let may_be_many_lines = raw.len() > MAX_DELIMITERS * "--b".len();
    if !may_be_many && !may_be_many_lines {
        return 0;
    }
    let boundaries: BTreeSet<&[u8]> =
        regex.captures_iter(raw).filter_map(|found| found.get(1)).map(|value| value.as_bytes()).collect();
    if boundaries.len() > MAX_BOUNDARIES {
        return usize::MAX;
    }
    boundaries.iter().map(|boundary| memmem::find_iter(raw, &[b"--", *boundary].concat()).count()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Content-Type field of so many octets, its last line end not counted.
    fn field(octets: usize, folded: bool) -> Vec<u8> {
        let mut field = b"Content-Type: ".to_vec();
        while field.len() < octets {
            let fold = folded && field.len().is_multiple_of(70) && field.len() + 2 < octets;
            field.extend_from_slice(if fold { b"\n " } else { b"x" });
        }
        field
    }

    #[test]
    fn a_field_is_too_long_from_one_octet_beyond_the_limit_on_wherever_it_stands() {
        for before in [0, 1, 40, MAX_MIME_FIELD / 2 - 1, MAX_MIME_FIELD / 2, MAX_MIME_FIELD, 10_000] {
            for octets in MAX_MIME_FIELD - 1..=MAX_MIME_FIELD + 2 {
                for (folded, after) in [(false, ""), (true, ""), (false, "\n"), (true, "\nTo: x\n\ntext\n")] {
                    let raw = [b"x\n".repeat(before), field(octets, folded), after.into()].concat();
                    let danger = (octets > MAX_MIME_FIELD).then_some(Defect::HeadersTooLong);
                    assert_eq!(
                        danger_in(&raw),
                        danger,
                        "{octets} octets behind {before} lines, {folded}, {after:?}"
                    );
                }
            }
        }
    }
}
