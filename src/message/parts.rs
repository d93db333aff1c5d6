//! The MIME parts of a message (RFC 2046). mail-parser finds them; their bytes are decoded here.
//!
//! mail-parser is told to overlook Content-Transfer-Encoding: it would parse base64-encoded messages inside the
//! message three levels deep, with no limit to what nests inside, and it gives up on damaged base64.

use std::collections::VecDeque;

use mail_parser::parsers::MessageStream;
use mail_parser::{ContentType, HeaderName, HeaderValue, Message, MessageParser, PartType};

use super::fields::Fields;
use super::guard::{self, Source};
use super::{Defects, decode, headers};
use crate::domain::mail::Defect;

/// Parts beyond this are left out.
const MAX_PARTS: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    PlainText,
    Html,
    Other,
}

/// Where the part stands in what a mail client shows (RFC 8621 §4.1.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// To a reader of plain text.
    pub(super) as_text: bool,
    /// To a reader of HTML.
    pub(super) as_html: bool,
}

/// A part that has no parts.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) kind: Kind,
    /// `type/subtype`, lower case.
    pub(super) media_type: String,
    pub(super) charset: Option<String>,
    /// RFC 3676: `format=flowed`, and `delsp=yes` with it.
    pub(super) flowed: bool,
    pub(super) delsp: bool,
    /// The file name as the sender wrote it.
    pub(super) name: Option<String>,
    pub(super) content_id: Option<String>,
    /// `inline` or `attachment`, lower case, if the part says.
    pub(super) disposition: Option<String>,
    pub(super) content: Vec<u8>,
    pub(super) shown: Shown,
    /// Its multipart ended without a close delimiter: mail-parser takes such text for an attachment.
    pub(super) unclosed: bool,
}

/// The parts of the main message in their order; messages inside it are one part each, with their raw bytes.
pub(super) fn split(source: &Source, defects: &mut Defects) -> Vec<Part> {
    if !source.has_headers() {
        return vec![headerless(source.body())];
    }
    if source.opaque {
        return vec![opaque(source)];
    }
    let parts = guard::catch(defects, |defects| Some(parse(&source.raw, defects)));
    parts.unwrap_or_else(|| vec![opaque(source)])
}

/// Input without headers is a letter, unless it does not look like text.
fn headerless(body: &[u8]) -> Part {
    let binary = body.iter().take(4096).any(|&byte| byte == 0);
    let text = Part::new(&Fields::default(), body.to_vec());
    if !binary {
        return Part { shown: Shown { as_text: true, as_html: false }, ..text };
    }
    Part { kind: Kind::Other, media_type: "application/octet-stream".to_owned(), ..text }
}

/// The whole body as one file: what must not be parsed is kept for a person to look at.
fn opaque(source: &Source) -> Part {
    Part { kind: Kind::Other, ..Part::new(&source.fields, source.body().to_vec()) }
}

fn parse(raw: &[u8], defects: &mut Defects) -> Vec<Part> {
    let parser = MessageParser::new()
        .header_content_type(HeaderName::ContentType)
        .header_content_type(HeaderName::ContentDisposition)
        .default_header_ignore();
    let Some(message) = parser.parse(raw) else { return Vec::new() };
    let mut parts = Vec::new();
    for (id, part) in message.parts.iter().enumerate() {
        if matches!(part.body, PartType::Multipart(_)) {
            continue;
        }
        if parts.len() == MAX_PARTS {
            defects.insert(Defect::TooManyParts);
            break;
        }
        let [start, body, end] =
            [part.offset_header, part.offset_body, part.offset_end].map(|at| at as usize);
        let fields = Fields::read(raw.get(start..body).unwrap_or_default());
        let encoded = raw.get(body..end.max(body)).unwrap_or_default();
        let mut read = Part::new(&fields, decode::transfer(encoded, &encoding(&fields), defects));
        // In a digest a part without a type is a message (RFC 2046 §5.1.5).
        if matches!(part.body, PartType::Message(_)) && !read.media_type.starts_with("message/") {
            read = Part { kind: Kind::Other, media_type: "message/rfc822".to_owned(), ..read };
        }
        let listed = |list: &[u32]| list.iter().any(|&other| other as usize == id);
        read.shown = Shown { as_text: listed(&message.text_body), as_html: listed(&message.html_body) };
        // A multipart whose delimiter never comes is read as the text it is.
        let undivided = read.media_type.starts_with("multipart/");
        read.unclosed = undivided || part.is_encoding_problem && read.kind != Kind::Other;
        if undivided {
            read.kind = Kind::PlainText;
        }
        if read.unclosed && !encoded.is_empty() {
            defects.insert(Defect::MissingCloseBoundary);
        }
        parts.push(read);
    }
    dismantle(message);
    parts
}

/// Drops a message level by level; the derived drop would recurse once per message inside a message.
fn dismantle(message: Message<'_>) {
    let mut waiting = VecDeque::from([message]);
    while let Some(message) = waiting.pop_front() {
        waiting.extend(message.parts.into_iter().filter_map(|part| match part.body {
            PartType::Message(inner) => Some(inner),
            _ => None,
        }));
    }
}

/// The transfer encoding, lower case, without comments some mailers put behind it.
fn encoding(fields: &Fields) -> String {
    let value = fields.first("content-transfer-encoding").unwrap_or_default();
    let word = value.split(|c: char| c.is_whitespace() || ";(".contains(c)).find(|word| !word.is_empty());
    word.unwrap_or_default().trim_matches('"').to_ascii_lowercase()
}

impl Part {
    fn new(fields: &Fields, content: Vec<u8>) -> Self {
        let content_type = structured(fields, "content-type");
        let disposition = structured(fields, "content-disposition");
        let media_type = content_type.as_ref().map_or_else(|| "text/plain".to_owned(), media_type);
        let kind = match media_type.as_str() {
            "text/plain" => Kind::PlainText,
            "text/html" => Kind::Html,
            _ => Kind::Other,
        };
        let parameter =
            |name| content_type.as_ref().and_then(|value| value.attribute(name)).map(str::to_owned);
        let says = |name, word: &str| parameter(name).is_some_and(|value| value.eq_ignore_ascii_case(word));
        let file_name = disposition.as_ref().and_then(|value| value.attribute("filename")).map(str::to_owned);
        Self {
            kind,
            charset: parameter("charset"),
            flowed: says("format", "flowed"),
            delsp: says("delsp", "yes"),
            name: file_name.or_else(|| parameter("name")),
            content_id: fields.raw("content-id").flat_map(headers::ids_in).next().map(|id| id.0),
            disposition: disposition.map(|value| value.ctype().to_ascii_lowercase()),
            content,
            shown: Shown::default(),
            unclosed: false,
            media_type,
        }
    }
}

/// A Content-Type or Content-Disposition field with its parameters (RFC 2231).
pub(super) fn structured(fields: &Fields, name: &str) -> Option<ContentType<'static>> {
    let value = headers::prepared(fields.raw(name).next()?);
    match MessageStream::new(value.as_bytes()).parse_content_type().into_owned() {
        HeaderValue::ContentType(content_type) => Some(content_type),
        _ => None,
    }
}

/// `type/subtype`, lower case; a type alone, as in `text`, is read as RFC 2045 §5.2 reads what makes no sense.
fn media_type(content_type: &ContentType<'_>) -> String {
    match content_type.subtype().map(str::trim).filter(|subtype| !subtype.is_empty()) {
        Some(subtype) => format!("{}/{subtype}", content_type.ctype().trim()).to_ascii_lowercase(),
        None => "text/plain".to_owned(),
    }
}
