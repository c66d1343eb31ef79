//! Who is hit: a share of the calls, drawn for each, or of the units that calls belong to, always the same ones.

use crate::{fnv::fnv, ratio::Ratio};

/// Of how many buckets [`bucket`] names one.
pub const BUCKETS: u32 = 1_000_000;

/// The bucket, below [`BUCKETS`], of a unit (a caller, an account) in an experiment.
///
/// The same in every process and in every version of this crate: FNV-1a with 64 bits (RFC 9923) over the length of the name of
/// the experiment in eight bytes, little end first, the name, and the unit; mixed by the finalizer of `MurmurHash3`, because the
/// low bits of FNV alone are uneven; modulo one million.
///
/// A fault on a share `s` hits the buckets below `e = s · 10⁶`; those from `e` up to `2e` are its *control*, who are like those
/// that are hit in everything else. So a unit stays where it is, a growing share only adds to those that are hit, and two
/// experiments choose independently of each other.
///
/// ```
/// use moneta_resilience::fault::bucket;
///
/// assert_eq!(bucket("slow-ledger", b"account-7"), 960_435);
/// ```
pub fn bucket(experiment: &str, unit: &[u8]) -> u32 {
    let length = (experiment.len() as u64).to_le_bytes();
    let hash = fnv(length.iter().chain(experiment.as_bytes()).chain(unit));
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below a million")]
    let bucket = (mixed(hash) % u64::from(BUCKETS)) as u32;
    bucket
}

/// The finalizer of `MurmurHash3`, `fmix64`.
fn mixed(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// To which group a call belongs that a fault is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// It is hit.
    Hit,
    /// It is left alone, and compared with those that are hit.
    Control,
    /// It is left alone.
    Rest,
}

impl Group {
    /// Of a bucket, when this share is hit.
    pub(super) fn of(bucket: u32, share: Ratio) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a ratio lies in 0..=1")]
        let hit = (share.value() * f64::from(BUCKETS)).round() as u32;
        if bucket < hit {
            Self::Hit
        } else if bucket < 2 * hit {
            Self::Control
        } else {
            Self::Rest
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_never_change() {
        // Another process, another version and another language have to agree on these.
        let known = [
            ("", ""),
            ("slow-ledger", ""),
            ("slow-ledger", "account-7"),
            ("slow", "-ledgeraccount-7"),
            ("é", "\u{1f600}"),
        ];
        let buckets = known.map(|(experiment, unit)| bucket(experiment, unit.as_bytes()));
        assert_eq!(buckets, [557_598, 954_153, 960_435, 600_710, 953_712]);
    }

    #[test]
    fn units_fall_evenly_and_experiments_choose_independently() {
        let (mut a, mut both) = ([0_u32; 10], 0);
        for unit in 0..100_000_u32 {
            let unit = unit.to_string();
            let [in_a, in_b] = ["a", "b"].map(|experiment| bucket(experiment, unit.as_bytes()));
            a[(in_a / 100_000) as usize] += 1;
            both += u32::from(in_a < 100_000 && in_b < 100_000);
        }
        assert!(a.iter().all(|n| (9_600..10_400).contains(n)), "{a:?}");
        assert!((900..1_100).contains(&both), "{both}");
    }

    proptest! {
        #[test]
        fn a_growing_share_only_adds(bucket in 0..BUCKETS, small in 0.0..=1.0, more in 0.0..=1.0) {
            let [small, large] = [small, small + more * (1.0 - small)].map(|share| Ratio::new(share).expect("in 0..=1"));
            prop_assert!(Group::of(bucket, small) != Group::Hit || Group::of(bucket, large) == Group::Hit);
        }
    }

    #[test]
    fn control_is_as_large_as_what_is_hit_while_there_is_room() {
        for percent in [0_u8, 1, 20, 50] {
            let groups = |group| {
                (0..BUCKETS).filter(|&bucket| Group::of(bucket, Ratio::percent(percent)) == group).count()
            };
            assert_eq!(groups(Group::Hit), usize::from(percent) * 10_000);
            assert_eq!(groups(Group::Control), groups(Group::Hit));
        }
    }
}
