//! Strict shares: who floods the service takes from nobody.

use std::{cell::RefCell, collections::HashMap, num::NonZeroUsize, rc::Rc, sync::Arc};

use proptest::prelude::*;
use tokio::{runtime, task::yield_now};
use tokio_test::{assert_pending, assert_ready, task::spawn};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

use super::super::{BulkheadLayer, compartments::Compartments, machine::Machine};
use crate::{Reason, Rejected, random::Random};

const TENANTS: u64 = 10;
const SHARE: usize = 4;
/// One share for each tenant, and one for the others.
const LIMIT: usize = 11 * SHARE;

/// Who is inside.
#[derive(Clone, Debug, Default)]
struct Inside(Rc<RefCell<HashMap<u64, usize>>>);

struct Stay(Inside, u64);

impl Inside {
    fn enter(&self, tenant: u64) -> Stay {
        *self.0.borrow_mut().entry(tenant).or_default() += 1;
        Stay(self.clone(), tenant)
    }

    fn of(&self, tenant: u64) -> usize {
        self.0.borrow().get(&tenant).copied().unwrap_or(0)
    }

    fn all(&self) -> usize {
        self.0.borrow().values().sum()
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        *self.0.0.borrow_mut().get_mut(&self.1).expect("it entered") -= 1;
    }
}

/// Stays for two polls.
fn service(inside: Inside) -> impl Service<u64, Response = (), Error = BoxError> + Clone {
    service_fn(move |tenant| {
        let inside = inside.clone();
        async move {
            let _stay = inside.enter(tenant);
            yield_now().await;
            yield_now().await;
            Ok(())
        }
    })
}

fn below(random: &Random, bound: u64) -> u64 {
    random.next_u64() % bound
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn one_of_ten_tenants_floods_and_the_other_nine_keep_their_shares(
        seed in any::<u64>(),
        queue in prop_oneof![Just(0), Just(1_000_usize)],
        leave in 0.0..0.3_f64,
    ) {
        let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let _inside_of_it = runtime.as_ref().expect("it needs nothing").enter();
        let (random, inside) = (Random::seeded(seed), Inside::default());
        let layer = BulkheadLayer::new(LIMIT).max_queue(queue).partition_by(10, |tenant: &u64| *tenant);
        let service = layer.layer(service(inside.clone()));
        let mut calls = Vec::new();
        for _ in 0..300 {
            // The flood of tenant 0, and now and then a call of somebody else.
            let tenants = (0..20).map(|_| 0).chain([1 + below(&random, TENANTS - 1)]);
            for tenant in tenants {
                let waiting = calls.iter().any(|&(of, _)| of == tenant) && inside.of(tenant) >= SHARE;
                let mut call = spawn(service.clone().oneshot(tenant));
                let refused = call.poll().is_ready();
                if tenant != 0 && !waiting {
                    prop_assert!(!refused && inside.of(tenant) > 0, "tenant {} has room in its share", tenant);
                }
                if !refused {
                    calls.push((tenant, call));
                }
            }
            calls.retain_mut(|(_, call)| {
                random.unit() >= leave && (!call.is_woken() || call.poll().is_pending())
            });
            for tenant in 0..TENANTS {
                prop_assert!(inside.of(tenant) <= SHARE);
            }
            prop_assert!(inside.all() <= layer.handle().state().in_use);
            prop_assert!(layer.handle().state().in_use <= LIMIT, "the whole limit");
        }
        drop(calls);
        let state = layer.handle().state();
        prop_assert_eq!((state.in_use, state.queued, inside.all()), (0, 0, 0));
    }

    #[test]
    fn a_limit_that_changes_is_never_passed_whatever_the_keys(
        seed in any::<u64>(),
        limits in prop::collection::vec(1..60_usize, 1..60),
    ) {
        let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let _inside_of_it = runtime.as_ref().expect("it needs nothing").enter();
        let (random, inside) = (Random::seeded(seed), Inside::default());
        let layer = BulkheadLayer::new(60).max_queue(500).partition_by(10, |key: &u64| *key);
        let (handle, service) = (layer.handle(), layer.layer(service(inside.clone())));
        let mut calls = Vec::new();
        for limit in limits {
            let before = handle.state().in_use;
            handle.set_limit(NonZeroUsize::new(limit).expect("above zero"));
            for _ in 0..40 {
                let mut call = spawn(service.clone().oneshot(below(&random, 30)));
                if call.poll().is_pending() {
                    calls.push(call);
                }
            }
            prop_assert!(handle.state().in_use <= limit.max(before), "granted above the limit");
            calls.retain_mut(|call| random.unit() >= 0.1 && (!call.is_woken() || call.poll().is_pending()));
            prop_assert!(inside.all() <= handle.state().in_use);
        }
        // Nobody is forgotten: all that wait get in, now that there is room.
        handle.set_limit(NonZeroUsize::new(60).expect("above zero"));
        for _ in 0..2_000 {
            calls.retain_mut(|call| !call.is_woken() || call.poll().is_pending());
        }
        prop_assert_eq!(calls.len(), 0);
        prop_assert_eq!((handle.state().in_use, handle.state().queued), (0, 0));
    }
}

