//! What is written is read as the same.

use http::StatusCode;
use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::{
    Priority,
    chaos::{GameDay, InvalidExperiment},
    fault::{Delay, Target, Unit},
    slo::Window,
};

/// As many digits as a share keeps, and whole percent, of which there is something to get wrong.
fn share() -> BoxedStrategy<Ratio> {
    let fine = (0..=1_000_000_000_000_000_u64).prop_map(|n| format!("{n}e-15").parse().expect("a number"));
    let fine = fine.prop_map(|value| Ratio::new(value).expect("it is one"));
    prop_oneof![fine, (0..=100_u8).prop_map(Ratio::percent)].boxed()
}

fn length() -> BoxedStrategy<Duration> {
    prop_oneof![any::<Duration>(), (0..100_000_u64).prop_map(Duration::from_millis)].boxed()
}

/// Of TOML a whole number has 63 bits.
fn whole() -> BoxedStrategy<u64> {
    (0..=u64::try_from(i64::MAX).expect("it is positive")).boxed()
}

fn number() -> BoxedStrategy<f64> {
    use proptest::num::f64;
    (f64::POSITIVE | f64::NEGATIVE | f64::NORMAL | f64::SUBNORMAL | f64::ZERO).boxed()
}

fn delay() -> BoxedStrategy<Delay> {
    let pair = || (length(), length()).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let uniform = pair().prop_map(|(low, high)| Delay::uniform(low, high));
    let about = pair().prop_filter("a median is above zero", |(median, _)| !median.is_zero());
    prop_oneof![
        length().prop_map(Delay::fixed),
        uniform,
        about.prop_map(|(median, p99)| Delay::log_normal(median, p99)),
    ]
    .boxed()
}

fn class() -> BoxedStrategy<Class> {
    prop_oneof![
        Just(Class::CallerFault),
        Just(Class::Fault),
        Just(Class::Neutral),
        option::of(length()).prop_map(|retry_after| Class::Transient { retry_after }),
        option::of(length()).prop_map(|retry_after| Class::Throttled { retry_after }),
    ]
    .boxed()
}

fn effect() -> BoxedStrategy<Fault> {
    let line = (1..i64::MAX.unsigned_abs(), length()).prop_map(|(bytes, per)| Fault::body_rate(bytes, per));
    let status = (200..1_000_u16).prop_map(|status| StatusCode::from_u16(status).expect("it is one"));
    prop_oneof![
        delay().prop_map(Fault::latency),
        class().prop_map(Fault::error),
        Just(Fault::refused()),
        Just(Fault::hang()),
        Just(Fault::lost_answer()),
        status.prop_map(Fault::status),
        any::<String>().prop_map(Fault::body),
        delay().prop_map(Fault::slow_body),
        line,
        whole().prop_map(Fault::broken_body),
        whole().prop_map(Fault::short_body),
        Just(Fault::duplicate()),
        Just(Fault::duplicate_at_once()),
    ]
    .boxed()
}

fn target() -> BoxedStrategy<Target> {
    let words = any::<String>;
    let leaf = prop_oneof![
        words().prop_map(Target::Pipeline),
        words().prop_map(Target::Route),
        words().prop_map(Target::Method),
        words().prop_map(Target::Path),
        (words(), words()).prop_map(|(name, value)| Target::Header { name, value }),
        words().prop_map(Target::Caller),
        words().prop_map(Target::Tenant),
        words().prop_map(Target::Instance),
        any::<u32>().prop_map(Target::Attempt),
        proptest::sample::select(&Priority::ALL[..]).prop_map(Target::Priority),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Target::All),
            vec(inner.clone(), 0..4).prop_map(Target::Any),
            inner.prop_map(Target::not),
        ]
    })
    .boxed()
}

fn unit() -> BoxedStrategy<Unit> {
    prop_oneof![any::<String>().prop_map(Unit::Header), Just(Unit::Caller), Just(Unit::Tenant)].boxed()
}

fn fault() -> BoxedStrategy<Fault> {
    let whom = (option::of(target()), option::of(unit()), option::of(0..1_000_usize), any::<bool>());
    // What is the experiment's is not the fault's.
    let else_where = (share(), length(), any::<String>());
    (effect(), whom, else_where)
        .prop_map(|(fault, (target, unit, at_most, delicate), (share, lasts, name))| {
            let fault = fault.on(share).lasting(lasts).lease(lasts).experiment(&name);
            let fault = target.into_iter().fold(fault, Fault::target);
            let fault = unit.into_iter().fold(fault, Fault::sticky);
            let fault = at_most.into_iter().fold(fault, Fault::at_most);
            if delicate { fault.on_delicate_calls() } else { fault }
        })
        .boxed()
}

fn window() -> BoxedStrategy<Window> {
    proptest::sample::select(&Window::ALL[..]).boxed()
}

fn hypothesis() -> BoxedStrategy<Hypothesis> {
    let burn = (any::<String>(), window(), number());
    let rest = (vec((share(), length()), 0..3), vec(burn, 0..3), vec(any::<String>(), 0..3));
    (option::of(share()), option::of(share()), rest)
        .prop_map(|(success, answered, (latency, burn, probes))| {
            let new = success.into_iter().fold(Hypothesis::new(), Hypothesis::success);
            let new = answered.into_iter().fold(new, Hypothesis::answered);
            let new = latency.into_iter().fold(new, |all, (share, within)| all.latency(share, within));
            let new = burn.into_iter().fold(new, |all, (name, over, most)| all.burn(&name, over, most));
            probes.iter().fold(new, |all, name| all.probe(name))
        })
        .boxed()
}

