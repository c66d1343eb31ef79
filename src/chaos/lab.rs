use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;

use super::{Entry, Experiment, InvalidExperiment, Run, audit::AuditSink, check, readings::Readings};
use crate::{
    cells::Cells,
    error::BoxError,
    event::CircuitState,
    fault::Faults,
    name::Name,
    slo::{ErrorBudget, Window},
};

/// Where experiments run: what they can reach, and what they can ask.
///
/// A lab reaches nothing that it was not given. The faults that it arms have a lease, which it renews with every tick: when its task is
/// dropped, killed or stuck, they end by themselves.
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`every`](Self::every) | 1 second |
/// | [`lease`](Self::lease) | 10 seconds |
#[derive(Clone)]
#[must_use = "a lab does nothing until it runs an experiment"]
pub struct Lab {
    pub(super) environment: Environment,
    pub(super) places: Vec<Place>,
    pub(super) budgets: Vec<ErrorBudget>,
    pub(super) probes: BTreeMap<String, Ask>,
    pub(super) actions: BTreeMap<String, Action>,
    pub(super) sinks: Vec<AuditSink>,
    pub(super) every: Duration,
    pub(super) lease: Duration,
}

/// Where a lab is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Environment {
    /// Where nobody is hurt.
    Staging,
    /// Where customers are: an experiment runs if it says that it may, and has a guard.
    Production,
}

impl Environment {
    /// A stable identifier.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
}

/// A stack that a lab can reach. A [`Handle`](crate::golden::Handle) is one.
#[derive(Clone, Debug)]
pub struct Place {
    pub(super) name: Name,
    pub(super) faults: Faults,
    pub(super) ingress: Option<Faults>,
    pub(super) cells: Arc<Cells>,
}

impl Place {
    pub(crate) fn new(name: Name, faults: Faults, ingress: Option<Faults>, cells: Arc<Cells>) -> Self {
        Self { name, faults, ingress, cells }
    }

    /// How often the breakers of its name opened by themselves.
    pub(super) fn opened(&self) -> u64 {
        let from = [CircuitState::Closed, CircuitState::HalfOpen];
        from.into_iter().map(|from| self.cells.transitions(from, CircuitState::Open)).sum()
    }
}

/// Asks whether something is wrong.
pub(super) type Ask = Arc<dyn Fn() -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync>;

/// Something that is done, and undone.
#[derive(Clone)]
pub(super) struct Action {
    pub(super) begin: Ask,
    pub(super) end: Ask,
}

impl Lab {
    /// A lab in staging.
    pub fn staging() -> Self {
        Self::new(Environment::Staging)
    }

    /// A lab in production.
    pub fn production() -> Self {
        Self::new(Environment::Production)
    }

    /// A lab in this environment.
    pub fn new(environment: Environment) -> Self {
        Self {
            environment,
            places: Vec::new(),
            budgets: Vec::new(),
            probes: BTreeMap::new(),
            actions: BTreeMap::new(),
            sinks: Vec::new(),
            every: Duration::from_secs(1),
            lease: Duration::from_secs(10),
        }
    }

    /// Lets experiments reach a stack, under its name.
    pub fn reaching(mut self, stack: impl Into<Place>) -> Self {
        self.places.push(stack.into());
        self
    }

    /// Lets experiments ask an error budget, by the name of its objective.
    pub fn budget(mut self, budget: &ErrorBudget) -> Self {
        self.budgets.push(budget.clone());
        self
    }

    /// Lets experiments ask whether something is wrong: an error says what. It is asked with every tick; one that takes longer than a
    /// tick, or panics, has no answer.
    pub fn probe<F, Fut>(mut self, name: &str, ask: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.probes.insert(name.into(), asking(ask));
        self
    }

    /// Lets experiments do something that is no fault of a stack, such as to kill a process, and undo it. An error of `begin` ends
    /// the experiment, and `end` is awaited then, too. What is done here has no lease: only `end` undoes it, which a run that is dropped
    /// leaves to a task of the runtime.
    pub fn action<F, Fut, G, Gut>(mut self, name: &str, begin: F, end: G) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
        G: Fn() -> Gut + Send + Sync + 'static,
        Gut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.actions.insert(name.into(), Action { begin: asking(begin), end: asking(end) });
        self
    }

    /// Tells every entry of the audit, beside the log. It is called inside the run, so it must not block.
    pub fn audit(mut self, sink: impl Fn(&Entry) + Send + Sync + 'static) -> Self {
        self.sinks.push(Arc::new(sink));
        self
    }

    /// How often everything is looked at and the lease is renewed. Default: 1 second.
    ///
    /// # Panics
    ///
    /// When it is zero.
    #[track_caller]
    pub fn every(mut self, tick: Duration) -> Self {
        assert!(!tick.is_zero(), "a lab that looks without a pause does nothing else");
        self.every = tick;
        self
    }

    /// How long faults last that nobody renews; at least three ticks. Default: 10 seconds.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Makes a run of an experiment, which begins when it is first polled.
    ///
    /// # Errors
    ///
    /// [`InvalidExperiment`] when something in it cannot be, or when it names what this lab does not have.
    pub fn run(&self, experiment: Experiment) -> Result<Run, InvalidExperiment> {
        check::check(&experiment, self)?;
        Ok(Run::new(self.clone(), experiment))
    }

    pub(super) fn places<'a>(&'a self, stack: &'a str) -> impl Iterator<Item = &'a Place> {
        self.places.iter().filter(move |place| place.name.as_str() == stack)
    }

    pub(super) fn find_budget(&self, objective: &str) -> Option<&ErrorBudget> {
        self.budgets.iter().find(|budget| budget.objective().name().as_str() == objective)
    }

    /// How long what is armed lasts without being renewed.
    pub(super) fn leased_for(&self) -> Duration {
        self.lease.max(self.every.saturating_mul(3))
    }

    /// Reads everything but the probes. A budget that heard of nothing knows nothing. `opened` is how often the breakers had opened when the experiment began.
    pub(super) fn read(&self, opened: &BTreeMap<String, u64>) -> Readings {
        let mut readings = Readings::default();
        for budget in &self.budgets {
            let name = budget.objective().name().to_string();
            for window in Window::ALL.into_iter().filter(|window| budget.counts(*window) != (0, 0)) {
                readings.burns.insert((name.clone(), window), budget.burn(window));
                // The longest window is the budget's own.
                readings.remaining.insert(name.clone(), budget.remaining());
            }
        }
        for (name, now) in self.opened() {
            let before = opened.get(&name).copied().unwrap_or_default();
            readings.opened.insert(name, now.saturating_sub(before));
        }
        readings
    }

    /// How often breakers opened, by name. Stacks of one name share their counts.
    pub(super) fn opened(&self) -> BTreeMap<String, u64> {
        self.places.iter().map(|place| (place.name.to_string(), place.opened())).collect()
    }
}

fn asking<F, Fut>(ask: F) -> Ask
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    Arc::new(move || Box::pin(ask()))
}

impl fmt::Debug for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lab")
            .field("environment", &self.environment)
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}
