//! Words from outside that become metric labels: as many as are allowed, and one for all others.
//!
//! Routes come from the code, hosts of clients from a configuration, as a rule; but nothing keeps a caller from asking for
//! ten thousand hosts, and each would be a series for good. So the first words keep their names and are kept for good
//! themselves, which makes them small and `Copy`; everything after those is [`OTHER`]. What [`redact`] finds in a word is
//! not kept.
//!
//! The sinks bound their series by a table much like this one (`record::capped`). Here the key is the value, is found by a text that
//! is only borrowed, and may be another one once it was cleaned: one table for both would be longer than the two are.

use std::{collections::HashSet, sync::LazyLock};

use arc_swap::ArcSwap;

use crate::redact;

/// What stands for all words that came too late, or are too long.
pub(crate) const OTHER: &str = "_OTHER";

/// The longest word, in bytes.
const MAX_LEN: usize = 256;

/// A set of words that only grows, and not beyond its bound.
pub(crate) struct Words {
    max: usize,
    known: LazyLock<ArcSwap<HashSet<&'static str>>>,
}

impl Words {
    /// For at most `max` words.
    pub(crate) const fn new(max: usize) -> Self {
        Self { max, known: LazyLock::new(ArcSwap::default) }
    }

    /// The word itself, if it is known already.
    #[cfg_attr(not(feature = "http"), allow(dead_code, reason = "methods of gRPC are looked up"))]
    pub(crate) fn find(&self, word: &str) -> Option<&'static str> {
        self.known.load().get(word).copied()
    }

    /// The word itself, or [`OTHER`]. A word that is known costs a look-up, and so does one too many.
    pub(crate) fn get(&self, word: &str) -> &'static str {
        let known = self.known.load();
        if let Some(word) = known.get(word) {
            return word;
        }
        if word.len() > MAX_LEN || known.len() >= self.max {
            return OTHER;
        }
        self.learn(word)
    }

    #[cold]
    fn learn(&self, word: &str) -> &'static str {
        let clean = redact::path(word);
        if let Some(known) = self.known.load().get(&*clean) {
            return known;
        }
        let learnt: &'static str = clean.into_owned().leak();
        let before = self.known.rcu(|known| {
            let mut known = HashSet::clone(known);
            if known.len() < self.max {
                known.insert(learnt);
            }
            known
        });
        // Another thread may have been faster, with this word or with the last one that there was room for. What it leaks
        // is bounded by the number of threads that meet here at once, each for a word that it did not find.
        drop(before);
        self.known.load().get(learnt).copied().unwrap_or(OTHER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_stay_and_all_others_are_one() {
        static WORDS: Words = Words::new(2);
        let first = WORDS.get("/a");
        assert_eq!([first, WORDS.get("/b"), WORDS.get("/c"), WORDS.get("/a")], ["/a", "/b", OTHER, "/a"]);
        assert!(std::ptr::eq(first, WORDS.get("/a")));
    }

    #[test]
    fn a_word_that_is_too_long_takes_no_room() {
        static WORDS: Words = Words::new(1);
        assert_eq!(WORDS.get(&"x".repeat(MAX_LEN + 1)), OTHER);
        assert_eq!(WORDS.get(&"x".repeat(MAX_LEN)).len(), MAX_LEN);
    }

    #[test]
    fn what_is_nobodys_business_is_not_kept() {
        static WORDS: Words = Words::new(2);
        for _ in 0..2 {
            assert_eq!(WORDS.get("/cards/4111111111111111"), "/cards/[card]");
        }
        assert_eq!(WORDS.get("/cards/5555555555554444"), "/cards/[card]");
        assert_eq!(WORDS.known.load().len(), 1);
    }

    #[test]
    fn threads_that_meet_agree_on_the_words() {
        static WORDS: Words = Words::new(64);
        let words: Vec<String> = (0..200).map(|n| format!("/{n}")).collect();
        let heard: Vec<Vec<&str>> = std::thread::scope(|scope| {
            let ask = || words.iter().map(|word| WORDS.get(word)).collect();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let kept = WORDS.known.load().len();
        assert_eq!(kept, 64);
        for heard in heard {
            for (word, heard) in words.iter().zip(heard) {
                assert!(heard == word || heard == OTHER);
            }
        }
    }
}
