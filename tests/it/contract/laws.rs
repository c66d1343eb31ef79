//! The laws. Each takes a contract whose layer nobody has used yet, on a paused clock.

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};
use tokio_test::{assert_pending, assert_ready, task::spawn};
use tower::{BoxError, Layer, Service, ServiceExt, limit::ConcurrencyLimit};

use super::{
    After, Contract,
    probe::{Act, Inner, Probe, ProbeError, Readiness, Watch},
};

/// Longer than any limit of a stack under test; on the paused clock a test that waits for it does not wait.
const WEDGED: Duration = Duration::from_secs(3600);
/// What a call takes that takes a while: less than a queue waits.
const SHORT: Duration = Duration::from_millis(10);
/// Between two polls by hand: long enough for backoffs to pass, shorter than any limit.
const STEP: Duration = Duration::from_millis(50);
/// Places inside a stack for which nothing else was said.
const PLENTY: usize = 1 << 20;

/// What a law needs of a stack.
pub(super) trait Stack<Req, Out>:
    Service<Req, Response = Out, Error: Into<BoxError>, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<T, Req, Out> Stack<Req, Out> for T where
    T: Service<Req, Response = Out, Error: Into<BoxError>, Future: Send> + Clone + Send + Sync + 'static
{
}

/// A stack, the probe inside it, and how it is called.
struct Subject<S, Req, Out> {
    stack: S,
    watch: Arc<Watch>,
    request: fn() -> Req,
    served: fn(&Out) -> bool,
}

