//! Whether a call costs the same when there are many: in flight, stacks in the process, calls before it, timeouts at once.
//!
//! `scale`, `scale --write`, or the name of a part. Times are of the processor, and each cost stands beside what a bare call does
//! on the same path, because memory that is not in a cache costs everybody.

use std::{
    env,
    fmt::Display,
    future::pending,
    hint::black_box,
    io::{self, Write},
    pin::Pin,
    process::{Command, Stdio},
    task::{Context, Poll, Waker},
    time::Duration,
};

use cpu_time::ThreadTime;
use moneta_resilience::{Registry, golden, timeout::TimeoutLayer};
use moneta_resilience_peers::{
    clock::runtime,
    contestants::by_hand,
    pages, telemetry,
    work::{Answer, Failed, Inner, Request},
};
use tokio::{runtime as tokio_runtime, task::JoinSet};
use tower::{Layer, Service, ServiceExt, service_fn};

const FAR: Duration = Duration::from_secs(30);
const ROUNDS: usize = 7;
const PENDING: Inner<()> = Inner::new(1);

/// Each is measured in a process of its own, so that no holes in the heap are left to it by another.
const PARTS: [(&str, Part); 5] = [
    ("in-flight", in_flight),
    ("stacks", stacks),
    ("history", history),
    ("timeouts", timeouts),
    ("memory", memory),
];

/// Measures something, and writes its table.
type Part = fn() -> String;

fn main() -> io::Result<()> {
    let asked = env::args().nth(1);
    if let Some((name, part)) = PARTS.iter().find(|(name, _)| asked.as_deref() == Some(name)) {
        let _telemetry = telemetry();
        // Timeouts make one of their own each; this one has a thread beside them.
        let runtime = (*name != "timeouts").then(runtime);
        let _inside = runtime.as_ref().map(|runtime| runtime.enter());
        return io::stdout().write_all(part().as_bytes());
    }
    let mut page = String::new();
    for (name, _) in PARTS {
        let output = Command::new(env::current_exe()?).arg(name).stderr(Stdio::inherit()).output()?;
        assert!(output.status.success(), "{name} cannot be measured");
        page += &String::from_utf8_lossy(&output.stdout);
        page.push('\n');
    }
    let page = page.trim_end();
    writeln!(io::stdout(), "{page}")?;
    if asked.as_deref() == Some("--write") {
        pages::replace("docs/performance.md", "scale", page)?;
    }
    Ok(())
}

/// A client with everything on, and room for all calls.
fn client(
    name: &str,
    registry: &Registry,
) -> impl Service<Request, Response = u64, Future: Send> + Clone + Send + use<> {
    let client = golden::client(name).timeout(FAR).fallback(|_why| Ok(0)).bulkhead(1_000_000);
    client.registry(registry).service(PENDING)
}

// ---------------------------------------------------------------------------------------------------------------------

/// The bytes that a stack keeps.
fn memory() -> String {
    const STACKS: u32 = 1_000;
    let mut page = heading("Memory of an idle stack", &["", "bytes"]);
    let registry = Registry::new();
    let mut kept = Vec::new();
    for (what, calls) in [("before its first call", 0), ("after 100 calls", 100)] {
        let counted = allocation_counter::measure(|| {
            for stack in 0..STACKS {
                let mut client = client(&format!("{what} {stack}"), &registry);
                for _ in 0..calls {
                    call(&mut client);
                }
                kept.push(client);
            }
        });
        page += &row(what, [counted.bytes_current / i64::from(STACKS)]);
    }
    page
}

// ---------------------------------------------------------------------------------------------------------------------

/// Each turn ends the oldest of so many calls and begins another one.
trait Turns {
    fn nanos(&mut self, turns: usize) -> f64;
}

struct Ring<S: Service<Request>> {
    service: S,
    calls: Vec<Pin<Box<Option<S::Future>>>>,
    oldest: usize,
}

impl<S: Service<Request, Response = u64>> Ring<S> {
    fn new(mut service: S, in_flight: usize) -> Self {
        let calls = (0..in_flight).map(|_| Box::pin(Some(begun(&mut service)))).collect();
        let mut ring = Self { service, calls, oldest: 0 };
        for call in &mut ring.calls {
            assert!(polled(call).is_pending(), "no call answers at once");
        }
        ring
    }
}

fn begun<S: Service<Request>>(service: &mut S) -> S::Future {
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(matches!(service.poll_ready(cx), Poll::Ready(Ok(()))), "it is ready");
    service.call(black_box(Request(7)))
}

fn polled<F: Future<Output = Result<u64, E>>, E>(call: &mut Pin<Box<Option<F>>>) -> Poll<bool> {
    let call = call.as_mut().as_pin_mut().expect("it holds a call");
    call.poll(&mut Context::from_waker(Waker::noop())).map(|answer| black_box(answer).is_ok())
}

