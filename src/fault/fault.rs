use std::{fmt, num::NonZeroU64, sync::Arc, time::Duration};

use futures::future::BoxFuture;

use super::{Delay, Target, alter::Alteration};
use crate::{class::Class, error::BoxError, event::FaultKind, ratio::Ratio};

/// What is done to calls, to which, and for how long.
///
/// ```
/// use std::time::Duration;
/// use moneta_resilience::{Class, Ratio, fault::{Fault, Target, Unit}};
///
/// let slow = Fault::latency(Duration::from_millis(300)).on(Ratio::percent(5));
/// let down = Fault::error(Class::TRANSIENT)
///     .experiment("quotes-down")
///     .target(Target::route("/quotes/{symbol}"))
///     .sticky(Unit::Tenant)
///     .lasting(Duration::from_secs(60));
/// # let _ = (slow, down);
/// ```
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`on`](Self::on) | all calls |
/// | [`target`](Self::target) | [`Target::everything`] |
/// | [`sticky`](Self::sticky) | no: each call is drawn on its own |
/// | [`lasting`](Self::lasting) | 15 minutes |
/// | [`lease`](Self::lease) | none |
/// | [`at_most`](Self::at_most) | no bound |
/// | [`on_delicate_calls`](Self::on_delicate_calls) | left alone |
#[derive(Clone, Debug)]
#[must_use = "a fault does nothing until it is armed"]
pub struct Fault {
    pub(super) effect: Effect,
    pub(super) share: Ratio,
    pub(super) target: Target,
    pub(super) unit: Option<Unit>,
    pub(super) experiment: Arc<str>,
    /// Which run of the experiment it is of, if of one.
    run: Option<NonZeroU64>,
    pub(super) lasts: Duration,
    pub(super) lease: Option<Duration>,
    pub(super) at_most: usize,
    pub(super) delicate: bool,
}

/// By what calls are told apart that a fault hits always or never.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "fault-file",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Unit {
    /// The value of a header, its name in small letters.
    Header(String),
    /// Who calls: the extension [`Caller`](super::Caller) of the request.
    Caller,
    /// For whom: the extension [`Tenant`](super::Tenant) of the request.
    Tenant,
}

#[derive(Clone)]
pub(super) enum Effect {
    Latency(Delay),
    Error(Class),
    Refused,
    Hang,
    Lost,
    /// Something becomes of the answer.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "nothing is known of answers but those of HTTP")
    )]
    Alter(Alteration),
    /// The call is delivered twice: at once, or again when it was answered.
    Duplicate {
        at_once: bool,
    },
    Hook(Hook),
}

/// Somebody's own fault.
pub(super) type Hook = Arc<dyn Fn() -> Hooked + Send + Sync>;
/// What it does to a call. In a box: only a call that is hit pays for it.
pub(super) type Hooked = BoxFuture<'static, Result<(), BoxError>>;

impl Effect {
    pub(super) fn kind(&self) -> FaultKind {
        match self {
            Self::Latency(_) => FaultKind::Latency,
            Self::Error(_) => FaultKind::Error,
            Self::Refused => FaultKind::Refused,
            Self::Hang => FaultKind::Hang,
            Self::Lost => FaultKind::LostAnswer,
            Self::Alter(alteration) => alteration.kind(),
            Self::Duplicate { .. } => FaultKind::Duplicate,
            Self::Hook(_) => FaultKind::Hook,
        }
    }
}

impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latency(delay) => f.debug_tuple("Latency").field(delay).finish(),
            Self::Error(class) => f.debug_tuple("Error").field(class).finish(),
            Self::Alter(alteration) => alteration.fmt(f),
            other => f.write_str(other.kind().as_str()),
        }
    }
}

impl Fault {
    /// The call waits, then goes on to the service.
    pub fn latency(delay: impl Into<Delay>) -> Self {
        Self::new(Effect::Latency(delay.into()))
    }

    /// The call is answered with an [`InjectedFault`](crate::InjectedFault) that stands for `class`; the
    /// service is not called.
    ///
    /// # Panics
    ///
    /// When `class` is `Success`: no error stands for that.
    #[track_caller]
    pub fn error(class: Class) -> Self {
        assert!(!matches!(class, Class::Success), "an injected error cannot stand for success");
        Self::new(Effect::Error(class))
    }

    /// Nobody listens: the call fails at once as a connection does that is refused, and was provably
    /// [never processed](crate::classify::never_processed).
    pub fn refused() -> Self {
        Self::new(Effect::Refused)
    }

    /// The call hangs, as a dependency does that never answers: until a limit further out drops it.
    pub fn hang() -> Self {
        Self::new(Effect::Hang)
    }

