//! The retry budget: how much of the traffic may be repetition.
//!
//! When a dependency fails every call, three attempts each are three times the load on something that is already
//! down. A limit per call cannot see that; a limit on the *share* of repeated calls can. Retries stay free while
//! failures are rare, and a full outage costs the dependency a fifth more load, not twice more.
//!
//! The idea and its defaults are Finagle's ([`RetryBudget`][finagle]); the SRE book argues for the same share
//! ("Handling Overload", per-client retry budget). What differs here: any ratio is honoured to a billionth, without
//! integer division; the reserve is per second and is not saved up; and a withdrawal is one compare-and-swap, so that
//! no interleaving overdraws.
//!
//! [finagle]: https://twitter.github.io/finagle/guide/Clients.html#retries

use std::{cmp, fmt, sync::Arc};

use tokio::time::Instant;

use crate::{
    dial::Dial,
    lane::Laned,
    ratio::Ratio,
    sync::{AtomicU32, AtomicU64, Ordering},
};

/// Slices of one second that a deposit or a withdrawal is remembered for, the current one included.
const WINDOW: u32 = 10;
/// Slices that a ring holds: [`WINDOW`], rounded up so that one ring of deposits fills two cache lines.
const RING: usize = 16;
/// One token, in the unit in which the ratio is kept.
const BILLION: u32 = 1_000_000_000;
const PER_ATTEMPT: u32 = BILLION / 5;
const MIN_PER_SECOND: u32 = 10;

/// How much of the traffic may be repetition: retries and hedges ask it, and only first attempts fill it.
///
/// In any ten seconds at most `ratio` of the first attempts made in them may be repeated, plus `min_per_second`
/// repetitions in each second, so that a quiet client can retry at all. What is left of a second's reserve lapses with
/// that second. A call that was refused on this side, by an open circuit or a full bulkhead, was no attempt and fills
/// nothing. Time is counted in whole seconds since the budget was made.
///
/// A clone is the same budget: give clones to several layers and they draw on one account. A setter makes a new,
/// unshared one.
///
/// # Defaults
///
/// | knob | default |
/// |---|---|
/// | [`ratio`](Self::ratio) | 20 % |
/// | [`min_per_second`](Self::min_per_second) | 10 |
/// | [`scaled_by`](Self::scaled_by) | all of it |
///
/// ```
/// use moneta_resilience::{Ratio, RetryBudget};
///
/// let careful = RetryBudget::new().ratio(Ratio::percent(5)).min_per_second(1);
/// let shared = careful.clone(); // one account for two stacks
/// # let _ = shared;
/// ```
#[derive(Clone)]
pub struct RetryBudget {
    /// `None` is the budget without a limit.
    account: Option<Arc<Account>>,
}

impl RetryBudget {
    /// A budget of 20 % of the first attempts plus 10 repetitions a second.
    pub fn new() -> Self {
        Self::with(PER_ATTEMPT, MIN_PER_SECOND, Dial::new(Ratio::ONE))
    }

    /// No budget: every retry and hedge is granted. Under an outage the load is multiplied by the number of attempts.
    pub fn unlimited() -> Self {
        Self { account: None }
    }