impl<S: Service<Request, Response = u64>> Turns for Ring<S> {
    fn nanos(&mut self, turns: usize) -> f64 {
        let start = ThreadTime::now();
        for _ in 0..turns {
            let call = &mut self.calls[self.oldest];
            assert_eq!(polled(call), Poll::Ready(true));
            call.set(Some(begun(&mut self.service)));
            assert!(polled(call).is_pending());
            self.oldest = (self.oldest + 1) % self.calls.len();
        }
        nanos(start, turns)
    }
}

/// A bare service whose future is as large as that of a client: what any call of that size pays.
#[derive(Clone, Copy)]
struct Large;

struct LargeAnswer {
    answer: Answer,
    _rest: [u64; 96],
}

impl Service<Request> for Large {
    type Response = u64;
    type Error = Failed;
    type Future = LargeAnswer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> LargeAnswer {
        LargeAnswer { answer: PENDING.answer(request), _rest: black_box([request.0; 96]) }
    }
}

impl Future for LargeAnswer {
    type Output = Result<u64, Failed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(cx)
    }
}

fn in_flight() -> String {
    const COUNTS: [usize; 6] = [1, 10, 100, 1_000, 10_000, 100_000];
    let mut page = heading(
        "Calls in flight",
        &["ns of a call", "1", "10", "100", "1,000", "10,000", "100,000", "last over first"],
    );
    let client = client("in flight", &Registry::new());
    let timeout = TimeoutLayer::new(FAR).layer(PENDING);
    let theirs = tower::timeout::TimeoutLayer::new(FAR).layer(PENDING);
    let names = [
        "bare",
        "bare, future of the same size",
        "`tower`'s timeout",
        "our timeout",
        "by hand",
        "our client",
    ];
    let mut costs = vec![Vec::new(); names.len()];
    for count in COUNTS {
        let mut rings: [Box<dyn Turns>; 6] = [
            Box::new(Ring::new(PENDING, count)),
            Box::new(Ring::new(Large, count)),
            Box::new(Ring::new(theirs.clone(), count)),
            Box::new(Ring::new(timeout.clone(), count)),
            Box::new(Ring::new(by_hand(PENDING, u32::MAX), count)),
            Box::new(Ring::new(client.clone(), count)),
        ];
        let turns = count.max(100_000);
        for (costs, medians) in costs.iter_mut().zip(in_rounds(&mut rings, |ring| ring.nanos(turns))) {
            costs.push(medians);
        }
    }
    for (name, costs) in names.iter().zip(costs) {
        page += &row(name, costs.iter().map(|cost| format!("{cost:.0}")).chain([over(&costs)]));
    }
    page
}

// ---------------------------------------------------------------------------------------------------------------------

/// Calls one service after the other.
struct Around<S> {
    services: Vec<S>,
}

impl<S: Service<Request, Response = u64>> Turns for Around<S> {
    fn nanos(&mut self, turns: usize) -> f64 {
        let (start, count) = (ThreadTime::now(), self.services.len());
        for turn in 0..turns {
            call(&mut self.services[turn % count]);
        }
        nanos(start, turns)
    }
}

fn stacks() -> String {
    const COUNTS: [usize; 5] = [1, 10, 100, 1_000, 10_000];
    let mut page = heading(
        "Stacks in a process",
        &["ns of a call", "1", "10", "100", "1,000", "10,000", "last over first"],
    );
    let names = [
        "bare",
        "bare, future of the same size",
        "by hand, in turn",
        "our client, always the same",
        "our clients, in turn",
    ];
    let mut costs = vec![Vec::new(); names.len()];
    for count in COUNTS {
        let registry = Registry::new();
        let clients: Vec<_> =
            (0..count).map(|stack| client(&format!("{count} {stack}"), &registry)).collect();
        let hands: Vec<_> = (0..count).map(|_| by_hand(PENDING, 64)).collect();
        let mut all: [Box<dyn Turns>; 5] = [
            Box::new(Around { services: vec![PENDING; count] }),
            Box::new(Around { services: vec![Large; count] }),
            Box::new(Around { services: hands }),
            Box::new(Around { services: vec![clients[0].clone()] }),
            Box::new(Around { services: clients }),
        ];
        for (costs, median) in costs.iter_mut().zip(in_rounds(&mut all, |around| around.nanos(100_000))) {
            costs.push(median);
        }
    }
    for (name, costs) in names.iter().zip(costs) {
        page += &row(name, costs.iter().map(|cost| format!("{cost:.0}")).chain([over(&costs)]));
    }
    page
}

