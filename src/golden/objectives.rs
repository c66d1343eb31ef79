//! The objectives of a stack: budgets that its calls are counted for.

use std::sync::Arc;

use crate::{
    circuit_breaker::CircuitBreakerHandle,
    observer::Observer,
    registry::Registry,
    slo::{ErrorBudget, OnBurn, Scope, Watch},
};

#[derive(Debug, Default)]
pub(super) struct Objectives {
    budgets: Vec<(ErrorBudget, Scope, OnBurn)>,
    breaker: Option<CircuitBreakerHandle>,
}

impl Objectives {
    #[track_caller]
    pub(super) fn add(&mut self, budget: ErrorBudget, scope: Scope) {
        budget.assert_counts_calls();
        self.budgets.push((budget, scope, OnBurn::Tell));
    }

    #[track_caller]
    pub(super) fn add_opening_breaker(&mut self, budget: ErrorBudget, scope: Scope) {
        budget.assert_counts_calls();
        self.budgets.push((budget, scope, OnBurn::OpenBreaker));
    }

    /// The same, knowing which circuit breaker the stack has.
    ///
    /// # Panics
    ///
    /// When one of them is to open it, and there is none.
    #[track_caller]
    pub(super) fn opening(self, breaker: Option<CircuitBreakerHandle>) -> Self {
        assert!(
            breaker.is_some() || self.budgets.iter().all(|(_, _, on_burn)| *on_burn != OnBurn::OpenBreaker),
            "there is no circuit breaker that a budget could open; leave `without_circuit_breaker` out, or say `slo`"
        );
        Self { breaker, ..self }
    }

    /// The same observer, telling the budgets as well. They are exported from the stack's registry.
    pub(super) fn watch(self, observer: &Observer, registry: Option<&Registry>) -> Observer {
        let registry = registry.unwrap_or(Registry::global());
        // It tells whom the stack tells, but for the budgets: they would hold each other.
        let breaker = self.breaker.map(|breaker| breaker.telling(observer.clone()));
        self.budgets.into_iter().fold(observer.clone(), |all, (budget, scope, on_burn)| {
            budget.export_to(registry);
            let breaker = breaker.clone().filter(|_| on_burn == OnBurn::OpenBreaker);
            all.sink(Arc::new(Watch::new(budget, scope, observer.clone(), breaker)))
        })
    }
}
