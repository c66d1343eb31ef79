//! From what a builder was told to the stack: the layers in their order.

use super::{ServerBuilder, ServerLayer};
#[cfg(feature = "rate-limit")]
use crate::rate_limit::RateLimitPolicy;
use crate::{
    bulkhead::{BulkheadPolicy, ByHead},
    classify::ByStatus,
    error::Reason,
    fault::{EnrolPolicy, FaultBody, FaultPolicy, Heads},
    golden::{
        Handle, HasTimeout, KeyedOrNot, Off,
        handle::{Parts, observer},
        keys::Ingress,
    },
    http::{
        BodyBulkheadPolicy, DeadlineHeaderPolicy, HeldBody, Http, HttpTelemetryPolicy, Judge, Part,
        PriorityHeaderPolicy, Teller, ToldBody,
    },
    observer::Observer,
    policy::Leaf,
    registry::Profile,
    timeout::{LimitByHeadPolicy, TimeoutPolicy},
};

/// The layers of a server, inside the answering of refusals. `C` judges the answers of the protocol.
pub type ServerPolicy<C = ByStatus, K = Off> =
    HttpTelemetryPolicy<EnrolPolicy<FaultPolicy<DeadlineHeaderPolicy<Limited<C, K>>, Heads<C>>, Heads<C>>>;
/// The body of an answer of a server, whose handler's are `B`.
pub type ServerBody<B, K = Off> = ToldBody<FaultBody<<K as KeyedOrNot>::Body<HeldBody<FaultBody<B>>>>>;

/// What stands inside the caller's deadline.
type Limited<C, K> =
    PriorityHeaderPolicy<LimitByHeadPolicy<TimeoutPolicy<RateLimited<<K as KeyedOrNot>::Policy<Held<C>>>>>>;

/// What holds a place while it runs, whether its caller is there or not.
type Held<C> = BodyBulkheadPolicy<FaultPolicy<Leaf<C>, Heads<C>>, ByHead>;

#[cfg(feature = "rate-limit")]
type RateLimited<I> = RateLimitPolicy<I, ByHead>;
#[cfg(not(feature = "rate-limit"))]
type RateLimited<I> = I;

impl<T, K> ServerBuilder<T, K> {
    /// The layer, for axum's `Router::layer` or any service of HTTP requests. However often it is applied, to however
    /// many routes and connections, it is one stack with one state.
    ///
    /// # Panics
    ///
    /// When places of a bulkhead are to be shared out, and there is none: `priorities` and `without_bulkhead`.
    #[track_caller]
    pub fn layer(self) -> ServerLayer<ByStatus, K>
    where
        T: HasTimeout,
        K: KeyedOrNot,
    {
        let header = self.deadline_header.clone();
        self.build(&Http, ByStatus, |observer, policy| DeadlineHeaderPolicy::new(header, observer, policy))
    }

    /// Everything for one protocol: what is told of its calls, how its answers are judged, and how its callers say how long
    /// they will wait.
    #[track_caller]
    pub(in crate::golden) fn build<C>(
        self,
        judge: &'static dyn Judge,
        classifier: C,
        deadline: impl FnOnce(Observer, Limited<C, K>) -> DeadlineHeaderPolicy<Limited<C, K>>,
    ) -> ServerLayer<C, K>
    where
        T: HasTimeout,
        K: KeyedOrNot,
        C: Copy,
    {
        assert!(
            !self.sheds || self.bulkhead.is_some(),
            "there is no bulkhead that priorities could share; leave `without_bulkhead` out, or `priorities`"
        );
        let observer = observer(&self.name, self.registry.as_ref(), self.sinks, self.objectives);
        let heads = Heads::new(classifier).routed(self.trust.route_of.clone());
        let policy =
            FaultPolicy::new(self.faults.clone(), heads.clone(), observer.clone(), Leaf::new(classifier));
        let policy = match self.bulkhead {
            Some(layer) => layer.over(observer.clone(), policy),
            None => BulkheadPolicy::off(observer.clone(), policy),
        };
        let policy = if self.sheds { policy.priorities().shedding_by(self.shed_dial) } else { policy };
        let bulkhead = policy.handle();
        let policy = BodyBulkheadPolicy::new(policy, self.bulkhead_until_body_end);
        #[cfg(feature = "idempotency")]
        let keyed = self.keys.handle(observer.clone());
        let ingress = Ingress {
            faults: self.ingress_faults.clone(),
            heads: Heads::new(()).routed(self.trust.route_of.clone()),
        };
        let policy = self.keys.over(observer.clone(), ingress, policy);
        #[cfg(feature = "rate-limit")]
        let policy = match self.rate_limit {
            Some(layer) => layer.over(observer.clone(), policy),
            None => RateLimited::off(observer.clone(), policy),
        };
        #[cfg(feature = "rate-limit")]
        let rate_limit = policy.handle();
        let limit = self.timeout.limit();
        let policy = TimeoutPolicy::new(limit, Reason::DeadlineExceeded, observer.clone(), policy);
        let policy = LimitByHeadPolicy::new(self.timeout.by_head().cloned(), policy);
        let policy = PriorityHeaderPolicy::new(self.priorities, observer.clone(), policy);
        let policy = deadline(observer.clone(), policy);
        let ingress = self.ingress_faults.clone();
        let policy = FaultPolicy::new(ingress.clone(), heads.clone(), observer.clone(), policy);
        let name = observer.name().clone();
        let policy = EnrolPolicy::new(name, self.faults.clone(), Some(ingress), heads, policy);
        let teller = Teller::new(judge, observer.clone(), Part::Server).trusting(self.trust);
        let policy = HttpTelemetryPolicy::new(teller, policy);
        let parts = Parts {
            profile: Profile::Server,
            observer,
            circuit_breaker: None,
            #[cfg(feature = "rate-limit")]
            rate_limit,
            bulkhead,
            #[cfg(feature = "idempotency")]
            keyed,
            faults: self.faults,
            ingress_faults: Some(self.ingress_faults),
        };
        ServerLayer::new(policy, Handle::enlist(parts, self.registry.as_ref()))
    }
}
