//! The objectives of a stack: budgets that its calls are counted for.

use std::sync::Arc;

use crate::{
    observer::Observer,
    registry::Registry,
    slo::{ErrorBudget, Scope, Watch},
};

#[derive(Debug, Default)]
pub(super) struct Objectives(Vec<(ErrorBudget, Scope)>);

impl Objectives {
    #[track_caller]
    pub(super) fn add(&mut self, budget: ErrorBudget, scope: Scope) {
        budget.assert_counts_calls();
        self.0.push((budget, scope));
    }

    /// The same observer, telling the budgets as well. They are exported from the stack's registry.
    pub(super) fn watch(self, observer: &Observer, registry: Option<&Registry>) -> Observer {
        let registry = registry.unwrap_or(Registry::global());
        self.0.into_iter().fold(observer.clone(), |all, (budget, scope)| {
            budget.export_to(registry);
            all.sink(Arc::new(Watch::new(budget, scope, observer.clone())))
        })
    }
}
