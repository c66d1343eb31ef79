//! Permits and places: one at a time, against a model, and under threads.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use proptest::prelude::*;

use super::super::machine::{Full, MOST, Machine, Waiter};
use crate::random::Random;

/// Counts how often it is woken, and unparks a thread if it has one.
#[derive(Default)]
struct Alarm {
    rings: AtomicUsize,
    sleeper: Option<Thread>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.rings.fetch_add(1, Ordering::SeqCst);
        if let Some(thread) = &self.sleeper {
            thread.unpark();
        }
    }
}

impl Alarm {
    fn rang(&self) -> bool {
        self.rings.load(Ordering::SeqCst) > 0
    }
}

/// A waiter, polled once, and what its task hears.
fn waiting(machine: &Machine) -> (Waiter, Arc<Alarm>) {
    let (mut waiter, alarm) = (machine.enqueue().expect("the queue has room"), Arc::<Alarm>::default());
    let _ = poll(machine, &mut waiter, &alarm);
    (waiter, alarm)
}

fn poll(machine: &Machine, waiter: &mut Waiter, alarm: &Arc<Alarm>) -> Poll<()> {
    machine.poll_waiter(waiter, &mut Context::from_waker(&Waker::from(alarm.clone())))
}

fn has_permit(machine: &Machine, waiter: &mut Waiter) -> bool {
    machine.poll_waiter(waiter, &mut Context::from_waker(Waker::noop())).is_ready()
}

fn counts(machine: &Machine) -> (usize, usize, usize) {
    let state = machine.state();
    (state.limit, state.in_use, state.queued)
}

#[test]
fn no_more_than_the_limit_are_admitted() {
    let machine = Machine::new(2, 0);
    assert!(machine.try_acquire() && machine.try_acquire());
    assert!(!machine.try_acquire());
    machine.release();
    assert!(machine.try_acquire());
    assert_eq!(counts(&machine), (2, 2, 0));
}

#[test]
fn a_full_queue_refuses_at_once() {
    let machine = Machine::new(1, 1);
    assert!(machine.try_acquire());
    let (waiter, _) = waiting(&machine);
    assert_eq!(machine.enqueue().err(), Some(Full));
    machine.give_up(waiter);
    assert_eq!(counts(&machine), (1, 1, 0));
}

#[test]
fn a_permit_that_came_free_before_the_queue_is_taken_on_the_spot() {
    let machine = Machine::new(1, 0);
    let mut waiter = machine.enqueue().expect("a permit is free");
    assert_eq!(counts(&machine), (1, 1, 0));
    assert!(has_permit(&machine, &mut waiter));
    machine.release();
    assert_eq!(counts(&machine), (1, 0, 0));
}

#[test]
fn a_freed_permit_goes_to_the_oldest_waiter() {
    let machine = Machine::new(1, 2);
    assert!(machine.try_acquire());
    let ((mut first, heard_first), (mut second, heard_second)) = (waiting(&machine), waiting(&machine));
    machine.release();
    assert!(heard_first.rang() && !heard_second.rang());
    assert!(has_permit(&machine, &mut first) && !has_permit(&machine, &mut second));
    machine.give_up(second);
}

#[test]
fn nobody_barges_past_a_waiter() {
    let machine = Machine::new(1, 2);
    assert!(machine.try_acquire());
    let (mut waiter, _) = waiting(&machine);
    machine.release();
    assert!(!machine.try_acquire(), "the permit has an owner, though it was not polled yet");
    let (mut late, _) = waiting(&machine);
    assert!(has_permit(&machine, &mut waiter) && !has_permit(&machine, &mut late));
    machine.give_up(late);
}

#[test]
fn a_waiter_that_gives_up_leaves_its_place_at_once() {
    let machine = Machine::new(1, 3);
    assert!(machine.try_acquire());
    let ((first, heard_first), (second, heard_second)) = (waiting(&machine), waiting(&machine));
    let (mut third, heard_third) = waiting(&machine);
    machine.give_up(second);
    machine.give_up(first);
    assert_eq!(machine.state().queued, 1);
    machine.release();
    assert!(heard_third.rang() && !heard_first.rang() && !heard_second.rang());
    assert!(has_permit(&machine, &mut third));
}

