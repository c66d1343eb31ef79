use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use proptest::{collection::vec, prelude::*};
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, advance, sleep_until},
};
use tokio_test::{
    assert_pending, assert_ready,
    task::{Spawn, spawn},
};

use super::{State, Timer};

const MILLI: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(1_000);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("it needs nothing")
}

async fn wait(deadline: Instant) {
    let mut timer = pin!(Timer::new());
    poll_fn(|cx| timer.as_mut().poll_until(deadline, cx)).await;
}

/// A timer in a task of its own.
struct Task {
    deadline: Instant,
    timer: Pin<Box<Timer>>,
}

impl Task {
    fn until(deadline: Instant) -> Spawn<Self> {
        spawn(Self { deadline, timer: Box::pin(Timer::new()) })
    }

    fn is_queued(&self) -> bool {
        matches!(self.timer.state, State::Queued { .. })
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        self.timer.as_mut().poll_until(deadline, cx)
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Another one waits for so many microseconds.
    Wait(u64),
    /// One is given up.
    GiveUp(usize),
    /// One is polled by another task.
    Move(usize),
    /// Time goes by, in microseconds.
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![
        // Limits that many have, as they are or shortened, and any.
        4 => Just(1_000_000_u64),
        2 => Just(30_000_000_u64),
        2 => 0..1_000_000_u64,
        1 => 0..100_000_000_u64,
    ];
    prop_oneof![
        6 => wait.prop_map(Step::Wait),
        3 => (0..100_usize).prop_map(Step::GiveUp),
        1 => (0..100_usize).prop_map(Step::Move),
        4 => prop_oneof![0..3_000_u64, 0..2_000_000_u64, 0..40_000_000_u64].prop_map(Step::Advance),
    ]
}

proptest! {
    /// Beside a `Sleep` of tokio's for each: never early, and never later than that one.
    #[test]
    fn each_timer_ends_with_the_sleep_of_tokio_beside_it(steps in vec(step(), 1..150)) {
        runtime().block_on(async {
            let mut pairs = Vec::new();
            for step in steps {
                match step {
                    Step::Wait(micros) => {
                        let deadline = Instant::now() + Duration::from_micros(micros);
                        let mut ours = Task::until(deadline);
                        let mut theirs = spawn(Box::pin(sleep_until(deadline)));
                        let at_once = ours.poll().is_ready();
                        prop_assert_eq!(at_once, micros == 0);
                        if theirs.poll().is_pending() && !at_once {
                            pairs.push((deadline, ours, theirs));
                        }
                    }
                    Step::GiveUp(n) if n < pairs.len() => drop(pairs.swap_remove(n)),
                    Step::Move(n) if n < pairs.len() => {
                        let (deadline, ours, theirs) = pairs.swap_remove(n);
                        let mut ours = spawn(ours.into_inner());
                        assert_pending!(ours.poll());
                        pairs.push((deadline, ours, theirs));
                    }
                    Step::Advance(micros) => {
                        advance(Duration::from_micros(micros)).await;
                        let mut rest = Vec::new();
                        for (deadline, mut ours, mut theirs) in pairs {
                            let over = deadline <= Instant::now();
                            prop_assert!(ours.is_woken() || !theirs.is_woken(), "it is late");
                            let woken = ours.is_woken();
                            let ready = ours.poll().is_ready();
                            prop_assert!(over || !ready, "it is early");
                            prop_assert!(ready == woken || !over, "who is woken is ready, and who is ready was woken");
                            if !ready {
                                prop_assert!(theirs.poll().is_pending(), "it is late");
                                rest.push((deadline, ours, theirs));
                            }
                        }
                        pairs = rest;
                    }
                    Step::GiveUp(_) | Step::Move(_) => {}
                }
            }
            Ok(())
        })?;
    }
}

#[test]
fn time_that_advances_by_itself_stops_at_every_deadline() {
    runtime().block_on(async {
        let start = Instant::now();
        let deadlines = [30_000, 1_000, 1_000, 999, 5, 70_000, 1];
        let tasks = deadlines.map(|millis| {
            tokio::spawn(async move {
                wait(start + MILLI * millis).await;
                (millis, start.elapsed())
            })
        });
        for task in tasks {
            let (millis, elapsed) = task.await.expect("it does not panic");
            assert_eq!(elapsed, MILLI * millis);
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_timer_out_of_order_ends_in_its_own_time() {
    let now = Instant::now();
    let mut tasks: Vec<_> = (1..=20).rev().map(|n| Task::until(now + MILLI * 10 * n)).collect();
    for task in &mut tasks {
        assert_pending!(task.poll());
    }
    for _ in 0..20 {
        advance(10 * MILLI).await;
        assert_ready!(tasks.pop().expect("there are twenty").poll());
        assert!(tasks.iter().all(|task| !task.is_woken()));
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_task_that_polled_last_is_woken() {
    let mut first = Task::until(Instant::now() + MILLI);
    assert_pending!(first.poll());
    let (count, other) = counter(|| {});
    assert!(
        first
            .timer
            .as_mut()
            .poll_until(Instant::now() + MILLI, &mut Context::from_waker(&other))
            .is_pending()
    );
    advance(MILLI).await;
    assert!(!first.is_woken());
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_was_cleared_waits_for_its_next_deadline_alone() {
    let start = Instant::now();
    let mut task = Task::until(start + MILLI);
    assert_pending!(task.poll());
    task.timer.as_mut().clear();
    task.deadline = start + 5 * MILLI;
    assert_pending!(task.poll());
    advance(4 * MILLI).await;
    assert!(!task.is_woken());
    advance(MILLI).await;
    assert!(task.is_woken());
    assert_ready!(task.poll());
    assert_ready!(task.poll());
}

/// A waker that counts how often it is called, and does something.
fn counter(work: impl Fn() + Send + Sync + 'static) -> (Arc<AtomicU32>, Waker) {
    struct Counter<F>(Arc<AtomicU32>, F);
    impl<F: Fn() + Send + Sync + 'static> Wake for Counter<F> {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
            (self.1)();
        }
    }
    let count = Arc::new(AtomicU32::new(0));
    let waker = Arc::new(Counter(Arc::clone(&count), work)).into();
    (count, waker)
}

#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_keeps_none_of_the_others_asleep() {
    let deadline = Instant::now() + MILLI;
    let mut timers: Vec<_> = (0..100)
        .map(|n| {
            let (count, waker) = counter(move || assert!(n % 3 != 0, "a bug in a waker"));
            let mut timer = Box::pin(Timer::new());
            assert!(timer.as_mut().poll_until(deadline, &mut Context::from_waker(&waker)).is_pending());
            (timer, count)
        })
        .collect();
    // Tokio's own passes the panic on: whoever has a `Sleep` of his own is not meant.
    timers.retain(|(timer, _)| matches!(timer.state, State::Queued { .. }));
    advance(MILLI).await;
    assert!(timers.iter().all(|(_, count)| count.load(Ordering::Relaxed) == 1));
}

#[tokio::test(start_paused = true)]
async fn a_waker_may_do_with_timers_what_it_likes() {
    let deadline = Instant::now() + MILLI;
    let held: Arc<Mutex<Vec<Pin<Box<Timer>>>>> = Arc::default();
    let again = Arc::clone(&held);
    let (count, waker) = counter(move || {
        let mut timer = Box::pin(Timer::new());
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(timer.as_mut().poll_until(Instant::now() + MILLI, cx).is_pending());
        drop(again.lock().map(|mut held| held.pop()));
    });
    for _ in 0..50 {
        let mut timer = Box::pin(Timer::new());
        assert!(timer.as_mut().poll_until(deadline, &mut Context::from_waker(&waker)).is_pending());
        held.lock().expect("no panic").push(timer);
    }
    drop(waker);
    advance(MILLI).await;
    let count = count.load(Ordering::Relaxed);
    assert!((25..=50).contains(&count), "those that were dropped are not woken: {count}");
    assert!(held.lock().expect("no panic").len() <= 25);
}

#[test]
fn who_waits_in_a_runtime_that_shuts_down_goes_on_where_it_is_polled_next() {
    let (first, second) = (runtime(), runtime());
    let mut task = {
        let _inside = first.enter();
        let mut task = Task::until(Instant::now() + LONG);
        assert_pending!(task.poll());
        task
    };
    drop(first);
    assert!(task.is_woken() || !task.is_queued());
    second.block_on(async {
        if task.is_queued() {
            assert_pending!(task.poll(), "it was woken, and its time is not over");
            // Both clocks were stopped a moment apart.
            advance(LONG + LONG).await;
            assert_ready!(task.poll());
        }
    });
}

#[test]
fn a_runtime_that_nobody_drives_holds_up_no_timer_of_another() {
    let (idle, driven) = (runtime(), runtime());
    let tasks: Vec<_> = {
        let _inside = idle.enter();
        let task = |n| {
            let mut task = Task::until(Instant::now() + MILLI * n);
            assert_pending!(task.poll());
            task
        };
        (1..10).map(task).collect()
    };
    driven.block_on(async {
        let start = Instant::now();
        for n in 1..20 {
            wait(start + MILLI * n).await;
            assert_eq!(start.elapsed(), MILLI * n);
        }
    });
    assert!(tasks.iter().all(|task| !task.is_woken()));
}

#[test]
fn a_timer_outside_of_a_runtime_panics_as_those_of_tokio_do() {
    let poll = || {
        let mut timer = Box::pin(Timer::new());
        timer
            .as_mut()
            .poll_until(Instant::now() + MILLI, &mut Context::from_waker(Waker::noop()))
            .is_pending()
    };
    let panic = std::panic::catch_unwind(poll).expect_err("there is no runtime");
    let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    assert!(text.contains("there is no reactor running"), "{text}");
    // Nor where there is no time; and the next one, where there is, is none the worse for it.
    let timeless = Builder::new_current_thread().build().expect("it needs nothing");
    for _ in 0..10 {
        timeless.block_on(async { std::panic::catch_unwind(poll).expect_err("there is no time") });
    }
    runtime().block_on(async { wait(Instant::now() + MILLI).await });
}

/// Real time, several threads that drive, and timers that end, are given up and move.
#[test]
fn nobody_is_forgotten_where_threads_come_and_go() {
    let runtime = Builder::new_multi_thread().worker_threads(4).enable_time().build().expect("threads");
    runtime.block_on(async {
        let tasks: Vec<_> = (0..2_000_u32)
            .map(|n| {
                tokio::spawn(async move {
                    for round in 0..5 {
                        let deadline = Instant::now() + MILLI * ((n * 7 + round * 3) % 20);
                        if n % 4 == 0 {
                            // Given up after a poll.
                            let mut timer = pin!(Timer::new());
                            let poll = poll_fn(|cx| Poll::Ready(timer.as_mut().poll_until(deadline, cx)));
                            _ = poll.await;
                            tokio::task::yield_now().await;
                        } else {
                            wait(deadline).await;
                            assert!(deadline <= Instant::now(), "it is early");
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("it does not panic");
        }
    });
}
