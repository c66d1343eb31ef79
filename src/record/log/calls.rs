use std::{
    cell::Cell,
    fmt, slice,
    sync::{Arc, LazyLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use tracing::{Level, level_filters::LevelFilter};

use super::{alert::Alert, correlation};
use crate::{
    correlation::Trace,
    event::{End, Ended, Event, Exchange, Outcome, Protocol},
    name::Name,
    observer::{Interest, Sink},
    random::Random,
    ratio::Ratio,
};

/// What all events of the crate are found by.
pub(super) const TARGET: &str = "moneta_resilience";

/// The log of the process.
static CALLS: LazyLock<ArcSwap<CallLog>> = LazyLock::new(ArcSwap::default);

thread_local! {
    /// The end of a server's request that was told of last: the end of its call follows at once, and is the same.
    static SERVED: Cell<Option<(usize, Duration)>> = const { Cell::new(None) };
}

/// The sink that logs the calls of the process, as the [`CallLog`] does that was installed last.
///
/// Golden stacks and [`record::observer`](crate::record::observer) tell it already. It is for the stacks of a registry of
/// one's own.
pub fn calls() -> Arc<dyn Sink> {
    static SINK: LazyLock<Arc<Installed>> = LazyLock::new(|| Arc::new(Installed));
    Arc::clone(&SINK) as Arc<dyn Sink>
}

/// Tells whichever log is installed.
struct Installed;

impl Sink for Installed {
    fn interest(&self) -> Interest {
        Interest::CALLS | Interest::REQUESTS | Interest::ALERTS
    }

    fn record(&self, pipeline: &Name, event: &Event) {
        self.record_all(pipeline, slice::from_ref(event));
    }

    fn record_all(&self, pipeline: &Name, events: &[Event]) {
        if is_heard() {
            CALLS.load().record_all(pipeline, events);
        }
    }
}

/// Which calls are logged, beside the alerts of error budgets; see the [module](super). It is a sink, for a stack of its own, and can be
/// [the one of the process](CallLog::install).
///
/// ```
/// use std::time::Duration;
/// use moneta_resilience::{Ratio, record::log::CallLog};
///
/// // Every hundredth call that went well, all others, and those that took longer than half a second.
/// CallLog::new().successes(Ratio::new(0.01)?).slow(Duration::from_millis(500)).install();
/// # Ok::<(), moneta_resilience::InvalidRatio>(())
/// ```
#[derive(Debug)]
pub struct CallLog {
    successes: Ratio,
    slow: Duration,
    random: Random,
}

impl CallLog {
    /// Logs every call of a server, and what takes longer than a second as slow.
    pub fn new() -> Self {
        Self { successes: Ratio::ONE, slow: Duration::from_secs(1), random: Random::from_entropy() }
    }

    /// Logs this share of the calls that went well and were not slow. The default is all of them.
    #[must_use]
    pub fn successes(self, share: Ratio) -> Self {
        Self { successes: share, ..self }
    }

    /// From when on a call is slow. The default is one second.
    #[must_use]
    pub fn slow(self, limit: Duration) -> Self {
        Self { slow: limit, ..self }
    }

    /// Fixes which calls are in the share that is logged.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { random: Random::seeded(seed), ..self }
    }

    /// Makes it the log of the process, from the next call on.
    pub fn install(self) {
        CALLS.store(Arc::new(self));
    }

    fn tell(&self, pipeline: &Name, ending: Ending<'_>) {
        match ending {
            Ending::Served(exchange, ended) => self.served(pipeline, exchange, ended),
            Ending::Called(outcome, elapsed) => self.called(pipeline, outcome, elapsed),
            Ending::Broken(outcome) => Self::broken(pipeline, outcome),
            Ending::Alert(alert) => alert.tell(pipeline),
        }
    }

    fn served(&self, pipeline: &Name, exchange: &Exchange, ended: &Ended) {
        // Its head may have said otherwise.
        let left = ended.outcome == Outcome::Cancelled;
        let went_well = !left
            && ended.error.is_none()
            && ended.status.is_some_and(|status| match exchange.protocol {
                Protocol::Http => status < 400,
                Protocol::Grpc => status == 0,
            });
        let slow = ended.elapsed > self.slow;
        if went_well && !slow && self.random.unit() >= self.successes.value() {
            return;
        }
        let line = Line {
            pipeline: pipeline.as_str(),
            exchange: Some(exchange),
            status: ended.status,
            error: ended.error,
            outcome: left.then_some(ended.outcome),
            broken: false,
            elapsed: Some(ended.elapsed),
            slow,
        };
        line.tell(match ended.error {
            Some(_) => Level::ERROR,
            None if slow => Level::WARN,
            None => Level::INFO,
        });
    }

    fn called(&self, pipeline: &Name, outcome: Outcome, elapsed: Duration) {
        let level = match outcome {
            Outcome::Success | Outcome::CallerFault | Outcome::Cancelled => return,
            Outcome::Panicked => Level::ERROR,
            _ => Level::WARN,
        };
        let line = Line {
            pipeline: pipeline.as_str(),
            exchange: None,
            status: None,
            error: None,
            outcome: Some(outcome),
            broken: false,
            elapsed: Some(elapsed),
            slow: elapsed > self.slow,
        };
        line.tell(level);
    }

    /// Its call ends later, and is told of then.
    fn broken(pipeline: &Name, outcome: Outcome) {
        let line = Line {
            pipeline: pipeline.as_str(),
            exchange: None,
            status: None,
            error: None,
            outcome: Some(outcome),
            broken: true,
            elapsed: None,
            slow: false,
        };
        line.tell(if outcome == Outcome::CallerFault { Level::INFO } else { Level::WARN });
    }
}

impl Default for CallLog {
    fn default() -> Self {
        Self::new()
    }
}

impl Sink for CallLog {
    fn interest(&self) -> Interest {
        Interest::CALLS | Interest::REQUESTS | Interest::ALERTS
    }

    fn record(&self, pipeline: &Name, event: &Event) {
        if let (true, Some(ending)) = (is_heard(), Ending::of(pipeline, event)) {
            self.tell(pipeline, ending);
        }
    }
}

/// Whether there is a subscriber: where there is none, to find that out is all that a call pays.
fn is_heard() -> bool {
    LevelFilter::current() != LevelFilter::OFF
}

/// What may be worth a line: the end of a call, or of its answer, or an alert.
#[derive(Clone, Copy)]
enum Ending<'a> {
    Served(&'a Exchange, &'a Ended),
    Called(Outcome, Duration),
    Broken(Outcome),
    Alert(Alert),
}

