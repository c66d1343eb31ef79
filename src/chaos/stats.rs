//! Whether what was hit fared worse than what was left alone, and how sure that is.

/// How many of a group's calls there were, and how many of them were bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// All calls.
    pub(super) total: u64,
    /// Those that were bad, at most as many.
    pub(super) bad: u64,
}

/// A share that is known from a sample: where it lies with a confidence of 95 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval {
    /// The best guess.
    pub(super) estimate: f64,
    /// The low end.
    pub(super) low: f64,
    /// The high end.
    pub(super) high: f64,
}

/// By how much the share of bad calls of one group is above that of another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Difference {
    /// The difference; negative where the first group fared better. Interval: Newcombe's hybrid score, "Interval Estimation for
    /// the Difference Between Independent Proportions", 1998, method 10.
    pub(super) share: Interval,
    /// How likely a difference at least as large is by chance where there is none, in either direction.
    pub(super) p_value: f64,
}

/// The 97.5th percentile of the standard normal distribution: two sides with 95 % between them.
pub(super) const TWO_SIDED_95: f64 = 1.959_963_984_540_054;
/// The 99th percentile: one side.
pub(super) const ONE_SIDED_99: f64 = 2.326_347_874_040_841;

impl Tally {
    /// The share of bad calls; zero where there were none.
    #[expect(clippy::cast_precision_loss, reason = "nobody counts 2⁵³ calls in an experiment")]
    pub(super) fn share(self) -> f64 {
        if self.total == 0 { 0.0 } else { self.bad as f64 / self.total as f64 }
    }

    /// Where the share lies (Wilson's score interval, 1927); anywhere where there were no calls.
    #[expect(clippy::cast_precision_loss, reason = "nobody counts 2⁵³ calls in an experiment")]
    pub(super) fn interval(self, z: f64) -> Interval {
        if self.total == 0 {
            return Interval { estimate: 0.0, low: 0.0, high: 1.0 };
        }
        let (n, share) = (self.total as f64, self.share());
        let middle = share + z * z / (2.0 * n);
        let reach = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + z * z / n;
        let [low, high] = [(middle - reach) / scale, (middle + reach) / scale];
        // What was never seen, or always, is exact at its end.
        let low = if self.bad == 0 { 0.0 } else { low };
        let high = if self.bad == self.total { 1.0 } else { high };
        Interval { estimate: share, low, high }
    }

    /// Whether more than `limit` of such calls are bad, with a confidence of 99 %: where no more were, as many bad ones as these
    /// would be seen less than one time in a hundred (the exact binomial test).
    #[expect(clippy::cast_precision_loss, reason = "nobody counts 2⁵³ calls in an experiment")]
    pub(super) fn is_surely_above(self, limit: f64) -> bool {
        if self.share() <= limit {
            return false;
        }
        let odds = limit / (1.0 - limit);
        let (n, bad) = (self.total as f64, self.bad as f64);
        let first = ln_choose(self.total, self.bad) + bad * limit.ln() + (n - bad) * (-limit).ln_1p();
        let (mut term, mut likely, mut seen) = (first.exp(), 0.0, bad);
        // From there on each term is less than the one before.
        while seen <= n && term > likely * 1e-12 {
            likely += term;
            term *= (n - seen) / (seen + 1.0) * odds;
            seen += 1.0;
        }
        likely < 0.01
    }

    /// By how much this fared worse than `other`.
    pub(super) fn against(self, other: Self) -> Difference {
        let p_value =
            if self.is_small_beside(other) { fisher(self, other) } else { two_proportions(self, other) };
        Difference { share: self.above(other, TWO_SIDED_95), p_value }
    }

    /// By how much this share is above the other.
    pub(super) fn above(self, other: Self, z: f64) -> Interval {
        let [ours, theirs] = [self.interval(z), other.interval(z)];
        let estimate = ours.estimate - theirs.estimate;
        let reach = |near: f64, far: f64| near.hypot(far);
        let low = estimate - reach(ours.estimate - ours.low, theirs.high - theirs.estimate);
        let high = estimate + reach(ours.high - ours.estimate, theirs.estimate - theirs.low);
        Interval { estimate, low: low.max(-1.0), high: high.min(1.0) }
    }

    /// Whether the normal distribution is too coarse for the two: where chance alone would leave fewer than five calls in a cell
    /// (Cochran's rule).
    #[expect(clippy::cast_precision_loss, reason = "nobody counts 2⁵³ calls in an experiment")]
    fn is_small_beside(self, other: Self) -> bool {
        let total = (self.total + other.total) as f64;
        let bad = (self.bad + other.bad) as f64;
        let fewest = bad.min(total - bad) * self.total.min(other.total) as f64 / total;
        total == 0.0 || fewest < 5.0
    }
}

/// The p-value of the test of two proportions, pooled, on both sides.
#[expect(clippy::cast_precision_loss, reason = "nobody counts 2⁵³ calls in an experiment")]
fn two_proportions(a: Tally, b: Tally) -> f64 {
    let pooled = Tally { total: a.total + b.total, bad: a.bad + b.bad }.share();
    let variance = pooled * (1.0 - pooled) * (1.0 / a.total as f64 + 1.0 / b.total as f64);
    let z = (a.share() - b.share()).abs() / variance.sqrt();
    libm::erfc(z / std::f64::consts::SQRT_2)
}

