//! The laws that hold for every layer and every profile, each over a service that watches how it is used.
//!
//! [`layers`] has one line per stack; [`laws`] has the laws; [`probe`] is the service. `docs/contract.md` shows which
//! test proves what.

mod laws;
mod layers;
mod probe;
mod the_suite_itself;

use std::{marker::PhantomData, time::Duration};

use moneta_resilience::Repeat;
use probe::{Act, Inner};
use tower::{Layer, Service};

/// The request of stacks that speak no protocol. It may be repeated.
#[derive(Clone, Copy, Debug)]
struct Ask;

impl Repeat for Ask {
    fn again(&self) -> Option<Self> {
        Some(*self)
    }
}

/// A stack under test and what is particular about it.
struct Contract<L, Req, Res, Out> {
    layer: L,
    request: fn() -> Req,
    response: fn() -> Res,
    served: fn(&Out) -> bool,
    limit: Option<Duration>,
    always_ready: bool,
    answers_failures: bool,
    built_anew: bool,
    refusal: Option<Refusal>,
    _out: PhantomData<fn() -> Out>,
}

/// How to bring a stack with state to the point where it refuses calls.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    after: After,
    unready: bool,
}

#[derive(Clone, Copy, Debug)]
enum After {
    /// After so many calls that ended like this.
    Calls(usize, Act),
    /// While so many calls are pending.
    Pending(usize),
}

impl<L> Contract<L, Ask, u32, u32> {
    /// A stack that passes requests and responses of any type on.
    fn new(layer: L) -> Self
    where
        L: Layer<Inner<u32>, Service: Service<Ask, Response = u32>>,
    {
        Self::with(layer, || Ask, || 7, |_| true)
    }

    /// A stack with a fallback that says 1: whoever is told 7 was served by the service.
    fn with_fallback(layer: L) -> Self
    where
        L: Layer<Inner<u32>, Service: Service<Ask, Response = u32>>,
    {
        Self::with(layer, || Ask, || 7, |&answer| answer == 7).answers_failures()
    }
}

impl<L, Req, Res, Out> Contract<L, Req, Res, Out> {
    /// A stack for a protocol: what it is asked, what the service answers, and which answers say that it was served.
    fn with(layer: L, request: fn() -> Req, response: fn() -> Res, served: fn(&Out) -> bool) -> Self
    where
        L: Layer<Inner<Res>, Service: Service<Req, Response = Out>>,
    {
        Self {
            layer,
            request,
            response,
            served,
            limit: None,
            always_ready: false,
            answers_failures: false,
            built_anew: false,
            refusal: None,
            _out: PhantomData,
        }
    }

    /// It ends each call by itself, this long after it began.
    fn ends_by(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// It is ready at any time; a service that is not is waited for inside the call.
    fn always_ready(mut self) -> Self {
        self.always_ready = true;
        self
    }

    /// It puts an answer in the place of an error.
    fn answers_failures(mut self) -> Self {
        self.answers_failures = true;
        self
    }

    /// It is no layer that could be applied twice: only its clones share state.
    fn built_anew(mut self) -> Self {
        self.built_anew = true;
        self
    }

    /// It refuses calls from then on, also while the service is not ready if `unready`.
    fn refuses(mut self, after: After, unready: bool) -> Self {
        self.refusal = Some(Refusal { after, unready });
        self
    }
}
