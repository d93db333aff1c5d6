//! Keyed 64-bit hashes of every window of a text, in linear time.
//!
//! A polynomial over the Mersenne prime 2⁶¹−1 rolls along the text; SipHash, keyed too, covers its value. Without
//! the key a stored hash tells nothing of the text, and nobody can write a text that collides on purpose.

use sha2::{Digest as _, Sha256};
use siphasher::sip::SipHasher24;

const PRIME: u64 = (1 << 61) - 1;

/// No `Debug`: it would show the key.
pub(super) struct Hasher {
    base: u64,
    cover: SipHasher24,
}

impl Hasher {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let [base, cover_0, cover_1] = ["base", "cover 0", "cover 1"].map(|part| derive(key, part));
        // Not 0 and not 1, under which the order of characters would not matter.
        let base = base % (PRIME - 2) + 2;
        Self { base, cover: SipHasher24::new_with_keys(cover_0, cover_1) }
    }

    /// The hash of each window of `length` characters, by place. None if the text is shorter.
    pub(super) fn windows<'a>(&'a self, text: &'a [char], length: usize) -> impl Iterator<Item = u64> + 'a {
        let (first, rest) = text.split_at_checked(length).unzip();
        let weight = (1..length).fold(1, |weight, _| multiply(weight, self.base));
        let start = first.map(|first: &[char]| first.iter().fold(0, |value, c| self.append(value, *c)));
        let moved = text.iter().zip(rest.unwrap_or_default()).scan(start, move |value, (gone, come)| {
            let without = subtract((*value)?, multiply(symbol(*gone), weight));
            *value = Some(self.append(without, *come));
            *value
        });
        start.into_iter().chain(moved).map(|value| self.cover.hash(&value.to_le_bytes()))
    }

    fn append(&self, value: u64, c: char) -> u64 {
        reduce(multiply(value, self.base) + symbol(c))
    }
}

/// Never 0, so that windows of different lengths are different polynomials.
fn symbol(c: char) -> u64 {
    u64::from(u32::from(c)) + 1
}

fn reduce(value: u64) -> u64 {
    if value >= PRIME { value - PRIME } else { value }
}

fn subtract(a: u64, b: u64) -> u64 {
    reduce(a + PRIME - b)
}

/// The product of two numbers below the prime, again below the prime.
fn multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    reduce((product as u64 & PRIME) + (product >> 61) as u64)
}

/// A number of its own for each part, so that other uses of the same secret have nothing in common with this one.
fn derive(key: &[u8; 32], part: &str) -> u64 {
    let digest =
        Sha256::new().chain_update(key).chain_update("postern recall ").chain_update(part).finalize();
    digest.iter().take(8).fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rolled_hash_is_the_hash_of_that_window_alone() {
        let hasher = Hasher::new(&[7; 32]);
        let text: Vec<char> = "the quick brown fox jumps over the lazy dog \u{10FFFF}".chars().collect();
        for length in 1..=text.len() {
            let alone = text.windows(length).map(|window| hasher.windows(window, length).next().unwrap());
            assert!(hasher.windows(&text, length).eq(alone), "windows of {length}");
        }
        assert_eq!(hasher.windows(&text, text.len() + 1).count(), 0);
    }

    #[test]
    fn another_key_gives_other_hashes() {
        let text: Vec<char> = "exactly the same".chars().collect();
        let [one, other] = [[1; 32], [2; 32]].map(|key| Hasher::new(&key).windows(&text, 12).next());
        assert_ne!(one, other);
    }

    #[test]
    fn products_stay_below_the_prime() {
        for (a, b) in [(PRIME - 1, PRIME - 1), (PRIME - 1, 2), (0, PRIME - 1), (1, 1)] {
            let expected = u128::from(a) * u128::from(b) % u128::from(PRIME);
            assert_eq!(u128::from(multiply(a, b)), expected);
        }
    }
}
