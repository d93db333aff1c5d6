//! The MIME parts of a message (RFC 2046), and which of them a reader is shown (RFC 8621 §4.1.4).
//!
//! Messages inside the message are one part each, with their raw bytes: nothing in them is looked at.

use mail_parser::parsers::MessageStream;
use mail_parser::{ContentType, HeaderValue};

use super::fields::{Fields, unfold};
use super::guard::{self, Source};
use super::multipart::{Piece, Pieces};
use super::{Defects, decode, headers};
use crate::domain::mail::Defect;

/// Parts beyond this are left out, multiparts inside the message counted.
const MAX_PARTS: usize = 1000;
/// Multiparts inside one another; what is deeper is a file. Postfix has the same limit.
const MAX_LEVELS: usize = 100;
/// The header block of a part is cut here at a line end.
const MAX_HEADERS: usize = 32 * 1024;
/// The longest field that says what a part is, and the most stars in it: mail-parser takes quadratic time for parameters that come
/// in pieces (RFC 2231).
const MAX_MIME_FIELD: usize = 8 * 1024;
const MAX_STARS: usize = 200;

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
        let whole = Place {
            within: Within::Nothing,
            level: 0,
            first: true,
            closed: true,
            in_alternative: false,
            attached: false,
        };
        reader.read(&source.fields, source.body(), whole, &mut Shown { as_text: true, as_html: true });
        Some(reader.parts)
    });
    parts.unwrap_or_else(|| vec![Part::opaque(source.body())])
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
    closed: bool,
    /// Some multipart that it is in is an alternative.
    in_alternative: bool,
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
                self.push(part, body, place.closed);
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
        let divide = if fields.hold_delimiter() { Pieces::after_delimiter } else { Pieces::of };
        let Some(pieces) = content_type.attribute("boundary").and_then(|boundary| divide(body, boundary))
        else {
            return self.read_undivided(fields, content_type, body, place);
        };
        let within = within(content_type);
        let in_alternative = place.in_alternative || within == Within::Alternative;
        let attached = place.attached || place.level > 0 && is_attachment(fields);
        let before = self.parts.len();
        for (number, Piece { bytes, closed }) in pieces.enumerate() {
            if self.count == MAX_PARTS {
                self.defects.insert(Defect::TooManyParts);
                break;
            }
            self.count += 1;
            let (fields, body_at, is_cut) = Fields::of_part(bytes, MAX_HEADERS);
            self.defects.extend(is_cut.then_some(Defect::HeadersTooLong));
            let level = place.level + 1;
            let place = Place { within, level, first: number == 0, closed, in_alternative, attached };
            self.read(&fields, bytes.get(body_at..).unwrap_or_default(), place, &mut wanted);
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
        let has_choice = place.in_alternative && self.parts.iter().any(|part| part.shown != Shown::default());
        let shown = Shown { as_text: !has_choice && !place.attached, as_html: false };
        self.push(Part { kind: Kind::PlainText, shown, ..part }, body, false);
    }

    fn push(&mut self, part: Part, body: &[u8], closed: bool) {
        if !closed && !body.is_empty() {
            self.defects.insert(Defect::MissingCloseBoundary);
        }
        self.parts.push(part);
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

fn is_attachment(fields: &Fields) -> bool {
    structured(fields, "content-disposition").is_some_and(|value| value.is_attachment())
}

/// Who is shown a part that is no multipart. A part is a file if its type names it, or if it stands beside the root of what is related.
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
    if place.in_alternative {
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

/// The fields that say what a part is.
const MIME_FIELDS: [&str; 3] = ["content-type", "content-disposition", "content-id"];

/// Whether a field can be read without taking long.
fn is_readable(value: &[u8]) -> bool {
    value.len() <= MAX_MIME_FIELD && memchr::memchr_iter(b'*', value).nth(MAX_STARS).is_none()
}

/// A Content-Type or Content-Disposition field with its parameters (RFC 2231). Unfolded, since a value may stand on a line of its own.
pub(super) fn structured(fields: &Fields, name: &str) -> Option<ContentType<'static>> {
    let value = fields.raw(name).next().filter(|value| is_readable(value))?;
    let value = headers::prepared(unfold(value).as_bytes());
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
