//! A client's stack written by hand for one kind of call: what the machine allows.
//!
//! Fallback, retry with a budget, circuit breaker, bulkhead, timeout, a fault hook, a count of the calls and a histogram of
//! how long they took: in one future with one shared state, without names, handles, classes, deadlines, spans or events.
//! What is taken is given back when a call is dropped.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use opentelemetry::{KeyValue, global, metrics::BoundHistogram};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tower::Service;

use crate::work::{Failed, Request};

const ATTEMPTS: u32 = 3;
const BACKOFF: Duration = Duration::from_millis(50);
const OPEN: u64 = 5_000;
const SLICE: u64 = 15_000;
const FULL_BUDGET: i64 = 1_000;
const PRICE: i64 = 5;

/// What all callers share.
struct Shared {
    timeout: Duration,
    places: u32,
    began: Instant,
    /// Zero while the breaker is closed, else when it may be tried again, in milliseconds from `began`.
    open_until: AtomicU64,
    slice: AtomicU64,
    calls: [AtomicU32; 2],
    failures: [AtomicU32; 2],
    in_flight: AtomicU32,
    budget: AtomicI64,
    armed: AtomicBool,
    succeeded: AtomicU64,
    degraded: AtomicU64,
    duration: BoundHistogram<f64>,
}

impl Shared {
    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether an attempt may begin; one that may holds a place.
    fn admit(&self, now: Instant) -> bool {
        let open_until = self.open_until.load(Relaxed);
        if open_until > 0 {
            // One call of all tries whether the service is back, and the others wait for as long again.
            let now = self.millis(now);
            let tries = now >= open_until
                && self.open_until.compare_exchange(open_until, now + OPEN, Relaxed, Relaxed).is_ok();
            if !tries {
                return false;
            }
        }
        if self.in_flight.fetch_add(1, Relaxed) >= self.places {
            self.leave();
            return false;
        }
        true
    }

    fn leave(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    fn record(&self, now: Instant, succeeded: bool) {
        let now = self.millis(now);
        let slice = now / SLICE;
        let (this, last) = if slice.is_multiple_of(2) { (0, 1) } else { (1, 0) };
        if self.slice.load(Relaxed) != slice && self.slice.swap(slice, Relaxed) != slice {
            self.calls[this].store(0, Relaxed);
            self.failures[this].store(0, Relaxed);
        }
        self.calls[this].fetch_add(1, Relaxed);
        if succeeded {
            if self.open_until.load(Relaxed) > 0 {
                self.open_until.store(0, Relaxed);
            }
            return;
        }
        self.failures[this].fetch_add(1, Relaxed);
        let sum = |counts: &[AtomicU32; 2]| counts[this].load(Relaxed) + counts[last].load(Relaxed);
        let (calls, failures) = (sum(&self.calls), sum(&self.failures));
        if calls >= 20 && 2 * failures >= calls {
            self.open_until.store(now + OPEN, Relaxed);
        }
    }

    fn deposit(&self) {
        if self.budget.load(Relaxed) < FULL_BUDGET {
            self.budget.fetch_add(1, Relaxed);
        }
    }

    fn withdraw(&self) -> bool {
        self.budget.fetch_update(Relaxed, Relaxed, |left| (left >= PRICE).then_some(left - PRICE)).is_ok()
    }
}

/// The stack, over the service `S`.
#[derive(Clone)]
pub(crate) struct Floor<S, F> {
    shared: Arc<Shared>,
    inner: S,
    fallback: F,
}

impl<S, F> Floor<S, F> {
    pub(crate) fn new(inner: S, timeout: Duration, places: u32, fallback: F) -> Self {
        let histogram = global::meter("floor").f64_histogram("floor.call.duration").build();
        let shared = Shared {
            timeout,
            places,
            began: Instant::now(),
            open_until: AtomicU64::new(0),
            slice: AtomicU64::new(0),
            calls: Default::default(),
            failures: Default::default(),
            in_flight: AtomicU32::new(0),
            budget: AtomicI64::new(FULL_BUDGET),
            armed: AtomicBool::new(false),
            succeeded: AtomicU64::new(0),
            degraded: AtomicU64::new(0),
            duration: histogram.bind(&[KeyValue::new("pipeline", "floor")]),
        };
        Self { shared: Arc::new(shared), inner, fallback }
    }
}

impl<S, F> Service<Request> for Floor<S, F>
where
    S: Service<Request, Response = u64, Error = Failed> + Clone,
    F: Fn() -> Result<u64, Failed> + Clone,
{
    type Response = u64;
    type Error = Failed;
    type Future = FloorFuture<S, F>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let ready = self.inner.clone();
        FloorFuture {
            inner: std::mem::replace(&mut self.inner, ready),
            shared: Arc::clone(&self.shared),
            fallback: self.fallback.clone(),
            request,
            attempts: 0,
            is_ready: true,
            holds: false,
            began: None,
            timer: None,
            step: Step::Begin,
        }
    }
}

