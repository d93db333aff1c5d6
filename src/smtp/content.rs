//! The bytes of a message under way, and the limits on them.
//!
//! **Invariant:** nothing is allocated ahead of the bytes that have come, whatever sizes were announced.
//! **Invariant:** from the first fault on nothing is kept; whoever receives reads the message to its end all the
//! same, and the fault is its answer.

use memchr::memchr;

use super::policy::{Limits, Refusal};

/// A message under way.
#[derive(Debug)]
pub(super) struct Content {
    bytes: Vec<u8>,
    header: Header,
    limits: Limits,
    fault: Option<Refusal>,
}

impl Content {
    pub(super) fn new(limits: Limits) -> Self {
        Self { bytes: Vec::new(), header: Header::default(), limits, fault: None }
    }

    pub(super) fn keep(&mut self, text: &[u8]) {
        if self.fault.is_some() {
            return;
        }
        // The first octet over a limit says which one it was, however the octets were cut into reads.
        let (fitting, over) = text.split_at(text.len().min(self.room()));
        if let Some(breach) = self.header.read(fitting, &self.limits) {
            return self.fail(breach);
        }
        if !over.is_empty() {
            return self.fail(Refusal::MessageTooLarge);
        }
        self.bytes.extend_from_slice(text);
    }

    /// How many bytes may still come.
    pub(super) fn room(&self) -> usize {
        self.limits.max_message_size.saturating_sub(self.bytes.len())
    }

    /// Keeps nothing from now on. The first fault stands.
    pub(super) fn fail(&mut self, fault: Refusal) {
        self.fault.get_or_insert(fault);
        self.bytes = Vec::new();
    }

    pub(super) fn fault(&self) -> Option<Refusal> {
        self.fault
    }

    /// How many bytes of memory are held.
    pub(super) fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// The message, leaving nothing.
    pub(super) fn finish(&mut self) -> Result<Vec<u8>, Refusal> {
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(std::mem::take(&mut self.bytes)),
        }
    }
}

/// Counts the header block. It ends at an empty line, or at the first line that is no header field, as Postfix
/// has it: a mail that is all text has no header to be too large. What the parser makes of other forms is bounded
/// there.
#[derive(Debug, Default)]
struct Header {
    size: usize,
    fields: usize,
    place: Place,
}

#[derive(Clone, Copy, Debug, Default)]
enum Place {
    #[default]
    LineStart,
    /// After a CR at the start of a line.
    Cr,
    /// In what may be the name of a field.
    Name,
    /// After white space that follows a name.
    NameEnd,
    /// In the body of a field.
    Body,
    Over,
}

impl Header {
    /// Goes on with `text`, up to the first limit that it breaks.
    fn read(&mut self, mut text: &[u8], limits: &Limits) -> Option<Refusal> {
        while let Some((&byte, rest)) = text.split_first() {
            if self.size > limits.max_header_size {
                return Some(Refusal::HeaderTooLarge);
            }
            let next = match (self.place, byte) {
                (Place::Over, _) => return None,
                (Place::Body, _) => {
                    let line_end = memchr(b'\n', text);
                    let (line, after) = text.split_at(line_end.map_or(text.len(), |at| at + 1));
                    self.size += line.len();
                    self.place = if line_end.is_some() { Place::LineStart } else { Place::Body };
                    text = after;
                    continue;
                }
                (Place::LineStart, b'\r') => Place::Cr,
                (Place::LineStart, b' ' | b'\t') if self.fields > 0 => Place::Body,
                (Place::Name | Place::NameEnd, b':') => {
                    self.fields += 1;
                    if self.fields > limits.max_headers {
                        return Some(Refusal::TooManyHeaders);
                    }
                    Place::Body
                }
                (Place::LineStart | Place::Name, b'!'..=b'9' | b';'..=b'~') => Place::Name,
                (Place::Name | Place::NameEnd, b' ' | b'\t') => Place::NameEnd,
                _ => Place::Over,
            };
            self.size += 1;
            self.place = next;
            text = rest;
        }
        (self.size > limits.max_header_size).then_some(Refusal::HeaderTooLarge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        max_message_size: 60,
        max_headers: 3,
        max_header_size: 40,
        max_line_length: 0,
        max_recipients: 0,
        max_errors: 0,
        max_commands: 0,
        max_auth_failures: 0,
    };

    /// Whole and byte by byte.
    fn check(text: &str, expected: Result<(), Refusal>) {
        for chunk in [1, text.len()] {
            let mut content = Content::new(LIMITS);
            for piece in text.as_bytes().chunks(chunk) {
                content.keep(piece);
            }
            assert_eq!(content.fault(), expected.err(), "{text:?}");
            assert_eq!(content.finish(), expected.map(|()| text.as_bytes().to_vec()), "{text:?}");
            assert_eq!(content.held(), 0);
        }
    }

    #[test]
    fn a_message_within_its_limits_is_kept() {
        check("A: 1\r\nB : 2\r\n folded: x\r\nC: 3\r\n\r\nD: 4\r\n", Ok(()));
        check("A: 1\nB: 2\nC: 3\n\nD: 4\n", Ok(()));
    }

    #[test]
    fn fields_are_counted_to_the_empty_line() {
        check("A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n", Err(Refusal::TooManyHeaders));
        check("A:\nB:\nC:\nD:\n\n", Err(Refusal::TooManyHeaders));
    }

    #[test]
    fn the_size_of_the_header_is_all_of_its_lines() {
        check(&format!("A: {}\r\n\r\n", "x".repeat(33)), Ok(()));
        check(&format!("A: {}\r\n\r\n", "x".repeat(40)), Err(Refusal::HeaderTooLarge));
        check(&format!("A: 1\r\n {}\r\n\r\n", "x".repeat(40)), Err(Refusal::HeaderTooLarge));
    }

    #[test]
    fn of_several_limits_the_one_that_is_broken_first_counts() {
        let long = "x".repeat(50);
        check(&format!("A: {long}\r\nB: 1\r\nC: 1\r\nD: 1\r\n\r\n"), Err(Refusal::HeaderTooLarge));
        check(&format!("A:\nB:\nC:\nD: {long}{long}\n\n"), Err(Refusal::TooManyHeaders));
        check(&format!("A: 1\r\n\r\n{long}B:\nC:\nD:\nE:\n{long}"), Err(Refusal::MessageTooLarge));
        check(&format!("A: {long}{long}"), Err(Refusal::HeaderTooLarge));
    }

    #[test]
    fn text_without_header_is_all_body() {
        check("one: it\ntwo\na: 1\nb: 2\nc: 3\nd: 4\n", Ok(()));
        check("this is, all of it, plain text and no header whatsoever", Ok(()));
    }

    #[test]
    fn a_message_over_the_limit_is_not_kept() {
        check(&format!("A: 1\r\n\r\n{}", "x".repeat(60)), Err(Refusal::MessageTooLarge));
    }
}
