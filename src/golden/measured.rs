//! Two stacks that differ in their fault hook alone: the difference in their cost is the hook's. For `benches/scenarios`.

use std::{sync::Arc, time::Duration};

use crate::{
    error::Reason,
    fault::{EnrolPolicy, FaultPolicy, Faults, Unseen},
    observer::Observer,
    policy::{Leaf, Stack},
    timeout::TimeoutPolicy,
};

/// A timeout.
pub type Bare<S> = Stack<TimeoutPolicy<Leaf>, S>;
/// The same with a fault hook, as golden stacks have it: within, and where calls are enrolled.
pub type Hooked<S> = Stack<EnrolPolicy<TimeoutPolicy<FaultPolicy<Leaf>>, Unseen>, S>;

/// A stack without a fault hook.
pub fn bare<S>(limit: Duration, service: S) -> Bare<S> {
    let policy = TimeoutPolicy::new(limit, Reason::Timeout, Observer::unnamed("measured"), Leaf::default());
    Stack::new(Arc::new(policy), service)
}

/// The same stack with one.
pub fn hooked<S>(limit: Duration, faults: &Faults, service: S) -> Hooked<S> {
    let observer = Observer::unnamed("measured");
    let policy = FaultPolicy::new(faults.clone(), Unseen, observer.clone(), Leaf::default());
    let policy = TimeoutPolicy::new(limit, Reason::Timeout, observer.clone(), policy);
    let policy = EnrolPolicy::new(observer.name().clone(), faults.clone(), None, Unseen, policy);
    Stack::new(Arc::new(policy), service)
}
