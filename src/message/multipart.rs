//! The pieces of a multipart (RFC 2046 §5.1).
//!
//! mail-parser could find them, but it looks for each declared boundary through all that follows, to the end if it never comes: a
//! mail of one and a half megabytes kept it busy for twelve seconds. Here a multipart is divided first and then each piece for
//! itself, so that each level of nesting is gone through once. What is a delimiter to a multipart is also one to all inside it
//! (§5.1.2): a piece that was never closed ends there.

use memchr::memmem::Finder;

/// What stands between two delimiter lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// Without the line end in front of the delimiter, which belongs to it.
    pub(super) bytes: &'a [u8],
    /// A delimiter ends it, not the end of the multipart.
    pub(super) closed: bool,
}

/// The pieces in their order. What stands before the first delimiter and behind the last is for nobody (§5.1.1).
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    rest: Option<&'a [u8]>,
    delimiter: Finder<'static>,
}

/// A delimiter line.
struct Delimiter {
    start: usize,
    end: usize,
    /// No piece follows.
    closes: bool,
}

impl<'a> Pieces<'a> {
    /// Divides the body of a multipart, with LF line ends. `None` if nothing in it begins a piece; but a multipart that says nothing and
    /// ends has no pieces.
    pub(super) fn of(body: &'a [u8], boundary: &str) -> Option<Self> {
        // No boundary ends in white space: what stands there is padding.
        let boundary = Some(boundary.trim_end()).filter(|boundary| !boundary.is_empty())?;
        let delimiter = Finder::new(format!("--{boundary}").as_bytes()).into_owned();
        let mut pieces = Self { rest: None, delimiter };
        let Delimiter { start, end, closes } = pieces.next_delimiter(body)?;
        let (before, behind) = (body.get(..start)?, body.get(end..)?);
        let says_nothing = [before, behind].iter().all(|text| text.trim_ascii().is_empty());
        pieces.rest = Some(behind).filter(|_| !closes);
        (!closes || says_nothing).then_some(pieces)
    }

    /// Where the first delimiter line begins.
    pub(super) fn first_delimiter(text: &[u8], boundary: &str) -> Option<usize> {
        let pieces = Pieces::of(text, boundary)?;
        pieces.next_delimiter(text).map(|first| first.start)
    }

    fn next_delimiter(&self, text: &[u8]) -> Option<Delimiter> {
        self.delimiter.find_iter(text).find_map(|start| {
            let begins_a_line = start.checked_sub(1).is_none_or(|before| text.get(before) == Some(&b'\n'));
            let behind = text.get(start + self.delimiter.needle().len()..).filter(|_| begins_a_line)?;
            let (closes, behind) =
                behind.strip_prefix(b"--").map_or((false, behind), |behind| (true, behind));
            let padding = behind.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            let behind = behind.get(padding..)?;
            let ends_the_line = behind.first().is_none_or(|byte| *byte == b'\n');
            let end = text.len() - behind.get(1..).unwrap_or_default().len();
            ends_the_line.then_some(Delimiter { start, end, closes })
        })
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let rest = self.rest.take()?;
        let Some(Delimiter { start, end, closes }) = self.next_delimiter(rest) else {
            return Some(Piece { bytes: rest, closed: false });
        };
        self.rest = rest.get(end..).filter(|_| !closes);
        Some(Piece { bytes: rest.get(..start.saturating_sub(1)).unwrap_or_default(), closed: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Option<&[(&str, bool)]>) {
        let pieces = Pieces::of(body.as_bytes(), "b").map(|pieces| {
            let text = |piece: Piece<'_>| (String::from_utf8_lossy(piece.bytes).into_owned(), piece.closed);
            pieces.map(text).collect::<Vec<_>>()
        });
        let expected =
            expected.map(|list| list.iter().map(|(text, closed)| ((*text).to_owned(), *closed)).collect());
        assert_eq!(pieces, expected, "{body:?}");
    }

    #[test]
    fn pieces_lie_between_delimiter_lines() {
        check(
            "preamble\n--b\none\n--b\ntwo\n\n--b--\nepilogue\n--b\nx",
            Some(&[("one", true), ("two\n", true)]),
        );
        check("--b\none\n--b--", Some(&[("one", true)]));
        check("--b \t\none\n--b-- \t\n", Some(&[("one", true)]));
        check("--b\n--b\n\n--b--\n", Some(&[("", true), ("", true)]));
    }

    #[test]
    fn a_piece_without_end_goes_to_the_end() {
        check("--b\none\n", Some(&[("one\n", false)]));
        check("--b\none\n--b\n", Some(&[("one", true), ("", false)]));
        check("--b", Some(&[("", false)]));
        assert_eq!(Pieces::first_delimiter(b"one\n--b\n", "b"), Some(4));
    }

    #[test]
    fn only_a_whole_line_is_a_delimiter() {
        check(
            "--b\none\n--bb\n-- b\n --b\ntwo --b\n--b-\n--b--x\n--b--\n",
            Some(&[("one\n--bb\n-- b\n --b\ntwo --b\n--b-\n--b--x", true)]),
        );
        check("text\n", None);
        check("text\n--b--\n", None);
        check("\n--b--\n\n", Some(&[]));
        check("--b--\ntext\n", None);
        assert!(Pieces::of(b"--\n\nx\n----\n", "").is_none());
        assert_eq!(Pieces::of(b"--a b\nx\n--a b--\n", "a b ").unwrap().count(), 1);
    }
}
