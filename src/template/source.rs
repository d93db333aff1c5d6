//! A template's source: cut into text, placeholders and tags, and checked before the library sees it.
//!
//! The library's parser panics on some sources (a whole number beyond 64 bits; after an error, if the rest of a line
//! reads differently from its start), recurses on others (nested indexes, `elsif` chains, long conditions) and is
//! quadratic in runs of white space. So the limits here come first, and then the source is read once as a shadow:
//! one line of ASCII with the same grammar, on which its error path cannot go wrong. What passes is read for real.

use liquid_core::{Error, parser};

use super::html;
use super::language::language;
use super::{SOURCE_MAX, TemplateError, filters};

/// Octets of one placeholder or tag.
const MARKUP_MAX: usize = 1000;
const TAGS_MAX: usize = 500;
const INDEXES_MAX: usize = 64;
const DIGITS_MAX: usize = 15;
const BLANKS_MAX: usize = 500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// `{{ … }}`
    Placeholder,
    /// `{% … %}`
    Tag,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'s> {
    pub(super) kind: Kind,
    pub(super) text: &'s str,
    line: usize,
}

/// Cuts a source into pieces that together are the source, and refuses what is too large.
pub(super) fn split(source: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    if source.len() > SOURCE_MAX {
        return Err(at(1, "the template is too long: expected at most 65536 octets"));
    }
    let mut pieces = Vec::new();
    let mut line = 1;
    let mut rest = source;
    while !rest.is_empty() {
        let start = next_markup(rest);
        let (text, markup) = rest.split_at_checked(start).unwrap_or((rest, ""));
        push(&mut pieces, Kind::Text, text, &mut line);
        if markup.is_empty() {
            break;
        }
        let kind = if markup.starts_with("{%") { Kind::Tag } else { Kind::Placeholder };
        let length = markup_length(markup, kind).ok_or_else(|| at(line, "a `{{` or `{%` is not closed"))?;
        let (markup, after) = markup.split_at_checked(length).unwrap_or((markup, ""));
        push(&mut pieces, kind, markup, &mut line);
        rest = after;
    }
    limits(&pieces)?;
    Ok(pieces)
}

fn push<'s>(pieces: &mut Vec<Piece<'s>>, kind: Kind, text: &'s str, line: &mut usize) {
    if !text.is_empty() {
        pieces.push(Piece { kind, text, line: *line });
    }
    *line = line.saturating_add(text.matches('\n').count());
}

fn next_markup(text: &str) -> usize {
    [text.find("{{"), text.find("{%")].into_iter().flatten().min().unwrap_or(text.len())
}

/// Octets up to and with the closing delimiter; one inside quotes does not close.
fn markup_length(markup: &str, kind: Kind) -> Option<usize> {
    let close = if kind == Kind::Tag { "%}" } else { "}}" };
    let mut quote = None;
    for (at, c) in markup.char_indices().skip(2) {
        match quote {
            Some(open) if open == c => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if markup.get(at..).is_some_and(|rest| rest.starts_with(close)) => {
                return Some(at + close.len());
            }
            None => {}
        }
    }
    None
}

fn limits(pieces: &[Piece]) -> Result<(), TemplateError> {
    let mut tags = 0_usize;
    let mut indexes = 0_usize;
    for piece in pieces {
        let blanks = piece.text.split(|c: char| !c.is_whitespace()).any(|run| run.len() > BLANKS_MAX);
        if blanks {
            return Err(at(piece.line, "a run of white space is too long: expected at most 500 characters"));
        }
        if piece.kind == Kind::Text {
            continue;
        }
        tags = tags.saturating_add(usize::from(piece.kind == Kind::Tag));
        indexes = indexes.saturating_add(piece.text.matches('[').count());
        let long_number = piece.text.split(|c: char| !c.is_ascii_digit()).any(|run| run.len() > DIGITS_MAX);
        let problem = match piece {
            piece if piece.text.len() > MARKUP_MAX => {
                "a placeholder or tag is too long: expected at most 1000 octets"
            }
            _ if long_number => "a number is too long: expected at most 15 digits",
            _ if tags > TAGS_MAX => "there are too many tags: expected at most 500",
            _ if indexes > INDEXES_MAX => "there are too many `[`: expected at most 64",
            _ => continue,
        };
        return Err(at(piece.line, problem));
    }
    Ok(())
}

/// What one pass over the template costs at most, in units of `runtime`'s budget.
pub(super) fn weight(pieces: &[Piece]) -> u64 {
    let markup = pieces.iter().filter(|piece| piece.kind != Kind::Text);
    1 + markup.map(|piece| 1 + piece.text.len() as u64 / 8).sum::<u64>()
}

/// The template's own text has HTML in it, so its values must be escaped and its line breaks mean nothing.
pub(super) fn is_html(pieces: &[Piece]) -> bool {
    let texts = pieces.iter().filter(|piece| piece.kind == Kind::Text);
    texts.flat_map(|piece| piece.text.split('<').skip(1)).any(starts_with_tag)
}

