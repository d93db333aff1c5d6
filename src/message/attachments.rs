//! Parts that are files.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::decode;
use super::parts::Part;
use crate::domain::mail::Attachment;

/// What common file systems take.
const MAX_NAME: usize = 255;

/// The parts as files; `html` says which of them are shown inside it.
pub(super) fn read(parts: Vec<Part>, html: Option<&str>) -> Vec<Attachment> {
    let shown = content_ids_in(html.unwrap_or_default());
    parts.into_iter().filter(|part| !is_empty_text(part)).map(|part| attachment(part, &shown)).collect()
}

/// What `cid:` addresses refer to (RFC 2392), in attributes and, up to a bracket or an escaped quote, in styles.
fn content_ids_in(html: &str) -> BTreeSet<&str> {
    let mut ids = BTreeSet::new();
    for rest in html.split("cid:").skip(1) {
        let ends = |c: char| c.is_whitespace() || "\"'<>".contains(c);
        let id = rest.split(ends).next().unwrap_or_default();
        ids.insert(id);
        ids.extend(id.split([')', '&']).next());
    }
    ids
}

/// The empty text of a mail without a body is no file.
fn is_empty_text(part: &Part) -> bool {
    part.name.is_none() && part.media_type == "text/plain" && part.content.trim_ascii().is_empty()
}

fn attachment(part: Part, shown: &BTreeSet<&str>) -> Attachment {
    let referred = part.content_id.as_deref().is_some_and(|id| shown.contains(id));
    Attachment {
        name: part.name.as_deref().and_then(safe_name),
        media_type: part.media_type,
        inline: part.disposition.as_deref() == Some("inline") || referred,
        content_id: part.content_id,
        sha256: Sha256::digest(&part.content).into(),
        content: part.content,
    }
}

/// A name without path, control characters and the marks that turn the direction of writing (which make
/// `gpj.exe` read as `exe.jpg`).
fn safe_name(name: &str) -> Option<String> {
    let turns =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let last = name.rsplit(['/', '\\']).find(|piece| !piece.trim().is_empty())?;
    let mut name = decode::line(last).replace(turns, "");
    name.truncate(name.floor_char_boundary(MAX_NAME));
    (!name.is_empty() && name != "." && name != "..").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_paths_and_control_characters() {
        let check =
            |name: &str, expected: Option<&str>| assert_eq!(safe_name(name).as_deref(), expected, "{name:?}");
        check("report.pdf", Some("report.pdf"));
        check("../../etc/passwd", Some("passwd"));
        check(r"C:\Users\ada\a.txt", Some("a.txt"));
        check("a\0b\r\n.txt", Some("ab .txt"));
        check("invoice\u{202e}fdp.exe", Some("invoicefdp.exe"));
        check("dir/", Some("dir"));
        check("..", None);
        check(" / ", None);
        assert_eq!(safe_name(&"é".repeat(300)).unwrap().len(), 254);
    }
}