impl<L, Req, Res, Out> Contract<L, Req, Res, Out>
where
    L: Layer<Inner<Res>, Service: Stack<Req, Out>>,
    Req: Send + 'static,
    Res: Send + 'static,
    Out: Debug + Send + 'static,
{
    fn subject(&self, places: usize) -> Subject<L::Service, Req, Out> {
        let watch = Arc::default();
        let inner = ConcurrencyLimit::new(Probe::new(&watch, self.response), places);
        Subject { stack: self.layer.layer(inner), watch, request: self.request, served: self.served }
    }

    /// Law 1: whoever calls has asked the same instance, at every call, also when that takes a while.
    pub(super) async fn the_service_is_ready_before_each_call(&self) {
        let subject = self.subject(PLENTY);
        for polls in [0, 1, 3] {
            subject.watch.readiness(Readiness::After(polls));
            // A later attempt must ready its own instance.
            subject.watch.next([Act::Fail]);
            _ = subject.call().await;
            let mut one_instance = subject.stack.clone();
            for _ in 0..3 {
                let ready = one_instance.ready().await.map_err(Into::into).expect("it gets ready");
                let answer = ready.call((subject.request)()).await;
                assert!(subject.is_served(&answer));
            }
        }
        subject.assert_at_rest().await;
    }

    /// Law 1: a service that does not get ready is no worse than one that hangs.
    pub(super) async fn a_service_that_never_gets_ready_holds_nobody(&self) {
        let subject = self.subject(PLENTY);
        for _ in 0..3 {
            subject.watch.readiness(Readiness::Never);
            let began = Instant::now();
            let call = timeout(WEDGED / 2, subject.call()).await;
            assert_eq!(subject.watch.calls(), 0);
            if self.always_ready {
                let limit = self.limit.expect("a stack that is always ready has a limit");
                assert!(call.is_ok() && began.elapsed() <= limit, "it went on for {:?}", began.elapsed());
            }
            subject.watch.readiness(Readiness::After(0));
        }
        subject.assert_at_rest().await;
    }

    /// Law 3: a service that hangs holds a caller no longer than a limit, the stack's own or one outside.
    pub(super) async fn a_service_that_hangs_is_let_go(&self) {
        let subject = self.subject(PLENTY);
        subject.watch.otherwise(Act::Hang);
        let began = Instant::now();
        let answer = timeout(WEDGED / 2, subject.call()).await;
        if let Some(limit) = self.limit {
            let answer = answer.expect("it has a limit of its own");
            assert!(self.answers_failures || !subject.is_served(&answer));
            assert_eq!(began.elapsed(), limit);
        }
        assert!(subject.watch.cancelled() >= 1);
        subject.watch.otherwise(Act::Answer);
        subject.assert_at_rest().await;
    }

    /// Laws 1 and 8: calls, attempts and their leftovers get by with one place.
    pub(super) async fn one_place_inside_is_enough(&self) {
        let subject = self.subject(1);
        subject.watch.next([Act::Fail]);
        _ = subject.call().await;
        for _ in 0..3 {
            assert!(subject.is_served(&subject.call().await));
        }
        subject.watch.otherwise(Act::After(SHORT));
        for answer in join_all((0..5).map(|_| subject.call())).await {
            assert!(subject.is_served(&answer));
        }
        assert_eq!(subject.watch.peak(), 1);
        subject.assert_at_rest().await;
    }

    /// Law 3: dropped after any number of polls, a call gives back all it held.
    pub(super) async fn a_call_dropped_at_any_point_leaves_nothing_held(&self) {
        let subject = self.subject(1);
        let scripts = [vec![Act::Pending(2)], vec![Act::Fail, Act::Pending(1)], vec![Act::Hang]];
        for script in scripts.into_iter().cycle().take(30) {
            subject.watch.readiness(Readiness::After(1));
            let mut polls = 0;
            loop {
                subject.watch.next(script.iter().copied());
                let mut call = spawn(subject.call());
                let mut ended = false;
                for _ in 0..polls {
                    ended = call.poll().is_ready();
                    if ended {
                        break;
                    }
                    sleep(STEP).await;
                }
                drop(call);
                subject.watch.next([]);
                subject.assert_at_rest().await;
                if ended || polls == 12 {
                    break;
                }
                polls += 1;
            }
            assert!(polls > 1, "it was never pending");
        }
    }

    /// Law 3: one that leaves the queue lets those behind it in.
    pub(super) async fn callers_that_leave_make_room_for_the_others(&self) {
        let subject = self.subject(1);
        for _ in 0..10 {
            subject.watch.next([Act::Hang]);
            let mut holds = spawn(subject.call());
            let mut leaves = spawn(subject.call());
            let mut stays = spawn(subject.call());
            assert_pending!(holds.poll());
            assert_pending!(leaves.poll());
            assert_pending!(stays.poll());
            drop(leaves);
            assert_pending!(stays.poll());
            drop(holds);
            assert!(stays.is_woken());
            assert!(subject.is_served(&assert_ready!(stays.poll())));
        }
        subject.assert_at_rest().await;
    }

    /// Law 8: a panic is one call's own affair.
    pub(super) async fn a_panic_inside_wedges_nothing(&self) {
        let subject = self.subject(1);
        for act in [Act::Panic, Act::PanicInCall].into_iter().cycle().take(6) {
            subject.watch.next([act]);
            let panicked = tokio::spawn(subject.call()).await;
            assert!(panicked.is_err() || self.answers_failures);
            subject.assert_at_rest().await;
        }
    }

    /// DESIGN, errors: what the service says is wrong stays what it is, behind any number of layers.
    pub(super) async fn the_services_error_passes_unchanged(&self) {
        let subject = self.subject(PLENTY);
        subject.watch.otherwise(Act::Fail);
        match subject.call().await {
            Ok(_) => assert!(self.answers_failures, "an error became an answer"),
            Err(error) => assert!(error.is::<ProbeError>(), "{error:?}"),
        }
    }

    /// Law 4: clones, and what the layer is put in front of a second time, know what the first one knows.
    ///
    /// Law 2: a refusal comes from the call and never from `poll_ready`.
    pub(super) async fn state_is_shared_and_a_refusal_comes_from_the_call(&self) {
        let Some(refusal) = self.refusal else { return };
        let (first, second) = (self.subject(PLENTY), self.subject(PLENTY));
        let mut pending = Vec::new();
        match refusal.after {
            After::Calls(times, act) => {
                first.watch.otherwise(act);
                for _ in 0..times {
                    _ = first.call().await;
                }
            }
            After::Pending(calls) => {
                first.watch.otherwise(Act::Hang);
                for _ in 0..calls {
                    let mut call = spawn(first.call());
                    assert_pending!(call.poll());
                    pending.push(call);
                }
            }
        }
        let mut knowing = vec![(&first, "a clone")];
        if !self.built_anew {
            knowing.push((&second, "the layer, applied again"));
        }
        for (subject, name) in knowing {
            if refusal.unready {
                subject.watch.readiness(Readiness::Never);
            }
            let calls = subject.watch.calls();
            let mut stack = subject.stack.clone();
            let ready = timeout(SHORT, stack.ready()).await.expect("it is ready to refuse");
            let ready = ready.map_err(Into::into).expect("a refusal is no error of `poll_ready`");
            let answer = timeout(WEDGED, ready.call((subject.request)())).await;
            let refused = answer.is_ok_and(|answer| !subject.is_served(&answer));
            assert!(refused, "{name} let a call in");
            assert_eq!(subject.watch.calls(), calls, "{name} called the service");
        }
    }
}

impl<S, Req, Out> Subject<S, Req, Out>
where
    S: Stack<Req, Out>,
    Req: Send + 'static,
    Out: Debug + Send + 'static,
{
    /// A call on a clone, from getting ready to its answer.
    fn call(&self) -> impl Future<Output = Result<Out, BoxError>> + Send + use<S, Req, Out> {
        let (stack, request) = (self.stack.clone(), (self.request)());
        async move {
            let call = async { stack.oneshot(request).await.map_err(Into::into) };
            timeout(WEDGED, call).await.expect("the call wedged")
        }
    }

    fn is_served<E>(&self, answer: &Result<Out, E>) -> bool {
        answer.as_ref().is_ok_and(self.served)
    }

    /// Nothing is held: no call is in flight, and more calls than there are places anywhere inside are served.
    #[track_caller]
    fn assert_at_rest(&self) -> impl Future<Output = ()> {
        assert_eq!(self.watch.in_flight(), 0, "a call is still in flight");
        assert_eq!(self.watch.violations(), 0, "an instance was called that had not said that it is ready");
        let at = std::panic::Location::caller();
        async move {
            for _ in 0..2 {
                let answer = self.call().await;
                assert!(self.is_served(&answer), "not served after {at}: {:?}", answer.err());
            }
            assert_eq!(self.watch.in_flight(), 0, "a call that was served is still in flight");
        }
    }
}
