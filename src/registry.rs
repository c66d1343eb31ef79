//! What stacks exist, and what has been counted under their names.
//!
//! There is one registry per process by default ([`Registry::global`]); a test makes its own. It holds the *stacks*
//! weakly: one that nobody calls any more is gone. The *counting cells* belong to the name: stacks of one name share
//! them, and they outlive the stacks, so that a total never goes back.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use crate::{
    cells::Cells,
    event::CircuitState,
    name::Name,
    observer::Observer,
    sync::{Mutex, lock},
    tally::{Tallied, Tallies},
};

/// The stacks of a process and the counting cells of their names.
///
/// Clones are the same registry.
#[derive(Clone, Default)]
pub struct Registry {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    cells: BTreeMap<Name, Arc<Cells>>,
    stacks: Vec<Weak<dyn Inspect>>,
    objectives: BTreeMap<Name, Objectives>,
}

/// What counts for the objectives of one name.
#[derive(Default)]
struct Objectives {
    /// What those have counted that nobody holds any more.
    gone: Tallies,
    alive: Vec<Arc<dyn Tallied>>,
}

impl Registry {
    /// How many names have cells of their own. A further name is counted under [`Registry::OVERFLOW`].
    pub const MAX_NAMES: usize = 2_000;
    /// The name under which calls are counted whose own name came too late.
    pub const OVERFLOW: &str = "_other";

    /// A registry of its own, for a test or a second world in one process.
    pub fn new() -> Self {
        Self::default()
    }

    /// The registry of the process.
    pub fn global() -> &'static Self {
        static GLOBAL: OnceLock<Registry> = OnceLock::new();
        GLOBAL.get_or_init(Self::default)
    }

    /// An observer that counts under `name`. Give it to single layers so that they show up under that name.
    pub fn observer(&self, name: &Name) -> Observer {
        Observer::new(name.clone(), self.cells(name))
    }

    /// All names that were ever counted under, in order, with their cells.
    pub fn cells_by_name(&self) -> Vec<(Name, Arc<Cells>)> {
        lock(&self.inner).cells.iter().map(|(name, cells)| (name.clone(), Arc::clone(cells))).collect()
    }

    /// The stacks that are alive, oldest first.
    pub fn stacks(&self) -> Vec<Arc<dyn Inspect>> {
        lock(&self.inner).stacks.iter().filter_map(Weak::upgrade).collect()
    }

    /// Lists a stack for as long as it lives.
    pub(crate) fn enlist(&self, stack: Weak<dyn Inspect>) {
        let stacks = &mut lock(&self.inner).stacks;
        stacks.retain(|stack| stack.strong_count() > 0);
        stacks.push(stack);
    }

    /// Shows what is counted for an objective, and goes on showing it when nobody holds the counter any more. One that is
    /// shown already is not shown twice.
    #[cfg_attr(not(any(test, feature = "slo")), expect(dead_code, reason = "there are no objectives"))]
    pub(crate) fn enlist_objective(&self, name: &Name, counter: Arc<dyn Tallied>) {
        let objectives = &mut lock(&self.inner).objectives;
        let Objectives { gone, alive } = objectives.entry(within_cap(objectives, name)).or_default();
        if alive.iter().any(|known| Arc::ptr_eq(known, &counter)) {
            return;
        }
        // Of what nobody else holds only the number is kept: it changes no more, and whoever builds stacks again and again
        // fills no memory.
        alive.retain(|counter| {
            let is_held = Arc::strong_count(counter) > 1;
            if !is_held {
                *gone += counter.tallied();
            }
            is_held
        });
        alive.push(counter);
    }

    /// What was counted for the objectives, by their names.
    #[cfg_attr(
        not(any(test, feature = "otel", feature = "metrics")),
        expect(dead_code, reason = "nobody exports it")
    )]
    pub(crate) fn objectives(&self) -> Vec<(Name, Tallies)> {
        let objectives: Vec<_> = lock(&self.inner)
            .objectives
            .iter()
            .map(|(name, Objectives { gone, alive })| (name.clone(), *gone, alive.clone()))
            .collect();
        let mut counts = Vec::with_capacity(objectives.len());
        for (name, mut count, alive) in objectives {
            for counter in alive {
                count += counter.tallied();
            }
            counts.push((name, count));
        }
        counts
    }

    fn cells(&self, name: &Name) -> Arc<Cells> {
        let cells = &mut lock(&self.inner).cells;
        Arc::clone(cells.entry(within_cap(cells, name)).or_default())
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.stacks().iter().map(|stack| stack.state())).finish()
    }
}

