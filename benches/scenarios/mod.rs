//! The stacks whose cost is watched: by time (`overhead.rs`), by instructions (`instructions.rs`) and by allocations
//! (`tests/allocations.rs`).
//!
//! A stack is one line in [`all`] and gives two scenarios: its service answers at once, or on the second poll. The
//! calls are polled by hand under a waker that does nothing, inside of a runtime whose clock runs: no scheduler and
//! no driver stands between two polls, so what is measured is the stack, its clock readings and its timers.

use std::{
    hint::black_box,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use moneta_resilience::{
    Ratio, Repeatable, RetryBudget,
    bulkhead::BulkheadLayer,
    circuit_breaker::CircuitBreakerLayer,
    fallback::{Answering, FallbackLayer, Why},
    fault::{Fault, FaultLayer, Faults, Target},
    golden::{self, ClientBuilder, Limit, measured},
    hedge::HedgeLayer,
    load_shed::ThrottleLayer,
    retry::RetryLayer,
    telemetry::TelemetryLayer,
    timeout::TimeoutLayer,
};
use tokio::runtime::{self, Runtime};
use tower::{BoxError, Layer, Service, ServiceBuilder, service_fn, util::MapRequest};

/// A limit that no scenario reaches.
const FAR: Duration = Duration::from_secs(30);

/// Every scenario. A new stack is one line.
pub(crate) fn all() -> Vec<Scenario> {
    let mut all = Scenarios::new();
    all.stack("bare", |service| service);
    all.stack("timeout", |service| TimeoutLayer::new(FAR).layer(service));
    all.stack("circuit_breaker", |service| CircuitBreakerLayer::new().layer(service));
    all.stack("breaker_per_key", |service| {
        CircuitBreakerLayer::new().per_key(|request: &u64| request % 16).layer(service)
    });
    all.stack("circuit_breaker_hour", |service| CircuitBreakerLayer::new().window(FAR * 120).layer(service));
    all.stack("circuit_breaker_last_calls", |service| {
        CircuitBreakerLayer::new().last_calls(1_000_000).layer(service)
    });
    all.stack("circuit_breaker_among_1000", |service| {
        // They stay for as long as the program runs.
        std::mem::forget((0..1_000).map(|_| CircuitBreakerLayer::new()).collect::<Vec<_>>());
        CircuitBreakerLayer::new().layer(service)
    });
    all.stack("bulkhead", |service| BulkheadLayer::new(64).layer(service));
    #[cfg(feature = "rate-limit")]
    all.stack("rate_limit", |service| rate_limit().layer(service));
    all.stack("throttle", |service| ThrottleLayer::new().layer(service));
    all.stack("fault", |service| FaultLayer::new(Faults::new()).layer(service));
    all.stack("fault_armed", |service| {
        let (faults, another) = (Faults::new(), Target::pipeline("another"));
        faults.arm(Fault::hang().target(another).lasting(100 * FAR));
        FaultLayer::new(faults).layer(service)
    });
    // The same stack without a fault hook, with one that is disarmed, and with one in which nothing is armed for it. No two
    // scenarios are of one type: what is compiled once for both is a call of a function more for each.
    all.stack("hook_none", |service| repeatable(measured::bare(FAR, unwrapped(service))));
    all.stack("hook_disarmed", |service| {
        repeatable(measured::hooked(FAR, &Faults::new(), unwrapped(service)))
    });
    all.stack("hook_armed", |service| {
        let faults = Faults::new();
        faults.arm(Fault::hang().target(Target::pipeline("another")).lasting(100 * FAR));
        measured::hooked(FAR, &faults, service)
    });
    all.stack("fallback", |service| FallbackLayer::new(|_why| Ok(0)).layer(service));
    all.stack("telemetry", |service| TelemetryLayer::new("telemetry").layer(service));
    all.stack("retry", |service| repeatable(RetryLayer::new().layer(unwrapped(service))));
    // Without anything to pay for a copy: the machine may stop for longer than most calls take, and a copy is in a box.
    all.stack("hedge", |service| {
        let budget = RetryBudget::new().ratio(Ratio::ZERO).min_per_second(0);
        repeatable(HedgeLayer::new().budget(budget).layer(unwrapped(service)))
    });
    all.stack("five_layers", |service| repeatable(five_layers(unwrapped(service))));
    all.stack("client", |service| repeatable(client().service(unwrapped(service))));
    #[cfg(feature = "http")]
    {
        use moneta_resilience::http::ServerTelemetryLayer;

        all.stack("http_bare", |service| http::spoken(http::served(service)));
        all.stack("http_telemetry", |service| {
            http::spoken(ServerTelemetryLayer::new("scenario").layer(http::served(service)))
        });
        all.stack("http_server", |service| {
            http::spoken(golden::server("scenario").timeout(FAR).layer().layer(http::served(service)))
        });
    }
    #[cfg(feature = "slo")]
    {
        use moneta_resilience::slo::{ErrorBudget, Objective};

        let budget = ErrorBudget::new(Objective::new("scenario"));
        let dial = budget.dial();
        all.work("slo/record", move |call| budget.record(call % 2 == 0));
        all.work("slo/dial", move |_| _ = black_box(dial.get()));
    }
    all.list
}

/// The numbers of a scenario as requests and answers of HTTP, whose bodies are read to their ends.
#[cfg(feature = "http")]
pub(crate) mod http {
    use std::task::{Context, Waker};

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::{BodyExt, Full};
    use tower::{BoxError, Service, ServiceExt};

    use super::Inner;

    /// The service of a scenario as a server.
    pub(crate) fn served(
        service: Inner,
    ) -> impl Service<Request<u64>, Response = Response<Full<Bytes>>, Error = BoxError, Future: Send> + Clone
    {
        service
            .map_request(|request: Request<u64>| request.into_body())
            .map_response(|_| Response::new(Full::from(Bytes::from_static(b"an answer"))))
    }

    /// A server as a service of a scenario.
    pub(crate) fn spoken<S, B>(server: S) -> impl Service<u64, Response = u64, Error = BoxError>
    where
        S: Service<Request<u64>, Response = Response<B>, Error: Into<BoxError>>,
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        server.map_request(Request::new).map_err(Into::into).map_response(|answer: Response<B>| {
            let mut body = answer.into_body();
            let mut read = 0;
            let cx = &mut Context::from_waker(Waker::noop());
            while let std::task::Poll::Ready(Some(Ok(frame))) = std::pin::Pin::new(&mut body.frame()).poll(cx)
            {
                read += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            read
        })
    }
}

/// What it costs to say no, which is what an overload is made of. A refusal allocates its error.
#[allow(dead_code, reason = "for the benches alone")]
pub(crate) fn refusals() -> Vec<Scenario> {
    let mut all = Scenarios::new();
    all.refusal("refusal/bulkhead_full", || BulkheadLayer::new(1).max_queue(0));
    all.refusal("refusal/shed", || BulkheadLayer::new(1).priorities());
    all.list
}

/// A quota that no scenario uses up.
#[cfg(feature = "rate-limit")]
fn rate_limit() -> moneta_resilience::rate_limit::RateLimitLayer {
    moneta_resilience::rate_limit::RateLimitLayer::new(moneta_resilience::Quota::per_second(1_000_000_000))
}

/// Layers one around the other, each a service of its own.
fn five_layers<S>(service: S) -> impl Service<Repeatable<u64>, Response = u64, Error = BoxError>
where
    S: Service<Repeatable<u64>, Response = u64, Error = BoxError> + Clone,
{
    ServiceBuilder::new()
        .layer(FallbackLayer::new(|_why| Ok(0)))
        .layer(RetryLayer::new())
        .layer(CircuitBreakerLayer::new())
        .layer(BulkheadLayer::new(64))
        .layer(TimeoutLayer::new(FAR))
        .service(service)
}

/// The golden path of a client, everything on.
fn client() -> ClientBuilder<Limit, Answering<impl Fn(Why) -> Result<u64, BoxError> + Clone>> {
    golden::client("scenario").timeout(FAR).fallback(|_why| Ok(0))
}

/// Lets a stack that wants to know whether a request may be sent twice take the plain ones of a scenario.
fn repeatable<S>(stack: S) -> MapRequest<S, fn(u64) -> Repeatable<u64>> {
    MapRequest::new(stack, Repeatable)
}

/// The service of a scenario below such a stack.
fn unwrapped(service: Inner) -> MapRequest<Inner, fn(Repeatable<u64>) -> u64> {
    MapRequest::new(service, Repeatable::into_inner)
}

/// One stack over one kind of service.
pub(crate) struct Scenario {
    /// `stack/ready` or `stack/pending`.
    pub(crate) name: String,
    calls: Box<dyn FnMut(u64)>,
    runtime: Rc<Runtime>,
}

impl Scenario {
    /// Makes so many calls, one after the other.
    pub(crate) fn run(&mut self, calls: u64) {
        let _inside = self.runtime.enter();
        (self.calls)(calls);
    }
}

struct Scenarios {
    list: Vec<Scenario>,
    runtime: Rc<Runtime>,
}

impl Scenarios {
    fn new() -> Self {
        let runtime = runtime::Builder::new_current_thread().enable_time().build();
        Self { list: Vec::new(), runtime: Rc::new(runtime.expect("a runtime without I/O asks for nothing")) }
    }

    fn stack<S>(&mut self, name: &str, build: impl Fn(Inner) -> S)
    where
        S: Service<u64, Response = u64, Error = BoxError> + 'static,
    {
        self.add(format!("{name}/ready"), &build, |request| Answer { request, polls_left: 0 });
        self.add(format!("{name}/pending"), &build, |request| Answer { request, polls_left: 1 });
    }

    /// What is no call of a service.
    #[cfg(feature = "slo")]
    fn work(&mut self, name: &str, work: impl Fn(u64) + 'static) {
        let calls = Box::new(move |calls| (0..calls).for_each(|call| work(black_box(call))));
        self.list.push(Scenario { name: name.to_owned(), calls, runtime: Rc::clone(&self.runtime) });
    }

    /// Calls to a bulkhead whose only place is held.
    fn refusal(&mut self, name: &str, layer: impl FnOnce() -> BulkheadLayer) {
        let inside = self.runtime.enter();
        let hangs: fn(u64) -> Answer = |request| Answer { request, polls_left: u32::MAX };
        let mut service = layer().layer(service_fn(hangs));
        let mut held = Box::pin(service.call(0));
        drop(inside);
        let calls = Box::new(move |calls| {
            if held.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                unreachable!("a service that hangs")
            }
            for call in 0..calls {
                let answer = one_call(&mut service, black_box(call));
                assert!(black_box(answer).is_err(), "there is no place");
            }
        });
        self.list.push(Scenario { name: name.to_owned(), calls, runtime: Rc::clone(&self.runtime) });
    }

    fn add<S>(&mut self, name: String, build: impl Fn(Inner) -> S, answer: fn(u64) -> Answer)
    where
        S: Service<u64, Response = u64, Error = BoxError> + 'static,
    {
        let inside = self.runtime.enter();
        let mut service = build(service_fn(answer));
        drop(inside);
        let calls = Box::new(move |calls| {
            for call in 0..calls {
                let answer = one_call(&mut service, black_box(call));
                assert!(black_box(answer).is_ok(), "the service of a scenario answers");
            }
        });
        self.list.push(Scenario { name, calls, runtime: Rc::clone(&self.runtime) });
    }
}

fn one_call<S: Service<u64>>(service: &mut S, request: u64) -> Result<S::Response, S::Error> {
    let cx = &mut Context::from_waker(Waker::noop());
    while service.poll_ready(cx)?.is_pending() {}
    let mut future = pin!(service.call(request));
    loop {
        if let Poll::Ready(answer) = future.as_mut().poll(cx) {
            return answer;
        }
    }
}

/// What the stacks stand in front of.
pub(crate) type Inner = tower::util::ServiceFn<fn(u64) -> Answer>;

/// Gives the request back, after so many polls that only wake their task.
#[derive(Debug)]
pub(crate) struct Answer {
    request: u64,
    polls_left: u32,
}

impl Future for Answer {
    type Output = Result<u64, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls_left == 0 {
            return Poll::Ready(Ok(self.request));
        }
        // Opaque, or a bare service is optimised into one that answers at once.
        self.polls_left = black_box(self.polls_left - 1);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