    /// The service does its work, and its answer is lost: the caller gets an [`InjectedFault`](crate::InjectedFault) that stands
    /// for `Transient`. It shows whether a second try has a second effect.
    pub fn lost_answer() -> Self {
        Self::new(Effect::Lost)
    }

    /// The call is delivered once more when it was answered, as a queue does that heard of no end, or a client that lost the
    /// answer. What the second delivery gives is the answer. It shows whether the second has a second effect.
    ///
    /// It is for the [ingress](crate::golden::Handle::ingress_faults) of golden consumers, and of golden servers with idempotency
    /// keys; it hits no call elsewhere. A request is read before, as far as one with a key may go: one that is longer, or a stream
    /// of messages, is delivered once. Calls without a key are left alone, unless their method is safe or the fault says
    /// [otherwise](Self::on_delicate_calls).
    pub fn duplicate() -> Self {
        Self::new(Effect::Duplicate { at_once: false })
    }

    /// The same, both at once, as by a double click. The answer is that of the delivery that ends last: the other one is told, as a
    /// rule, that it came too early.
    pub fn duplicate_at_once() -> Self {
        Self::new(Effect::Duplicate { at_once: true })
    }

    /// Whatever `hook` does before the call goes on to the service. An error of its is the answer of the call, and the service is
    /// not called.
    ///
    /// # Cancellation
    ///
    /// The future is dropped when the fault ends, and the call goes on to the service.
    pub fn hook<F, Fut>(hook: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        Self::new(Effect::Hook(Arc::new(move || Box::pin(hook()))))
    }

    /// Only this share of the calls is hit. Default: all.
    pub fn on(mut self, share: Ratio) -> Self {
        self.share = share;
        self
    }

    /// Only these calls are hit. Default: all.
    pub fn target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// Calls of the same unit are all hit, or none of them: which, says [`bucket`](super::bucket), the same in all processes.
    /// Calls of which the unit is not known are drawn each on its own, as all are by default: attempt by attempt, unless it is for
    /// an [experiment](Self::experiment).
    pub fn sticky(mut self, unit: Unit) -> Self {
        self.unit = Some(unit);
        self
    }

    /// What it is for: the name by which units are chosen, and by which it is told of. Default: none, the empty name.
    ///
    /// Of an experiment is counted what becomes of the calls, so a call is drawn once in a golden stack, and hit with all its
    /// attempts; [`Target::Attempt`] spares the later ones. Two experiments are not armed at once for the same calls of a hook.
    pub fn experiment(mut self, name: &str) -> Self {
        self.experiment = name.into();
        self
    }

    /// How long it lasts from its arming, whatever happens. Default: 15 minutes, so that one that was forgotten ends.
    pub fn lasting(mut self, limit: Duration) -> Self {
        self.lasts = limit;
        self
    }

    /// Ends sooner, so long after it was last [renewed](super::Armed::renew): a fault whose controller died or hangs ends by
    /// itself. Default: none.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// At most so many calls suffer it at once; the others go on to the service. Default: no bound.
    pub fn at_most(mut self, calls: usize) -> Self {
        self.at_most = calls;
        self
    }

    /// Hits also calls that may have effects which nothing keeps from happening twice: with a method that is not safe, and
    /// without an idempotency key. Default: they are left alone.
    pub fn on_delicate_calls(mut self) -> Self {
        self.delicate = true;
        self
    }

    /// Whether `other` may not be armed beside this: both are experiments, and what becomes of their calls could not be told apart.
    pub(super) fn shuts_out(&self, other: &Self) -> bool {
        let experiments = !self.experiment.is_empty() && !other.experiment.is_empty();
        let same = self.experiment == other.experiment && self.run == other.run;
        experiments && !same && self.target.may_meet(&other.target)
    }

    /// Of this run of its experiment: another run of it is another experiment.
    #[cfg(feature = "chaos")]
    pub(crate) fn of_run(self, run: NonZeroU64) -> Self {
        Self { run: Some(run), ..self }
    }

    /// What is done, and to whom: without what an experiment says of all its faults, its name, its share and its end.
    #[cfg(feature = "chaos")]
    pub(crate) fn of_an_experiment(self) -> Self {
        let Self { effect, target, unit, at_most, delicate, .. } = self;
        Self { target, unit, at_most, delicate, ..Self::new(effect) }
    }

    pub(super) fn new(effect: Effect) -> Self {
        Self {
            effect,
            share: Ratio::ONE,
            target: Target::everything(),
            unit: None,
            experiment: "".into(),
            run: None,
            lasts: Duration::from_secs(15 * 60),
            lease: None,
            at_most: usize::MAX,
            delicate: false,
        }
    }
}
