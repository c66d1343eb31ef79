//! Contestants, by what they do and over which kind of service.

use std::{
    fmt,
    hint::black_box,
    pin::pin,
    sync::Mutex,
    task::{Context, Poll, Waker},
};

use crate::{
    clock::runtime,
    work::{Caller, Inner, Request},
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

/// Makes so many calls, one after the other, all of which end in the same way. Gives the bytes of their future.
pub type Run = Box<dyn FnMut(u64) -> usize>;

/// [`Run`] with the calls that it makes.
type RunCalls = Box<dyn FnMut(Calls, u64) -> usize>;

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
const FAILING: Calls = Calls { request: Request::FAILS, succeed: false };
const REFUSED: Calls = Calls { request: Request(7), succeed: false };

/// Collects the contestants of one pattern after the other.
pub(crate) struct Scenarios {
    pub(crate) list: Vec<Scenario>,
    /// What is in the names of those that are wanted. Others are not even built.
    only: String,
    pattern: &'static str,
    calls: Calls,
    /// So many calls fail before those that are measured.
    failures: u64,
}

impl Scenarios {
    pub(crate) fn new(only: &str) -> Self {
        Self { list: Vec::new(), only: only.to_owned(), pattern: "", calls: GOOD, failures: 0 }
    }

    /// What follows are contestants of this pattern, whose calls go well.
    pub(crate) fn pattern(&mut self, name: &'static str) {
        (self.pattern, self.calls, self.failures) = (name, GOOD, 0);
    }

    /// The calls of the contestants that follow fail below, and go well nevertheless.
    pub(crate) fn rescued(&mut self) {
        self.calls = RESCUED;
    }

    /// The calls of the contestants that follow are refused, after so many failures.
    pub(crate) fn refused_after_failures(&mut self) {
        (self.calls, self.failures) = (REFUSED, 500);
    }

    /// A contestant whose clones share their state.
    pub(crate) fn add<C, T>(&mut self, contestant: &'static str, build: impl Fn(Inner<T>) -> C)
    where
        C: Caller + Clone,
    {
        self.add_after(contestant, build, |_| {});
    }

    /// A contestant without room for another call: one hangs, and the others are refused.
    pub(crate) fn add_full<C, T>(&mut self, contestant: &'static str, build: impl Fn(Inner<T>) -> C)
    where
        C: Caller + Clone,
    {
        self.calls = REFUSED;
        self.add_after(contestant, build, |caller: &C| {
            // It holds its place for as long as the program runs.
            let holder = Box::leak(Box::new(caller.clone()));
            let mut held = Box::pin(holder.start(Request::HANGS));
            let polled = held.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending(), "a call that hangs");
            std::mem::forget(held);
        });
    }

    fn add_after<C, T>(
        &mut self,
        contestant: &'static str,
        build: impl Fn(Inner<T>) -> C,
        prepare: impl Fn(&C),
    ) where
        C: Caller + Clone,
    {
        for when in self.whens(contestant) {
            let _inside = runtime().enter();
            let caller = build(inner(when));
            prepare(&caller);
            let (calls, failures) = (self.calls, self.failures);
            let caller = Mutex::new(caller);
            let make = move || {
                let lock = caller.lock().expect("a clone does not panic");
                run(lock.clone())
            };
            make()(FAILING, failures);
            self.push(contestant, when, true, move || bound(make(), calls));
        }
    }

    /// A contestant that cannot be cloned, so that every caller has one for itself.
    pub(crate) fn add_unshared<C, T>(
        &mut self,
        contestant: &'static str,
        build: impl Fn(Inner<T>) -> C + Copy + Send + Sync + 'static,
    ) where
        C: Caller,
    {
        for when in self.whens(contestant) {
            let calls = self.calls;
            self.push(contestant, when, false, move || bound(run(build(inner(when))), calls));
        }
    }

    /// A refused call never gets to the service: how fast that is makes no difference.
    fn whens(&self, contestant: &str) -> Vec<When> {
        let mut whens = if self.calls.succeed { vec![When::Ready, When::Pending] } else { vec![When::Ready] };
        whens.retain(|when| name(self.pattern, contestant, *when).contains(&self.only));
        whens
    }

    fn push(
        &mut self,
        contestant: &'static str,
        when: When,
        shared: bool,
        make: impl Fn() -> Run + Send + Sync + 'static,
    ) {
        let _inside = runtime().enter();
        let future = make()(1);
        self.list.push(Scenario {
            pattern: self.pattern,
            contestant,
            when,
            future,
            shared,
            make: Box::new(make),
        });
    }
}

fn name(pattern: &str, contestant: &str, when: When) -> String {
    format!("{pattern}/{contestant}/{when}")
}

fn inner<T>(when: When) -> Inner<T> {
    Inner::new(u32::from(when == When::Pending))
}

fn bound(mut run: RunCalls, calls: Calls) -> Run {
    Box::new(move |count| run(calls, count))
}

/// The one place from which a contestant is called, so that the compiler can make of it what it can.
fn run<C: Caller>(mut caller: C) -> RunCalls {
    Box::new(move |calls, count| {
        let cx = &mut Context::from_waker(Waker::noop());
        let mut size = 0;
        for _ in 0..count {
            let mut future = pin!(caller.start(black_box(calls.request)));
            size = size_of_val(&*future);
            let answer = loop {
                if let Poll::Ready(answer) = future.as_mut().poll(cx) {
                    break answer;
                }
            };
            assert_eq!(black_box(answer).is_ok(), calls.succeed, "as every other call");
        }
        size
    })
}
