use std::ops::RangeInclusive;

use super::{super::limit::Bounds, Round};
use crate::random::Random;

/// A limit that grows as long as calls take no longer than they need, and shrinks when they begin to queue.
///
/// Gradient2 of Netflix's [concurrency-limits], with three changes that [the design notes] give the reasons for. With
/// `L` the limit, `short` the mean latency of the last round trip and `long` what calls take when nothing holds them
/// up,
///
/// * a round trip in which the calls in flight were at some time half of `L` or more:
///   `L ← 0.8·L + 0.2·(g·L + 4)` with `g = clamp(1.5·long/short, 0.5, 1)`;
/// * a refusal or a timeout: `L ← 0.9·L`, which the published one lacks;
/// * `long` is a moving average over the round trips in which the limit was *not* in use. While it is in use all the
///   time, there is a *look*: about every hundredth round trip the limit is halved for four, and what calls take then
///   is `long`. A limit that has been halved by the latency alone is as good as a look. When `long` is more than twice
///   `short`, it loses 5 % a round trip.
///
/// It settles where the dependency refuses, or where calls take half as long again as they need: the
/// [`tolerance`](Self::tolerance).
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`bounds`](Self::bounds) | 1 to 1000 |
/// | [`start`](Self::start) | 20 |
/// | [`tolerance`](Self::tolerance) | 1.5 |
///
/// [concurrency-limits]: https://github.com/Netflix/concurrency-limits
/// [the design notes]: https://docs.rs/crate/moneta-resilience/latest/source/docs/design.md
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "a law does nothing until a bulkhead has it"]
pub struct Gradient {
    pub(in super::super) bounds: Bounds,
    tolerance: f64,
    seed: Option<u64>,
}

impl Default for Gradient {
    fn default() -> Self {
        Self::new()
    }
}

impl Gradient {
    /// The law with its defaults.
    pub const fn new() -> Self {
        Self { bounds: Bounds::DEFAULT, tolerance: 1.5, seed: None }
    }

    /// What the limit never leaves. Default 1 to 1000.
    ///
    /// # Panics
    ///
    /// When the range is empty or begins with zero.
    #[track_caller]
    pub fn bounds(self, bounds: RangeInclusive<usize>) -> Self {
        Self { bounds: self.bounds.within(bounds), ..self }
    }

    /// The limit to begin with, or the nearest within the bounds. Default 20.
    ///
    /// # Panics
    ///
    /// When `limit` is zero.
    #[track_caller]
    pub fn start(self, limit: usize) -> Self {
        Self { bounds: self.bounds.starting_at(limit), ..self }
    }

    /// How many times as long as they need calls may take before the limit shrinks. Default 1.5.
    ///
    /// Nearer to 1 the queue in the dependency is shorter; but where latencies vary by themselves, the mean of a round
    /// trip does, too, and a limit that takes that for a queue stays too low.
    ///
    /// # Panics
    ///
    /// When `times` is not a finite number above 1.
    #[track_caller]
    pub fn tolerance(self, times: f64) -> Self {
        assert!(times.is_finite() && times > 1.0, "a tolerance is a finite number above 1, not {times}");
        Self { tolerance: times, ..self }
    }

    /// Fixes when the looks come, for a test or a simulation. Default: a seed of its own for each bulkhead, so that the
    /// clients of a dependency do not look all at once.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }
}

/// What is added to the limit at each step, so that a small one can grow: the published `queueSize`.
const HEADROOM: f64 = 4.0;
/// The weight of a round trip in the next limit: the published `smoothing`.
const SMOOTHING: f64 = 0.2;
/// The weight of a round trip in `long`: an average over a hundred.
const LONG: f64 = 2.0 / 101.0;
/// From one look to the next, in round trips, on average.
const LOOK_EVERY: f64 = 100.0;

/// The pure machine: no clock, and no randomness but the seed's.
#[derive(Debug)]
pub(super) struct Course {
    law: Gradient,
    random: Random,
    limit: f64,
    /// In seconds; `None` before the first round trip.
    long: Option<f64>,
    /// The highest limit since `long` was last taken anew.
    highest: f64,
    /// Round trips until the next look.
    until_look: f64,
    /// The limit to go back to after the look that is going on.
    looking: Option<f64>,
}

impl Course {
    pub(super) fn new(law: Gradient) -> Self {
        let random = law.seed.map_or_else(Random::from_entropy, Random::seeded);
        let mut course =
            Self { law, random, limit: 0.0, long: None, highest: 0.0, until_look: 0.0, looking: None };
        course.restart(law.bounds.start());
        course
    }

    /// Goes on from this limit.
    pub(super) fn restart(&mut self, limit: usize) {
        self.looking = None;
        self.go_to(float(limit));
        self.measured();
    }

    pub(super) fn limit(&self) -> usize {
        whole(self.limit)
    }

    pub(super) fn is_looking(&self) -> bool {
        self.looking.is_some()
    }

    pub(super) fn overload(&mut self) {
        let limit = self.looking.take().unwrap_or(self.limit);
        self.go_to(limit * 0.9);
    }

    /// Whether only the calls that begin from now on say something about the new limit.
    pub(super) fn round(&mut self, round: Round) -> bool {
        // A latency of zero, on a clock that stands still, would make all ratios meaningless.
        let short = round.mean.as_secs_f64().max(1e-6);
        let Some(mut long) = self.long.replace(short) else { return false };
        if let Some(limit) = self.looking.take() {
            self.go_to(limit);
            self.measured();
            return true;
        }
        if long > 2.0 * short {
            long *= 0.95;
        }
        if float(round.peak) < self.limit / 2.0 {
            self.long = Some(long + LONG * (short - long));
            return false;
        }
        if self.limit < self.highest / 2.0 {
            long = short;
            self.measured();
        }
        self.long = Some(long);
        let gradient = (self.law.tolerance * long / short).clamp(0.5, 1.0);
        self.until_look -= 1.0;
        if self.until_look < 0.0 {
            self.looking = Some(self.limit);
            self.go_to(self.limit / 2.0);
            return true;
        }
        self.go_to((1.0 - SMOOTHING) * self.limit + SMOOTHING * (gradient * self.limit + HEADROOM));
        self.highest = self.highest.max(self.limit);
        false
    }

    fn measured(&mut self) {
        self.highest = self.limit;
        self.until_look = LOOK_EVERY * (0.75 + self.random.unit() / 2.0);
    }

    fn go_to(&mut self, limit: f64) {
        let bounds = self.law.bounds;
        self.limit = limit.clamp(float(bounds.clamp(0)), float(bounds.clamp(usize::MAX)));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a limit is far below 2^53")]
fn float(limit: usize) -> f64 {
    limit as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between two limits")]
fn whole(limit: f64) -> usize {
    limit as usize
}
