//! A hash of addresses and small numbers, for maps whose keys nobody outside chooses.
//!
//! A text that stays in its place is found by where it lies: that takes a tenth of what it takes to hash the text so that
//! no caller can make up collisions.

use std::hash::{BuildHasherDefault, Hasher};

/// Builds the hasher of such maps.
pub(crate) type ByAddress = BuildHasherDefault<Mix>;

/// Multiplies by the golden ratio, as Knuth has it (The Art of Computer Programming, 6.4).
#[derive(Default)]
pub(crate) struct Mix(u64);

impl Hasher for Mix {
    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        // A map begins with the lowest bits, and the best ones of a product are the highest.
        self.0.rotate_left(26)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, hash::BuildHasher};

    use super::*;

    #[test]
    fn addresses_that_differ_in_few_bits_are_spread() {
        let all = (0..4_096_usize).map(|n| ByAddress::new().hash_one(0x7f00_dead_0000 + n * 64));
        let lowest: HashSet<_> = all.map(|hash| hash % 4_096).collect();
        // As many as random ones would take of as many places: all but 1/e.
        assert!(lowest.len() > 2_400, "{}", lowest.len());
    }
}
