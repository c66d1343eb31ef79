//! A retry storm in virtual time: 200 callers, 200 calls a second, and a dependency that fails for 30 s. The retry layer
//! stands alone, because a circuit breaker would hide what it does.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use moneta_resilience::{Repeatable, RetryBudget, retry::RetryLayer};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tower::{Layer, ServiceExt, service_fn};

const CALLERS: u32 = 200;
const SECOND: Duration = Duration::from_secs(1);
const RUN: Duration = Duration::from_secs(50);
/// The dependency fails from the tenth second to the fortieth.
const OUTAGE: std::ops::Range<Duration> = Duration::from_secs(10)..Duration::from_secs(40);
const LATENCY: Duration = Duration::from_millis(5);

/// When something happened, counted in tenths of a second since the start.
#[derive(Clone)]
struct Times {
    start: Instant,
    tenths: Arc<Mutex<Vec<u32>>>,
}

impl Times {
    fn new(start: Instant) -> Self {
        Self { start, tenths: Arc::new(Mutex::new(vec![0; 600])) }
    }

    fn now(&self) {
        let tenth = usize::try_from(self.start.elapsed().as_millis() / 100).unwrap();
        self.tenths.lock().unwrap()[tenth] += 1;
    }

    /// How many there were in each stretch of 10 s, wherever it begins.
    fn in_any_ten_seconds(&self) -> Vec<u32> {
        let tenths = self.tenths.lock().unwrap();
        let within_the_run = &tenths[..usize::try_from(RUN.as_millis() / 100).unwrap()];
        within_the_run.windows(100).map(|stretch| stretch.iter().sum()).collect()
    }
}

/// The most that the transport saw in any 10 s, as a multiple of the first attempts in them.
async fn worst_amplification(budget: RetryBudget) -> f64 {
    let start = Instant::now();
    let (calls, attempts) = (Times::new(start), Times::new(start));
    let dependency = {
        let attempts = attempts.clone();
        service_fn(move |_: Repeatable<()>| {
            attempts.now();
            let down = OUTAGE.contains(&start.elapsed());
            async move {
                sleep(LATENCY).await;
                if down { Err(io::Error::from(io::ErrorKind::ConnectionReset)) } else { Ok(()) }
            }
        })
    };
    // One stack: its callers share the budget.
    let stack = RetryLayer::new().budget(budget).seed(1).layer(dependency);
    let callers = (0..CALLERS).map(|caller| {
        let (stack, calls) = (stack.clone(), calls.clone());
        tokio::spawn(async move {
            let mut second = interval_at(start + SECOND * caller / CALLERS, SECOND);
            second.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while start.elapsed() < RUN {
                second.tick().await;
                calls.now();
                // Whether it went well does not matter here.
                _ = stack.clone().oneshot(Repeatable(())).await;
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let (calls, attempts) = (calls.in_any_ten_seconds(), attempts.in_any_ten_seconds());
    assert!(calls.iter().all(|&calls| calls == CALLERS * 10), "200 calls a second: {calls:?}");
    let ratios = calls.iter().zip(attempts).map(|(&calls, attempts)| f64::from(attempts) / f64::from(calls));
    ratios.fold(0.0, f64::max)
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_less_than_a_third_more_attempts() {
    let worst = worst_amplification(RetryBudget::new()).await;
    assert!((1.2..=1.3).contains(&worst), "{worst}");
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_the_same_outage_is_a_storm() {
    let worst = worst_amplification(RetryBudget::unlimited()).await;
    assert!(worst > 2.9, "{worst}");
}