impl<'a> Ending<'a> {
    /// What an event tells of.
    fn of(pipeline: &Name, event: &'a Event) -> Option<Self> {
        let told = |elapsed| (pipeline.as_str().as_ptr().addr(), elapsed);
        Some(match event {
            Event::RequestFinished { exchange, ended } if exchange.end == End::Server => {
                SERVED.set(Some(told(ended.elapsed)));
                Self::Served(exchange, ended)
            }
            Event::AnswerBroken { outcome } => Self::Broken(*outcome),
            Event::CallFinished { .. } if LevelFilter::current() == LevelFilter::OFF => return None,
            // A server's call was told of as a request.
            Event::CallFinished { outcome, elapsed, .. } if SERVED.take() != Some(told(*elapsed)) => {
                Self::Called(*outcome, *elapsed)
            }
            &Event::BudgetAlert { slo, severity, window, firing } => {
                Self::Alert(Alert { slo, severity, window, firing })
            }
            _ => return None,
        })
    }
}

/// What is told of one call: words of closed or bounded sets, and numbers.
struct Line<'a> {
    pipeline: &'a str,
    exchange: Option<&'a Exchange>,
    status: Option<u16>,
    error: Option<&'static str>,
    outcome: Option<Outcome>,
    /// Whether it is about an answer that had begun well.
    broken: bool,
    elapsed: Option<Duration>,
    slow: bool,
}

/// An event of a level, which has to be known when the code is compiled.
macro_rules! event {
    ($level:expr, $line:expr) => {
        if tracing::enabled!(target: TARGET, $level) {
            let line = $line;
            let (request, trace) = correlation::current();
            tracing::event!(
                target: TARGET,
                $level,
                trace_id = trace.map(Trace::trace_id),
                span_id = trace.map(Trace::span_id),
                trace_flags = trace.map(Trace::flags),
                request_id = request.id(),
                pipeline = line.pipeline,
                kind = if line.exchange.is_some() { "server" } else { "client" },
                protocol = line.exchange.map(|exchange| protocol(exchange.protocol)),
                method = line.exchange.map(|exchange| exchange.method),
                route = line.exchange.and_then(|exchange| exchange.route),
                status = line.status,
                outcome = line.outcome.map(Outcome::as_str),
                "error.type" = line.error,
                broken = line.broken.then_some(true),
                duration = line.elapsed.map(|elapsed| elapsed.as_secs_f64()),
                slow = line.slow.then_some(true),
                "{line}"
            );
        }
    };
}

impl Line<'_> {
    fn tell(&self, level: Level) {
        match level {
            Level::ERROR => event!(Level::ERROR, self),
            Level::WARN => event!(Level::WARN, self),
            _ => event!(Level::INFO, self),
        }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.exchange {
            Some(exchange) => write!(f, "{}", exchange.method)?,
            None => write!(f, "{}", self.pipeline)?,
        }
        if let Some(route) = self.exchange.and_then(|exchange| exchange.route) {
            write!(f, " {route}")?;
        }
        match (self.status, self.error, self.outcome) {
            (Some(status), _, Some(outcome)) => write!(f, " {status} {}", outcome.as_str()),
            (Some(status), ..) => write!(f, " {status}"),
            (None, Some(error), _) => write!(f, " {error}"),
            (None, None, outcome) => write!(f, " {}", outcome.map_or("cancelled", Outcome::as_str)),
        }?;
        if self.broken { write!(f, " after a good beginning") } else { Ok(()) }
    }
}

const fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "http",
        Protocol::Grpc => "grpc",
    }
}