#[test]
fn a_permit_granted_to_one_that_gives_up_goes_to_the_next() {
    let machine = Machine::new(1, 2);
    assert!(machine.try_acquire());
    let ((first, _), (mut second, heard)) = (waiting(&machine), waiting(&machine));
    machine.release();
    assert!(!heard.rang());
    machine.give_up(first);
    assert!(heard.rang() && has_permit(&machine, &mut second));
    machine.release();
    assert_eq!(counts(&machine), (1, 0, 0));
}

#[test]
fn the_last_task_that_polled_is_the_one_woken() {
    let machine = Machine::new(1, 1);
    assert!(machine.try_acquire());
    let ((mut waiter, before), now) = (waiting(&machine), Arc::<Alarm>::default());
    assert!(poll(&machine, &mut waiter, &now).is_pending());
    machine.release();
    assert!(now.rang() && !before.rang());
}

#[test]
fn a_waiter_granted_before_its_first_poll_is_ready_at_it() {
    let machine = Machine::new(1, 1);
    assert!(machine.try_acquire());
    let mut waiter = machine.enqueue().expect("the queue has room");
    machine.release();
    assert!(has_permit(&machine, &mut waiter));
}

#[test]
fn a_higher_limit_lets_waiters_in() {
    let machine = Machine::new(1, 4);
    assert!(machine.try_acquire());
    let waiters: Vec<_> = (0..4).map(|_| waiting(&machine)).collect();
    machine.set_limit(3).wake();
    assert_eq!(waiters.iter().map(|(_, heard)| heard.rang()).collect::<Vec<_>>(), [true, true, false, false]);
    assert_eq!(counts(&machine), (3, 3, 2));
    waiters.into_iter().rev().for_each(|(waiter, _)| machine.give_up(waiter));
    assert_eq!(counts(&machine), (3, 1, 0));
}

#[test]
fn a_lower_limit_withholds_permits_until_enough_are_back() {
    let machine = Machine::new(3, 1);
    assert!((0..3).all(|_| machine.try_acquire()));
    let (mut waiter, heard) = waiting(&machine);
    machine.set_limit(1).wake();
    machine.release();
    machine.release();
    assert_eq!(counts(&machine), (1, 1, 1));
    assert!(!heard.rang());
    machine.release();
    assert!(heard.rang() && has_permit(&machine, &mut waiter));
    assert_eq!(counts(&machine), (1, 1, 0));
}

#[test]
fn limits_beyond_what_can_be_counted_mean_the_most() {
    let machine = Machine::new(usize::MAX, usize::MAX);
    assert_eq!(machine.state().limit, MOST);
    assert!(machine.try_acquire());
    assert_eq!(counts(&machine), (MOST, 1, 0));
    machine.set_limit(1).wake();
    let (waiter, _) = waiting(&machine);
    assert_eq!(counts(&machine), (1, 1, 1));
    machine.give_up(waiter);
}

/// What may be done to a machine; numbers choose among those it can be done to.
#[derive(Clone, Debug)]
enum Operation {
    TryAcquire,
    Enqueue,
    Poll(usize),
    Release,
    GiveUp(usize),
    SetLimit(usize),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        3 => Just(Operation::TryAcquire),
        4 => Just(Operation::Enqueue),
        3 => any::<usize>().prop_map(Operation::Poll),
        4 => Just(Operation::Release),
        2 => any::<usize>().prop_map(Operation::GiveUp),
        1 => (0_usize..5).prop_map(Operation::SetLimit),
    ]
}

/// Slow and obvious: names in a queue, names with a permit.
#[derive(Default)]
struct Model {
    limit: usize,
    anonymous: usize,
    granted: Vec<usize>,
    queue: VecDeque<usize>,
}

impl Model {
    fn in_use(&self) -> usize {
        self.anonymous + self.granted.len()
    }

    fn has_room(&self) -> bool {
        self.queue.is_empty() && self.in_use() < self.limit
    }

