use std::{
    io,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt;
use tokio::{
    task::yield_now,
    time::{Instant, advance, sleep},
};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_test::mock;

use crate::{
    Cells, Class, InjectedFault, Name, Ratio, Reason, Rejected,
    circuit_breaker::{
        CircuitBreakerLayer, CircuitBreakerPolicy, CircuitBreakerSnapshot, config::CircuitBreakerConfig,
    },
    event::{
        BreakerResult,
        CircuitState::{self, Closed, Disabled, ForcedOpen, HalfOpen, Open, Recovering},
        Event,
    },
    observer::{Interest, Observer, Sink},
    policy::{Leaf, Stack},
    window::Extent,
};

/// A dependency that does what it is asked to.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Answer,
    Refuse,
    Hang,
    Panic,
    Stand(Class),
}

async fn dependency(ask: Ask) -> Result<&'static str, BoxError> {
    match ask {
        Ask::Answer => Ok("answer"),
        Ask::Refuse => Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
        Ask::Hang => std::future::pending().await,
        Ask::Panic => panic!("a bug in the client"),
        Ask::Stand(class) => Err(InjectedFault::new(class).into()),
    }
}

/// Calls a dependency behind the layer once.
async fn call(layer: &CircuitBreakerLayer, ask: Ask) -> Result<&'static str, BoxError> {
    layer.layer(service_fn(dependency)).oneshot(ask).await
}

/// Drops a call while it is pending.
fn drop_call(layer: &CircuitBreakerLayer) {
    let mut call = task::spawn(call(layer, Ask::Hang));
    assert_pending!(call.poll());
}

async fn trip(layer: &CircuitBreakerLayer) {
    for _ in 0..5 {
        call(layer, Ask::Refuse).await.expect_err("it refuses");
    }
    assert_eq!(layer.handle().state(), Open);
}

async fn trip_and_wait(layer: &CircuitBreakerLayer) {
    trip(layer).await;
    sleep_until_probing(layer).await;
}

async fn sleep_until_probing(layer: &CircuitBreakerLayer) {
    // A timer wakes in whole milliseconds, never too early.
    sleep(layer.handle().snapshot().next_probe.expect("the breaker is open")).await;
}

fn rejection(error: &BoxError) -> &Rejected {
    Rejected::find(&**error).expect("the breaker refused it")
}

/// Every transition that happened.
#[derive(Default)]
struct Tape(Mutex<Vec<(CircuitState, CircuitState)>>);

impl Sink for Tape {
    fn interest(&self) -> Interest {
        Interest::TRANSITIONS
    }

    fn record(&self, _pipeline: &Name, event: &Event) {
        if let Event::BreakerTransition { from, to } = *event {
            self.0.lock().expect("no panic").push((from, to));
        }
    }
}

fn observed() -> (CircuitBreakerLayer, Arc<Cells>, Arc<Tape>) {
    let (cells, tape) = (Arc::<Cells>::default(), Arc::<Tape>::default());
    let observer = Observer::new(Name::literal("ledger"), Arc::clone(&cells)).sink(tape.clone());
    (CircuitBreakerLayer::new().observer(observer), cells, tape)
}

#[tokio::test(start_paused = true)]
async fn it_opens_refuses_probes_and_closes() {
    let (layer, cells, tape) = observed();
    trip(&layer).await;

    let error = call(&layer, Ask::Answer).await.expect_err("it is open");
    assert_eq!(rejection(&error).reason(), Reason::CircuitOpen);
    assert_eq!(rejection(&error).by().as_str(), "ledger");
    let wait = rejection(&error).retry_after().expect("it knows how long");
    assert!(wait <= Duration::from_secs(1), "{wait:?}");

    sleep(wait).await;
    call(&layer, Ask::Answer).await.expect("a probe");
    assert_eq!(layer.handle().state(), HalfOpen);
    call(&layer, Ask::Answer).await.expect("a probe");
    assert_eq!(layer.handle().state(), Recovering);
    call(&layer, Ask::Answer).await.expect("the first of the ramp");
    let error = call(&layer, Ask::Answer).await.expect_err("one of ten passes");
    let ramp = rejection(&error).retry_after().expect("it knows how long");
    assert_eq!(ramp, Duration::from_secs(5));

    sleep(ramp).await;
    call(&layer, Ask::Answer).await.expect("all of them pass");
    assert_eq!(layer.handle().state(), Closed);

    let expected = [(Closed, Open), (Open, HalfOpen), (HalfOpen, Recovering), (Recovering, Closed)];
    assert_eq!(*tape.0.lock().expect("no panic"), expected);
    for (from, to) in expected {
        assert_eq!(cells.transitions(from, to), 1);
    }
    let counted = BreakerResult::ALL.map(|result| cells.breaker(result));
    assert_eq!(counted, [4, 5, 0, 2, 0], "success, failure, slow, rejected, cancelled");
}

