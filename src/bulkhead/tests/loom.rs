//! Every interleaving of the steps that meet: `RUSTFLAGS="--cfg moneta_loom" cargo test --lib loom_`.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Wake, Waker},
};

use loom::{model::Builder, sync::Arc, thread};

use super::super::{
    Aimd,
    adaptive::Adaptive,
    machine::{Machine, Waiter},
};

fn model(check: impl Fn() + Send + Sync + 'static) {
    let mut model = Builder::new();
    model.preemption_bound = Some(3);
    model.check(check);
}

#[derive(Default)]
struct Alarm(AtomicBool);

impl Wake for Alarm {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Joins the queue and polls once; tells whether that was enough, and what will be woken if not.
fn wait(machine: &Machine) -> (Waiter, bool, std::sync::Arc<Alarm>) {
    let alarm = std::sync::Arc::<Alarm>::default();
    let mut waiter = machine.enqueue().expect("the queue has room");
    let ready = poll(machine, &mut waiter, &alarm);
    (waiter, ready, alarm)
}

fn poll(machine: &Machine, waiter: &mut Waiter, alarm: &std::sync::Arc<Alarm>) -> bool {
    machine.poll_waiter(waiter, &mut Context::from_waker(&Waker::from(alarm.clone()))) == Poll::Ready(())
}

/// Gets in if it can without waiting, and gives everything back.
fn pass(machine: &Machine) {
    if machine.try_acquire() {
        machine.release();
    } else if let Ok(waiter) = machine.enqueue() {
        machine.give_up(waiter);
    }
}

fn counts(machine: &Machine) -> (usize, usize) {
    (machine.state().in_use, machine.state().queued)
}

#[test]
fn loom_a_permit_freed_while_a_call_queues_reaches_it() {
    model(|| {
        let machine = Arc::new(Machine::new(1, 2));
        assert!(machine.try_acquire());
        let (queues, passes) = (Arc::clone(&machine), Arc::clone(&machine));
        let queues = thread::spawn(move || wait(&queues));
        let passes = thread::spawn(move || pass(&passes));
        machine.release();
        passes.join().expect("it does not panic");
        let (mut waiter, ready, alarm) = queues.join().expect("it does not panic");
        assert!(ready || alarm.0.load(Ordering::SeqCst), "nobody would poll it again");
        assert!(ready || poll(&machine, &mut waiter, &alarm));
        assert_eq!(counts(&machine), (1, 0));
        machine.release();
        assert_eq!(counts(&machine), (0, 0));
    });
}

#[test]
fn loom_a_permit_granted_to_a_call_that_gives_up_is_not_lost() {
    model(|| {
        let machine = Arc::new(Machine::new(1, 2));
        assert!(machine.try_acquire());
        let ((first, ..), (mut second, _, alarm)) = (wait(&machine), wait(&machine));
        let gives_up = Arc::clone(&machine);
        let gives_up = thread::spawn(move || gives_up.give_up(first));
        machine.release();
        gives_up.join().expect("it does not panic");
        assert!(alarm.0.load(Ordering::SeqCst) && poll(&machine, &mut second, &alarm));
        assert_eq!(counts(&machine), (1, 0));
    });
}

#[test]
fn loom_a_limit_that_rises_while_a_call_queues_lets_it_in() {
    model(|| {
        let machine = Arc::new(Machine::new(0, 2));
        let (queues, passes) = (Arc::clone(&machine), Arc::clone(&machine));
        let queues = thread::spawn(move || wait(&queues));
        let passes = thread::spawn(move || pass(&passes));
        machine.set_limit(1).wake();
        passes.join().expect("it does not panic");
        let (mut waiter, ready, alarm) = queues.join().expect("it does not panic");
        assert!(ready || alarm.0.load(Ordering::SeqCst), "nobody would poll it again");
        assert!(ready || poll(&machine, &mut waiter, &alarm));
        assert_eq!(counts(&machine), (1, 0));
    });
}

#[test]
fn loom_no_permit_is_granted_over_a_limit_that_falls() {
    model(|| {
        let machine = Arc::new(Machine::new(2, 2));
        let takes = Arc::clone(&machine);
        let takes = thread::spawn(move || takes.try_acquire());
        machine.set_limit(1).wake();
        let before = machine.state().in_use;
        let mine = machine.try_acquire();
        assert!(!(mine && before == 1));
        let theirs = takes.join().expect("it does not panic");
        assert_eq!(machine.state().in_use, usize::from(mine) + usize::from(theirs));
        assert!(machine.state().in_use <= 1);
    });
}

#[test]
fn loom_waiters_that_all_give_up_leave_every_permit_behind() {
    model(|| {
        let machine = Arc::new(Machine::new(1, 2));
        assert!(machine.try_acquire());
        let ((first, ..), (second, ..)) = (wait(&machine), wait(&machine));
        let (one, other) = (Arc::clone(&machine), Arc::clone(&machine));
        let one = thread::spawn(move || one.give_up(first));
        let other = thread::spawn(move || other.give_up(second));
        machine.release();
        one.join().expect("it does not panic");
        other.join().expect("it does not panic");
        assert_eq!(counts(&machine), (0, 0));
        assert!(machine.try_acquire());
    });
}

#[test]
fn loom_of_two_calls_of_a_round_trip_that_ask_for_less_one_is_heard() {
    model(|| {
        let machine = Arc::new(Machine::new(20, 0));
        let adaptive = Adaptive::new(Aimd::new().into()).expect("it adapts");
        let turn = adaptive.turn();
        let adaptive = Arc::new(adaptive);
        let (other, theirs) = (Arc::clone(&adaptive), Arc::clone(&machine));
        let other = thread::spawn(move || other.overloaded(&theirs, turn).wake());
        adaptive.overloaded(&machine, turn).wake();
        other.join().expect("it does not panic");
        assert_eq!(machine.state().limit, 18);
        assert_ne!(adaptive.turn(), turn);
    });
}

#[test]
fn loom_a_round_trip_is_taken_once() {
    model(|| {
        let machine = Arc::new(Machine::new(20, 0));
        let adaptive = Adaptive::new(Aimd::new().into()).expect("it adapts");
        let adaptive = Arc::new(adaptive);
        let succeed = |adaptive: &Adaptive, machine: &Machine| {
            adaptive.succeeded(machine, adaptive.turn(), std::time::Duration::from_millis(1), 10).wake();
        };
        (0..8).for_each(|_| succeed(&adaptive, &machine));
        let (other, theirs) = (Arc::clone(&adaptive), Arc::clone(&machine));
        let other = thread::spawn(move || (0..2).for_each(|_| succeed(&other, &theirs)));
        (0..2).for_each(|_| succeed(&adaptive, &machine));
        other.join().expect("it does not panic");
        assert_eq!(machine.state().limit, 21);
    });
}