    fn settle(&mut self) {
        while self.in_use() < self.limit {
            let Some(next) = self.queue.pop_front() else { break };
            self.granted.push(next);
        }
    }

    fn give_up(&mut self, name: usize) {
        self.queue.retain(|&other| other != name);
        self.granted.retain(|&other| other != name);
        self.settle();
    }
}

const MAX_QUEUE: usize = 4;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn machine_and_model_agree(limit in 0_usize..4, operations in prop::collection::vec(operation(), 1..200)) {
        let machine = Machine::new(limit, MAX_QUEUE);
        let mut model = Model { limit, ..Model::default() };
        // Polled or not; an owner that saw `Ready` becomes anonymous.
        let mut waiters: Vec<(usize, Waiter, Option<Arc<Alarm>>)> = Vec::new();
        for (name, operation) in operations.into_iter().enumerate() {
            match operation {
                Operation::TryAcquire => {
                    let room = model.has_room();
                    model.anonymous += usize::from(room);
                    prop_assert_eq!(machine.try_acquire(), room);
                }
                Operation::Enqueue => {
                    let fits = model.has_room() || model.queue.len() < MAX_QUEUE;
                    let waiter = machine.enqueue();
                    prop_assert_eq!(waiter.is_ok(), fits);
                    if let Ok(waiter) = waiter {
                        model.queue.push_back(name);
                        model.settle();
                        waiters.push((name, waiter, None));
                    }
                }
                Operation::Poll(at) if !waiters.is_empty() => {
                    let at = at % waiters.len();
                    let (name, waiter, heard) = &mut waiters[at];
                    let alarm = Arc::<Alarm>::default();
                    let ready = poll(&machine, waiter, &alarm).is_ready();
                    prop_assert_eq!(ready, model.granted.contains(name));
                    *heard = Some(alarm);
                    if ready {
                        let name = waiters.remove(at).0;
                        model.granted.retain(|&other| other != name);
                        model.anonymous += 1;
                    }
                }
                Operation::Release if model.anonymous > 0 => {
                    model.anonymous -= 1;
                    model.settle();
                    machine.release();
                }
                Operation::GiveUp(at) if !waiters.is_empty() => {
                    let (name, waiter, _) = waiters.remove(at % waiters.len());
                    model.give_up(name);
                    machine.give_up(waiter);
                }
                Operation::SetLimit(limit) => {
                    model.limit = limit;
                    model.settle();
                    machine.set_limit(limit).wake();
                }
                _ => {}
            }
            prop_assert_eq!(counts(&machine), (model.limit, model.in_use(), model.queue.len()));
            for (name, _, heard) in &waiters {
                if let Some(alarm) = heard {
                    prop_assert_eq!(alarm.rang(), model.granted.contains(name));
                }
            }
        }
    }
}

#[test]
fn ten_thousand_waiters_with_random_drops_lose_no_permit() {
    const LIMIT: usize = 10;
    let (machine, random) = (Machine::new(LIMIT, usize::MAX), Random::seeded(0xb0a7));
    assert!((0..LIMIT).all(|_| machine.try_acquire()));
    let mut waiters: VecDeque<_> = (0..10_000).map(|name| (name, waiting(&machine).0)).collect();
    let (mut held, mut served) = (LIMIT, Vec::new());
    while !waiters.is_empty() {
        if random.unit() < 0.5 {
            let at = usize::try_from(random.next_u64()).expect("64 bits") % waiters.len();
            machine.give_up(waiters.remove(at).expect("an index within").1);
        } else if held > 0 {
            machine.release();
            held -= 1;
        }
        // A permit is only ever with the oldest; they are polled now and then, so that some give up with a
        // permit.
        while random.unit() < 0.3 {
            let Some((name, mut waiter)) = waiters.pop_front() else { break };
            if !has_permit(&machine, &mut waiter) {
                waiters.push_front((name, waiter));
                break;
            }
            served.push(name);
            held += 1;
        }
        assert!(machine.state().in_use <= LIMIT);
    }
    assert!(served.len() > 3_000 && served.is_sorted(), "first in, first out");
    (0..held).for_each(|_| machine.release());
    assert_eq!(counts(&machine), (LIMIT, 0, 0));
}

