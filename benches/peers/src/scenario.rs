//! Contestants, by what they do and over which kind of service.

use std::{
    fmt,
    pin::Pin,
    sync::Mutex,
    task::{Context, Waker},
};

use crate::{
    clock::runtime,
    work::{Caller, Inner, Request, one_call, size_of_future},
};

/// When the service below answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// When it is first polled.
    Ready,
    /// When it is polled again.
    Pending,
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Pending => "pending",
        })
    }
}

/// Makes so many calls, one after the other.
pub type Run = Box<dyn FnMut(u64)>;

/// One contestant at one piece of work.
pub struct Scenario {
    /// What is done: `timeout`, `breaker, closed`.
    pub pattern: &'static str,
    /// Who does it.
    pub contestant: &'static str,
    /// Over which kind of service.
    pub when: When,
    /// The bytes of the future of a call. What it keeps in boxes is counted where it is allocated.
    pub future: usize,
    /// Whether the state is shared by all callers.
    pub shared: bool,
    make: Box<dyn Fn() -> Run + Send + Sync>,
}

impl Scenario {
    /// Where it is found: `timeout/ours/ready`.
    pub fn name(&self) -> String {
        name(self.pattern, self.contestant, self.when)
    }

    /// A caller of its own, over state that is shared. The thread that calls must have entered the [`runtime`].
    pub fn caller(&self) -> Run {
        (self.make)()
    }
}

/// What the calls of a pattern are, and how they end.
#[derive(Clone, Copy, Debug)]
struct Calls {
    request: Request,
    succeed: bool,
}

const GOOD: Calls = Calls { request: Request(7), succeed: true };
const RESCUED: Calls = Calls { request: Request::FAILS, succeed: true };
const REFUSED: Calls = Calls { request: Request(7), succeed: false };

/// Collects the contestants of one pattern after the other.
pub(crate) struct Scenarios {
    pub(crate) list: Vec<Scenario>,
    /// What is in the names of those that are wanted. Others are not even built.
    only: String,
    pattern: &'static str,
    calls: Calls,
    /// How a contestant is brought to where its calls are measured.
    before: Before,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// So many calls fail that a breaker opens.
    Failures,
    /// One call holds a place.
    Hang,
}

impl Scenarios {
    pub(crate) fn new(only: &str) -> Self {
        Self { list: Vec::new(), only: only.to_owned(), pattern: "", calls: GOOD, before: Before::Nothing }
    }

    /// What follows are contestants of this pattern, whose calls go well.
    pub(crate) fn pattern(&mut self, name: &'static str) {
        (self.pattern, self.calls, self.before) = (name, GOOD, Before::Nothing);
    }

    /// The calls of the contestants that follow fail below, and go well nevertheless.
    pub(crate) fn rescued(&mut self) {
        self.calls = RESCUED;
    }

    /// The calls of the contestants that follow are refused, after so many failures.
    pub(crate) fn refused_after_failures(&mut self) {
        (self.calls, self.before) = (REFUSED, Before::Failures);
    }

    /// The calls of the contestants that follow are refused, while one call hangs.
    pub(crate) fn refused_while_one_hangs(&mut self) {
        (self.calls, self.before) = (REFUSED, Before::Hang);
    }

    /// A contestant whose clones share their state.
    pub(crate) fn add<C: Caller + Clone>(&mut self, contestant: &'static str, build: impl Fn(Inner) -> C) {
        for when in self.whens(contestant) {
            let _inside = runtime().enter();
            let (calls, mut caller) = (self.calls, self.prepared(&build, when));
            let future = size_of_future(&mut caller, calls.request);
            let caller = Mutex::new(caller);
            let make = move || {
                let lock = caller.lock().expect("a clone does not panic");
                run(lock.clone(), calls)
            };
            self.push(contestant, when, future, true, Box::new(make));
        }
    }

    /// A contestant that cannot be cloned, so that every caller has one for itself.
    pub(crate) fn add_unshared<C: Caller>(
        &mut self,
        contestant: &'static str,
        build: impl Fn(Inner) -> C + Clone + Send + Sync + 'static,
    ) {
        for when in self.whens(contestant) {
            let _inside = runtime().enter();
            let calls = self.calls;
            let future = size_of_future(&mut build(inner(when)), calls.request);
            let build = build.clone();
            self.push(contestant, when, future, false, Box::new(move || run(build(inner(when)), calls)));
        }
    }

    /// A refused call never gets to the service: how fast that is makes no difference.
    fn whens(&self, contestant: &str) -> Vec<When> {
        let mut whens = if self.calls.succeed { vec![When::Ready, When::Pending] } else { vec![When::Ready] };
        whens.retain(|when| name(self.pattern, contestant, *when).contains(&self.only));
        whens
    }

    fn prepared<C: Caller + Clone>(&self, build: &impl Fn(Inner) -> C, when: When) -> C {
        let mut caller = build(inner(when));
        match self.before {
            Before::Nothing => {}
            Before::Failures => {
                for _ in 0..500 {
                    assert!(!one_call(&mut caller, Request::FAILS), "the service fails");
                }
            }
            Before::Hang => {
                // It holds its place for as long as the program runs.
                let holder = Box::leak(Box::new(caller.clone()));
                let mut held = Box::pin(holder.start(Request::HANGS));
                let polled = Pin::new(&mut held).poll(&mut Context::from_waker(Waker::noop()));
                assert!(polled.is_pending(), "a call that hangs");
                std::mem::forget(held);
            }
        }
        assert_eq!(one_call(&mut caller, self.calls.request), self.calls.succeed, "{}", self.pattern);
        caller
    }

    fn push(
        &mut self,
        contestant: &'static str,
        when: When,
        future: usize,
        shared: bool,
        make: Box<dyn Fn() -> Run + Send + Sync>,
    ) {
        self.list.push(Scenario { pattern: self.pattern, contestant, when, future, shared, make });
    }
}

fn name(pattern: &str, contestant: &str, when: When) -> String {
    format!("{pattern}/{contestant}/{when}")
}

fn inner(when: When) -> Inner {
    Inner { pending: u32::from(when == When::Pending) }
}

fn run<C: Caller>(mut caller: C, calls: Calls) -> Run {
    Box::new(move |count| {
        for _ in 0..count {
            assert_eq!(one_call(&mut caller, calls.request), calls.succeed, "as every other call");
        }
    })
}
