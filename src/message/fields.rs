//! A header block as a list of fields (RFC 5322 §2.2), names in lower case, values as they came.

use super::decode;

/// Names that people also write, when they quote the head of a mail.
const QUOTED_BY_PEOPLE: &[&str] = &["bcc", "cc", "date", "from", "reply-to", "sender", "subject", "to"];

/// Names that only programs write.
const WRITTEN_BY_PROGRAMS: &[&str] = &[
    "authentication-results",
    "content-transfer-encoding",
    "content-type",
    "delivered-to",
    "dkim-signature",
    "in-reply-to",
    "message-id",
    "mime-version",
    "received",
    "references",
    "resent-from",
    "return-path",
];

#[derive(Debug)]
struct Field {
    name: String,
    /// What follows the colon, folding included.
    value: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Fields {
    list: Vec<Field>,
    /// The block's first line is a field.
    starts_well: bool,
    /// A line that is no field looks like the delimiter of a multipart.
    holds_delimiter: bool,
}

impl Fields {
    /// Reads the header block of a message, with LF line ends. Lines that are no field are passed over, as mail clients do.
    pub(super) fn read(block: &[u8]) -> Self {
        let mut list: Vec<Field> = Vec::new();
        let (mut starts_well, mut holds_delimiter) = (None, false);
        for line in block.split_inclusive(|&byte| byte == b'\n') {
            let folded = line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t'));
            if let (true, Some(field)) = (folded, list.last_mut()) {
                field.value.extend_from_slice(line);
                continue;
            }
            let field = field(line);
            starts_well.get_or_insert(field.is_some());
            holds_delimiter |= is_delimiter(line);
            list.extend(field);
        }
        Self { list, starts_well: starts_well.unwrap_or_default(), holds_delimiter }
    }

    /// Whether a line of the block that is no field may be the delimiter of a multipart.
    pub(super) fn hold_delimiter(&self) -> bool {
        self.holds_delimiter
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// A letter may begin `Note: …` or, under a line, with the quoted head of a mail; a message begins with a
    /// field and has one that messages have, or after a bad start two that only programs write.
    pub(super) fn look_like_headers(&self) -> bool {
        let names = || self.list.iter().map(|field| field.name.as_str());
        let programs =
            names().filter(|name| WRITTEN_BY_PROGRAMS.contains(name) || name.starts_with("x-")).count();
        programs >= 2
            || self.starts_well && (programs == 1 || names().any(|name| QUOTED_BY_PEOPLE.contains(&name)))
    }

    pub(super) fn count(&self, name: &str) -> usize {
        self.list.iter().filter(|field| field.name == name).count()
    }

    /// The values of all fields of this name as they came, topmost first.
    pub(super) fn raw<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.list.iter().filter(move |field| field.name == name).map(|field| field.value.as_slice())
    }

    /// The values of all fields of this name, unfolded (RFC 5322 §2.2.3), topmost first.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = String> + 'a {
        self.raw(name).map(unfold)
    }

    pub(super) fn first(&self, name: &str) -> Option<String> {
        self.all(name).next()
    }

    /// Names and unfolded values, topmost first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, String)> {
        self.list.iter().map(|field| (field.name.as_str(), unfold(&field.value)))
    }
}

fn field(line: &[u8]) -> Option<Field> {
    let (name, value) = name_in(line)?;
    Some(Field { name: name.to_ascii_lowercase(), value: value.to_vec() })
}

pub(super) fn is_written_by_programs(name: &str) -> bool {
    WRITTEN_BY_PROGRAMS.contains(&name) || ["x-", "content-"].iter().any(|start| name.starts_with(start))
}

pub(super) fn is_delimiter(line: &[u8]) -> bool {
    line.starts_with(b"--")
}

/// How many fields of this name, given in lower case, stand in a header block.
pub(super) fn count_in(block: &[u8], name: &str) -> usize {
    let lines =
        block.split(|&byte| byte == b'\n').filter(|line| !line.starts_with(b" ") && !line.starts_with(b"\t"));
    lines.filter_map(name_in).filter(|(found, _)| found.eq_ignore_ascii_case(name)).count()
}

/// `name: value`; the name is printable ASCII without white space inside (RFC 5322 §3.6.8).
pub(super) fn name_in(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    let name = line.get(..colon)?.trim_ascii();
    let sound = !name.is_empty() && name.len() <= 76 && name.iter().all(u8::is_ascii_graphic);
    let name = std::str::from_utf8(name).ok().filter(|_| sound && !is_delimiter(line))?;
    Some((name, line.get(colon + 1..)?))
}

/// The value in one line (RFC 5322 §2.2.3).
fn unfold(value: &[u8]) -> String {
    let text = decode::guess(value);
    let line = text.trim();
    if !line.contains('\n') && decode::looks_tidy(line.as_bytes()) {
        return line.to_owned();
    }
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut line = lines.join(" ");
    line.retain(|c| !c.is_control() || c == '\t');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_headers_if_it_has_what_only_messages_have() {
        let check = |block: &str, expected: bool| {
            assert_eq!(Fields::read(block.as_bytes()).look_like_headers(), expected, "{block:?}");
        };
        check("From: ada@x.example\nSubject: x\n", true);
        check("X-Own: 1\n", true);
        check(" folded junk\nReceived: a\nMessage-ID: <1@x>\n", true);
        check("Note: the box was open\n", false);
        check("Hello,\n", false);
        check("_______\nFrom: Ada\nTo: Desk\nSubject: x\n", false);
        check("", false);
    }

    #[test]
    fn fields_are_named_in_lower_case_and_unfolded() {
        let fields = Fields::read(b"SUBJECT :  a\n\tb\r\n  c \njunk line\nX Y: no\nTo:\n");
        let found: Vec<(&str, String)> = fields.iter().collect();
        assert_eq!(found, [("subject", "a b c".to_owned()), ("to", String::new())]);
    }
}