fn starts_with_tag(after: &str) -> bool {
    const TAGS: [&str; 34] = [
        "html",
        "head",
        "body",
        "style",
        "p",
        "br",
        "hr",
        "div",
        "span",
        "a",
        "img",
        "b",
        "i",
        "u",
        "em",
        "strong",
        "small",
        "font",
        "center",
        "ul",
        "ol",
        "li",
        "table",
        "thead",
        "tbody",
        "tr",
        "td",
        "th",
        "h1",
        "h2",
        "h3",
        "h4",
        "blockquote",
        "pre",
    ];
    let name = html::tag_name(after);
    let ends = after.trim_start_matches('/').get(name.len()..).and_then(|rest| rest.chars().next());
    let ends_like_a_tag = ends.is_none_or(|c| c.is_whitespace() || c == '>' || c == '/');
    ends_like_a_tag && TAGS.contains(&name.as_str())
}

/// The source with a last filter on each placeholder, that makes a text of its value and escapes it in HTML. What
/// `capture` collected for HTML stays as it is: its placeholders were escaped when it was made.
pub(super) fn prepare(pieces: &[Piece], is_html: bool) -> String {
    let captured = if is_html { captured(pieces) } else { Vec::new() };
    let escaped = if is_html { filters::ESCAPE_VALUE } else { filters::SHOW_VALUE };
    let prepared = pieces.iter().map(|piece| {
        if piece.kind != Kind::Placeholder {
            return piece.text.to_owned();
        }
        let filter = if captured.contains(&inner(piece)) { filters::SHOW_VALUE } else { escaped };
        let (body, close) = match piece.text.strip_suffix("-}}") {
            Some(body) => (body, "-}}"),
            None => (piece.text.strip_suffix("}}").unwrap_or(piece.text), "}}"),
        };
        format!("{body} | {filter} {close}")
    });
    prepared.collect()
}

/// Names that only `capture` ever sets.
fn captured<'s>(pieces: &[Piece<'s>]) -> Vec<&'s str> {
    let set_by = |tag: &'static str| {
        let tags = pieces.iter().filter(|piece| piece.kind == Kind::Tag);
        tags.filter_map(move |piece| {
            let mut words = inner(piece).split_whitespace();
            (words.next()? == tag).then(|| words.next()).flatten()
        })
    };
    let otherwise = |name: &str| {
        let assigned = set_by("assign").any(|other| other.trim_end_matches('=') == name);
        assigned || set_by("for").any(|other| other == name) || super::values::ROOTS.contains(&name)
    };
    set_by("capture").filter(|name| !otherwise(name)).collect()
}

/// What stands between the delimiters.
fn inner<'s>(piece: &Piece<'s>) -> &'s str {
    piece.text.trim_matches(['{', '}', '%']).trim_matches('-').trim()
}

/// Reads the template as the library will, with the line of what is wrong.
pub(super) fn check(pieces: &[Piece], prepared: &str, weight: u64) -> Result<(), TemplateError> {
    for piece in pieces.iter().filter(|piece| piece.kind == Kind::Placeholder || is_assignment(piece)) {
        parser::parse(&shadow(piece.text), &language(weight))
            .map_err(|error| at(piece.line, first_line(&error)))?;
    }
    let shadow = shadow(prepared);
    parser::parse(&shadow, &language(weight)).map(|_| ()).map_err(|error| TemplateError {
        line: column(&error).map(|column| 1 + prepared.chars().take(column).filter(|c| *c == '\n').count()),
        what: first_line(&error),
    })
}

fn is_assignment(piece: &Piece) -> bool {
    piece.kind == Kind::Tag && inner(piece).starts_with("assign ")
}

/// The same source in one line of ASCII: to the grammar, a line break is a blank, and a character that is not ASCII
/// is as good as a control character, wherever it stands.
fn shadow(source: &str) -> String {
    let plain = |c: char| match c {
        '\n' | '\r' => ' ',
        c if c.is_ascii() => c,
        _ => '\u{1}',
    };
    source.chars().map(plain).collect()
}

/// The column of an error in a shadow: ` --> 1:17`.
fn column(error: &Error) -> Option<usize> {
    let text = error.to_string();
    let (_, after) = text.split_once("--> 1:")?;
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok()?.checked_sub(1)
}

/// What the library says, in one line and without the values it quotes: they may hold what nobody may log.
pub(super) fn first_line(error: &Error) -> String {
    let text = error.to_string();
    let explained = text.lines().find_map(|line| line.trim_start().strip_prefix("= "));
    let asked_for = text.lines().find_map(|line| line.trim_start().strip_prefix("requested"));
    let first = text.lines().next().unwrap_or_default().trim_start_matches("liquid: ");
    let mut what = explained.unwrap_or(first).trim().trim_end_matches('.').to_owned();
    if let Some((_, name)) = asked_for.and_then(|line| line.split_once('=')) {
        what = format!("{what} `{name}`");
    }
    let mut chars = what.chars();
    let lower = chars.next().map(|first| first.to_lowercase().chain(chars).take(200).collect::<String>());
    lower.unwrap_or_else(|| "it is not Liquid".to_owned())
}

fn at(line: usize, what: impl Into<String>) -> TemplateError {
    TemplateError { line: Some(line), what: what.into() }
}
