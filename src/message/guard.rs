//! The door: makes line ends equal, finds where headers end, and catches what panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

use memchr::memmem;

use super::Defects;
use super::fields::{self, Fields};
use crate::domain::mail::Defect;

/// Header blocks beyond this are cut at a line end; Exim's limit is 1 MB, Postfix's 100 KB.
const MAX_HEADERS: usize = 256 * 1024;

/// A message with LF line ends whose headers have been read.
#[derive(Debug)]
pub(super) struct Source {
    /// The whole message, its header block cut to the limit.
    pub(super) raw: Vec<u8>,
    /// Where the body starts in `raw`.
    body_at: usize,
    pub(super) fields: Fields,
    pub(super) from_fields: usize,
}

impl Source {
    pub(super) fn body(&self) -> &[u8] {
        self.raw.get(self.body_at..).unwrap_or_default()
    }

    pub(super) fn head(&self) -> &[u8] {
        self.raw.get(..self.body_at).unwrap_or_default()
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
    let kept = within_limit(raw.get(..head_end).unwrap_or_default());
    let fields = Fields::read(kept);
    if !fields.look_like_headers() {
        defects.insert(Defect::NoHeaders);
        return Source { raw, body_at: 0, fields: Fields::default(), from_fields: 0 };
    }
    let cut = kept.len();
    // Counted behind the cut too: a mail that hides a second From there must not look as if it had one.
    let from_fields =
        fields.count("from") + fields::count_in(raw.get(cut..head_end).unwrap_or_default(), "from");
    if cut < head_end {
        defects.insert(Defect::HeadersTooLong);
        raw.drain(cut..head_end);
    }
    let body_at = (cut + 1).min(raw.len());
    Source { raw, body_at, fields, from_fields }
}

/// A header block, cut at a line end if it is too long.
fn within_limit(head: &[u8]) -> &[u8] {
    let Some(kept) = head.get(..MAX_HEADERS).filter(|_| head.len() > MAX_HEADERS) else { return head };
    kept.get(..memchr::memrchr(b'\n', kept).map_or(MAX_HEADERS, |at| at + 1)).unwrap_or_default()
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
        if Fields::read(within_limit(after.get(..head_end).unwrap_or_default())).look_like_headers() {
            rest = after;
        }
    }
    let dropped = raw.len() - rest.len();
    raw.drain(..dropped);
}
