//! The laws of the limits that adapt, in simulations.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    super::{Aimd, ConcurrencyLimit, Gradient, adaptive::Adaptive, machine::Machine},
    simulation::{Server, Service, Simulation, mean, near},
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const ENDLESS: usize = usize::MAX;

/// Refuses beyond a queue of a tenth of its capacity.
fn refusing(service: Service, workers: usize) -> Server {
    Server { service, mean: 40 * MS, workers, queue: workers / 10, refusal: MS }
}

/// Lets everybody wait.
fn patient(service: Service, workers: usize) -> Server {
    Server { queue: ENDLESS, ..refusing(service, workers) }
}

fn laws() -> [ConcurrencyLimit; 2] {
    [Aimd::new().into(), Gradient::new().seed(7).into()]
}

/// All but the looks, which take four round trips of a hundred, and what a step takes at the least.
const NEARLY_ALWAYS: f64 = 0.9;

#[test]
fn each_law_settles_at_the_capacity_follows_a_step_down_to_half_and_back_up() {
    for (law, service) in laws().into_iter().flat_map(|law| Service::ALL.map(|service| (law, service))) {
        let mut simulation = Simulation::new(law, refusing(service, 100), 1);
        for workers in [100, 50, 100] {
            simulation.server = refusing(service, workers);
            simulation.run(10 * SECOND);
            let share = near(&simulation.run(10 * SECOND), workers);
            assert!(share > NEARLY_ALWAYS, "{law:?}, {service:?}, {workers}: {share}");
        }
    }
}

#[test]
fn refusals_that_take_as_long_as_answers_change_nothing() {
    for (law, service) in laws().into_iter().flat_map(|law| Service::ALL.map(|service| (law, service))) {
        let server = Server { refusal: 40 * MS, ..refusing(service, 100) };
        let mut simulation = Simulation::new(law, server, 2);
        simulation.run(10 * SECOND);
        let share = near(&simulation.run(20 * SECOND), 100);
        assert!(share > NEARLY_ALWAYS, "{law:?}, {service:?}: {share}");
    }
}

#[test]
fn a_limit_in_front_of_an_endless_queue_settles_at_the_tolerance_and_stays_there() {
    for service in Service::ALL {
        let mut simulation = Simulation::new(Gradient::new().seed(3), patient(service, 50), 3);
        simulation.run(20 * SECOND);
        let before = simulation.served;
        for minute in 0..3 {
            let limit = mean(&simulation.run(60 * SECOND));
            // Half as long again is 1.5 times the capacity, and 4 are added at each step.
            assert!((50.0..90.0).contains(&limit), "{service:?}: {limit} in minute {minute}");
        }
        let (served, possible) = (simulation.served - before, 180 * 50 * 25);
        assert!(served * 100 > possible * 93, "{service:?}: {served} of {possible}");
    }
}

#[test]
fn a_small_tolerance_settles_at_the_capacity_of_a_server_that_never_refuses() {
    let law = Gradient::new().tolerance(1.1).seed(4);
    for service in [Service::Even, Service::Uneven] {
        let mut simulation = Simulation::new(law, patient(service, 100), 4);
        for workers in [100, 50, 100] {
            simulation.server = patient(service, workers);
            simulation.run(10 * SECOND);
            let limits = simulation.run(20 * SECOND);
            assert!(near(&limits, workers) > NEARLY_ALWAYS, "{service:?}, {workers}: {}", mean(&limits));
        }
    }
}

#[test]
fn a_dependency_that_became_slower_by_itself_is_not_starved() {
    let mut simulation = Simulation::new(Gradient::new().seed(5), patient(Service::Uneven, 100), 5);
    simulation.run(20 * SECOND);
    simulation.server.mean = 400 * MS;
    simulation.run(20 * SECOND);
    let limit = mean(&simulation.run(20 * SECOND));
    assert!(limit > 80.0, "{limit}");
    simulation.server.mean = 40 * MS;
    simulation.run(20 * SECOND);
    let limit = mean(&simulation.run(20 * SECOND));
    assert!((80.0..180.0).contains(&limit), "{limit}");
}

#[test]
fn a_latency_threshold_holds_the_queue_of_a_server_that_never_refuses() {
    let law = Aimd::new().latency_threshold(44 * MS);
    let mut simulation = Simulation::new(law, patient(Service::Even, 100), 6);
    simulation.run(10 * SECOND);
    let share = near(&simulation.run(20 * SECOND), 100);
    assert!(share > NEARLY_ALWAYS, "{share}");
}

