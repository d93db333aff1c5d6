//! The bytes after DATA: strict CRLF, and dot-unstuffing.
//!
//! **Invariant:** only `CRLF . CRLF` ends a message; DATA's own CRLF counts as the first (RFC 5321
//! §4.1.1.4), so `. CRLF` right away is an empty message.
//! **Invariant:** a message with a fault is read to that end like any other, keeping nothing. If we stopped
//! where the fault is, the rest of the message would be taken for commands, and its author, who is not the
//! client, could speak SMTP to us: that is how mail is smuggled (CVE-2023-51764 and its family).

use memchr::memchr2;

use super::content::Content;
use super::policy::{Limits, Refusal};

/// Receives one message.
#[derive(Debug)]
pub(super) struct DataReceiver {
    state: State,
    content: Content,
}

#[derive(Clone, Copy, Debug)]
enum State {
    LineStart,
    Text,
    /// After a CR that waits for its LF.
    Cr,
    /// After a dot that began a line.
    Dot,
    /// After a dot that began a line and a CR.
    DotCr,
}

impl DataReceiver {
    /// A receiver for a message within `limits`; its size is counted without dot-stuffing (RFC 1870 §5).
    pub(super) fn new(limits: Limits) -> Self {
        Self { state: State::LineStart, content: Content::new(limits) }
    }

    /// Takes bytes off the front of `input`. `Some` when the message has ended: then what is left in
    /// `input` comes after it. `None` when all of `input` is used up.
    pub(super) fn receive(&mut self, input: &mut &[u8]) -> Option<Result<Vec<u8>, Refusal>> {
        while let Some((&byte, rest)) = input.split_first() {
            let consumed = match (self.state, byte) {
                (State::DotCr, b'\n') => {
                    *input = rest;
                    return Some(self.content.finish());
                }
                (State::Cr, b'\n') => {
                    self.content.keep(b"\r\n");
                    self.state = State::LineStart;
                    1
                }
                (State::Cr | State::DotCr, _) => {
                    self.content.fail(Refusal::BareLineEnd);
                    self.state = State::Text;
                    0 // the byte is looked at again: it may be a CR itself
                }
                (State::Dot, b'\r') => {
                    self.state = State::DotCr;
                    1
                }
                (State::LineStart | State::Text, b'\r') => {
                    self.state = State::Cr;
                    1
                }
                (_, b'\n') => {
                    self.content.fail(Refusal::BareLineEnd);
                    self.state = State::Text;
                    1
                }
                (State::LineStart, b'.') => {
                    self.state = State::Dot; // RFC 5321 §4.5.2: the dot is not kept
                    1
                }
                (State::LineStart | State::Text | State::Dot, _) => {
                    let (lines, state) = plain_lines(input);
                    self.content.keep(lines);
                    self.state = state;
                    lines.len()
                }
            };
            *input = input.get(consumed..).unwrap_or_default();
        }
        None
    }

    /// Stops keeping the message; it is read to its end all the same. The first fault stands.
    pub(super) fn fail(&mut self, fault: Refusal) {
        self.content.fail(fault);
    }

    /// How many bytes are held for the message.
    pub(super) fn held(&self) -> usize {
        self.content.held()
    }
}