fn step() -> BoxedStrategy<Step> {
    (share(), length(), whole(), option::of(length()))
        .prop_map(|(share, hold, calls, limit)| {
            limit.into_iter().fold(Step::new(share).hold(hold).min_calls(calls), Step::at_most)
        })
        .boxed()
}

fn guard() -> BoxedStrategy<Guard> {
    let words = any::<String>;
    prop_oneof![
        (words(), window(), number()).prop_map(|(name, over, above)| Guard::burn(&name, over, above)),
        (words(), share()).prop_map(|(name, below)| Guard::budget(&name, below)),
        share().prop_map(Guard::errors),
        (share(), number()).prop_map(|(quantile, above)| Guard::Slower { quantile, above }),
        words().prop_map(|name| Guard::breaker_opened(&name)),
        words().prop_map(|name| Guard::probe(&name)),
    ]
    .boxed()
}

fn any_experiment() -> BoxedStrategy<Experiment> {
    let faults = vec((any::<String>(), fault(), any::<bool>()), 0..3);
    let action = option::of((any::<String>(), any::<String>()));
    let words = (any::<String>(), option::of(any::<String>()), option::of(any::<String>()));
    let course = (hypothesis(), vec(step(), 0..3), vec(guard(), 0..4), length(), length());
    (words, faults, action, course)
        .prop_map(
            |((name, approved, allowed), faults, action, (hypothesis, steps, guards, before, after))| {
                let new = Experiment::new(&name).hypothesis(hypothesis).baseline(before).recovery(after);
                let new = faults.into_iter().fold(new, |all, (stack, fault, ingress)| {
                    if ingress { all.ingress_fault(&stack, fault) } else { all.fault(&stack, fault) }
                });
                let new = action.iter().fold(new, |all, (name, watching)| all.action(name, watching));
                let new = steps.into_iter().fold(new, Experiment::step);
                let new = guards.into_iter().fold(new, Experiment::guard);
                let new = approved.iter().fold(new, |all, whom| all.approved_by(whom));
                allowed.iter().fold(new, |all, why| all.allow_production(why))
            },
        )
        .boxed()
}

/// All of a value, with numbers to their last digit.
fn all(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_experiment_that_is_written_is_read_as_the_same(meant in any_experiment()) {
        let toml = meant.to_toml().expect("it has words");
        prop_assert_eq!(all(&Experiment::from_toml(&toml).expect(&toml)), all(&meant), "{}", toml);
        let json = meant.to_json().expect("it has words");
        prop_assert_eq!(all(&Experiment::from_json(&json).expect(&json)), all(&meant), "{}", json);
    }

    #[test]
    fn a_day_that_is_written_is_read_as_the_same(
        name in any::<String>(), experiments in vec(any_experiment(), 0..3), flags in any::<[bool; 2]>(),
    ) {
        let mut meant = experiments.into_iter().fold(GameDay::new(&name), GameDay::experiment);
        if flags[0] { meant = meant.at_once(); }
        if flags[1] { meant = meant.going_on(); }
        let toml = meant.to_toml().expect("it has words");
        prop_assert_eq!(all(&GameDay::from_toml(&toml).expect(&toml)), all(&meant), "{}", toml);
        let json = meant.to_json().expect("it has words");
        prop_assert_eq!(all(&GameDay::from_json(&json).expect(&json)), all(&meant), "{}", json);
    }

    #[test]
    fn any_share_is_read_as_the_same_to_its_15th_digit(value in 0.0..=1.0) {
        let share = Ratio::new(value).expect("it is one");
        let meant = Experiment::new("x").step(Step::new(share));
        let read = Experiment::from_json(&meant.to_json().expect("it has words")).expect("it is well");
        prop_assert!((read.steps[0].share.value() - value).abs() <= 2.0 * f64::EPSILON * value);
    }
}

#[test]
fn a_status_of_grpc_is_written_as_its_number() {
    for word in ["code", "code_at_end"] {
        for code in 1..=16 {
            let json = format!(r#"{{"name":"x","faults":[{{"stack":"a","effect":{{"{word}":{code}}}}}]}}"#);
            let read = Experiment::from_json(&json).expect(&json);
            let written = read.to_json().expect("it has words");
            assert!(written.contains(&format!("{{\"{word}\":{code}}}")), "{written}");
            assert_eq!(all(&Experiment::from_json(&written).expect(&written)), all(&read));
        }
    }
}

#[test]
fn what_has_no_words_is_refused_with_its_place() {
    let faulty = |fault| Experiment::new("x").fault("a", Fault::hang()).fault("a", fault);
    let guarded = |above| Experiment::new("x").guard(Guard::slower(above));
    let long = "x".repeat(64 * 1024);
    for (experiment, place) in [
        (faulty(Fault::hook(|| async { Ok(()) })), "faults[1].effect"),
        (faulty(Fault::body(&b"\xff"[..])), "faults[1].effect"),
        (guarded(f64::NAN), "guards[0].above"),
        (guarded(f64::INFINITY), "guards[0].above"),
        (Experiment::new(&long), "text"),
    ] {
        let field = |error: InvalidExperiment| error.field().to_owned();
        assert_eq!(experiment.to_toml().map_err(field), Err(place.to_owned()));
        assert_eq!(experiment.to_json().map_err(field), Err(place.to_owned()));
        let day = GameDay::new("x").experiment(experiment);
        let within = if place == "text" { place.to_owned() } else { format!("experiments[0].{place}") };
        assert_eq!(day.to_toml().map_err(field), Err(within));
    }
}
