//! The breaker as one would explain it, and random lives of both.

use std::time::Duration;

use Happened::{Abandoned, Bad, Good, Late, Throttled};
use proptest::prelude::*;
use tokio::time::Instant;

use crate::{
    Class, Ending, Ratio,
    circuit_breaker::{
        AbandonedPolicy,
        config::{CircuitBreakerConfig, Slow},
        machine::{Admission, Machine, Transition},
    },
    event::CircuitState,
    random::Random,
    window::Extent,
};

const MILLI: Duration = Duration::from_millis(1);

/// Everything that happened, in lists; every question is answered by counting.
struct Model {
    config: CircuitBreakerConfig,
    state: CircuitState,
    generation: usize,
    /// What happened in this generation, with the second it happened in, or the tenth of a window of calls.
    events: Vec<(u64, Happened)>,
    /// Calls that were ever counted.
    counted: u64,
    judged: u64,
    probes: Vec<(Ticket, u64)>,
    openings: u32,
    probe_at: u64,
    ramp: Ramp,
}

/// The calls of a ramp: how many would have passed by now if calls could be divided, and how many did.
#[derive(Default)]
struct Ramp {
    begun: u64,
    due: f64,
    passed: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Happened {
    Good,
    Late,
    Bad,
    Throttled,
    Abandoned,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticket {
    generation: usize,
    number: usize,
}

impl Model {
    /// Which of the calls of a ramp pass is up to the machine, as long as they are as many as are due.
    fn admit(&mut self, now: u64, number: usize, passed: bool) -> Option<Ticket> {
        if self.state == CircuitState::Open && now >= self.probe_at {
            self.enter(CircuitState::HalfOpen, now);
        }
        if self.state == CircuitState::Recovering && now >= self.ramp.begun + self.ramp() {
            self.enter(CircuitState::Closed, now);
        }
        let ticket = Ticket { generation: self.generation, number };
        match self.state {
            CircuitState::Closed | CircuitState::Disabled => Some(ticket),
            CircuitState::Recovering => {
                let share = Duration::from_millis(now - self.ramp.begun).div_duration_f64(self.config.ramp);
                self.ramp.due += share.max(0.1);
                self.ramp.passed += f64::from(u8::from(passed));
                let ahead = self.ramp.passed - self.ramp.due;
                assert!((-0.11..=0.91).contains(&ahead), "{ahead} calls more than are due");
                passed.then_some(ticket)
            }
            CircuitState::HalfOpen => {
                let timeout = self.config.probe_timeout.map_or(5, |timeout| timeout.as_secs()) * 1_000;
                if self.probes.iter().any(|&(_, begun)| now - begun >= timeout) {
                    self.enter(CircuitState::Open, now);
                    return None;
                }
                let done = self.events.iter().filter(|event| event.1 != Abandoned).count();
                (self.probes.len() + done < self.config.probes as usize).then(|| {
                    self.probes.push((ticket, now));
                    ticket
                })
            }
            _ => None,
        }
    }

    fn give_back(&mut self, ticket: Ticket, happened: Option<Happened>, now: u64) {
        if ticket.generation != self.generation {
            return;
        }
        self.probes.retain(|probe| probe.0 != ticket);
        let Some(happened) = happened else { return };
        let second = now / 1_000;
        match self.state {
            CircuitState::Closed | CircuitState::Recovering => {
                self.counted += 1;
                let second = self.newest(now);
                self.events.push((second, happened));
                let success = happened == Good;
                if (!success || second > self.judged) && self.trips(second) {
                    self.enter(CircuitState::Open, now);
                }
                self.judged = self.judged.max(if success { self.judged.max(second) } else { second });
            }
            CircuitState::HalfOpen => {
                self.events.push((second, happened));
                self.judge_probes(now);
            }
            _ => {}
        }
    }

    /// The newest slice of the window.
    fn newest(&self, now: u64) -> u64 {
        match self.config.window {
            Extent::Time(_) => now / 1_000,
            Extent::Calls(calls) => self.counted.saturating_sub(1) / u64::from(calls / 10),
        }
    }

    fn trips(&self, second: u64) -> bool {
        let last = |seconds: u64| -> Vec<Happened> {
            self.events.iter().filter(|event| event.0 + seconds > second).map(|event| event.1).collect()
        };
        let (window, newest) = (last(10), last(2));
        let all_abandoned = self.config.abandoned == AbandonedPolicy::IfAll
            && window.iter().all(|&happened| happened == Abandoned);
        let counts = |list: &[Happened]| {
            let is = |wanted: &[Happened]| size(list.iter().filter(|happened| wanted.contains(happened)));
            if all_abandoned {
                (size(list.iter()), size(list.iter()), 0)
            } else {
                let bad = is(&[Bad, Throttled]);
                (is(&[Good, Late]) + bad, bad, is(&[Late]))
            }
        };
        let (calls, bad, late) = counts(&window);
        let (new_calls, new_bad, _) = counts(&newest);
        let full = match self.config.window {
            Extent::Time(_) => u32::MAX,
            Extent::Calls(calls) => calls / 10 * 9 + 1,
        };
        let enough = calls >= self.config.minimum_calls.min(full);
        let outage = self.config.outage;
        let too_slow = self.config.slow.is_some_and(|slow| share(late, calls, slow.rate));
        (enough && (too_slow || share(bad, calls, self.config.failure_rate)))
            || (new_calls >= outage.minimum_calls && share(new_bad, new_calls, outage.rate))
            || (!enough
                && self
                    .config
                    .consecutive_failures
                    .is_some_and(|most| self.streak(all_abandoned) >= most.into()))
    }

    fn streak(&self, all_abandoned: bool) -> u32 {
        let since_success = self
            .events
            .iter()
            .rev()
            .map(|event| event.1)
            .take_while(|happened| ![Good, Late].contains(happened));
        let failures = size(since_success.clone().filter(|&happened| happened == Bad));
        let abandoned = size(since_success.take_while(|&happened| happened == Abandoned));
        failures + if all_abandoned { abandoned } else { 0 }
    }

    fn judge_probes(&mut self, now: u64) {
        let outcomes: Vec<_> = self.events.iter().map(|event| event.1).filter(|&h| h != Abandoned).collect();
        let good = size(outcomes.iter().filter(|&&happened| happened == Good));
        let bad = size(outcomes.iter()) - good;
        let all = self.config.probes;
        let fails = |bad| bad > 0 && share(bad, all, self.config.failure_rate);
        let abandoned = size(self.events.iter().rev().take_while(|event| event.1 == Abandoned));
        if fails(bad) || abandoned >= all {
            self.enter(CircuitState::Open, now);
        } else if !fails(all - good) {
            let ramps = self.ramp() > 0;
            self.enter(if ramps { CircuitState::Recovering } else { CircuitState::Closed }, now);
        }
    }

    /// In milliseconds.
    fn ramp(&self) -> u64 {
        u64::try_from(self.config.ramp.as_millis()).expect("seconds")
    }

    fn enter(&mut self, state: CircuitState, now: u64) {
        self.state = state;
        self.generation += 1;
        self.events.clear();
        self.probes.clear();
        match state {
            CircuitState::Open => self.openings += 1,
            CircuitState::Recovering => self.ramp = Ramp { begun: now, ..Ramp::default() },
            CircuitState::Closed => self.openings = 0,
            _ => {}
        }
    }

    /// The longest that the breaker may now be open for.
    fn longest_open_time(&self) -> Duration {
        let (first, longest) = self.config.open_time;
        (1..self.openings).fold(first, |time, _| (time * 2).min(longest)).min(longest)
    }
}

fn size(list: impl Iterator) -> u32 {
    u32::try_from(list.count()).expect("a short life")
}

fn share(part: u32, whole: u32, limit: Ratio) -> bool {
    whole > 0 && f64::from(part) / f64::from(whole) >= limit.value()
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    WaitUntilProbing,
    Begin,
    End(prop::sample::Index, Class, u64),
    Drop(prop::sample::Index, Ending),
    Lose(prop::sample::Index),
    Calls(usize, Class),
    Trip,
    ForceOpen,
    Disable,
    Reset,
}

fn class() -> impl Strategy<Value = Class> {
    prop_oneof![
        3 => Just(Class::Success),
        1 => Just(Class::CallerFault),
        2 => Just(Class::TRANSIENT),
        1 => Just(Class::THROTTLED),
        2 => Just(Class::Fault),
        1 => Just(Class::Neutral),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    let ending = prop_oneof![4 => Just(Ending::Cancelled), 1 => Just(Ending::Panicked)];
    prop_oneof![
        6 => (0_u64..1_500).prop_map(Step::Wait),
        1 => (1_500_u64..30_000).prop_map(Step::Wait),
        3 => Just(Step::WaitUntilProbing),
        10 => Just(Step::Begin),
        8 => (index(), class(), 0_u64..200).prop_map(|(which, class, took)| Step::End(which, class, took)),
        5 => (index(), ending).prop_map(|(which, ending)| Step::Drop(which, ending)),
        1 => index().prop_map(Step::Lose),
        4 => (1_usize..12, class()).prop_map(|(times, class)| Step::Calls(times, class)),
        1 => prop_oneof![Just(Step::Trip), Just(Step::ForceOpen), Just(Step::Disable), Just(Step::Reset), Just(Step::Reset)],
    ]
}

fn config() -> impl Strategy<Value = CircuitBreakerConfig> {
    let rate = || (1_u8..=100).prop_map(Ratio::percent);
    let abandoned = prop_oneof![
        2 => Just(AbandonedPolicy::IfAll),
        1 => Just(AbandonedPolicy::Ignore),
        1 => Just(AbandonedPolicy::AsFailure),
    ];
    let slow = prop::option::of(rate().prop_map(|rate| Slow { duration: 100 * MILLI, rate }));
    let outage = (rate(), 1_u32..25);
    let window = prop_oneof![
        2 => Just(Extent::Time(10_000 * MILLI)),
        1 => (1_u32..6).prop_map(|tens| Extent::Calls(10 * tens)),
    ];
    let minimum = (window, 1_u32..25);
    let ramp = prop_oneof![Just(Duration::ZERO), (1_u32..20).prop_map(|halves| 500 * MILLI * halves)];
    (minimum, rate(), outage, prop::option::of(1_u16..6), slow, 1_u32..6, ramp, abandoned).prop_map(
        |((window, minimum_calls), failure_rate, outage, streak, slow, probes, ramp, abandoned)| {
            let mut config = CircuitBreakerConfig {
                window,
                minimum_calls,
                failure_rate,
                consecutive_failures: streak,
                slow,
                probes,
                ramp,
                abandoned,
                ..CircuitBreakerConfig::default()
            };
            (config.outage.rate, config.outage.minimum_calls) = outage;
            config
        },
    )
}

/// A breaker, its model, and the calls that are on their way through both.
struct Twins {
    machine: Machine,
    model: Model,
    origin: Instant,
    now: u64,
    calls: Vec<(Admission, Ticket)>,
    begun: usize,
}

impl Twins {
    fn new(config: CircuitBreakerConfig, seed: u64) -> Self {
        let origin = Instant::now();
        let model = Model {
            config: config.clone(),
            state: CircuitState::Closed,
            generation: 0,
            events: Vec::new(),
            counted: 0,
            judged: 0,
            probes: Vec::new(),
            openings: 0,
            probe_at: 0,
            ramp: Ramp::default(),
        };
        let machine = Machine::new(config, Random::seeded(seed), origin);
        Self { machine, model, origin, now: 0, calls: Vec::new(), begun: 0 }
    }

    fn instant(&self) -> Instant {
        self.origin + MILLI * u32::try_from(self.now).expect("a short life")
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Wait(time) => self.now += time,
            Step::WaitUntilProbing if self.model.state == CircuitState::Open => {
                self.now = self.now.max(self.model.probe_at);
            }
            Step::WaitUntilProbing => {}
            Step::Begin => self.begin(),
            Step::End(which, class, took) => {
                if let Some((admission, ticket)) = self.take(*which) {
                    self.end(admission, ticket, *class, *took);
                }
            }
            Step::Drop(which, ending) => {
                if let Some((admission, ticket)) = self.take(*which) {
                    self.abandon(admission, ticket, *ending);
                }
            }
            Step::Lose(which) => drop(self.take(*which)),
            Step::Calls(times, class) => {
                for _ in 0..*times {
                    let before = self.calls.len();
                    self.begin();
                    if self.calls.len() > before {
                        let (admission, ticket) = self.calls.pop().expect("it was begun above");
                        self.end(admission, ticket, *class, 0);
                    }
                }
            }
            Step::Trip => {
                let before = self.model.state;
                let in_other_hands = [CircuitState::ForcedOpen, CircuitState::Disabled].contains(&before);
                if before != CircuitState::Open && !in_other_hands {
                    self.model.enter(CircuitState::Open, self.now);
                }
                let transition = self.machine.trip_for("a trip", self.instant());
                self.same_transition(before, transition);
            }
            Step::ForceOpen => self.by_hand(CircuitState::ForcedOpen),
            Step::Disable => self.by_hand(CircuitState::Disabled),
            Step::Reset => self.by_hand(CircuitState::Closed),
        }
    }

    fn take(&mut self, which: prop::sample::Index) -> Option<(Admission, Ticket)> {
        (!self.calls.is_empty()).then(|| self.calls.swap_remove(which.index(self.calls.len())))
    }

    fn begin(&mut self) {
        let now = self.instant();
        let refused = self.machine.is_open_now(|| now);
        self.begun += 1;
        let before = self.model.state;
        let (admission, transition) = self.machine.admit(|| (now, None));
        let ticket = self.model.admit(self.now, self.begun, admission.is_ok());
        self.same_transition(before, transition);
        assert_eq!(refused, ticket.is_none(), "asked whether it would refuse");
        match (admission, ticket) {
            (Ok(admission), Some(ticket)) => self.calls.push((admission, ticket)),
            (Err(denied), None) => {
                let forced = self.model.state == CircuitState::ForcedOpen;
                assert_eq!(denied.retry_after.is_none(), forced);
                assert!(denied.retry_after.is_none_or(|wait| !wait.is_zero()), "a refusal without a wait");
            }
            (admission, ticket) => panic!("machine {admission:?}, model {ticket:?}"),
        }
    }

    fn end(&mut self, admission: Admission, ticket: Ticket, class: Class, took: u64) {
        let late = self.model.config.slow.is_some() && took >= 100;
        let happened = match class {
            Class::Success | Class::CallerFault if late => Some(Late),
            Class::Success | Class::CallerFault => Some(Good),
            Class::Transient { .. } | Class::Fault => Some(Bad),
            Class::Throttled { .. } => Some(Throttled),
            Class::Neutral => None,
        };
        let before = self.model.state;
        self.model.give_back(ticket, happened, self.now);
        let elapsed = || Duration::from_millis(took);
        let counted = self.machine.record(admission, class, elapsed, self.instant());
        self.same_transition(before, counted.transition);
    }

    fn abandon(&mut self, admission: Admission, ticket: Ticket, ending: Ending) {
        let happened = match (ending, self.model.config.abandoned) {
            (Ending::Panicked, _) | (_, AbandonedPolicy::AsFailure) => Bad,
            _ => Abandoned,
        };
        let before = self.model.state;
        self.model.give_back(ticket, Some(happened), self.now);
        let counted = self.machine.abandon(admission, ending, self.instant());
        self.same_transition(before, counted.transition);
    }

    fn by_hand(&mut self, to: CircuitState) {
        let before = self.model.state;
        if to == CircuitState::Closed || before != to {
            self.model.enter(to, self.now);
        }
        let now = self.instant();
        let transition = match to {
            CircuitState::ForcedOpen => self.machine.force_open(now),
            CircuitState::Disabled => self.machine.disable(now),
            _ => self.machine.reset(now),
        };
        self.same_transition(before, transition);
    }

    /// The transition is the model's, and a breaker that has just opened is open for a time in its range.
    fn same_transition(&mut self, from: CircuitState, transition: Option<Transition>) {
        let to = self.model.state;
        assert_eq!(transition, (from != to).then_some(Transition { from, to }));
        if from != to && to == CircuitState::Open {
            let wait = self.machine.snapshot(self.instant()).next_probe.expect("it is open");
            let most = self.model.longest_open_time();
            assert!((most / 2..=most).contains(&wait), "{wait:?} of {most:?}");
            // Whole milliseconds: the first at which the machine's own instant has passed.
            let millis = wait.as_nanos().div_ceil(1_000_000);
            self.model.probe_at = self.now + u64::try_from(millis).expect("seconds");
        }
    }

    fn same_snapshot(&self) {
        let snapshot = self.machine.snapshot(self.instant());
        let second = self.model.newest(self.now);
        let count = |wanted: &[Happened]| {
            let counts = [CircuitState::Closed, CircuitState::Recovering].contains(&self.model.state);
            let events = self.model.events.iter().filter(|event| counts && event.0 + 10 > second);
            events.filter(|event| wanted.contains(&event.1)).count() as u64
        };
        assert_eq!(snapshot.state, self.model.state);
        assert_eq!(snapshot.calls, count(&[Good, Late, Bad, Throttled]));
        assert_eq!(snapshot.failures, count(&[Bad, Throttled]));
        assert_eq!(snapshot.slow, count(&[Late]));
        assert_eq!(snapshot.abandoned, count(&[Abandoned]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn machine_agrees_with_the_model(
        config in config(),
        seed: u64,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut twins = Twins::new(config, seed);
        for step in &steps {
            twins.step(step);
            twins.same_snapshot();
        }
        // Nothing wedges: left alone for a while, and with a healthy dependency, it closes.
        if ![CircuitState::ForcedOpen, CircuitState::Disabled].contains(&twins.model.state) {
            for _ in 0..10 {
                twins.step(&Step::Wait(10_000));
                twins.step(&Step::Calls(5, Class::Success));
            }
            prop_assert_eq!(twins.machine.state(), CircuitState::Closed);
        }
    }
}
