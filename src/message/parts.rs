//! The MIME parts of a message (RFC 2046), and which of them a reader is shown (RFC 8621 §4.1.4).
//!
//! Messages inside the message are one part each, with their raw bytes: nothing in them is looked at.

use mail_parser::parsers::MessageStream;
use mail_parser::{ContentType, HeaderValue};

use super::fields::Fields;
use super::guard::{self, Source};
use super::multipart::{Piece, Pieces};
use super::part_head::PartHead;
use super::{Defects, decode, headers};
use crate::domain::mail::Defect;

/// Parts beyond this are left out, multiparts inside the message counted.
const MAX_PARTS: usize = 1000;
/// Multiparts inside one another; what is deeper is a file. Postfix has the same limit.
const MAX_LEVELS: usize = 100;
/// A part that says more about itself is a file.
const MAX_PART_HEADERS: usize = 32 * 1024;
/// The same for one field; and the most stars in it, since mail-parser takes quadratic time for parameters that come in pieces (RFC 2231).
const MAX_MIME_FIELD: usize = 8 * 1024;
const MAX_STARS: usize = 200;

/// The fields that it holds for.
const MIME_FIELDS: [&str; 3] = ["content-type", "content-disposition", "content-id"];

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

/// A part that is no multipart.
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
}

/// The parts of the message in their order, but for the multiparts themselves.
pub(super) fn split(source: &Source, defects: &mut Defects) -> Vec<Part> {
    if !source.has_headers() {
        return vec![headerless(source.body())];
    }
    let parts = guard::catch(defects, |defects| {
        let mut reader = Reader { parts: Vec::new(), count: 0, defects };
        let whole =
            Place { within: Within::Nothing, level: 0, first: true, alternative: None, attached: false };
        let mut wanted = Shown { as_text: true, as_html: true };
        match begun_in_headers(source) {
            Some((fields, body)) => reader.read(&fields, body, whole, &mut wanted),
            None => reader.read(&source.fields, source.body(), whole, &mut wanted),
        }
        Some(reader.parts)
    });
    parts.unwrap_or_else(|| vec![Part::opaque(source.body())])
}

/// Where the empty line behind the headers of the message is missing, they swallowed the first delimiter, and fields of the first part.
fn begun_in_headers(source: &Source) -> Option<(Fields, &[u8])> {
    if !source.fields.hold_delimiter() {
        return None;
    }
    let content_type = structured(&source.fields, "content-type")?;
    let start = Pieces::first_delimiter(source.head(), content_type.attribute("boundary")?)?;
    Some((Fields::read(source.head().get(..start)?), source.raw.get(start..)?))
}

/// Input without headers is a letter, unless it does not look like text.
fn headerless(body: &[u8]) -> Part {
    if body.iter().take(4096).any(|&byte| byte == 0) {
        return Part::opaque(body);
    }
    let shown = Shown { as_text: true, as_html: false };
    Part { shown, ..Part::new(&Fields::default(), None, body.to_vec()) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    Nothing,
    Mixed,
    Alternative,
    Related,
    Digest,
}

/// Where a part stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    within: Within,
    /// How many multiparts it is in.
    level: usize,
    /// It is the first in its multipart.
    first: bool,
    /// If it is in an alternative: how many parts stand before that.
    alternative: Option<usize>,
    /// Some multipart that it is in is a file as a whole.
    attached: bool,
}

struct Reader<'a> {
    parts: Vec<Part>,
    /// How many parts were looked at.
    count: usize,
    defects: &'a mut Defects,
}

impl Reader<'_> {
    /// Reads a message or a part of one. `wanted` says which readers are still shown something of the multipart it is in.
    fn read(&mut self, fields: &Fields, body: &[u8], place: Place, wanted: &mut Shown) {
        if MIME_FIELDS.iter().any(|name| fields.raw(name).any(|value| !is_readable(value))) {
            self.defects.insert(Defect::HeadersTooLong);
            self.parts.push(Part::opaque(body));
            return;
        }
        if fields.count("content-type") > 1 {
            self.defects.insert(Defect::SeveralContentTypes);
        }
        let content_type = structured(fields, "content-type");
        match content_type.as_ref().filter(|value| value.ctype() == "multipart") {
            Some(multipart) => self.read_multipart(fields, multipart, body, place, *wanted),
            None => {
                let content = decode::transfer(body, &encoding(fields), self.defects);
                let mut part = Part::new(fields, content_type.as_ref(), content);
                // In a digest a part without a type is a message (RFC 2046 §5.1.5).
                if content_type.is_none() && place.within == Within::Digest {
                    part = Part { kind: Kind::Other, media_type: "message/rfc822".to_owned(), ..part };
                }
                let is_named = content_type.is_some_and(|value| value.has_attribute("name"));
                part.shown = shown(&part, is_named, place, wanted);
                self.parts.push(part);
            }
        }
    }

    fn read_multipart(
        &mut self,
        fields: &Fields,
        content_type: &ContentType<'_>,
        body: &[u8],
        place: Place,
        mut wanted: Shown,
    ) {
        if place.level == MAX_LEVELS {
            self.defects.insert(Defect::TooManyLevels);
            self.parts.push(Part::opaque(body));
            return;
        }
        let Some(pieces) = content_type.attribute("boundary").and_then(|boundary| Pieces::of(body, boundary))
        else {
            return self.read_undivided(fields, content_type, body, place);
        };
        let within = within(content_type);
        let before = self.parts.len();
        let alternative = if within == Within::Alternative { Some(before) } else { place.alternative };
        let attached = is_attached(fields, place);
        for (number, Piece { bytes, closed }) in pieces.enumerate() {
            if self.count == MAX_PARTS {
                self.defects.insert(Defect::TooManyParts);
                break;
            }
            self.count += 1;
            let PartHead { fields, body_at, is_cut } = PartHead::read(bytes, MAX_PART_HEADERS);
            let body = bytes.get(body_at..).unwrap_or_default();
            self.note_end(body, closed);
            if is_cut {
                self.defects.insert(Defect::HeadersTooLong);
                self.parts.push(Part::opaque(body));
                continue;
            }
            let place = Place { within, level: place.level + 1, first: number == 0, alternative, attached };
            self.read(&fields, body, place, &mut wanted);
        }
        let both_wanted = wanted == Shown { as_text: true, as_html: true };
        if within == Within::Alternative && both_wanted {
            show_the_only_choice(self.parts.get_mut(before..).unwrap_or_default());
        }
    }

    /// A multipart whose delimiter never comes is read as the text it is; if there was something to choose from, it is not chosen.
    fn read_undivided(&mut self, fields: &Fields, content_type: &ContentType<'_>, body: &[u8], place: Place) {
        let content = decode::transfer(body, &encoding(fields), self.defects);
        let part = Part::new(fields, Some(content_type), content);
        let to_choose = place.alternative.and_then(|before| self.parts.get(before..)).unwrap_or_default();
        let has_choice = to_choose.iter().any(|part| part.shown != Shown::default());
        let shown = Shown { as_text: !has_choice && !is_attached(fields, place), as_html: false };
        self.parts.push(Part { kind: Kind::PlainText, shown, ..part });
        self.note_end(body, false);
    }

    fn note_end(&mut self, body: &[u8], closed: bool) {
        if !closed && !body.is_empty() {
            self.defects.insert(Defect::MissingCloseBoundary);
        }
    }
}

