mod service;

use std::{fmt, sync::Arc, time::Duration};

use futures::{FutureExt, TryFutureExt};

pub use self::service::{
    Consumer, ConsumerFuture, ConsumerPolicy, Delivered, DeliveryFuture, Handled, MessagesKeyedOrNot,
};

use self::service::Delivering;
use super::{
    DeadLetterTo, Handle, HasDeadLetter, HasOneTimeout, HasTimeout, Limit, Missing, Off,
    choice::positive,
    handle::{Parts, observer},
    objectives::Objectives,
};
#[cfg(feature = "slo")]
use crate::slo::{ErrorBudget, Scope};
use crate::{
    bulkhead::{BulkheadLayer, BulkheadPolicy, ConcurrencyLimit},
    error::{BoxError, Reason},
    event::Source,
    fault::{ByClone, DuplicatePolicy, EnrolPolicy, FaultPolicy, Faults, Unseen},
    messaging::{
        ByHandler, DeadLetter, DeadLetterPolicy, Deliveries, DeliveryTelemetryPolicy, Handling, Marked,
        NotExecuted, Rules, Told, Why,
    },
    name::Name,
    observer::Sink,
    policy::{Leaf, Stack},
    registry::{Profile, Registry},
    retry::{RetryLayer, RetryPolicy},
    timeout::TimeoutPolicy,
};
#[cfg(feature = "idempotency")]
use crate::{
    idempotency::{IdempotencyLayer, Store},
    messaging::Messages,
};

/// Builds the stack of a consumer; see [`consumer`](super::consumer). `M` is the message.
#[must_use = "a consumer is built by `.service(..)`"]
pub struct ConsumerBuilder<M, T, D, K = Off, C = ByHandler> {
    timeout: T,
    dead_letter: D,
    keys: K,
    classifier: C,
    settings: Settings<M>,
}

/// What a builder is told that changes no type.
struct Settings<M> {
    name: Name,
    rules: Rules<M>,
    told: Told<M>,
    retry: Option<RetryLayer>,
    bulkhead: Option<BulkheadLayer>,
    faults: Faults,
    ingress_faults: Faults,
    objectives: Objectives,
    registry: Option<Registry>,
    sinks: Vec<Arc<dyn Sink>>,
}

impl<M> ConsumerBuilder<M, Missing, Missing> {
    pub(super) fn new(name: Name) -> Self {
        let settings = Settings {
            name,
            rules: Rules { repeatable: false, redeliver_after: Duration::from_secs(5), deliveries: None },
            told: Told::default(),
            retry: Some(RetryLayer::new()),
            bulkhead: Some(BulkheadLayer::new(64).without_refusals()),
            faults: Faults::new(),
            ingress_faults: Faults::new(),
            objectives: Objectives::default(),
            registry: None,
            sinks: Vec::new(),
        };
        Self { timeout: Missing, dead_letter: Missing, keys: Off, classifier: ByHandler, settings }
    }
}

impl<M, T, D, K, C> ConsumerBuilder<M, T, D, K, C> {
    /// The limit of a delivery, from its beginning to the end of the handler; the wait for a place in the bulkhead and all tries are
    /// part of it. It has no default.
    ///
    /// It belongs below the time after which the queue gives the message to somebody else (a visibility timeout, a claim of
    /// idle messages), by as much as it takes the dead letter to store one: that has the same limit once more.
    ///
    /// # Panics
    ///
    /// When `limit` is zero.
    #[track_caller]
    pub fn timeout(self, limit: Duration) -> ConsumerBuilder<M, Limit, D, K, C> {
        let timeout = Limit(positive("a timeout", limit));
        let Self { dead_letter, keys, classifier, settings, .. } = self;
        ConsumerBuilder { timeout, dead_letter, keys, classifier, settings }
    }

