use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{budget::RetryBudget, class::Class, latency::Quantile, ratio::Ratio};

pub(super) mod sealed {
    use std::{pin::Pin, task::Poll};

    use tokio::time::Instant;

    use crate::{
        budget::RetryBudget,
        class::Ending,
        hedge::HedgePolicy,
        policy::{Course, Lend, Parcel, Policy, Poller, Seat, Slot},
        repeat::Repeat,
    };

    /// What a policy does for each call, by choice.
    #[expect(unnameable_types, reason = "that is what seals the trait")]
    pub trait Choice: Sized {
        type Pass<P, Req, S>;

        /// Draws on this budget, unless it was given one.
        fn drawing_on(self, budget: Option<RetryBudget>) -> Self;

        fn pass<I, S, Req>(policy: &HedgePolicy<Self, I>) -> Self::Pass<I::Pass, Req, S>
        where
            I: Lend<S, Req>;

        fn begin<I, S, Req>(
            policy: &HedgePolicy<Self, I>,
            pass: Pin<&mut Self::Pass<I::Pass, Req, S>>,
            parcel: &mut Parcel<Req>,
            course: &mut Course,
        ) where
            I: Lend<S, Req>,
            Req: Repeat;

        fn abandon<I, S, Req>(
            policy: &HedgePolicy<Self, I>,
            pass: Pin<&mut Self::Pass<I::Pass, Req, S>>,
            course: &mut Course,
            ending: Ending,
            now: Instant,
        ) where
            I: Lend<S, Req>;

        fn poll<I, S, Req>(
            policy: &HedgePolicy<Self, I>,
            pass: Pin<&mut Self::Pass<I::Pass, Req, S>>,
            parcel: &mut Parcel<Req>,
            seat: &mut Seat<S>,
            cx: &mut Poller<'_, '_>,
            out: &mut Slot<I::Response>,
        ) -> Poll<()>
        where
            I: Policy<S, Req>,
            S: Clone,
            Req: Repeat;
    }
}

/// Whether a golden client hedges: [`NoHedge`] or [`Hedging`].
pub trait HedgeChoice: sealed::Choice {}

impl HedgeChoice for NoHedge {}
impl HedgeChoice for Hedging {}

/// No hedging: every attempt is one call.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHedge;

/// How calls are hedged, what pays for it, and what is known of their latency. Clones share all of it.
#[derive(Clone, Debug)]
pub struct Hedging {
    pub(super) trigger: Trigger,
    pub(super) purse: Purse,
}

/// When the copy leaves.
#[derive(Clone, Debug)]
pub(super) enum Trigger {
    After(Duration),
    At(Arc<Quantile>),
}

/// What pays for the copies.
#[derive(Clone, Debug)]
pub(super) enum Purse {
    /// Nobody else's, so the first attempts seen here fill it.
    Own(RetryBudget),
    /// Filled by a retry further out, which sees each first attempt once.
    Shared(RetryBudget),
}

impl Hedging {
    pub(super) fn new() -> Self {
        Self { trigger: Trigger::at(Ratio::percent(95)), purse: Purse::Own(RetryBudget::new()) }
    }

    /// The same settings with nothing shared, except for a budget that was given.
    pub(super) fn renewed(&self) -> Self {
        let trigger = match &self.trigger {
            Trigger::After(delay) => Trigger::After(*delay),
            Trigger::At(quantile) => Trigger::at(quantile.quantile()),
        };
        let purse = match &self.purse {
            Purse::Own(_) => Purse::Own(RetryBudget::new()),
            Purse::Shared(budget) => Purse::Shared(budget.clone()),
        };
        Self { trigger, purse }
    }

    /// Draws on this budget, unless it was given one.
    pub(super) fn sharing(mut self, budget: Option<RetryBudget>) -> Self {
        if let (Purse::Own(_), Some(budget)) = (&self.purse, budget) {
            self.purse = Purse::Shared(budget);
        }
        self
    }

    /// How long the first copy may take; `None` when too little is known to say.
    pub(super) fn delay(&self) -> Option<Duration> {
        match &self.trigger {
            Trigger::After(delay) => Some(*delay),
            Trigger::At(quantile) => quantile.estimate(),
        }
    }

    /// A first attempt was answered, well or not.
    pub(super) fn answered(&self, class: Class, took: Duration) {
        match class {
            Class::Success | Class::CallerFault => self.record(took),
            Class::Neutral => {}
            // It says nothing about how long answers take, unless it was a long time coming.
            _ => self.unanswered(took),
        }
    }

    /// A first attempt had no answer after this time. Where that is longer than the delay, it counts: left out, the
    /// very calls that are hedged would be missing, and each estimate would be lower than the one before.
    pub(super) fn unanswered(&self, after: Duration) {
        if self.delay().is_some_and(|delay| after >= delay) {
            self.record(after);
        }
    }

    fn record(&self, latency: Duration) {
        if let Trigger::At(quantile) = &self.trigger {
            quantile.record(latency);
        }
    }

    /// A first attempt has got as far as the service.
    pub(super) fn deposit(&self, now: Instant) {
        if let Purse::Own(budget) = &self.purse {
            budget.deposit(now);
        }
    }

    /// Pays for a copy. `false` charges nothing.
    #[must_use]
    pub(super) fn withdraw(&self, now: Instant) -> bool {
        let (Purse::Own(budget) | Purse::Shared(budget)) = &self.purse;
        budget.withdraw(now)
    }
}

impl Trigger {
    pub(super) fn at(quantile: Ratio) -> Self {
        Self::At(Arc::new(Quantile::new(quantile)))
    }
}