/// One thread's calls: admitted at once or queued, given up at random, each telling how many are inside with
/// it.
fn hammer(machine: &Machine, inside: &AtomicUsize, peak: &AtomicUsize, seed: u64, calls: usize) -> usize {
    let random = Random::seeded(seed);
    let alarm = Arc::new(Alarm { sleeper: Some(thread::current()), ..Alarm::default() });
    let mut served = 0;
    for _ in 0..calls {
        if !machine.try_acquire() {
            let Ok(mut waiter) = machine.enqueue() else { continue };
            if random.unit() < 0.3 {
                let _ = poll(machine, &mut waiter, &alarm);
                thread::yield_now();
                machine.give_up(waiter);
                continue;
            }
            while poll(machine, &mut waiter, &alarm).is_pending() {
                thread::park();
            }
        }
        peak.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        if random.unit() < 0.5 {
            thread::yield_now();
        }
        inside.fetch_sub(1, Ordering::SeqCst);
        machine.release();
        served += 1;
    }
    served
}

#[test]
fn threads_never_pass_the_limit_and_every_permit_comes_back() {
    const LIMIT: usize = 3;
    let machine = Machine::new(LIMIT, 4);
    let (inside, peak) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let served: usize = thread::scope(|scope| {
        let (machine, inside, peak) = (&machine, &inside, &peak);
        let threads: Vec<_> =
            (0..8).map(|seed| scope.spawn(move || hammer(machine, inside, peak, seed, 5_000))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
    });
    assert!(peak.into_inner() <= LIMIT);
    assert!(served > 0);
    assert_eq!(counts(&machine), (LIMIT, 0, 0));
}

#[test]
fn a_limit_that_changes_under_threads_is_kept_at_every_setting() {
    let (low, high) = (1, 6);
    let machine = Machine::new(low, 16);
    let (inside, peak, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let served: Vec<_> = thread::scope(|scope| {
        let (machine, inside, peak, done) = (&machine, &inside, &peak, &done);
        scope.spawn(move || {
            while !done.load(Ordering::SeqCst) {
                machine.set_limit(high).wake();
                thread::yield_now();
                machine.set_limit(low).wake();
                // Nobody new gets in above the lower limit, so those inside only become fewer, down to it.
                let mut before = usize::MAX;
                while machine.state().in_use > low {
                    let now = machine.state().in_use;
                    assert!(now <= before, "a permit was granted over the limit");
                    before = now;
                    thread::yield_now();
                }
            }
        });
        let threads: Vec<_> =
            (0..8).map(|seed| scope.spawn(move || hammer(machine, inside, peak, seed, 3_000))).collect();
        let served = threads.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::SeqCst);
        served
    });
    assert!(served.into_iter().all(|calls| calls.expect("no thread panics") > 0));
    assert!(peak.into_inner() <= high);
    assert_eq!(counts(&machine), (low, 0, 0));
}

#[test]
fn a_share_of_the_limit_is_filled_and_no_more_and_moves_with_it() {
    for (limit, percent, places) in [(10, 60, 6), (10, 75, 8), (10, 90, 9), (10, 100, 10), (1, 60, 1)] {
        let machine = Machine::new(limit, 0);
        let taken = (0..20).filter(|_| machine.try_acquire_within(percent)).count();
        assert_eq!(taken, places, "{percent} % of {limit}");
        // The others have the rest.
        let rest = (0..20).filter(|_| machine.try_acquire()).count();
        assert_eq!(taken + rest, limit);
        machine.release();
        assert_eq!(machine.try_acquire_within(percent), places == limit);
    }
    let machine = Machine::new(10, 0);
    assert_eq!((0..20).filter(|_| machine.try_acquire_within(60)).count(), 6);
    machine.set_limit(20).wake();
    assert_eq!((0..20).filter(|_| machine.try_acquire_within(60)).count(), 6);
}