// ---------------------------------------------------------------------------------------------------------------------

fn history() -> String {
    const STEP: usize = 1_000_000;
    let mut page = heading(
        "Ten million calls",
        &["ns of a call", "first million", "second", "fifth", "tenth", "last over first"],
    );
    let mut services: [(&str, Box<dyn Turns>, Vec<f64>); 2] = [
        ("bare", Box::new(Around { services: vec![PENDING] }), Vec::new()),
        ("our client", Box::new(Around { services: vec![client("history", &Registry::new())] }), Vec::new()),
    ];
    for _ in 0..10 {
        for (_, service, costs) in &mut services {
            costs.push(service.nanos(STEP));
        }
    }
    for (name, _, costs) in services {
        let shown = [costs[0], costs[1], costs[4], costs[9]];
        page += &row(name, shown.iter().map(|cost| format!("{cost:.0}")).chain([over(&shown)]));
    }
    page
}

// ---------------------------------------------------------------------------------------------------------------------

/// The processor time of one timeout of many that end at once, from the beginning of its call to its end.
fn timeouts() -> String {
    const LIMIT: Duration = Duration::from_millis(500);
    const COUNTS: [usize; 3] = [1_000, 10_000, 100_000];
    let hangs = service_fn(|_: Request| pending::<Result<u64, Failed>>());
    let service = TimeoutLayer::new(LIMIT).layer(hangs);
    let mut all = [
        ("`tokio::time::sleep`", at_once(|| async { tokio::time::sleep(LIMIT).await })),
        (
            "`tokio::time::timeout`",
            at_once(|| async { assert!(tokio::time::timeout(LIMIT, pending::<()>()).await.is_err()) }),
        ),
        (
            "our timeout",
            at_once(move || {
                let service = service.clone();
                async { assert!(service.oneshot(Request(7)).await.is_err()) }
            }),
        ),
    ];
    let costs = COUNTS.map(|count| in_rounds(&mut all, |(_, run)| run(count)));
    let mut page = heading("Timeouts at once", &["ns of a call", "1,000", "10,000", "100,000"]);
    for (n, (name, _)) in all.iter().enumerate() {
        page += &row(name, costs.iter().map(|costs| format!("{:.0}", costs[n])));
    }
    page
}

/// What one of so many tasks takes that all are spawned, wait and end.
fn at_once<F: Future<Output = ()> + Send + 'static>(
    task: impl Fn() -> F + 'static,
) -> Box<dyn Fn(usize) -> f64> {
    Box::new(move |count| {
        let runtime = tokio_runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime without I/O asks for nothing");
        let start = ThreadTime::now();
        runtime.block_on(async {
            let mut tasks: JoinSet<()> = (0..count).map(|_| task()).collect();
            while let Some(ended) = tasks.join_next().await {
                ended.expect("no panic");
            }
        });
        nanos(start, count)
    })
}

// ---------------------------------------------------------------------------------------------------------------------

/// A call from its beginning to its end.
fn call<S: Service<Request, Response = u64>>(service: &mut S) {
    let cx = &mut Context::from_waker(Waker::noop());
    let mut call = std::pin::pin!(begun(service));
    loop {
        if let Poll::Ready(answer) = call.as_mut().poll(cx) {
            return assert!(black_box(answer).is_ok(), "the service answers");
        }
    }
}

/// In every round each has its turn; gives the medians. The first round only warms up.
fn in_rounds<T>(all: &mut [T], mut turn: impl FnMut(&mut T) -> f64) -> Vec<f64> {
    let mut rounds = vec![Vec::new(); all.len()];
    for round in 0..=ROUNDS {
        for (one, costs) in all.iter_mut().zip(&mut rounds) {
            let cost = turn(one);
            if round > 0 {
                costs.push(cost);
            }
        }
    }
    rounds.into_iter().map(median).collect()
}

fn nanos(start: ThreadTime, turns: usize) -> f64 {
    per_call(start.elapsed(), turns)
}

#[expect(clippy::cast_precision_loss, reason = "millions")]
fn per_call(time: Duration, calls: usize) -> f64 {
    time.as_secs_f64() * 1e9 / calls as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn over(costs: &[f64]) -> String {
    format!("{:.2}", costs[costs.len() - 1] / costs[0])
}

fn heading(title: &str, columns: &[&str]) -> String {
    let line = "---:|".repeat(columns.len() - 1);
    format!("### {title}\n\n| {} |\n|---|{line}\n", columns.join(" | "))
}

fn row<T: Display>(name: &str, cells: impl IntoIterator<Item = T>) -> String {
    let cells: Vec<_> = cells.into_iter().map(|cell| cell.to_string()).collect();
    format!("| {name} | {} |\n", cells.join(" | "))
}
