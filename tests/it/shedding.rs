//! A golden server at three times its capacity, on a paused clock: what is served, and of whom.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use moneta_resilience::{Priority, Reason, Registry, event::Outcome, golden, load_shed::ThrottleLayer};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tower::{Layer, Service, ServiceExt, service_fn};

const WORKERS: usize = 40;
/// How long a worker is busy with a call: the capacity is a thousand calls a second.
const BUSY: Duration = Duration::from_millis(40);
/// Nine tenths of it keep all workers busy.
const LIMIT: usize = 50;
const MILLIS: u32 = 5_000;
const MS: Duration = Duration::from_millis(1);

/// What became of the calls of a priority.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    offered: u32,
    served: u32,
}

impl Told {
    fn share(self) -> f64 {
        f64::from(self.served) / f64::from(self.offered)
    }
}

/// A service of so many workers, with a queue in front of them.
fn workers()
-> impl Service<Request<()>, Response = Response<String>, Error = Infallible, Future: Send> + Clone + Send {
    let workers = Arc::new(Semaphore::new(WORKERS));
    service_fn(move |_: Request<()>| {
        let workers = Arc::clone(&workers);
        async move {
            let _worker = workers.acquire().await;
            sleep(BUSY).await;
            Ok(Response::new(String::new()))
        }
    })
}

/// Makes the calls that `offered` names for each millisecond, and tells what became of them, and the seconds that those
/// who were refused were told to wait.
async fn overload(
    shed: bool,
    offered: impl Fn(u32) -> Vec<Priority>,
) -> (BTreeMap<Priority, Told>, BTreeMap<u32, u32>) {
    let registry = Registry::new();
    let builder = golden::server("accounts").timeout(Duration::from_secs(2)).bulkhead(LIMIT);
    let builder = builder.trust_priority(|_| true).registry(&registry);
    let layer = if shed { builder.priorities().layer() } else { builder.layer() };
    let handle = layer.handle().clone();
    let server = layer.layer(workers());

    let began = Instant::now();
    let mut calls = JoinSet::new();
    for tick in 0..MILLIS {
        sleep_until(began + tick * MS).await;
        let mut priorities = offered(tick);
        // Nobody is always first in the millisecond.
        let first = tick as usize % priorities.len();
        priorities.rotate_left(first);
        for priority in priorities {
            let request =
                Request::builder().header("x-request-priority", priority.as_str()).body(()).unwrap();
            let call = server.clone().oneshot(request);
            calls.spawn(async move { (priority, call.await.unwrap()) });
        }
    }
    let (mut told, mut waits): (BTreeMap<_, Told>, BTreeMap<_, _>) = Default::default();
    for (priority, answer) in calls.join_all().await {
        let told = told.entry(priority).or_default();
        told.offered += 1;
        if answer.status() == StatusCode::OK {
            told.served += 1;
        } else {
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            *waits.entry(answer.headers()["retry-after"].to_str().unwrap().parse().unwrap()).or_default() +=
                1;
        }
    }
    let all: u32 = told.values().map(|told| told.served).sum();
    assert_eq!(handle.counts().calls(Outcome::Success), u64::from(all));
    if !shed {
        assert_eq!(handle.counts().load_shed(Reason::Shed), 0);
    }
    (told, waits)
}

/// Three calls a millisecond: 1/10 of the capacity `CriticalPlus`, 9/10 `Critical`, and both sheddable ones 10/10.
fn three_times(tick: u32) -> Vec<Priority> {
    let important = if tick % 10 == 0 { Priority::CriticalPlus } else { Priority::Critical };
    vec![Priority::Sheddable, Priority::SheddablePlus, important]
}

/// Calls that were served, against what the workers can serve.
fn goodput(told: &BTreeMap<Priority, Told>) -> f64 {
    let goodput: u32 = told.values().map(|told| told.served).sum();
    f64::from(goodput) / f64::from(MILLIS)
}

#[tokio::test(start_paused = true)]
async fn at_three_times_the_capacity_what_matters_most_loses_nothing_and_the_sheddable_goes_first() {
    let (told, waits) = overload(true, three_times).await;
    assert!(goodput(&told) >= 0.95, "{told:?}");
    let share = |priority| told[&priority].share();
    assert_eq!(told[&Priority::CriticalPlus].offered, MILLIS / 10);
    assert!(told[&Priority::CriticalPlus].served == MILLIS / 10, "{told:?}");
    assert!(share(Priority::Critical) > 0.85, "{told:?}");
    assert!(share(Priority::SheddablePlus) < 0.15, "{told:?}");
    assert!(share(Priority::Sheddable) < 0.5 * share(Priority::SheddablePlus), "{told:?}");
    // Who is refused comes back at different times.
    assert_eq!(waits.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
    let all: u32 = waits.values().sum();
    assert!(waits.values().all(|&those| those > all / 10), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn while_the_critical_calls_have_room_only_the_others_are_refused() {
    // 2/10 of the capacity `Critical`, 28/10 `Sheddable`.
    let (told, _) = overload(true, |tick| {
        let first = if tick % 5 == 0 { Priority::Critical } else { Priority::Sheddable };
        vec![first, Priority::Sheddable, Priority::Sheddable]
    })
    .await;
    // That is the price: a share is a share of the limit, also while nobody else wants the rest.
    assert!((0.7..0.8).contains(&goodput(&told)), "{told:?}");
    let critical = told[&Priority::Critical];
    assert!(critical.offered > 0 && critical.served == critical.offered, "{told:?}");
    assert!(told[&Priority::Sheddable].share() < 0.5, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn without_priorities_everyone_loses_alike() {
    let (told, waits) = overload(false, three_times).await;
    assert!(goodput(&told) >= 0.95, "{told:?}");
    for told in told.values() {
        assert!((0.1..0.6).contains(&told.share()), "{told:?}");
    }
    assert_eq!(waits.keys().copied().collect::<Vec<_>>(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_throttles_sends_less_to_a_server_that_refuses() {
    let registry = Registry::new();
    let client = golden::client("full")
        .timeout(Duration::from_secs(1))
        .no_fallback()
        .without_retry()
        .throttle(ThrottleLayer::new().seed(1))
        .registry(&registry)
        .http(service_fn(async |_: Request<()>| {
            let refusal =
                Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).header("retry-after", "1");
            Ok::<_, Infallible>(refusal.body(String::new()).unwrap())
        }));
    let mut refused = 0;
    client.handle().circuit_breaker().unwrap().disable();
    for _ in 0..1_000 {
        if let Err(error) = client.send(Request::new(())).await {
            assert_eq!(error.rejected().unwrap().reason(), Reason::Throttled);
            refused += 1;
        }
    }
    // The first 120 tell; of the rest one in twenty finds out whether the server is back.
    assert!((800..880).contains(&refused), "{refused}");
    let counts = client.handle().counts();
    assert_eq!(counts.load_shed(Reason::Throttled), refused);
    assert_eq!(counts.first_attempts(), 1_000 - refused);
}