/// The longest run of text, over as many lines as there are, that is kept as it stands: it stops before a dot at
/// the start of a line and before a CR or LF of doubtful meaning. What begins `input` is known to be neither.
fn plain_lines(input: &[u8]) -> (&[u8], State) {
    let mut end = 0;
    let state = loop {
        let rest = input.get(end..).unwrap_or_default();
        if rest.is_empty() || (end > 0 && rest.starts_with(b".")) {
            break State::LineStart;
        }
        let Some(text) = memchr2(b'\r', b'\n', rest) else {
            end = input.len();
            break State::Text;
        };
        end += text;
        if !rest.get(text..).is_some_and(|line_end| line_end.starts_with(b"\r\n")) {
            break State::Text;
        }
        end += 2;
    };
    (input.split_at(end).0, state)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Received {
        message: Result<Vec<u8>, Refusal>,
        /// What came after its end.
        rest: Vec<u8>,
    }

    fn receiver(max_message_size: usize) -> DataReceiver {
        DataReceiver::new(Limits { max_message_size, ..Limits::default() })
    }

    /// Receives `wire` cut at `cut`; `None` if the message did not end.
    fn receive_cut(wire: &[u8], cut: usize) -> Option<Received> {
        let mut receiver = receiver(1000);
        let (mut head, mut tail) = wire.split_at(cut);
        if let Some(message) = receiver.receive(&mut head) {
            return Some(Received { message, rest: [head, tail].concat() });
        }
        let message = receiver.receive(&mut tail)?;
        Some(Received { message, rest: tail.to_vec() })
    }

    /// Whatever the place where `wire` is split, the message comes out as `expected` and nothing is left.
    fn check(wire: &[u8], expected: Result<&[u8], Refusal>) {
        for cut in 0..=wire.len() {
            let received = receive_cut(wire, cut).expect("the message did not end");
            assert_eq!(
                received.message.as_deref().map_err(|refusal| *refusal),
                expected,
                "{wire:?} cut at {cut}"
            );
            assert!(received.rest.is_empty(), "{wire:?} cut at {cut}");
        }
    }

    /// `sequence` inside a message does not end it: what follows, up to the true end, belongs to it.
    fn check_no_end(sequence: &[u8]) {
        let wire = [b"one\r\ntwo".as_slice(), sequence, b"MAIL FROM:<evil@example.net>\r\n.\r\n"].concat();
        check(&wire, Err(Refusal::BareLineEnd));
    }

    #[test]
    fn a_message_ends_at_a_dot_alone_on_its_line() {
        check(b"one\r\ntwo\r\n.\r\n", Ok(b"one\r\ntwo\r\n"));
    }

    #[test]
    fn an_empty_message_is_a_message() {
        check(b".\r\n", Ok(b""));
    }

    #[test]
    fn a_stuffed_dot_is_undone_on_any_line_the_first_too() {
        check(b"..first\r\n..\r\n...\r\nplain.dot\r\n.\r\n", Ok(b".first\r\n.\r\n..\r\nplain.dot\r\n"));
    }

    #[test]
    fn no_other_mix_of_cr_lf_nul_and_dot_ends_a_message() {
        for sequence in [
            b"\n.\r\n".as_slice(),
            b"\n.\n",
            b"\r\n.\n",
            b"\r.\r\n",
            b"\r.\r",
            b"\r\n.\r",
            b"\r\n.\r\r\n",
            b"\r\r\n.\r\r\n",
            b"\r\0\n.\r\n",
            b"\n\r.\r\n",
            b"\n.\r",
        ] {
            check_no_end(sequence);
        }
    }

    #[test]
    fn a_dot_with_company_does_not_end_a_message_and_is_no_fault() {
        check(b"a\r\n. \r\n.\0\r\nb\r\n.\r\n", Ok(b"a\r\n \r\n\0\r\nb\r\n"));
    }

    #[test]
    fn a_message_over_the_limit_is_read_to_its_end_and_not_kept() {
        let mut receiver = receiver(10);
        let mut input: &[u8] = b"0123456789abc\r\nRSET\r\n.\r\nNOOP\r\n";
        assert_eq!(receiver.receive(&mut input), Some(Err(Refusal::MessageTooLarge)));
        assert_eq!(input, b"NOOP\r\n");
        assert_eq!(receiver.held(), 0);
    }

    #[test]
    fn the_limit_itself_is_allowed_and_stuffed_dots_do_not_count() {
        let mut receiver = receiver(4);
        assert_eq!(receiver.receive(&mut b"..a\r\n.\r\n".as_slice()), Some(Ok(b".a\r\n".to_vec())));
    }

    /// What a conforming client sends for `lines` (RFC 5321 §4.5.2).
    fn stuffed(lines: &[Vec<u8>]) -> Vec<u8> {
        let mut wire = Vec::new();
        for line in lines {
            wire.extend_from_slice(if line.starts_with(b".") { b"." } else { b"" });
            wire.extend_from_slice(line);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b".\r\n");
        wire
    }

    fn line() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![3 => any::<u8>(), 1 => Just(b'.')];
        prop::collection::vec(byte.prop_filter("line end", |byte| !b"\r\n".contains(byte)), 0..12)
    }

    proptest! {
        #[test]
        fn any_message_comes_out_as_it_went_in_however_it_is_cut(
            lines in prop::collection::vec(line(), 0..8),
            chunk in 1_usize..9,
        ) {
            let body: Vec<u8> = lines.iter().flat_map(|line| [line.as_slice(), b"\r\n"].concat()).collect();
            let wire = [stuffed(&lines), b"QUIT\r\n".to_vec()].concat();
            let mut receiver = receiver(1000);
            let mut after = Vec::new();
            let mut messages = Vec::new();
            for mut piece in wire.chunks(chunk) {
                if messages.is_empty() && let Some(end) = receiver.receive(&mut piece) {
                    messages.push(end);
                }
                if !messages.is_empty() {
                    after.extend_from_slice(piece);
                }
            }
            prop_assert_eq!(messages, vec![Ok(body)]);
            prop_assert_eq!(after, b"QUIT\r\n".to_vec());
        }

        #[test]
        fn where_bytes_are_cut_never_matters(wire in prop::collection::vec(
            prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'x'), Just(0)], 0..24,
        )) {
            let whole = receive_cut(&wire, wire.len());
            for cut in 0..wire.len() {
                prop_assert_eq!(&receive_cut(&wire, cut), &whole);
            }
        }
    }
}