/// The name under which a further one is counted.
fn within_cap<T>(known: &BTreeMap<Name, T>, name: &Name) -> Name {
    if known.len() < Registry::MAX_NAMES || known.contains_key(name) {
        name.clone()
    } else {
        Name::literal(Registry::OVERFLOW)
    }
}

/// A stack that can be looked at.
pub trait Inspect: Send + Sync + 'static {
    /// What it is doing at this moment.
    fn state(&self) -> StackState;

    /// The stack itself, for whoever knows its type.
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// What a stack is doing at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackState {
    /// Its name.
    pub name: Name,
    /// What kind of stack it is.
    pub profile: Profile,
    /// The state of its circuit breaker; `None` without one.
    pub circuit: Option<CircuitState>,
    /// Its bulkhead; `None` without one.
    pub bulkhead: Option<BulkheadState>,
    /// For how long its oldest idempotency key has been in doubt, zero when none is; `None` while nobody watches.
    pub oldest_in_doubt: Option<Duration>,
    /// Whether a fault is armed in it.
    pub fault_armed: bool,
}

/// What a bulkhead is doing at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkheadState {
    /// How many calls may run at once.
    pub limit: usize,
    /// How many run.
    pub in_use: usize,
    /// How many wait.
    pub queued: usize,
}

/// What kind of stack it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// Takes calls from outside.
    Server,
    /// Makes calls to a dependency.
    Client,
    /// Takes messages off a queue.
    Consumer,
}

impl StackState {
    pub(crate) fn new(name: Name, profile: Profile) -> Self {
        Self { name, profile, circuit: None, bulkhead: None, oldest_in_doubt: None, fault_armed: false }
    }
}

impl BulkheadState {
    pub(crate) fn new(limit: usize, in_use: usize, queued: usize) -> Self {
        Self { limit, in_use, queued }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Event, tally::Count};

    struct Stack(Name);

    impl Inspect for Stack {
        fn state(&self) -> StackState {
            StackState::new(self.0.clone(), Profile::Client)
        }

        fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
            self
        }
    }

    #[test]
    fn totals_of_a_name_outlive_its_stacks() {
        let registry = Registry::new();
        let name = Name::literal("ledger");
        for _ in 0..2 {
            registry.observer(&name).emit(Event::DeadlineExpired);
        }
        let cells = registry.cells_by_name();
        assert_eq!(cells.len(), 1);
        assert_eq!(cells[0].1.deadlines_expired(), 2);
    }

    #[test]
    fn totals_of_an_objective_outlive_those_that_count_and_never_go_back() {
        struct Counter(u64);
        impl Tallied for Counter {
            fn tallied(&self) -> Tallies {
                let events = Count { good: self.0, bad: 1 };
                Tallies { events, injected: (self.0 > 1).then_some(events) }
            }
        }
        let (registry, login) = (Registry::new(), Name::literal("login"));
        let held: Arc<dyn Tallied> = Arc::new(Counter(1));
        for _ in 0..2 {
            registry.enlist_objective(&login, Arc::clone(&held));
        }
        for n in 1..100 {
            registry.enlist_objective(&login, Arc::new(Counter(10)));
            let events = Count { good: 1 + 10 * n, bad: 1 + n };
            // The held one does not count them apart.
            let injected = Some(Count { good: 10 * n, bad: n });
            assert_eq!(registry.objectives(), [(login.clone(), Tallies { events, injected })]);
        }
        assert_eq!(lock(&registry.inner).objectives[&login].alive.len(), 2, "the held one, and the last");
    }

    #[test]
    fn a_stack_that_is_gone_is_not_listed() {
        let registry = Registry::new();
        let stack = Arc::new(Stack(Name::literal("ledger")));
        let weak: Weak<Stack> = Arc::downgrade(&stack);
        registry.enlist(weak);
        assert_eq!(registry.stacks().len(), 1);
        drop(stack);
        assert!(registry.stacks().is_empty());
    }

    #[test]
    fn names_beyond_the_cap_are_counted_together() {
        let registry = Registry::new();
        for n in 0..Registry::MAX_NAMES + 10 {
            registry.observer(&Name::literal(&format!("n{n}"))).emit(Event::DeadlineExpired);
        }
        let cells = registry.cells_by_name();
        assert_eq!(cells.len(), Registry::MAX_NAMES + 1);
        let total: u64 = cells.iter().map(|(_, cells)| cells.deadlines_expired()).sum();
        assert_eq!(total, Registry::MAX_NAMES as u64 + 10);
    }
}
