//! Bytes to lines.
//!
//! **Invariant:** what a line holds is bounded by the limit, however long it gets on its way to its end.

use memchr::{memchr, memchr2};

/// The line under way. It never holds more than the limit.
#[derive(Default)]
pub(super) struct Line {
    bytes: Vec<u8>,
    overlong: bool,
}

impl Line {
    /// Takes bytes off the front of `input` up to the next LF, its end included. A line that ends without CR, or
    /// is too long, ends there as well, and is refused as a whole: a person who types at `nc` gets an answer, and
    /// nothing runs.
    pub(super) fn take_from(&mut self, input: &mut &[u8], limit: usize) -> Option<Self> {
        let end = memchr(b'\n', input).map(|index| index + 1);
        let (piece, rest) = input.split_at(end.unwrap_or(input.len()));
        *input = rest;
        let room = limit.saturating_sub(self.bytes.len());
        self.overlong |= piece.len() > room;
        self.bytes.extend_from_slice(piece.split_at(room.min(piece.len())).0);
        end.map(|_| std::mem::take(self))
    }

    /// The line with its end.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn is_overlong(&self) -> bool {
        self.overlong
    }

    /// The line without its CRLF. `None` if it ends otherwise, or holds another CR or LF.
    pub(super) fn text(&self) -> Option<&[u8]> {
        self.bytes.strip_suffix(b"\r\n").filter(|text| memchr2(b'\r', b'\n', text).is_none())
    }

    /// Whether octets follow that are no commands. In doubt they do: a line that is refused for anything else may
    /// still be a BDAT to the client, and what it sends next the work of somebody else.
    pub(super) fn is_bdat(&self) -> bool {
        let line = self.bytes.trim_ascii_start();
        line.split_at_checked(4).is_some_and(|(verb, rest)| {
            verb.eq_ignore_ascii_case(b"BDAT") && !rest.first().is_some_and(u8::is_ascii_alphanumeric)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl From<&[u8]> for Line {
        fn from(bytes: &[u8]) -> Self {
            Self { bytes: bytes.to_vec(), overlong: false }
        }
    }

    #[test]
    fn a_refused_line_is_known_to_be_a_bdat() {
        for (line, expected) in [
            ("BDAT 5", true),
            (" bdat\t5", true),
            ("BDAT", true),
            ("BDAT:5", true),
            ("BDATA 5", false),
            ("BDA", false),
            ("NOOP BDAT 5", false),
        ] {
            let mut kept = Line::default();
            let line = format!("{line}{}\n", " ".repeat(100));
            let kept = kept.take_from(&mut line.as_bytes(), 20).unwrap();
            assert!(kept.is_overlong());
            assert_eq!(kept.is_bdat(), expected, "{line}");
        }
    }

    #[test]
    fn a_line_without_end_is_not_kept_beyond_the_limit() {
        let mut line = Line::default();
        for _ in 0..1000 {
            assert!(line.take_from(&mut [b'x'; 1000].as_slice(), 100).is_none());
            assert!(line.bytes.capacity() <= 100);
        }
        let mut input: &[u8] = b"\r\nNOOP\r\n";
        assert!(line.take_from(&mut input, 100).unwrap().is_overlong());
        let next = line.take_from(&mut input, 100).unwrap();
        assert!(!next.is_overlong());
        assert_eq!(next.text(), Some(b"NOOP".as_slice()));
    }
}
