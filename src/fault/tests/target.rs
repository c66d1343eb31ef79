//! For which calls a fault is meant.

use std::{collections::BTreeSet, io::Write as _};

use http::{Request, Response};
use proptest::prelude::*;

use super::*;
use crate::{
    call::{Call, Carried},
    classify::ByStatus,
    event::AttemptKind,
    fault::{Caller, FaultPolicy, Heads, Look, Target, Tenant, Unit, bucket, target::Seen},
    policy::{Leaf, Stack},
    priority::Priority,
};

/// A transfer of ada's, for the tenant `acme`.
fn transfer() -> Request<()> {
    let mut request = Request::put("http://ledger/transfers/7?amount=3")
        .header("idempotency-key", "k1")
        .header("x-cohort", "blue")
        .body(())
        .expect("it is valid");
    request.extensions_mut().insert(Caller("ada".into()));
    request.extensions_mut().insert(Tenant("acme".into()));
    request
}

fn matches(target: &Target, request: &Request<()>) -> bool {
    let mut call = Call::new(Carried { priority: Some(Priority::Sheddable), ..Carried::default() });
    (call.attempt, call.kind) = (2, AttemptKind::Retry);
    let pipeline = Name::literal("ledger");
    let route_of =
        |head: crate::head::Head<'_>| head.uri.path().starts_with("/transfers/").then_some("/transfers/{id}");
    let heads = Heads::new(ByStatus).routed(Some(Arc::new(route_of)));
    heads.look(request, |subject| {
        target.matches(&Seen { pipeline: &pipeline, instance: "pod-7", call: &call, subject })
    })
}

#[test]
fn a_target_matches_what_it_names_and_nothing_else() {
    let known = [
        (Target::pipeline("ledger"), Target::pipeline("quotes")),
        (Target::route("/transfers/{id}"), Target::route("/transfers/7")),
        (Target::method("PUT"), Target::method("GET")),
        (Target::path("/transfers/7"), Target::path("/transfers")),
        (Target::header("X-Cohort", "blue"), Target::header("x-cohort", "blu")),
        (Target::Caller("ada".into()), Target::Caller("bob".into())),
        (Target::Tenant("acme".into()), Target::Tenant("ada".into())),
        (Target::Instance("pod-7".into()), Target::Instance("pod".into())),
        (Target::Attempt(2), Target::Attempt(1)),
        (Target::Priority(Priority::Sheddable), Target::Priority(Priority::Critical)),
        (Target::everything(), Target::Any(Vec::new())),
    ];
    for (yes, no) in &known {
        assert!(matches(yes, &transfer()), "{yes:?}");
        assert!(!matches(no, &transfer()), "{no:?}");
        assert!(matches(&no.clone().not(), &transfer()));
        let both = yes.clone().and(no.clone());
        assert!(!matches(&both, &transfer()) && matches(&both.not(), &transfer()));
        assert!(matches(&no.clone().or(yes.clone()), &transfer()));
    }
}

fn targets() -> impl Strategy<Value = Target> {
    let words = proptest::sample::select(vec![
        Target::pipeline("ledger"),
        Target::pipeline("quotes"),
        Target::method("PUT"),
        Target::method("GET"),
        Target::path("/transfers/7"),
        Target::header("x-cohort", "blue"),
        Target::header("x-cohort", "red"),
        Target::header("x-none", "blue"),
        Target::Attempt(1),
        Target::Attempt(2),
    ]);
    words.prop_recursive(3, 12, 3, |inner| {
        let several = proptest::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            several.clone().prop_map(Target::All),
            several.prop_map(Target::Any),
            inner.prop_map(Target::not)
        ]
    })
}

proptest! {
    #[test]
    fn targets_that_match_one_call_may_meet(one in targets(), other in targets()) {
        prop_assert_eq!(one.may_meet(&other), other.may_meet(&one));
        if matches(&one, &transfer()) && matches(&other, &transfer()) {
            prop_assert!(one.may_meet(&other));
        }
    }
}

#[test]
fn what_is_not_known_of_a_call_is_not_matched() {
    let request = Request::new(());
    for target in [
        Target::route("/transfers/{id}"),
        Target::header("x-cohort", ""),
        Target::Caller(String::new()),
        Target::Tenant(String::new()),
    ] {
        assert!(!matches(&target, &request), "{target:?}");
        assert!(matches(&target.not(), &request));
    }
}

