//! What tower itself has, with the policies that it leaves to its users.

use std::{sync::Arc, time::Duration};

use tower::{
    hedge,
    retry::{
        self,
        budget::{Budget, TpsBudget},
    },
};

use super::FAR;
use crate::work::{Inner, Request};

/// Three attempts, 50 ms apart.
#[derive(Clone)]
pub(super) struct Attempts {
    left: u32,
    budget: Option<Arc<TpsBudget>>,
}

pub(super) fn retry(with_budget: bool) -> retry::RetryLayer<Attempts> {
    retry::RetryLayer::new(Attempts { left: 2, budget: with_budget.then(|| Arc::new(TpsBudget::default())) })
}

impl<E> retry::Policy<Request, u64, E> for Attempts {
    type Future = tokio::time::Sleep;

    fn retry(&mut self, _: &mut Request, result: &mut Result<u64, E>) -> Option<tokio::time::Sleep> {
        if result.is_ok() {
            if let Some(budget) = &self.budget {
                budget.deposit();
            }
            return None;
        }
        if self.left == 0 || self.budget.as_ref().is_some_and(|budget| !budget.withdraw()) {
            return None;
        }
        self.left -= 1;
        Some(tokio::time::sleep(Duration::from_millis(50)))
    }

    fn clone_request(&mut self, request: &Request) -> Option<Request> {
        Some(*request)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Always;

impl hedge::Policy<Request> for Always {
    fn clone_request(&self, request: &Request) -> Option<Request> {
        Some(*request)
    }

    fn can_retry(&self, _: &Request) -> bool {
        true
    }
}

/// What takes longer than 95 of 100 calls is sent again.
pub(super) fn hedge<T>(inner: Inner<T>) -> hedge::Hedge<Inner<T>, Always> {
    hedge::Hedge::new(inner, Always, 10, 0.95, FAR)
}