/// The p-value of Fisher's exact test on both sides: all tables that are no likelier than the one that was seen.
fn fisher(a: Tally, b: Tally) -> f64 {
    // With these margins, `bad` of the first group says all.
    let all_bad = a.bad + b.bad;
    let ln_probability = |bad: u64| ln_choose(a.total, bad) + ln_choose(b.total, all_bad - bad);
    let seen = ln_probability(a.bad);
    let possible = all_bad.saturating_sub(b.total)..=all_bad.min(a.total);
    let whole = ln_choose(a.total + b.total, all_bad);
    // As likely, within what the logarithms are exact to.
    let rare = possible.map(ln_probability).filter(|&table| table <= seen + 1e-7);
    rare.map(|table| (table - whole).exp()).sum::<f64>().min(1.0)
}

#[expect(clippy::cast_precision_loss, reason = "nobody counts 2⁵³ calls in an experiment")]
fn ln_choose(n: u64, k: u64) -> f64 {
    let ln_factorial = |n: u64| libm::lgamma(n as f64 + 1.0);
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "all numbers are small")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tally(bad: u64, total: u64) -> Tally {
        Tally { total, bad }
    }

    #[test]
    fn differences_have_the_intervals_of_the_published_table() {
        // Newcombe 1998, table II, method 10.
        let table = [
            (tally(56, 70), tally(48, 80), 0.0524, 0.3339),
            (tally(9, 10), tally(3, 10), 0.1705, 0.8090),
            (tally(6, 7), tally(2, 7), 0.0582, 0.8062),
            (tally(5, 56), tally(0, 29), -0.0381, 0.1926),
            (tally(0, 10), tally(0, 20), -0.1611, 0.2775),
            (tally(0, 10), tally(0, 10), -0.2775, 0.2775),
            (tally(10, 10), tally(0, 20), 0.6791, 1.0000),
            (tally(10, 10), tally(0, 10), 0.6075, 1.0000),
        ];
        for (a, b, low, high) in table {
            let difference = a.above(b, TWO_SIDED_95);
            assert!((difference.low - low).abs() < 5e-5, "{a:?} {b:?}: {difference:?}");
            assert!((difference.high - high).abs() < 5e-5, "{a:?} {b:?}: {difference:?}");
        }
    }

    #[test]
    fn small_samples_have_the_p_value_of_fishers_exact_test() {
        // The lady who tastes tea (Fisher 1935), the convictions of twins (Fisher 1925).
        for (a, b, p) in
            [(tally(3, 4), tally(1, 4), 0.485_714_3), (tally(2, 17), tally(10, 13), 0.000_536_724)]
        {
            let p_value = fisher(a, b);
            assert!((p_value - p).abs() < 1e-6, "{p_value} instead of {p}");
        }
    }

    #[test]
    fn large_samples_have_the_p_value_of_the_test_of_two_proportions() {
        let p_value = tally(56, 70).against(tally(48, 80)).p_value;
        assert!((p_value - 0.008_045).abs() < 1e-5, "{p_value}");
    }

    #[test]
    fn what_is_sure_would_be_seen_less_than_one_time_in_a_hundred() {
        for limit in [0.001, 0.01, 0.05, 0.2, 0.5, 0.99] {
            for total in 1..=200_u64 {
                // How likely so many are, one after the other from none on; then, that so many or more are.
                let mut exactly: f64 = (1.0_f64 - limit).powi(i32::try_from(total).expect("it is small"));
                let mut or_more = 1.0;
                for bad in 0..=total {
                    let sure = tally(bad, total).is_surely_above(limit);
                    let on_the_edge = (or_more - 0.01_f64).abs() < 1e-9;
                    assert!(on_the_edge || sure == (or_more < 0.01), "{bad} of {total}, {limit}: {or_more}");
                    or_more -= exactly;
                    exactly *= (total - bad) as f64 / (bad + 1) as f64 * limit / (1.0 - limit);
                }
            }
        }
        assert!(!tally(0, 0).is_surely_above(0.0) && tally(1, 1).is_surely_above(0.0));
        assert!(!tally(7, 7).is_surely_above(1.0));
        assert!(!tally(10_100, 1_000_000).is_surely_above(0.01));
        assert!(tally(10_300, 1_000_000).is_surely_above(0.01));
    }

    #[test]
    fn nothing_is_known_of_no_calls() {
        let none = Tally::default();
        assert_eq!(
            none.against(none),
            Difference { share: Interval { estimate: 0.0, low: -1.0, high: 1.0 }, p_value: 1.0 }
        );
    }

    fn any_tally() -> impl Strategy<Value = Tally> {
        (0..2_000_u64).prop_flat_map(|total| (0..=total).prop_map(move |bad| Tally { total, bad }))
    }

    proptest! {
        #[test]
        fn a_difference_lies_in_its_interval_and_turns_its_sign_with_the_groups(a in any_tally(), b in any_tally()) {
            let (there, back) = (a.against(b), b.against(a));
            for Difference { share: Interval { estimate, low, high }, p_value } in [there, back] {
                prop_assert!(-1.0 <= low && low <= estimate && estimate <= high && high <= 1.0, "{low} {estimate} {high}");
                prop_assert!((0.0..=1.0).contains(&p_value), "{p_value}");
            }
            prop_assert!((there.share.low + back.share.high).abs() < 1e-12);
            prop_assert!((there.p_value - back.p_value).abs() < 1e-6);
        }

        #[test]
        fn both_tests_agree_where_both_are_right(bad in 400..600_u64, other in 400..600_u64) {
            let (a, b) = (tally(bad, 1_000), tally(other, 1_000));
            prop_assert!((fisher(a, b) - two_proportions(a, b)).abs() < 0.05);
        }
    }
}
