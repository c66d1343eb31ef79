//! A limit that finds the capacity of a dependency, loses it and finds it again; drawn as it goes.
//!
//! ```sh
//! cargo run --release --example adaptive_limit
//! ```
//!
//! The dependency works on 100 calls at once, takes ten more a little slower and refuses the rest, as a golden server does. After
//! ten seconds half of its workers are gone, after twenty they are back. In front of it are 200 callers that call again as
//! soon as they can, behind a bulkhead that is told none of this. Time is virtual: 30 s pass in one or two, and every run
//! gives the same picture. It exits with an error when a law was not where it belongs at the end of a phase.

#![expect(clippy::print_stdout, reason = "a person reads along")]

use std::{cell::Cell, process::ExitCode, rc::Rc, time::Duration};

use moneta_resilience::{
    BoxError, Class,
    bulkhead::{Aimd, BulkheadHandle, BulkheadLayer, ConcurrencyLimit, Gradient},
};
use tokio::{
    task::{LocalSet, spawn_local},
    time::{Instant, sleep, sleep_until},
};
use tower::{Layer, ServiceExt, service_fn};

const CALLERS: usize = 200;
const LATENCY: Duration = Duration::from_millis(40);
const REFUSAL: Duration = Duration::from_millis(1);
/// How many calls the dependency works on at once, and for how many seconds.
const PHASES: [(usize, u32); 3] = [(100, 10), (50, 10), (100, 10)];
const PICTURES_PER_SECOND: u32 = 2;
/// Calls that one character of the picture stands for.
const SCALE: usize = 2;

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> ExitCode {
    let laws: [(&str, ConcurrencyLimit); 2] =
        [("Gradient", Gradient::new().seed(1).into()), ("Aimd", Aimd::new().into())];
    let mut kept = true;
    for (name, law) in laws {
        println!("\n{name}: █ the limit, │ what the dependency can take\n");
        kept &= LocalSet::new().run_until(watch(law)).await;
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Puts one law before the dependency and draws what it does; whether it found the capacity in every phase.
async fn watch(law: ConcurrencyLimit) -> bool {
    let dependency = Rc::new(Dependency::new(PHASES[0].0));
    let bulkhead = BulkheadLayer::new(law).without_refusals().classify(
        |answer: Result<&Answer, &BoxError>| match answer {
            Ok(Answer::Done) => Class::Success,
            Ok(Answer::Busy) => Class::THROTTLED,
            Err(_) => Class::Fault,
        },
    );
    let served = Rc::clone(&dependency);
    let service = bulkhead.layer(service_fn(move |()| {
        let dependency = Rc::clone(&served);
        async move { Ok::<_, BoxError>(dependency.answer().await) }
    }));
    for _ in 0..CALLERS {
        let service = service.clone();
        spawn_local(async move { while service.clone().oneshot(()).await.is_ok() {} });
    }
    let (start, mut seconds, mut kept) = (Instant::now(), 0, true);
    for (capacity, length) in PHASES {
        dependency.change_capacity(capacity);
        kept &= phase(&bulkhead.handle(), start, seconds..seconds + length, capacity).await;
        seconds += length;
    }
    kept
}

/// Draws the limit through one phase; whether it was within a fifth of the capacity in the second half, on average.
async fn phase(
    handle: &BulkheadHandle,
    start: Instant,
    seconds: std::ops::Range<u32>,
    capacity: usize,
) -> bool {
    let mut limits = Vec::new();
    for picture in seconds.start * PICTURES_PER_SECOND..seconds.end * PICTURES_PER_SECOND {
        let at = Duration::from_secs(1) * picture / PICTURES_PER_SECOND;
        sleep_until(start + at).await;
        let limit = handle.state().limit;
        println!("{:5.1} s {} {limit}", at.as_secs_f64(), bar(limit, capacity));
        limits.push(limit);
    }
    let settled = &limits[limits.len() / 2..];
    let mean = settled.iter().sum::<usize>() / settled.len();
    let near = mean * 5 >= capacity * 4 && mean * 5 <= capacity * 6;
    let verdict = if near { "found" } else { "MISSED" };
    println!("        {verdict}: {mean} on average, with {capacity} workers\n");
    near
}

fn bar(limit: usize, capacity: usize) -> String {
    let width = (CALLERS * 7 / 10 / SCALE).max(limit / SCALE);
    (0..width)
        .map(|column| match column * SCALE {
            calls if calls / SCALE == capacity / SCALE => '│',
            calls if calls < limit => '█',
            _ => ' ',
        })
        .collect()
}

/// What a call comes back with.
enum Answer {
    Done,
    Busy,
}

/// Works on so many calls at once at full speed, on a tenth more by sharing its workers, and refuses the rest.
struct Dependency {
    capacity: Cell<usize>,
    inside: Cell<usize>,
}

impl Dependency {
    fn new(capacity: usize) -> Self {
        Self { capacity: Cell::new(capacity), inside: Cell::new(0) }
    }

    fn change_capacity(&self, capacity: usize) {
        self.capacity.set(capacity);
    }

    async fn answer(&self) -> Answer {
        let (capacity, inside) = (self.capacity.get(), self.inside.get() + 1);
        self.inside.set(inside);
        let refuses = inside > capacity + capacity / 10;
        let share = u32::try_from(100 * inside / capacity).unwrap_or(u32::MAX).max(100);
        sleep(if refuses { REFUSAL } else { LATENCY * share / 100 }).await;
        self.inside.set(self.inside.get() - 1);
        if refuses { Answer::Busy } else { Answer::Done }
    }
}