fn reason(outcome: Result<(), BoxError>) -> Option<Reason> {
    Rejected::find(&*outcome.expect_err("it is refused")).map(Rejected::reason)
}

#[tokio::test(start_paused = true)]
async fn keys_beyond_those_with_a_share_have_one_share_together() {
    let layer = BulkheadLayer::new(6).max_queue(0).partition_by(2, |key: &u64| *key);
    let service = layer.layer(service(Inside::default()));
    let mut calls: Vec<_> = [1, 2, 3, 4].map(|key| spawn(service.clone().oneshot(key))).into();
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    let outcome = assert_ready!(spawn(service.clone().oneshot(5)).poll());
    assert_eq!(reason(outcome), Some(Reason::BulkheadFull));
    assert_pending!(spawn(service.clone().oneshot(1)).poll());
    // The first leaves: its share is free for the next key that comes.
    drop(calls.remove(0));
    assert_pending!(spawn(service.oneshot(5)).poll());
}

#[test]
fn a_flood_of_keys_takes_no_memory_for_longer_than_its_calls() {
    let compartments = Arc::new(Compartments::new(10, 110, 0));
    let held: Vec<_> = (0..100_000).map(|key| compartments.of(key)).collect();
    assert_eq!(compartments.keys(), 10);
    drop(held);
    assert_eq!(compartments.keys(), 0);
}

#[test]
fn a_key_keeps_its_compartment_as_long_as_anybody_is_in_it() {
    let compartments = Arc::new(Compartments::new(1, 2, 0));
    let mut first = compartments.of(7);
    assert!(first.door().expect("it has no place yet").try_acquire());
    first.enter();
    let second = compartments.of(7);
    drop(compartments.of(8));
    assert!(!second.door().expect("it has no place yet").try_acquire(), "it is the same compartment");
    drop(first);
    assert!(second.door().expect("it has no place yet").try_acquire(), "and was given back by the first");
    second.door().expect("it has no place yet").release();
    drop(second);
    assert_eq!(compartments.keys(), 0);
}

#[test]
fn shares_follow_the_limit() {
    let (compartments, whole) = (Arc::new(Compartments::new(4, 10, 0)), Machine::new(10, 0));
    let compartment = compartments.of(1);
    let share = || compartment.door().expect("it has no place yet").state().limit;
    assert_eq!(share(), 2);
    for (limit, expected) in [(25, 5), (4, 1), (1, 1), (10, 2)] {
        whole.set_limit(limit).wake();
        compartments.follow(&whole);
        assert_eq!(share(), expected);
    }
}

#[test]
#[should_panic(expected = "give at least one key")]
fn shares_of_no_key_are_refused() {
    let _ = BulkheadLayer::new(1).partition_by(0, |key: &u64| *key);
}

#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn a_golden_server_has_shares_by_the_heads_of_requests() {
    use http::{Request, Response, StatusCode};
    use http_body_util::Empty;

    type Nothing = Empty<bytes::Bytes>;

    let tenants =
        BulkheadLayer::new(3).max_queue(0).partition_by_head(2, |head| head.headers.get("x-tenant").cloned());
    let layer = crate::golden::server("shares")
        .timeout(std::time::Duration::from_secs(1))
        .bulkhead_layer(tenants.clone())
        .registry(&crate::Registry::new())
        .layer();
    let hangs =
        service_fn(|_: Request<Nothing>| std::future::pending::<Result<Response<Nothing>, BoxError>>());
    let server = layer.layer(hangs);
    let call = |tenant: &'static str| {
        let request = Request::builder().header("x-tenant", tenant).body(Empty::new());
        spawn(server.clone().oneshot(request.expect("it is well formed")))
    };
    let mut first = call("one");
    assert_pending!(first.poll());
    let refused = assert_ready!(call("one").poll()).expect("a refusal is an answer");
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let mut other = call("two");
    assert_pending!(other.poll());
    assert_eq!(tenants.handle().state().in_use, 2, "the layer and the server share the places");
}