/// A service of requests behind a hook.
fn hooked(faults: &Faults) -> impl tower::Service<Request<()>, Error = BoxError> + Clone {
    let policy = FaultPolicy::new(
        faults.clone(),
        Heads::new(ByStatus),
        observer(),
        Leaf::<crate::classify::ByError>::default(),
    );
    Stack::new(Arc::new(policy), service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(()))))
}

async fn is_hit(faults: &Faults, request: Request<()>) -> bool {
    hooked(faults).oneshot(request).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn calls_that_nothing_keeps_from_happening_twice_are_left_alone() {
    let faults = Faults::new();
    let put = || Request::put("/transfers/7").body(()).expect("it is valid");
    let armed = faults.arm(Fault::refused());
    assert!(!is_hit(&faults, put()).await);
    let empty = Request::post("/transfers").header("idempotency-key", "").body(());
    assert!(!is_hit(&faults, empty.expect("it is valid")).await, "an empty key is none");
    assert!(is_hit(&faults, transfer()).await);
    assert!(is_hit(&faults, Request::get("/transfers/7").body(()).expect("it is valid")).await);
    armed.disarm();
    faults.arm(Fault::refused().on_delicate_calls());
    assert!(is_hit(&faults, put()).await);
}

#[tokio::test(start_paused = true)]
async fn what_is_denied_is_hit_by_no_fault() {
    let faults = Faults::new();
    faults.arm(Fault::refused());
    faults.deny([Target::Caller("bob".into()), Target::Caller("ada".into())]);
    assert!(!is_hit(&faults, transfer()).await);
    faults.deny([]);
    assert!(is_hit(&faults, transfer()).await);
}

#[tokio::test(start_paused = true)]
async fn a_unit_is_hit_always_or_never_and_those_that_are_hit_only_grow() {
    let of = |tenant: u32| {
        let mut request = Request::new(());
        request.extensions_mut().insert(Tenant(format!("tenant-{tenant}").into()));
        request
    };
    let (faults, mut before) = (Faults::new(), BTreeSet::new());
    for percent in [1, 5, 10, 50] {
        let fault =
            Fault::refused().experiment("slow-ledger").sticky(Unit::Tenant).on(Ratio::percent(percent));
        let armed = faults.arm(fault);
        let mut hit = BTreeSet::new();
        for tenant in 0..500 {
            let again = [is_hit(&faults, of(tenant)).await, is_hit(&faults, of(tenant)).await];
            assert_eq!(again[0], again[1]);
            let chosen =
                bucket("slow-ledger", format!("tenant-{tenant}").as_bytes()) < u32::from(percent) * 10_000;
            assert_eq!(again[0], chosen);
            if chosen {
                hit.insert(tenant);
            }
        }
        assert!(hit.is_superset(&before) && hit.len() > before.len());
        assert_eq!(armed.hit(), 2 * hit.len() as u64);
        // As many are compared with them, within what chance does.
        assert!(armed.control().abs_diff(armed.hit()) < 80, "{armed:?}");
        before = hit;
        armed.disarm();
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_units_are_hit_in_another_process() {
    /// Says to this test that it is the other process.
    const OTHER: &str = "MONETA_TEST_OTHER_PROCESS";
    let faults = Faults::new();
    faults.arm(Fault::refused().experiment("slow-ledger").sticky(Unit::Tenant).on(Ratio::percent(10)));
    let mut hit = Vec::new();
    for tenant in 0..500 {
        let mut request = Request::new(());
        request.extensions_mut().insert(Tenant(format!("tenant-{tenant}").into()));
        if is_hit(&faults, request).await {
            hit.push(tenant);
        }
    }
    assert!(hit.len() > 20, "{hit:?}");
    let hit = format!("hit: {hit:?}");
    if std::env::var_os(OTHER).is_some() {
        writeln!(std::io::stdout(), "{hit}").expect("somebody listens");
        return;
    }
    let name = "fault::tests::target::the_same_units_are_hit_in_another_process";
    let program = std::env::current_exe().expect("it runs");
    let mut other = std::process::Command::new(program);
    let other = other.args([name, "--exact", "--nocapture"]).env(OTHER, "1").output().expect("it starts");
    let told = String::from_utf8_lossy(&other.stdout);
    assert!(told.lines().any(|line| line.ends_with(&hit)), "{told}");
}
