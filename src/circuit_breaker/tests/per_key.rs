use std::{io, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::{
    Reason, Registry, Rejected, Repeatable,
    circuit_breaker::{CircuitBreakerLayer, PerKeyLayer, config::CircuitBreakerConfig, per_key::PATIENCE},
    event::CircuitState::{Closed, ForcedOpen, Open},
    golden,
    timeout::TimeoutLayer,
};

/// Keys from here on fail.
const BROKEN: u32 = 1_000_000;

type Layered = PerKeyLayer<fn(&u32) -> u32, u32>;

fn per_shard(max: usize) -> Layered {
    CircuitBreakerLayer::new().per_key((|shard| *shard) as fn(&u32) -> u32).max_keys(max)
}

async fn dependency(shard: u32) -> Result<u32, io::Error> {
    if shard < BROKEN { Ok(shard) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
}

async fn call(layer: &Layered, shard: u32) -> Result<u32, BoxError> {
    layer.layer(service_fn(dependency)).oneshot(shard).await
}

async fn trip(layer: &Layered, shard: u32) {
    for _ in 0..5 {
        call(layer, shard).await.expect_err("it is broken");
    }
    assert!(is_refused(layer, shard).await);
}

async fn is_refused(layer: &Layered, shard: u32) -> bool {
    let answer = call(layer, shard).await;
    answer.is_err_and(|error| Rejected::find(&*error).is_some())
}

fn keys(layer: &Layered) -> Vec<u32> {
    let mut keys: Vec<_> = layer.handle().keys().into_iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test(start_paused = true)]
async fn a_key_that_fails_is_left_alone_and_the_others_are_not() {
    let layer = per_shard(100);
    trip(&layer, BROKEN).await;
    assert_eq!(call(&layer, 7).await.expect("it is well"), 7);
    assert!(call(&layer, BROKEN + 1).await.expect_err("it is broken").is::<io::Error>(), "it was asked");
    let mut states = layer.handle().keys();
    states.sort_unstable_by_key(|&(key, _)| key);
    assert_eq!(states, [(7, Closed), (BROKEN, Open), (BROKEN + 1, Closed)]);
}

#[tokio::test(start_paused = true)]
async fn a_key_recovers_by_its_own_probes() {
    let layer = per_shard(100);
    let breaker = layer.handle().breaker(7);
    trip(&layer, BROKEN).await;
    breaker.force_open();
    breaker.reset();
    assert_eq!(call(&layer, 7).await.expect("it is well"), 7);
    let wait = layer.handle().breaker(BROKEN).snapshot().next_probe.expect("it is open");
    sleep(wait).await;
    assert!(call(&layer, BROKEN).await.expect_err("it is broken").is::<io::Error>(), "it is a probe");
}

#[tokio::test(start_paused = true)]
async fn clones_share_the_breakers_and_a_setter_gives_fresh_ones() {
    let layer = per_shard(100);
    trip(&layer, BROKEN).await;
    assert!(is_refused(&layer.clone(), BROKEN).await);
    assert!(!is_refused(&layer.clone().max_keys(10), BROKEN).await);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_keys_stays_within_its_bound_and_evicts_no_open_breaker() {
    let layer = per_shard(100);
    trip(&layer, BROKEN).await;
    layer.handle().breaker(BROKEN + 1).force_open();
    for shard in 0..10_000 {
        call(&layer, shard).await.expect("it is well");
    }
    assert_eq!(keys(&layer).len(), 100);
    assert!(is_refused(&layer, BROKEN).await && is_refused(&layer, BROKEN + 1).await);
    assert_eq!(layer.handle().shared().snapshot().calls, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_on_its_way_keeps_its_breaker() {
    let layer = per_shard(1);
    let mut service = layer.layer(service_fn(async |shard: u32| match shard {
        7 => std::future::pending().await,
        _ => Ok::<_, BoxError>(shard),
    }));
    assert_ready_ok!(task::spawn(service.ready()).poll());
    let mut hangs = task::spawn(service.call(7));
    assert_pending!(hangs.poll());
    call(&layer, 8).await.expect("it is well");
    assert_eq!(keys(&layer), [7]);
    drop(hangs);
    call(&layer, 8).await.expect("it is well");
    assert_eq!(keys(&layer), [8]);
}

#[tokio::test(start_paused = true)]
async fn keys_without_a_place_share_a_breaker() {
    let layer = per_shard(2);
    for shard in 0..2 {
        trip(&layer, BROKEN + shard).await;
    }
    assert_eq!(call(&layer, 7).await.expect("it is well"), 7);
    assert_eq!(layer.handle().shared().snapshot().calls, 1);
    trip(&layer, BROKEN + 2).await;
    assert_eq!(layer.handle().shared().state(), Open);
    assert_eq!(keys(&layer), [BROKEN, BROKEN + 1]);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_that_nobody_asks_for_makes_room_in_the_end() {
    let layer = per_shard(1);
    trip(&layer, BROKEN).await;
    let open_time = CircuitBreakerConfig::default().open_time.1;
    let end = Instant::now() + open_time + PATIENCE;
    tokio::time::sleep_until(end - Duration::from_millis(2)).await;
    call(&layer, 7).await.expect("it is well");
    assert_eq!(keys(&layer), [BROKEN]);
    tokio::time::sleep_until(end).await;
    call(&layer, 7).await.expect("it is well");
    assert_eq!(keys(&layer), [7]);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_forced_open_by_hand_never_makes_room() {
    let layer = per_shard(1);
    layer.handle().breaker(BROKEN).force_open();
    sleep(PATIENCE * 1_000).await;
    call(&layer, 7).await.expect("it is well");
    assert_eq!(layer.handle().keys(), [(BROKEN, ForcedOpen)]);
    layer.handle().reset();
    call(&layer, 7).await.expect("it is well");
    assert_eq!(keys(&layer), [7]);
}

#[tokio::test(start_paused = true)]
async fn in_a_golden_client_a_shard_that_hangs_is_left_alone_and_the_others_are_not() {
    let per_shard = CircuitBreakerLayer::new().per_key(|ask: &Repeatable<u32>| ask.0);
    let handle = per_shard.handle();
    let shards = ServiceBuilder::new()
        .layer(per_shard)
        .layer(TimeoutLayer::new(Duration::from_millis(300)))
        .service(service_fn(async |Repeatable(shard)| match shard {
            7 => std::future::pending().await,
            _ => Ok::<_, BoxError>(shard),
        }));
    let ledger = golden::client("ledger")
        .timeout(Duration::from_secs(1))
        .no_fallback()
        .registry(&Registry::new())
        .without_circuit_breaker()
        .service(shards);
    let mut reasons = Vec::new();
    for _ in 0..4 {
        let error = ledger.send(Repeatable(7)).await.expect_err("it hangs");
        reasons.push(error.rejected().expect("nobody answered").reason());
        assert_eq!(ledger.send(Repeatable(8)).await.expect("it is well"), 8);
    }
    assert_eq!(handle.breaker(7).state(), Open);
    assert_eq!(handle.breaker(8).state(), Closed);
    assert_eq!(reasons.last(), Some(&Reason::CircuitOpen));
}

#[test]
#[should_panic(expected = "leave `per_key` out")]
fn no_keys_at_all_is_a_mistake() {
    let _ = per_shard(0);
}