fn within(content_type: &ContentType<'_>) -> Within {
    match content_type.subtype() {
        Some("alternative") => Within::Alternative,
        Some("related") => Within::Related,
        Some("digest") => Within::Digest,
        _ => Within::Mixed,
    }
}

/// Whether a multipart is a file, by itself or with what it is in; the message as a whole is none.
fn is_attached(fields: &Fields, place: Place) -> bool {
    let says_so = || structured(fields, "content-disposition").is_some_and(|value| value.is_attachment());
    place.attached || place.level > 0 && says_so()
}

/// Who is shown a part that is no multipart. A part is a file if its type names it, or if it
/// stands beside the root of what is related; what its disposition names is looked at in `body`.
fn shown(part: &Part, is_named: bool, place: Place, wanted: &mut Shown) -> Shown {
    let (is_text, is_html) = (part.kind == Kind::PlainText, part.kind == Kind::Html);
    if place.attached {
        return Shown::default();
    }
    if place.within == Within::Alternative {
        return Shown { as_text: is_text, as_html: is_html };
    }
    let stands_in_line = place.first || place.within != Within::Related && !is_named;
    let is_shown =
        (is_text || is_html) && stands_in_line && part.disposition.as_deref() != Some("attachment");
    if !is_shown {
        return Shown::default();
    }
    if place.alternative.is_some() {
        // This is what is shown to one of them; the other has a choice of its own.
        wanted.as_text &= is_text;
        wanted.as_html &= is_html;
    }
    *wanted
}

/// If only one kind was to choose from, both are shown it.
fn show_the_only_choice(parts: &mut [Part]) {
    let has_text = parts.iter().any(|part| part.shown.as_text);
    let has_html = parts.iter().any(|part| part.shown.as_html);
    for Part { shown, .. } in parts {
        *shown = Shown {
            as_text: shown.as_text || !has_text && shown.as_html,
            as_html: shown.as_html || !has_html && shown.as_text,
        };
    }
}

/// The transfer encoding, lower case, without comments some mailers put behind it.
fn encoding(fields: &Fields) -> String {
    let value = fields.first("content-transfer-encoding").unwrap_or_default();
    let word = value.split(|c: char| c.is_whitespace() || ";(".contains(c)).find(|word| !word.is_empty());
    word.unwrap_or_default().trim_matches('"').to_ascii_lowercase()
}

impl Part {
    /// What must not be looked into is kept as a file, for a person to look at.
    fn opaque(content: &[u8]) -> Self {
        let part = Self::new(&Fields::default(), None, content.to_vec());
        Self { kind: Kind::Other, media_type: "application/octet-stream".to_owned(), ..part }
    }

    fn new(fields: &Fields, content_type: Option<&ContentType<'_>>, content: Vec<u8>) -> Self {
        let disposition = structured(fields, "content-disposition");
        let media_type = content_type.map_or_else(|| "text/plain".to_owned(), media_type);
        let kind = match media_type.as_str() {
            "text/plain" => Kind::PlainText,
            "text/html" => Kind::Html,
            _ => Kind::Other,
        };
        let parameter = |name| content_type.and_then(|value| value.attribute(name)).map(str::to_owned);
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
            media_type,
        }
    }
}

/// A Content-Type or Content-Disposition field with its parameters (RFC 2231).
pub(super) fn structured(fields: &Fields, name: &str) -> Option<ContentType<'static>> {
    let value = headers::prepared(fields.raw(name).next().filter(|value| is_readable(value))?);
    // mail-parser takes the end of a line for the end of a parameter, which helps where a semicolon is missing.
    let value = value.trim_end().split("=\n").map(str::trim_start).collect::<Vec<_>>().join("=") + "\n";
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

/// Whether a field can be read without taking long.
fn is_readable(value: &[u8]) -> bool {
    value.len() <= MAX_MIME_FIELD && memchr::memchr_iter(b'*', value).nth(MAX_STARS).is_none()
}
