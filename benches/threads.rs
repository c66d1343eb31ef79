//! How a closed circuit breaker scales: what two threads that share one get through, over what one thread does alone.
//!
//! ```text
//! cargo bench --bench threads
//! ```
//!
//! The best of many short rounds on each side, so that what else runs on the machine counts little. 2.0 is as good as two
//! machines: `apart`, two breakers that share nothing, shows what there is to be had. `no breaker` is a stack that only
//! looks whether a fault is armed: what its two threads share is the pointer that every stack has.

use std::{
    future::{Ready, ready},
    hint::black_box,
    io::{self, Write},
    sync::Barrier,
    thread,
};

use futures::FutureExt;
use moneta_resilience::{
    circuit_breaker::CircuitBreakerLayer,
    fault::{FaultLayer, Faults},
};
use tokio::time::Instant;
use tower::{BoxError, Layer, Service, service_fn};

const CALLS: u64 = 10_000;
const ROUNDS: usize = 1_000;

type Answer = Ready<Result<u64, BoxError>>;

fn main() -> io::Result<()> {
    let work = || service_fn(|call: u64| -> Answer { ready(Ok(black_box(call))) });
    let (window, last_calls) = (CircuitBreakerLayer::new(), CircuitBreakerLayer::new().last_calls(1_000));
    let hook = FaultLayer::new(Faults::new());

    writeln!(io::stdout(), "{:<12} {:>14} {:>22}", "breaker", "ns of a call", "two threads over one")?;
    row("window", &|| window.layer(work()))?;
    row("last_calls", &|| last_calls.layer(work()))?;
    row("apart", &|| CircuitBreakerLayer::new().layer(work()))?;
    row("no breaker", &|| hook.layer(work()))
}

fn row<S: Service<u64>>(name: &str, service: &(impl Fn() -> S + Sync)) -> io::Result<()> {
    let best = |threads| (0..ROUNDS).map(|_| nanos(threads, service)).fold(f64::INFINITY, f64::min);
    let (one, two) = (best(1), best(2));
    writeln!(io::stdout(), "{name:<12} {one:>14.0} {:>22.2}", 2.0 * one / two)
}

/// What a call takes while so many threads make theirs.
fn nanos<S: Service<u64>>(threads: usize, service: &(impl Fn() -> S + Sync)) -> f64 {
    let barrier = Barrier::new(threads);
    let run = || {
        let mut service = service();
        barrier.wait();
        let start = Instant::now();
        for call in 0..CALLS {
            let answer = service.call(black_box(call)).now_or_never();
            assert!(answer.is_some_and(|answer| answer.is_ok()), "the service answers at once");
        }
        (start, Instant::now())
    };
    let times: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    // From the first beginning to the last end: threads that did not run side by side are no faster than one.
    let begun = times.iter().map(|time| time.0).min().expect("there is a thread");
    let ended = times.iter().map(|time| time.1).max().expect("there is a thread");
    #[expect(clippy::cast_precision_loss, reason = "ten thousand")]
    let calls = CALLS as f64;
    (ended - begun).as_secs_f64() * 1e9 / calls
}
