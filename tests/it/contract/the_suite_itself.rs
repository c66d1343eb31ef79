//! Stacks that break a law, and are found.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use moneta_resilience::bulkhead::BulkheadLayer;
use tokio::sync::Semaphore;
use tower::{
    BoxError, Layer, Service, ServiceExt,
    layer::{layer_fn, util::Identity},
    service_fn,
    util::MapErrLayer,
};

use super::{
    After, Ask, Contract,
    probe::{Act, Inner},
};

#[tokio::test(start_paused = true)]
#[should_panic(expected = "poll_ready must be called first")]
async fn finds_a_call_of_an_instance_that_is_not_ready() {
    let layer = layer_fn(|inner: Inner<u32>| service_fn(move |ask: Ask| inner.clone().call(ask)));
    Contract::new(layer).the_service_is_ready_before_each_call().await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the call wedged")]
async fn finds_a_place_that_is_kept_by_who_waits_for_another() {
    let layer = layer_fn(|inner: Inner<u32>| {
        let mut ready = inner.clone();
        _ = ServiceExt::<Ask>::ready(&mut ready).now_or_never();
        let ready = Arc::new(ready);
        service_fn(move |ask: Ask| {
            let _keeps = &ready;
            inner.clone().oneshot(ask)
        })
    });
    Contract::new(layer).one_place_inside_is_enough().await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "a call is still in flight")]
async fn finds_work_that_outlives_its_caller() {
    let layer = layer_fn(|inner: Inner<u32>| {
        service_fn(move |ask: Ask| {
            let detached = tokio::spawn(inner.clone().oneshot(ask));
            async { detached.await? }
        })
    });
    Contract::new(layer).a_call_dropped_at_any_point_leaves_nothing_held().await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the call wedged")]
async fn finds_a_permit_that_only_an_answer_gives_back() {
    let layer = layer_fn(|inner: Inner<u32>| {
        let places = Arc::new(Semaphore::new(3));
        service_fn(move |ask: Ask| {
            let (inner, places) = (inner.clone(), Arc::clone(&places));
            async move {
                places.acquire().await?.forget();
                let answer = inner.oneshot(ask).await;
                places.add_permits(1);
                answer
            }
        })
    });
    Contract::new(layer).a_call_dropped_at_any_point_leaves_nothing_held().await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "it has a limit of its own")]
async fn finds_a_limit_that_is_not_kept() {
    let contract = Contract::new(Identity::new()).ends_by(Duration::from_secs(1));
    contract.a_service_that_hangs_is_let_go().await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the layer, applied again let a call in")]
async fn finds_state_that_is_made_anew_for_each_service() {
    let layer = layer_fn(|inner: Inner<u32>| BulkheadLayer::new(2).max_queue(0).layer(inner));
    let contract = Contract::new(layer).refuses(After::Pending(2), false);
    contract.state_is_shared_and_a_refusal_comes_from_the_call().await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "a clone let a call in")]
async fn finds_a_bulkhead_that_is_wider_than_it_says() {
    let contract = Contract::new(BulkheadLayer::new(3).max_queue(0)).refuses(After::Pending(2), false);
    contract.state_is_shared_and_a_refusal_comes_from_the_call().await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "it is ready to refuse")]
async fn finds_a_refusal_that_waits_for_the_service() {
    let contract = Contract::new(Identity::new()).refuses(After::Calls(9, Act::Fail), true);
    contract.state_is_shared_and_a_refusal_comes_from_the_call().await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "it went on for")]
async fn finds_a_wait_for_the_service_that_no_limit_ends() {
    let contract = Contract::new(Identity::new()).always_ready().ends_by(Duration::from_secs(1));
    contract.a_service_that_never_gets_ready_holds_nobody().await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "wrapped")]
async fn finds_an_error_that_was_wrapped() {
    let layer = MapErrLayer::new(|error: BoxError| -> BoxError { format!("wrapped: {error}").into() });
    Contract::new(layer).the_services_error_passes_unchanged().await;
}