    /// Handles each message once, by the key that its producer gave it, and keeps in `store` what came of it: see
    /// [`messaging`](crate::messaging#keys). Off unless said.
    ///
    /// The handler runs on when its delivery is cut or dropped. At shutdown, [`Handle::drain`] waits for it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use std::time::Duration;
    /// use moneta_resilience::{BoxError, golden, idempotency::MemoryStore, messaging::{Delivery, Why}};
    /// use tower::service_fn;
    ///
    /// #[derive(Clone)]
    /// struct Message { id: [u8; 16], cents: u64 }
    ///
    /// async fn handle(invoice: Message) -> Result<(), BoxError> {
    /// #   assert_eq!(invoice.cents, 100);
    ///     Ok(()) // pays it
    /// }
    /// # async fn park(_: Message, _: Why) -> Result<(), BoxError> { Ok(()) }
    ///
    /// let store = MemoryStore::new();
    /// let worker = golden::consumer("invoices")
    ///     .timeout(Duration::from_secs(30))
    ///     .idempotency(store, |m: &Message| m.id)
    ///     .dead_letter(|m, why| park(m, why))
    ///     .service(service_fn(handle));
    ///
    /// let invoice = Message { id: *b"4fd1a0c58b7e2d93", cents: 100 };
    /// assert_eq!(worker.deliver(invoice.clone()).await, Delivery::Ack);
    /// assert_eq!(worker.deliver(invoice).await, Delivery::Ack); // and is not paid again
    /// # }
    /// ```
    #[cfg(feature = "idempotency")]
    pub fn idempotency<St: Store, B: AsRef<[u8]>>(
        self,
        store: St,
        key: impl Fn(&M) -> B + Send + Sync + 'static,
    ) -> ConsumerBuilder<M, T, D, IdempotencyLayer<St, Messages<M>>, C> {
        self.idempotency_layer(IdempotencyLayer::messages(store, key))
    }

    /// The same with rules of its own. It tells the stack's observer. The run limit is as long as a delivery may take, at least; and a
    /// [`repeatable`](Self::repeatable) handler whose lease is over is run again.
    #[cfg(feature = "idempotency")]
    pub fn idempotency_layer<St: Store>(
        self,
        keys: IdempotencyLayer<St, Messages<M>>,
    ) -> ConsumerBuilder<M, T, D, IdempotencyLayer<St, Messages<M>>, C> {
        let Self { timeout, dead_letter, classifier, settings, .. } = self;
        ConsumerBuilder { timeout, dead_letter, keys, classifier, settings }
    }

