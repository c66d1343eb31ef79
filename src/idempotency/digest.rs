use std::fmt;

use sha2::{Digest, Sha256};

use crate::random::unique;

/// Under which a key is kept: a SHA-256 digest of whose key it is, what it was used for, and the key itself.
///
/// The key as the caller wrote it is kept nowhere. Each part goes in with its length before it, so no two different triples
/// run together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity([u8; 32]);

impl Identity {
    /// The identity of `key`, used by `scope` (a tenant, a caller) for `operation` (a method and its route).
    pub fn of(scope: &[u8], operation: &[u8], key: &[u8]) -> Self {
        Self(digest("identity", [scope, operation, key]))
    }

    /// The identity with this digest, as a store keeps it.
    pub const fn from_bytes(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest, for a store to keep.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What was asked under a key: a SHA-256 digest of the request. The same key with another fingerprint is a mistake of the
/// caller, and is told so before anything else.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of what a request is made of. Each part goes in with its length before it.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self(digest("fingerprint", parts))
    }

    /// The fingerprint with this digest, as a store keeps it.
    pub const fn from_bytes(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest, for a store to keep.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Who holds a claim: 128 bits that no other claim has. It is a name and no secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner(u128);

impl Owner {
    /// An owner that nobody else is.
    pub fn random() -> Self {
        Self(unique())
    }

    /// The owner of this number, as a store keeps it.
    pub const fn from_u128(number: u128) -> Self {
        Self(number)
    }

    /// The number, for a store to keep.
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

/// SHA-256 over what it is for and the parts, each behind its length.
pub(super) fn digest<'a>(purpose: &'a str, parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [purpose.as_bytes()].into_iter().chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Lower-case hexadecimal, as an operator sees it.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({self})")
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", Identity(self.0))
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner({:032x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(Identity::of(b"ab", b"c", b"d"), Identity::of(b"a", b"bc", b"d"));
        assert_ne!(Identity::of(b"", b"a", b"b"), Identity::of(b"a", b"", b"b"));
        let fingerprint = |parts: &[&'static str]| Fingerprint::of(parts.iter().map(|part| part.as_bytes()));
        assert_ne!(fingerprint(&["a", "b"]), fingerprint(&["ab"]));
        assert_ne!(fingerprint(&["a", ""]), fingerprint(&["a"]));
    }

    #[test]
    fn what_a_digest_is_for_is_part_of_it() {
        let parts: [&[u8]; 3] = [b"a", b"b", b"c"];
        assert_ne!(Identity::of(b"a", b"b", b"c").0, Fingerprint::of(parts).0);
    }

    #[test]
    fn an_identity_is_the_same_in_every_version_of_the_crate() {
        // Stores outlive processes: with another digest every kept key would be forgotten. Reckoned by hand:
        // sha256(8 "identity" 6 "tenant" 14 "POST /payments" 2 "k1"), the lengths as eight bytes each.
        assert_eq!(
            Identity::of(b"tenant", b"POST /payments", b"k1").to_string(),
            "747f63773c1ba03142c38404a546c7d2d29cab8007a4a87775529a190bb94f47"
        );
    }
}
