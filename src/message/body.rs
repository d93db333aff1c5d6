//! Which parts are the text of the mail, and what they say.

use super::parts::{Kind, Part};
use super::{Defects, decode, html};
use crate::domain::mail::Defect;

/// Text beyond this is cut at a line end; the raw mail keeps all of it.
const MAX_TEXT: usize = 1_000_000;
/// The same for HTML, whose markup weighs many times the text.
const MAX_HTML: usize = 4_000_000;
/// HTML parts that are rendered; of further ones the tags are taken away.
const MAX_RENDERED: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) text: String,
    pub(super) html: Option<String>,
}

/// Reads the text and takes the parts it came from out of `parts`; what stays are files.
///
/// The text is what a reader of plain text is shown: text parts as they are, HTML only where no text stands
/// beside it. If that is blank, the HTML is the text.
pub(super) fn read(parts: &mut Vec<Part>, defects: &mut Defects) -> Content {
    let mut pieces = Vec::new();
    let mut html_parts: Vec<String> = Vec::new();
    let mut html_left = MAX_HTML;
    let mut files = Vec::new();
    for part in std::mem::take(parts) {
        let first = pieces.is_empty() && html_parts.is_empty();
        if !is_body(&part, first) {
            files.push(part);
            continue;
        }
        let text = decode::text(&part.content, part.charset.as_deref(), defects);
        match part.kind {
            Kind::Html => {
                // Hundreds of parts, each just within the limits of one, would hold up every decider.
                let html = cut(text, html_left, defects);
                html_left -= html.len();
                if part.shown.as_text {
                    pieces.push(converted(&html, html_parts.len(), defects));
                }
                html_parts.push(html);
            }
            _ if part.flowed => pieces.push(unflow(&text, part.delsp)),
            _ => pieces.push(text),
        }
    }
    *parts = files;
    let mut text = joined(&pieces);
    if text.trim().is_empty() && !html_parts.is_empty() {
        let numbered = html_parts.iter().enumerate();
        let pieces: Vec<String> = numbered.map(|(at, html)| converted(html, at, defects)).collect();
        text = joined(&pieces);
    }
    Content {
        text: cut(text, MAX_TEXT, defects),
        html: (!html_parts.is_empty()).then(|| html_parts.join("\n")),
    }
}

/// What the HTML part at this place says. To render it costs more than all the rest of a mail, so it is done only
/// where a reader of plain text needs it.
fn converted(html: &str, place: usize, defects: &mut Defects) -> String {
    if place < MAX_RENDERED { html::to_text(html, defects) } else { html::stripped(html) }
}

/// A text part with a file name is a file, unless it is where the text should be.
fn is_body(part: &Part, first: bool) -> bool {
    let named = part.name.is_some() || part.disposition.as_deref() == Some("attachment");
    let shown = part.shown.as_text || part.shown.as_html;
    part.kind != Kind::Other && shown && (first || !named)
}

fn joined(pieces: &[String]) -> String {
    let (Some(first), true) = (pieces.first(), pieces.len() > 1) else {
        return pieces.first().cloned().unwrap_or_default();
    };
    pieces.iter().skip(1).filter(|piece| !piece.trim().is_empty()).fold(first.clone(), |mut text, piece| {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text + piece
    })
}

/// Cuts at the last line end before the limit, or at the last character.
fn cut(mut text: String, limit: usize, defects: &mut Defects) -> String {
    if text.len() <= limit {
        return text;
    }
    defects.insert(Defect::BodyTooLong);
    text.truncate(text.floor_char_boundary(limit));
    if let Some(line_end) = text.rfind('\n') {
        text.truncate(line_end + 1);
    }
    text
}

/// Undoes `format=flowed` (RFC 3676 §4): joins lines that end in a space with the next of the same quote depth,
/// removes space-stuffing, writes quote marks as `> `.
fn unflow(text: &str, delsp: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut open: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let (line, ended) = line.strip_suffix('\n').map_or((line, false), |line| (line, true));
        let content = line.trim_start_matches('>');
        let depth = line.len() - content.len();
        let content = content.strip_prefix(' ').unwrap_or(content);
        if open.is_some_and(|before| before != depth) {
            out.push('\n');
            open = None;
        }
        if open.is_none() && depth > 0 {
            out.push_str(&">".repeat(depth));
            out.push(' ');
        }
        // §4.3: the signature delimiter is never a soft break.
        let soft = content.ends_with(' ') && content != "-- " && ended;
        out.push_str(if soft && delsp { content.strip_suffix(' ').unwrap_or(content) } else { content });
        open = soft.then_some(depth);
        if !soft && ended {
            out.push('\n');
        }
    }
    if open.is_some() {
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flowed_paragraphs_become_one_line_each() {
        let check =
            |text: &str, delsp: bool, expected: &str| assert_eq!(unflow(text, delsp), expected, "{text:?}");
        check("one \ntwo\nthree\n", false, "one two\nthree\n");
        check("one \ntwo\n", true, "onetwo\n");
        check("> quoted \n> on\n>> deeper\nnew\n", false, "> quoted on\n>> deeper\nnew\n");
        check("> quoted \nnew\n", false, "> quoted \nnew\n");
        check(" > not a quote\n From here\n", false, "> not a quote\nFrom here\n");
        check("text\n-- \nAda \nDesk\n", false, "text\n-- \nAda Desk\n");
        check("open end ", false, "open end ");
        check("", false, "");
    }

    #[test]
    fn long_text_is_cut_at_a_line_end() {
        let mut defects = Defects::new();
        assert_eq!(cut("ab\ncdé\n".to_owned(), 7, &mut defects), "ab\n");
        assert_eq!(cut("éé".to_owned(), 3, &mut defects), "é");
        assert!(defects.contains(&Defect::BodyTooLong));
        assert_eq!(cut("short\n".to_owned(), 6, &mut Defects::new()), "short\n");
    }
}