    /// Where the messages go that will not be handled: a queue or a table that somebody looks at. It has no default.
    ///
    /// Once its future has given `Ok`, the message is taken off the queue, so it must be stored by then. It has as long as
    /// [`timeout`](Self::timeout) says; an error, a panic or the end of that time leave the message on the queue. It can get a message
    /// twice: when the process dies before the queue is told, or when a copy of a message comes whose outcome is not known.
    pub fn dead_letter<A, Fut, E>(self, store: A) -> ConsumerBuilder<M, T, DeadLetterTo<M>, K, C>
    where
        A: Fn(M, Why) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        let dead_letter =
            DeadLetterTo(Arc::new(move |message, why| store(message, why).map_err(Into::into).boxed()));
        let Self { timeout, keys, classifier, settings, .. } = self;
        ConsumerBuilder { timeout, dead_letter, keys, classifier, settings }
    }

    /// Says which queue it is, for the telemetry that OpenTelemetry's conventions for messaging ask for: a span `process {destination}`,
    /// `messaging.process.duration` and `messaging.client.consumed.messages`. Without it the span is called like the consumer.
    pub fn source(mut self, source: Source) -> Self {
        self.settings.told.source = Some(source);
        self
    }

    /// Finds the headers of a message in which its producer wrote the trace, `traceparent` and its like, so that it goes on here.
    /// Where the worker that delivers has a span already, that one goes on, with a link to the producer's.
    ///
    /// ```
    /// # use std::{collections::HashMap, time::Duration};
    /// use moneta_resilience::{BoxError, event::Source, golden};
    /// # use tower::service_fn;
    ///
    /// #[derive(Clone)]
    /// struct Message { headers: HashMap<String, String> }
    ///
    /// let worker = golden::consumer("invoices")
    ///     .timeout(Duration::from_secs(30))
    ///     .source(Source::new("kafka", "invoices").group("payments"))
    ///     .headers(|m: &Message, name| m.headers.get(name).map(String::as_str))
    /// #   .dead_letter(|_, _| async { Ok::<_, BoxError>(()) })
    ///     // …
    /// #   .service(service_fn(async |_: Message| Ok::<_, BoxError>(())));
    /// # drop(worker);
    /// ```
    pub fn headers(
        mut self,
        header: impl for<'a> Fn(&'a M, &str) -> Option<&'a str> + Send + Sync + 'static,
    ) -> Self {
        self.settings.told.headers = Some(Arc::new(header));
        self
    }

    /// Judges the results of the handler with `classifier` instead of [`ByHandler`]. That an error is marked
    /// [`NotExecuted`] counts all the same.
    pub fn classify<J>(self, classifier: J) -> ConsumerBuilder<M, T, D, K, J> {
        let Self { timeout, dead_letter, keys, settings, .. } = self;
        ConsumerBuilder { timeout, dead_letter, keys, classifier, settings }
    }

    /// Says that the handler does no harm when it runs twice for a message, from whichever point it left off. After a failure that
    /// passes, and after its time was over, the message is tried again.
    pub fn repeatable(mut self) -> Self {
        self.settings.rules.repeatable = true;
        self
    }

    /// When the queue is to deliver a message again that is not done: the `after` of every
    /// [`Nack`](crate::messaging::Delivery::Nack). Default 5 s.
    pub fn redeliver_after(mut self, delay: Duration) -> Self {
        self.settings.rules.redeliver_after = delay;
        self
    }

    /// How often a message may come, and what tells how often one has, this time included. After the last, an error of the handler is
    /// final, whatever it is; a message that comes more often, because it killed whoever handled it, is not run. Both go to
    /// the dead letter. Without this there is no such end but the queue's own.
    ///
    /// # Panics
    ///
    /// When `most` is zero.
    #[track_caller]
    pub fn max_deliveries(mut self, most: u32, count: impl Fn(&M) -> u32 + Send + Sync + 'static) -> Self {
        assert!(most > 0, "with no delivery at all no message is handled");
        self.settings.rules.deliveries = Some(Deliveries { most, count: Arc::new(count) });
        self
    }

    /// Tries again as this layer says, inside of one delivery: what is marked [`NotExecuted`] once, what is
    /// [`repeatable`](Self::repeatable) as often as it says. Its budget is shared with every other stack that got a
    /// clone of it.
    pub fn retry(mut self, layer: RetryLayer) -> Self {
        self.settings.retry = Some(layer);
        self
    }

    /// Leaves all further tries to the queue.
    pub fn without_retry(mut self) -> Self {
        self.settings.retry = None;
        self
    }

    /// Handles at most so many messages at once; the others wait. A number, or a law by which it adapts
    /// ([`Gradient`](crate::bulkhead::Gradient), [`Aimd`](crate::bulkhead::Aimd)). Default 64.
    ///
    /// # Panics
    ///
    /// When the limit is zero.
    #[track_caller]
    pub fn bulkhead(self, limit: impl Into<ConcurrencyLimit>) -> Self {
        self.bulkhead_layer(BulkheadLayer::new(limit).without_refusals())
    }

    /// Limits the messages that are handled at once as this layer says. A message that it refuses is a `Nack`. Its places are shared
    /// with every other stack that got a clone of it.
    pub fn bulkhead_layer(mut self, layer: BulkheadLayer) -> Self {
        self.settings.bulkhead = Some(layer);
        self
    }

    /// Handles as many messages at once as are delivered.
    pub fn without_bulkhead(mut self) -> Self {
        self.settings.bulkhead = None;
        self
    }

    /// Uses these faults in front of the handler, so that several stacks are armed with one handle; by default each stack has its own.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.settings.faults = faults;
        self
    }

    /// Uses these faults at the ingress, where a delivery begins; by default each stack has its own. What fails there has not been
    /// handled: it is a `Nack`.
    pub fn ingress_faults(mut self, faults: Faults) -> Self {
        self.settings.ingress_faults = faults;
        self
    }

    /// Lists the stack, and counts its deliveries, in this registry instead of the process's. Its metrics are not exported
    /// then: what is exported is the process's registry.
    pub fn registry(mut self, registry: &Registry) -> Self {
        self.settings.registry = Some(registry.clone());
        self
    }

    /// Counts the deliveries for an objective, or for a budget that others count for as well. It may be said of several.
    ///
    /// A delivery is good when it ends in time, and its handler well, or when the message itself is at fault, as far as the
    /// classifier says so. A copy of a message that is done, or is being worked on, is good as well; everything else is bad.
    ///
    /// # Panics
    ///
    /// When the objective is one of daily runs.
    #[cfg(feature = "slo")]
    #[track_caller]
    pub fn slo(mut self, budget: impl Into<ErrorBudget>) -> Self {
        self.settings.objectives.add(budget.into(), Scope::Client);
        self
    }

    /// Tells one more sink what happens.
    pub fn sink(mut self, sink: Arc<dyn Sink>) -> Self {
        self.settings.sinks.push(sink);
        self
    }

    /// The consumer whose handler is `service`. Messages are cloned for the dead letter and for another try, so they should be cheap
    /// to clone: their content in `Bytes` or an `Arc`.
    pub fn service<S>(self, service: S) -> Consumer<M, S, K, C>
    where
        T: HasTimeout + HasOneTimeout,
        D: HasDeadLetter<M>,
        K: MessagesKeyedOrNot<M>,
    {
        let Self { timeout, dead_letter, keys, classifier, settings } = self;
        let Settings { rules, faults, ingress_faults, .. } = settings;
        let registry = settings.registry.as_ref();
        let observer = observer(&settings.name, registry, settings.sinks, settings.objectives);
        let limit = timeout.limit();
        let policy = Leaf::new(Marked::new(classifier));
        let policy = FaultPolicy::new(faults.clone(), Unseen, observer.clone(), policy);
        let policy = match settings.retry {
            Some(layer) => marked(&layer).over(observer.clone(), policy),
            None => RetryPolicy::off(observer.clone(), policy),
        };
        let policy = match settings.bulkhead {
            Some(layer) => layer.over(observer.clone(), policy),
            None => BulkheadPolicy::off(observer.clone(), policy),
        };
        let bulkhead = policy.handle();
        #[cfg(feature = "idempotency")]
        let keyed = keys.handle(observer.clone());
        let dead_letter = DeadLetter::new(dead_letter.into_store(), limit, observer.clone());
        let delivering = Delivering { limit, rules: rules.clone(), dead_letter: dead_letter.clone() };
        let policy = keys.over(delivering, policy);
        let policy = TimeoutPolicy::new(limit, Reason::DeadlineExceeded, observer.clone(), policy);
        let policy = DeadLetterPolicy::new(dead_letter, rules.clone(), policy);
        let policy = DuplicatePolicy::new(ingress_faults.clone(), ByClone, observer.clone(), policy);
        let policy = FaultPolicy::new(ingress_faults.clone(), Unseen, observer.clone(), policy);
        let (name, ingress) = (observer.name().clone(), Some(ingress_faults.clone()));
        let policy = EnrolPolicy::new(name, faults.clone(), ingress, Unseen, policy);
        let policy =
            DeliveryTelemetryPolicy::new(observer.clone(), settings.told, rules.redeliver_after, policy);
        let parts = Parts {
            profile: Profile::Consumer,
            observer,
            circuit_breaker: None,
            #[cfg(feature = "rate-limit")]
            rate_limit: None,
            bulkhead,
            #[cfg(feature = "idempotency")]
            keyed,
            faults,
            ingress_faults: Some(ingress_faults),
        };
        let handle = Handle::enlist(parts, registry);
        Consumer::new(Stack::new(Arc::new(policy), Handling::new(service)), handle)
    }
}

/// The retries of a handler: that a connection was refused, somewhere in there, says nothing about what it had done before.
fn marked(layer: &RetryLayer) -> RetryLayer {
    layer.clone().budget(layer.shared_budget()).never_processed(NotExecuted::marks)
}

impl<M, T, D, K, C> fmt::Debug for ConsumerBuilder<M, T, D, K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerBuilder").field("name", &self.settings.name).finish_non_exhaustive()
    }
}
