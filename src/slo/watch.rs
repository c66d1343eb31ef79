use std::time::Duration;

use tokio::time::Instant;

use super::{ErrorBudget, Promise, alerts::Told};
use crate::{
    circuit_breaker::CircuitBreakerHandle,
    event::{End, Ended, Event, Exchange, Outcome, Protocol},
    name::Name,
    observer::{Interest, Observer, Sink},
    sync::{AtomicBool, Ordering},
};

/// Counts the calls of a stack for an objective, and tells of its alerts where the stack tells of everything.
pub(crate) struct Watch {
    budget: ErrorBudget,
    scope: Scope,
    /// Whom the stack tells but for this: a budget is not told of itself.
    observer: Observer,
    /// Which alerts it told of.
    told: Told,
    /// What opens when the budget begins to burn.
    breaker: Option<CircuitBreakerHandle>,
    /// Whether it burned at the last call, so that the breaker opens once each time.
    burned: AtomicBool,
}

/// What is done when the budget burns, beside telling of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnBurn {
    /// Nothing.
    Tell,
    /// The circuit breaker of the stack opens.
    OpenBreaker,
}

/// Which calls count.
#[derive(Clone, Debug)]
pub(crate) enum Scope {
    /// Those of a client, with all their attempts, fallbacks and refusals.
    Client,
    /// Those of a server.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "the server profile is one of HTTP"))]
    Server,
    /// Those of a server to one of its routes; over gRPC, to one of its methods.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "the server profile is one of HTTP"))]
    Route(Box<str>),
}

impl Watch {
    pub(crate) fn new(
        budget: ErrorBudget,
        scope: Scope,
        observer: Observer,
        breaker: Option<CircuitBreakerHandle>,
    ) -> Self {
        budget.join();
        Self { budget, scope, observer, told: Told::default(), breaker, burned: AtomicBool::new(false) }
    }

    fn open_breaker(&self, breaker: &CircuitBreakerHandle) {
        let burns = self.budget.is_urgent();
        // Relaxed: the bit is all there is, and of those who see it change one has changed it.
        let changed = self.burned.load(Ordering::Relaxed) != burns;
        if changed && !self.burned.swap(burns, Ordering::Relaxed) && burns {
            breaker.trip("the error budget burns");
        }
    }

    /// Whether what happened is good, or bad, or nothing that counts.
    fn judge(&self, event: &Event) -> Option<bool> {
        let limit = match self.budget.objective().promise() {
            Promise::Within(limit) => *limit,
            _ => Duration::MAX,
        };
        match (&self.scope, event) {
            (_, Event::CallFinished { synthetic: true, .. }) => None,
            (Scope::Client, &Event::CallFinished { outcome, elapsed, .. }) => judge(outcome, elapsed, limit),
            // With the exchange of a server comes its status. One that panicked before there was a request is told of by its
            // call alone, and one that panicked later by both.
            (Scope::Server, Event::CallFinished { outcome: Outcome::Panicked, .. }) => Some(false),
            (Scope::Server, Event::RequestFinished { ended, .. }) if ended.outcome == Outcome::Panicked => {
                None
            }
            (Scope::Server, Event::RequestFinished { exchange, ended }) => served(exchange, ended, limit),
            (Scope::Route(route), Event::RequestFinished { exchange, ended })
                if match exchange.protocol {
                    Protocol::Http => exchange.route == Some(&**route),
                    Protocol::Grpc => exchange.method == &**route,
                } =>
            {
                served(exchange, ended, limit)
            }
            _ => None,
        }
    }
}

/// Whether a fault hook did something to what has ended.
fn is_under_fault(event: &Event) -> bool {
    match event {
        Event::CallFinished { injected, .. } => *injected,
        Event::RequestFinished { ended, .. } => ended.injected,
        _ => false,
    }
}

/// A request to a server.
fn served(exchange: &Exchange, ended: &Ended, limit: Duration) -> Option<bool> {
    if exchange.end != End::Server || ended.synthetic {
        return None;
    }
    let outcome = match (exchange.protocol, ended.status, ended.outcome) {
        // 408 and 425: worth asking again, and yet the caller's fault.
        (Protocol::Http, Some(400..=499), Outcome::Transient) => Outcome::CallerFault,
        (_, _, outcome) => outcome,
    };
    judge(outcome, ended.elapsed, limit)
}

/// Good is what ended in time, and well or by a fault of the caller. A caller that goes away counts when it had waited for as
/// long as the objective grants: an outage that is slower than the patience of callers has to show.
fn judge(outcome: Outcome, elapsed: Duration, limit: Duration) -> Option<bool> {
    match outcome {
        Outcome::Success | Outcome::CallerFault => Some(elapsed <= limit),
        Outcome::Cancelled => (elapsed >= limit).then_some(false),
        _ => Some(false),
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.budget.leave();
    }
}

impl Sink for Watch {
    fn interest(&self) -> Interest {
        match self.scope {
            Scope::Client => Interest::CALLS,
            Scope::Server => Interest::CALLS | Interest::REQUESTS,
            Scope::Route(_) => Interest::REQUESTS,
        }
    }

    fn record(&self, _: &Name, event: &Event) {
        let Some(good) = self.judge(event) else { return };
        if let (true, Some(apart)) = (is_under_fault(event), self.budget.counts_apart()) {
            apart.add(good);
        } else {
            self.budget.record_at(good, Instant::now());
            for alert in self.budget.untold(&self.told) {
                self.observer.emit(alert);
            }
            if let Some(breaker) = &self.breaker {
                self.open_breaker(breaker);
            }
        }
    }
}
