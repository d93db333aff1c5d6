//! The octets of a BDAT chunk (RFC 3030): counted, and never looked at.
//!
//! **Invariant:** the octets of a chunk are consumed whatever became of its command; none is ever read as a
//! command.

use super::reply::Reply;

/// A chunk under way.
#[derive(Debug)]
pub(super) struct Chunk {
    left: u64,
    pub then: Then,
}

/// What its last octet brings.
#[derive(Debug)]
pub(super) enum Then {
    /// The message goes on.
    More,
    /// The message is whole.
    Last,
    /// The command was refused: the octets were read for nothing (RFC 3030 §2).
    Refuse(Reply),
}

impl Chunk {
    pub(super) fn new(size: u64, then: Then) -> Self {
        Self { left: size, then }
    }

    /// Takes octets of the chunk off the front of `input`.
    pub(super) fn take_from<'a>(&mut self, input: &mut &'a [u8]) -> &'a [u8] {
        let count = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        let (octets, rest) = input.split_at(count);
        self.left = self.left.saturating_sub(count as u64);
        *input = rest;
        octets
    }

    pub(super) fn is_complete(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_takes_its_octets_and_no_more() {
        let mut chunk = Chunk::new(5, Then::More);
        let mut input: &[u8] = b"\r\n.";
        assert_eq!(chunk.take_from(&mut input), b"\r\n.");
        assert!(!chunk.is_complete());
        input = b"\r\nQUIT\r\n";
        assert_eq!(chunk.take_from(&mut input), b"\r\n");
        assert!(chunk.is_complete());
        assert_eq!(chunk.take_from(&mut input), b"");
        assert_eq!(input, b"QUIT\r\n");
    }

    #[test]
    fn a_chunk_of_any_size_takes_what_there_is() {
        let mut chunk = Chunk::new(u64::MAX, Then::Last);
        assert_eq!(chunk.take_from(&mut b"abc".as_slice()), b"abc");
        assert!(!chunk.is_complete());
    }
}