pin_project! {
    #[project = StepProj]
    enum Step<A> {
        Begin,
        Attempt { #[pin] attempt: A, ends: Instant },
        Wait,
    }
}

pin_project! {
    /// One call.
    pub(crate) struct FloorFuture<S: Service<Request>, F> {
        inner: S,
        shared: Arc<Shared>,
        fallback: F,
        request: Request,
        attempts: u32,
        is_ready: bool,
        holds: bool,
        began: Option<Instant>,
        // Of the attempt, or of the wait before the next one.
        #[pin]
        timer: Option<Sleep>,
        #[pin]
        step: Step<S::Future>,
    }

    impl<S: Service<Request>, F> PinnedDrop for FloorFuture<S, F> {
        fn drop(this: Pin<&mut Self>) {
            if this.holds {
                this.shared.leave();
            }
        }
    }
}

impl<S, F> Future for FloorFuture<S, F>
where
    S: Service<Request, Response = u64, Error = Failed>,
    F: Fn() -> Result<u64, Failed>,
{
    type Output = Result<u64, Failed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let shared = &**this.shared;
        let mut ended = None;
        let answer = loop {
            match this.step.as_mut().project() {
                StepProj::Begin => {
                    if !*this.is_ready && std::task::ready!(this.inner.poll_ready(cx)).is_err() {
                        break None;
                    }
                    let now = Instant::now();
                    if this.began.is_none() {
                        *this.began = Some(now);
                        shared.deposit();
                    }
                    if !shared.admit(now) {
                        break None;
                    }
                    (*this.holds, *this.is_ready) = (true, false);
                    *this.attempts += 1;
                    if shared.armed.load(Relaxed) {
                        break None;
                    }
                    let attempt = this.inner.call(*this.request);
                    this.step.set(Step::Attempt { attempt, ends: now + shared.timeout });
                }
                StepProj::Attempt { attempt, ends } => {
                    let result = match attempt.poll(cx) {
                        Poll::Ready(result) => result.ok(),
                        Poll::Pending => {
                            if this.timer.is_none() {
                                this.timer.set(Some(sleep_until(*ends)));
                            }
                            if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                                std::task::ready!(timer.poll(cx));
                            }
                            None
                        }
                    };
                    let now = *ended.insert(Instant::now());
                    shared.record(now, result.is_some());
                    shared.leave();
                    *this.holds = false;
                    this.timer.set(None);
                    if result.is_some() {
                        break result;
                    }
                    if *this.attempts == ATTEMPTS || !shared.withdraw() {
                        break None;
                    }
                    this.step.set(Step::Wait);
                    this.timer.set(Some(sleep(BACKOFF)));
                }
                StepProj::Wait => {
                    if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                        std::task::ready!(timer.poll(cx));
                    }
                    this.timer.set(None);
                    this.step.set(Step::Begin);
                }
            }
        };
        let ended = ended.unwrap_or_else(Instant::now);
        shared.duration.record(this.began.map_or(0.0, |began| (ended - began).as_secs_f64()));
        Poll::Ready(if let Some(answer) = answer {
            shared.succeeded.fetch_add(1, Relaxed);
            Ok(answer)
        } else {
            shared.degraded.fetch_add(1, Relaxed);
            (this.fallback)()
        })
    }
}