    /// The share of first attempts that may be repeated. Default: 20 %.
    #[must_use = "this makes a new budget"]
    pub fn ratio(self, ratio: Ratio) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a ratio is 0 to 1")]
        let per_attempt = (ratio.value() * f64::from(BILLION)).round() as u32;
        let (_, min_per_second, dial) = self.parts();
        Self::with(per_attempt, min_per_second, dial)
    }

    /// How many repetitions are granted in each second whatever the traffic. Default: 10.
    #[must_use = "this makes a new budget"]
    pub fn min_per_second(self, repetitions: u32) -> Self {
        let (per_attempt, _, dial) = self.parts();
        Self::with(per_attempt, repetitions, dial)
    }

    /// Grants only that share of it at which the dial stands, of the reserve as well: an
    /// error budget turns it down while it burns, because retries amplify what makes it burn. Default: all of it.
    #[must_use = "this makes a new budget"]
    pub fn scaled_by(self, dial: &Dial) -> Self {
        let (per_attempt, min_per_second, _) = self.parts();
        Self::with(per_attempt, min_per_second, dial.clone())
    }

    fn parts(self) -> (u32, u32, Dial) {
        let default = || (PER_ATTEMPT, MIN_PER_SECOND, Dial::new(Ratio::ONE));
        let parts =
            |account: Arc<Account>| (account.per_attempt, account.min_per_second, account.dial.clone());
        self.account.map_or_else(default, parts)
    }

    /// How many repetitions would be granted at `now`; `None` when there is no limit.
    pub fn remaining(&self, now: Instant) -> Option<u64> {
        self.account.as_ref().map(|account| account.remaining(account.slice(now)))
    }

    /// Whether it refuses any.
    pub(crate) fn is_limited(&self) -> bool {
        self.account.is_some()
    }

    /// Counts a first attempt, at its admission.
    #[inline]
    pub(crate) fn deposit(&self, now: Instant) {
        if let Some(account) = &self.account {
            account.deposit(account.slice(now));
        }
    }

    /// Pays for one repetition. `false` charges nothing.
    #[must_use]
    pub(crate) fn withdraw(&self, now: Instant) -> bool {
        self.account.as_ref().is_none_or(|account| account.withdraw(account.slice(now)))
    }

    fn with(per_attempt: u32, min_per_second: u32, dial: Dial) -> Self {
        Self { account: Some(Arc::new(Account { dial, ..Account::new(per_attempt, min_per_second) })) }
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.account {
            None => f.write_str("RetryBudget::unlimited()"),
            Some(account) => f
                .debug_struct("RetryBudget")
                .field("ratio", &(f64::from(account.per_attempt) / f64::from(BILLION)))
                .field("min_per_second", &account.min_per_second)
                .finish_non_exhaustive(),
        }
    }
}

/// Two accounts in one: the reserve of the current second, which is spent first because it lapses first, and what the
/// first attempts of the window have earned.
///
/// Each is guarded by one word that a withdrawal moves by compare-and-swap: `reserve`, and `spent`, the number of
/// withdrawals ever. What the *window* has spent is `spent` less what it was when the window began, and that is what
/// `began` remembers, slice by slice. Every doubt about who came first is resolved against the withdrawal, so a race
/// at the edge of a second can refuse what the next second grants, and can never overdraw.
///
/// `now` may lag behind what other threads have seen. A late deposit counts in its own slice; a late withdrawal answers
/// for all that was spent since, and is paid by nothing that was earned since.
struct Account {
    /// The instant that slice 0 begins at.
    epoch: Instant,
    /// What a first attempt earns, in billionths of a repetition.
    per_attempt: u32,
    min_per_second: u32,
    /// Which share of both is granted.
    dial: Dial,
    /// First attempts, by lane and slice.
    earned: Laned<Earned, 2>,
    /// What the newest second has taken from its reserve.
    reserve: AtomicU64,
    /// Withdrawals from what was earned, ever, modulo 2³².
    spent: AtomicU32,
    /// What `spent` was at the first withdrawal of a slice.
    began: [AtomicU64; RING],
}

/// First attempts by slice. Aligned to a pair of cache lines, which x86 prefetches together.
#[derive(Default)]
#[repr(align(128))]
struct Earned([AtomicU64; RING]);

impl Account {
    fn new(per_attempt: u32, min_per_second: u32) -> Self {
        Self {
            epoch: Instant::now(),
            per_attempt,
            min_per_second,
            dial: Dial::new(Ratio::ONE),
            earned: Laned::default(),
            reserve: AtomicU64::default(),
            spent: AtomicU32::default(),
            began: Default::default(),
        }
    }