#[test]
fn an_outage_of_timeouts_shrinks_the_limit_and_leaves_it_able_to_grow() {
    for law in laws() {
        let mut simulation = Simulation::new(law, refusing(Service::Uneven, 100), 7);
        simulation.timeout = Some(200 * MS);
        simulation.run(10 * SECOND);
        simulation.server.mean = 10 * SECOND;
        simulation.run(10 * SECOND);
        assert!(simulation.limit() < 20, "{law:?}: {}", simulation.limit());
        simulation.server.mean = 40 * MS;
        simulation.run(20 * SECOND);
        let share = near(&simulation.run(10 * SECOND), 100);
        assert!(share > NEARLY_ALWAYS, "{law:?}: {share}");
    }
}

#[test]
fn a_limit_of_which_less_than_half_is_used_does_not_grow() {
    for law in laws() {
        let mut simulation = Simulation::new(law, refusing(Service::Even, 100), 8);
        simulation.callers = 9;
        assert_eq!(simulation.run(10 * SECOND).iter().max(), Some(&20), "{law:?}");
        simulation.callers = 12;
        assert!(simulation.run(10 * SECOND).iter().max() > Some(&20), "{law:?}");
    }
}

#[test]
fn both_laws_hold_their_bounds_in_front_of_anything() {
    let laws: [ConcurrencyLimit; 2] =
        [Aimd::new().bounds(30..=60).into(), Gradient::new().bounds(30..=60).seed(9).into()];
    for (law, workers) in laws.into_iter().flat_map(|law| [(law, 5), (law, 500)]) {
        let mut simulation = Simulation::new(law, refusing(Service::Wild, workers), 9);
        let limits = simulation.run(20 * SECOND);
        assert!(limits.iter().all(|limit| (30..=60).contains(limit)), "{law:?}");
        let bound = if workers < 30 { 30 } else { 60 };
        assert!(limits.contains(&bound), "{law:?}: {workers}");
    }
}

/// One thing that can become of a call.
#[derive(Clone, Copy, Debug)]
enum Told {
    Success {
        micros: u64,
        in_flight: usize,
    },
    Overload,
    /// With the turn of a call that was admitted before.
    Late,
    SetByHand(usize),
    Resume,
}

fn told() -> impl Strategy<Value = Told> {
    let micros = prop_oneof![0..10_u64, 1..100_000_u64, Just(u64::MAX)];
    prop_oneof![
        60 => (micros, 0..2_000_usize).prop_map(|(micros, in_flight)| Told::Success { micros, in_flight }),
        3 => Just(Told::Overload),
        3 => Just(Told::Late),
        1 => (1..5_000_usize).prop_map(Told::SetByHand),
        1 => Just(Told::Resume),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_sample_moves_a_limit_out_of_its_bounds_or_one_that_was_set_by_hand(
        least in 1..100_usize,
        width in 0..1_000_usize,
        start in 1..2_000_usize,
        gradient in any::<bool>(),
        samples in prop::collection::vec(told(), 1..2_000),
    ) {
        let bounds = least..=least + width;
        let law: ConcurrencyLimit = if gradient {
            Gradient::new().bounds(bounds.clone()).start(start).seed(1).into()
        } else {
            Aimd::new().bounds(bounds.clone()).start(start).latency_threshold(50 * MS).into()
        };
        let (machine, adaptive) = (Machine::new(law.start(), 0), Adaptive::new(law).expect("it adapts"));
        let (mut by_hand, mut late) = (None, adaptive.turn());
        for sample in samples {
            let before = machine.state().limit;
            match sample {
                Told::Success { micros, in_flight } => {
                    let latency = Duration::from_micros(micros);
                    adaptive.succeeded(&machine, adaptive.turn(), latency, in_flight).wake();
                }
                Told::Overload => {
                    late = adaptive.turn();
                    adaptive.overloaded(&machine, late).wake();
                    let after = machine.state().limit;
                    // A tenth less of a gradient's real number may be the same whole one, or end a look at half.
                    prop_assert!(gradient || after < before || after == least || by_hand.is_some());
                }
                Told::Late => {
                    let is_late = late != adaptive.turn();
                    adaptive.overloaded(&machine, late).wake();
                    prop_assert!(!is_late || machine.state().limit == before);
                }
                Told::SetByHand(limit) => {
                    adaptive.hold(&machine, limit).wake();
                    by_hand = Some(limit);
                }
                Told::Resume => {
                    adaptive.resume(&machine).wake();
                    by_hand = None;
                }
            }
            let limit = machine.state().limit;
            prop_assert!(by_hand.map_or(bounds.contains(&limit), |by_hand| limit == by_hand), "{limit}");
        }
    }
}