#[tokio::test(start_paused = true)]
async fn the_inner_error_passes_unchanged() {
    let layer = CircuitBreakerLayer::new();
    let error = call(&layer, Ask::Refuse).await.expect_err("it refuses");
    assert_eq!(
        error.downcast_ref::<io::Error>().map(io::Error::kind),
        Some(io::ErrorKind::ConnectionRefused)
    );
}

#[tokio::test(start_paused = true)]
async fn clones_and_reapplied_layers_share_the_breaker() {
    let layer = CircuitBreakerLayer::new();
    let mut services = [layer.layer(service_fn(dependency)), layer.clone().layer(service_fn(dependency))];
    for index in 0..5 {
        let service = &mut services[index % 2];
        service.ready().await.expect("ready").call(Ask::Refuse).await.expect_err("it refuses");
    }
    for service in &mut services {
        let error = service.ready().await.expect("ready").call(Ask::Answer).await.expect_err("it is open");
        assert_eq!(rejection(&error).reason(), Reason::CircuitOpen);
    }
}

#[tokio::test(start_paused = true)]
async fn a_setter_gives_a_breaker_of_its_own() {
    let layer = CircuitBreakerLayer::new();
    let other = layer.clone().probes(1);
    trip(&layer).await;
    assert_eq!(other.handle().state(), Closed);
}

/// Law: an open breaker answers even when the inner service is not ready.
#[tokio::test(start_paused = true)]
async fn an_open_breaker_answers_for_a_service_that_is_not_ready() {
    let layer = CircuitBreakerLayer::new();
    let (service, mut dependency) = mock::pair::<u8, u8>();
    dependency.allow(0);
    let mut service = task::spawn(layer.layer(service));
    assert_pending!(service.enter(|cx, mut service| service.poll_ready(cx)), "closed: it waits");
    layer.handle().force_open();
    assert_ready_ok!(service.enter(|cx, mut service| service.poll_ready(cx)));
    let mut refused = task::spawn(service.call(1));
    let error = assert_ready!(refused.poll()).expect_err("it is open");
    assert_eq!(rejection(&error).reason(), Reason::CircuitOpen);
    assert_eq!(rejection(&error).retry_after(), None, "nobody knows how long");
}

/// Law: if the state changes between `poll_ready` and `call`, the service gets ready inside the call.
#[tokio::test(start_paused = true)]
async fn a_breaker_that_closes_in_between_readies_the_service_inside_the_call() {
    let layer = CircuitBreakerLayer::new();
    let (service, mut dependency) = mock::pair::<u8, u8>();
    dependency.allow(0);
    let mut service = task::spawn(layer.layer(service));
    layer.handle().force_open();
    assert_ready_ok!(service.enter(|cx, mut service| service.poll_ready(cx)));
    layer.handle().reset();
    let mut call = task::spawn(service.call(1));
    assert_pending!(call.poll());
    dependency.allow(1);
    assert_pending!(call.poll());
    let (request, response) = dependency.next_request().await.expect("it was called");
    response.send_response(request + 1);
    assert_eq!(assert_ready_ok!(call.poll()), 2);
}