    /// The number of the second that `now` lies in. They last for 136 years. A cell of zeros belongs to slice 0, and says
    /// what is true of it: nothing counted, nothing spent before.
    #[inline]
    fn slice(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.epoch).as_secs()).unwrap_or(u32::MAX)
    }

    #[inline]
    fn deposit(&self, slice: u32) {
        let (lane, Earned(ring)) = self.earned.here();
        // A cell stands for itself alone, and whoever must see a deposit is ordered after it by other means. It would need
        // 2³² deposits in a second to run over into the number of the slice.
        lane.update(&ring[index(slice)], |word| match unpack(word).0.cmp(&slice) {
            cmp::Ordering::Equal => Some(word + 1),
            cmp::Ordering::Less => Some(pack(slice, 1)),
            // A whole ring late: no window remembers it.
            cmp::Ordering::Greater => None,
        });
    }

    fn withdraw(&self, slice: u32) -> bool {
        self.withdraw_from_reserve(slice) || self.withdraw_from_earned(slice)
    }

    fn withdraw_from_reserve(&self, slice: u32) -> bool {
        let reserve = self.dial.of(self.min_per_second);
        // Relaxed: the word is all there is to agree on.
        self.reserve
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                let (second, taken) = newest(word, slice);
                (taken < reserve).then(|| pack(second, taken + 1))
            })
            .is_ok()
    }

    fn withdraw_from_earned(&self, slice: u32) -> bool {
        let earned = self.earned(slice);
        if earned == 0 {
            return false;
        }
        self.begin(slice);
        // Release and acquire on both words, because each is read after the other. Whoever reads a withdrawal in `spent`
        // sees the slice that it began, so none is left out of the window; whoever finds a slice begun reads `spent` at
        // least as far as it was then, so the difference is of an earlier number from a later.
        self.spent
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |spent| {
                (self.spent_in_window(slice, spent) < earned).then(|| spent.wrapping_add(1))
            })
            .is_ok()
    }

    /// Remembers what `spent` was before the first withdrawal of this slice.
    fn begin(&self, slice: u32) {
        let cell = &self.began[index(slice)];
        let mut word = cell.load(Ordering::Acquire);
        while unpack(word).0 < slice {
            let begun = pack(slice, self.spent.load(Ordering::Acquire));
            match cell.compare_exchange_weak(word, begun, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(seen) => word = seen,
            }
        }
    }

    /// Withdrawals since the window of `slice` began, when `spent` were made ever.
    fn spent_in_window(&self, slice: u32, spent: u32) -> u64 {
        self.began
            .iter()
            .map(|cell| unpack(cell.load(Ordering::Acquire)))
            .filter(|&(of, _)| in_window(of, slice))
            // A slice that began after `spent` was read gives a negative difference; `spent` has moved on then, and
            // the exchange that hangs on this answer fails.
            .map(|(_, before)| spent.wrapping_sub(before))
            .filter(|&since| since < u32::MAX / 2)
            .max()
            .map_or(0, u64::from)
    }

    /// Whole repetitions that the first attempts of the window have earned.
    fn earned(&self, slice: u32) -> u64 {
        let attempts: u64 = self
            .earned
            .iter()
            .flat_map(|Earned(ring)| ring)
            .map(|cell| unpack(cell.load(Ordering::Relaxed)))
            .filter(|&(of, _)| of <= slice && in_window(of, slice))
            .map(|(_, count)| u64::from(count))
            .sum();
        attempts.saturating_mul(self.dial.of(self.per_attempt).into()) / u64::from(BILLION)
    }

    fn remaining(&self, slice: u32) -> u64 {
        let (_, taken) = newest(self.reserve.load(Ordering::Relaxed), slice);
        let spent = self.spent_in_window(slice, self.spent.load(Ordering::Acquire));
        u64::from(self.dial.of(self.min_per_second).saturating_sub(taken))
            + self.earned(slice).saturating_sub(spent)
    }
}

/// Whether `of` has not left the window that ends with `slice`. A later one has not.
fn in_window(of: u32, slice: u32) -> bool {
    slice.saturating_sub(of) < WINDOW
}

/// The second that a withdrawal at `slice` counts in, and how many it has seen.
fn newest(word: u64, slice: u32) -> (u32, u32) {
    let (of, count) = unpack(word);
    if of >= slice { (of, count) } else { (slice, 0) }
}

/// Where a ring keeps a slice.
fn index(slice: u32) -> usize {
    slice as usize % RING
}

/// A slice and its count in one word, so that one exchange moves both. The count is the low half.
fn pack(slice: u32, count: u32) -> u64 {
    u64::from(slice) << 32 | u64::from(count)
}

#[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

#[cfg(test)]
mod tests;