/// Law: a dropped future gives its probe back.
#[tokio::test(start_paused = true)]
async fn a_dropped_probe_gives_its_place_back() {
    let (layer, cells, _) = observed();
    trip_and_wait(&layer).await;
    let mut probes: Vec<_> = (0..3).map(|_| task::spawn(call(&layer, Ask::Hang))).collect();
    for probe in &mut probes {
        assert_pending!(probe.poll());
    }
    call(&layer, Ask::Answer).await.expect_err("all places are taken");
    probes.truncate(1);
    for _ in 0..2 {
        call(&layer, Ask::Answer).await.expect("a place is free");
    }
    assert_eq!(layer.handle().state(), Recovering);
    assert_eq!(cells.breaker(BreakerResult::Cancelled), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_never_polled_holds_nothing() {
    let layer = CircuitBreakerLayer::new();
    trip_and_wait(&layer).await;
    for _ in 0..20 {
        drop(layer.layer(service_fn(dependency)).oneshot(Ask::Hang));
        let mut service = layer.layer(service_fn(dependency));
        drop(service.ready().await.expect("ready").call(Ask::Hang));
    }
    assert_eq!(layer.handle().state(), Open, "nobody has asked it");
    call(&layer, Ask::Answer).await.expect("a probe");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_probe_is_overtaken() {
    let layer = CircuitBreakerLayer::new().probe_timeout(Duration::from_secs(2));
    trip_and_wait(&layer).await;
    let mut hanging = task::spawn(call(&layer, Ask::Hang));
    assert_pending!(hanging.poll());
    advance(Duration::from_secs(2)).await;
    call(&layer, Ask::Answer).await.expect_err("it opened again");
    assert_eq!(layer.handle().state(), Open);
    sleep_until_probing(&layer).await;
    for _ in 0..2 {
        call(&layer, Ask::Answer).await.expect("a probe");
    }
    drop(hanging);
    assert_eq!(layer.handle().state(), Recovering);
    assert_eq!(layer.handle().snapshot().abandoned, 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_and_gives_its_place_back() {
    let (layer, cells, _) = observed();
    for _ in 0..5 {
        AssertUnwindSafe(call(&layer, Ask::Panic)).catch_unwind().await.expect_err("it panics");
    }
    assert_eq!(layer.handle().state(), Open);
    assert_eq!(cells.breaker(BreakerResult::Failure), 5);
    sleep_until_probing(&layer).await;
    AssertUnwindSafe(call(&layer, Ask::Panic)).catch_unwind().await.expect_err("it panics");
    for _ in 0..2 {
        call(&layer, Ask::Answer).await.expect("a place is free");
    }
    assert_eq!(layer.handle().state(), Recovering);
}

#[tokio::test(start_paused = true)]
async fn dropped_calls_alone_open_it() {
    let layer = CircuitBreakerLayer::new();
    (0..5).for_each(|_| drop_call(&layer));
    assert_eq!(layer.handle().state(), Open);
}

#[tokio::test(start_paused = true)]
async fn local_refusals_and_the_callers_faults_open_nothing() {
    let (layer, cells, _) = observed();
    for class in [Class::Neutral, Class::CallerFault] {
        for _ in 0..50 {
            call(&layer, Ask::Stand(class)).await.expect_err("as asked");
        }
    }
    assert_eq!(layer.handle().state(), Closed);
    assert_eq!(cells.breaker(BreakerResult::Success), 50);
    assert_eq!(layer.handle().snapshot().calls, 50, "neutral is nothing to count");
}

#[tokio::test(start_paused = true)]
async fn slow_answers_open_it() {
    let slow = |()| async {
        sleep(Duration::from_millis(300)).await;
        Ok::<_, BoxError>(())
    };
    let layer = CircuitBreakerLayer::new()
        .slow_calls(Duration::from_millis(300), Ratio::percent(50))
        .window(Duration::from_secs(60));
    for _ in 0..20 {
        layer.layer(service_fn(slow)).oneshot(()).await.expect("it answers in the end");
    }
    assert_eq!(layer.handle().state(), Open);
}

#[tokio::test(start_paused = true)]
async fn a_classifier_decides_what_fails() {
    let classify = |result: Result<&u16, &BoxError>| match result {
        Ok(status) if *status >= 500 => Class::Fault,
        Ok(_) => Class::Success,
        Err(_) => Class::CallerFault,
    };
    let layer = CircuitBreakerLayer::new().classify(classify).consecutive_failures(1);
    let service = layer.layer(service_fn(async |status: u16| Ok::<_, BoxError>(status)));
    assert_eq!(service.clone().oneshot(500).await.expect("an answer"), 500);
    service.oneshot(200).await.expect_err("it is open");
}

#[tokio::test(start_paused = true)]
async fn the_handle_forces_and_tells() {
    let (layer, _, tape) = observed();
    let handle = layer.handle();
    call(&layer, Ask::Refuse).await.expect_err("it refuses");
    let CircuitBreakerSnapshot { state, calls, failures, .. } = handle.snapshot();
    assert_eq!((state, calls, failures), (Closed, 1, 1));

    handle.force_open();
    handle.force_open();
    call(&layer, Ask::Answer).await.expect_err("it is forced open");
    handle.disable();
    for _ in 0..50 {
        call(&layer, Ask::Refuse).await.expect_err("it refuses");
    }
    assert_eq!(handle.snapshot().calls, 0);
    handle.reset();
    call(&layer, Ask::Answer).await.expect("it is closed");
    let expected = [(Closed, ForcedOpen), (ForcedOpen, Disabled), (Disabled, Closed)];
    assert_eq!(*tape.0.lock().expect("no panic"), expected);
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_is_off_lets_everything_through() {
    let policy = Arc::new(CircuitBreakerPolicy::off(Leaf::<crate::classify::ByError>::default()));
    assert!(policy.handle().is_none());
    let service = Stack::new(policy, service_fn(dependency));
    for _ in 0..50 {
        let error = service.clone().oneshot(Ask::Refuse).await.expect_err("it refuses");
        assert!(Rejected::find(&*error).is_none());
    }
}

/// Law: a service that never gets ready holds nobody whom the breaker refuses.
#[tokio::test(start_paused = true)]
async fn a_ramp_answers_those_it_refuses_for_a_service_that_is_not_ready() {
    let layer = CircuitBreakerLayer::new().probes(1);
    trip_and_wait(&layer).await;
    call(&layer, Ask::Answer).await.expect("a probe");
    let (service, mut dependency) = mock::pair::<u8, u8>();
    dependency.allow(0);
    let mut service = task::spawn(layer.layer(service));
    assert_pending!(service.enter(|cx, mut service| service.poll_ready(cx)), "the next call passes");
    call(&layer, Ask::Answer).await.expect("somebody else's");
    assert_ready_ok!(service.enter(|cx, mut service| service.poll_ready(cx)));
    let mut refused = task::spawn(service.call(1));
    let error = assert_ready!(refused.poll()).expect_err("nine of ten are refused");
    assert_eq!(rejection(&error).reason(), Reason::CircuitOpen);
}

/// Many callers, a dependency that goes down and comes back: nobody waits for anything but the dependency, and in the
/// end the breaker is closed.
#[tokio::test(start_paused = true)]
async fn an_outage_under_load_passes() {
    let layer = CircuitBreakerLayer::new();
    let start = Instant::now();
    let is_down = move || (5..20).contains(&start.elapsed().as_secs());
    let service = layer.layer(service_fn(move |()| async move {
        sleep(Duration::from_millis(20)).await;
        if is_down() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(()) }
    }));
    let calls: Vec<_> = (0..40)
        .map(|caller| {
            let service = service.clone();
            tokio::spawn(async move {
                sleep(Duration::from_millis(caller)).await;
                let (mut reached, mut refused) = (0, 0);
                while start.elapsed() < Duration::from_secs(40) {
                    match service.clone().oneshot(()).await {
                        Err(error) if Rejected::find(&*error).is_some() => refused += 1,
                        Err(_) => reached += 1,
                        Ok(()) => {}
                    }
                    sleep(Duration::from_millis(80)).await;
                    yield_now().await;
                }
                (reached, refused)
            })
        })
        .collect();
    let (mut reached, mut refused) = (0, 0);
    for call in calls {
        let (more_reached, more_refused) = call.await.expect("no panic");
        (reached, refused) = (reached + more_reached, refused + more_refused);
    }
    assert_eq!(layer.handle().state(), Closed);
    assert!(reached < 1_000, "{reached} failing calls reached it: two slices, and a few probes");
    assert!(refused > 4_000, "{refused} calls were refused in 15 s");
}

#[test]
fn a_literal_that_cannot_work_is_refused() {
    type Layer = CircuitBreakerLayer;
    let wrong: [fn() -> Layer; 12] = [
        || Layer::new().last_calls(9),
        || Layer::new().last_calls(1_000_001),
        || Layer::new().window(Duration::from_millis(99)),
        || Layer::new().minimum_calls(0),
        || Layer::new().failure_rate(Ratio::ZERO),
        || Layer::new().outage(Ratio::ONE, 0),
        || Layer::new().consecutive_failures(0),
        || Layer::new().slow_calls(Duration::ZERO, Ratio::ONE),
        || Layer::new().open_time(Duration::ZERO, Duration::ZERO),
        || Layer::new().open_time(Duration::from_secs(2), Duration::from_secs(1)),
        || Layer::new().probes(0),
        || Layer::new().probe_timeout(Duration::ZERO),
    ];
    for wrong in wrong {
        std::panic::catch_unwind(wrong).expect_err("it panics");
    }
}

/// The table of the module's documentation.
#[test]
fn defaults_are_those_of_the_documentation() {
    let config = CircuitBreakerConfig::default();
    let second = Duration::from_secs(1);
    assert_eq!((config.window, config.minimum_calls), (Extent::Time(10 * second), 20));
    assert_eq!(config.failure_rate, Ratio::percent(50));
    assert_eq!((config.outage.rate, config.outage.minimum_calls), (Ratio::percent(90), 20));
    assert_eq!(config.consecutive_failures, Some(5));
    assert!(config.slow.is_none());
    assert_eq!(config.open_time, (second, 10 * second));
    assert_eq!((config.probes, config.ramp), (3, 5 * second));
    assert_eq!((config.patience(None), config.patience(Some(second))), (5 * second, 5 * second));
    assert_eq!(config.patience(Some(30 * second)), 30 * second);
}

#[test]
fn any_number_of_probes_is_settled_at_once() {
    let layer = CircuitBreakerLayer::new().probes(u32::MAX).failure_rate(Ratio::ONE);
    assert_eq!(layer.config().probes_to_open(), u32::MAX);
    assert_eq!(layer.config().probes_to_close(), 1);
    let half = layer.failure_rate(Ratio::percent(50));
    assert_eq!(half.config().probes_to_open(), 1 << 31);
    assert_eq!(half.config().probes_to_close(), 1 << 31);
}
