//! Faults in the words of a file.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::fault::{Fault, Target, Unit, Written};
use crate::{Class, Priority, Ratio, fault::Delay};

const MS: Duration = Duration::from_millis(1);
/// 2026-01-01, and an hour later.
const WALL: u64 = 1_767_225_600;
const UNTIL: &str = "until = \"2026-01-01T01:00:00Z\"";

#[derive(Debug, Deserialize)]
struct Content {
    fault: Vec<Written>,
}

fn parsed(rest: &str) -> Result<Written, String> {
    let text = format!("[[fault]]\n{UNTIL}\n{rest}");
    let content: Content = toml::from_str(&text).map_err(|error| error.message().to_owned())?;
    Ok(content.fault.into_iter().next().expect("there is one"))
}

fn fault(rest: &str) -> Fault {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(WALL);
    parsed(rest).expect(rest).fault(wall).expect("its time is not over")
}

#[test]
fn every_effect_has_a_word() {
    let known = [
        ("{ latency = \"300ms\" }", Fault::latency(300 * MS)),
        ("{ latency = { low = \"1ms\", high = \"2ms\" } }", Fault::latency(Delay::uniform(MS, 2 * MS))),
        ("{ latency = { median = \"1ms\", p99 = \"2ms\" } }", Fault::latency(Delay::log_normal(MS, 2 * MS))),
        ("{ error = \"caller_fault\" }", Fault::error(Class::CallerFault)),
        ("{ error = \"transient\" }", Fault::error(Class::TRANSIENT)),
        ("{ error = \"throttled\" }", Fault::error(Class::THROTTLED)),
        ("{ error = { transient = \"1ms\" } }", Fault::error(Class::Transient { retry_after: Some(MS) })),
        ("{ error = { throttled = \"1ms\" } }", Fault::error(Class::Throttled { retry_after: Some(MS) })),
        ("{ error = \"fault\" }", Fault::error(Class::Fault)),
        ("{ error = \"neutral\" }", Fault::error(Class::Neutral)),
        ("\"refused\"", Fault::refused()),
        ("\"hang\"", Fault::hang()),
        ("\"lost_answer\"", Fault::lost_answer()),
        ("{ status = 503 }", Fault::status(http::StatusCode::SERVICE_UNAVAILABLE)),
        ("{ body = \"garbage\" }", Fault::body("garbage")),
        ("{ slow_body = \"1ms\" }", Fault::slow_body(MS)),
        ("{ body_rate = { bytes = 10, per = \"1ms\" } }", Fault::body_rate(10, MS)),
        ("{ broken_body = 7 }", Fault::broken_body(7)),
        ("{ short_body = 7 }", Fault::short_body(7)),
        ("{ code = 14 }", Fault::with_code(14_u16.into())),
        ("{ code_at_end = 15 }", Fault::with_code_at_end(15_u16.into())),
        ("\"duplicate\"", Fault::duplicate()),
        ("\"duplicate_at_once\"", Fault::duplicate_at_once()),
    ];
    for (words, meant) in known {
        let meant = meant.lasting(Duration::from_secs(3_600));
        assert_eq!(format!("{:?}", fault(&format!("effect = {words}"))), format!("{meant:?}"), "{words}");
    }
}

#[test]
fn whom_it_hits_and_how_many_can_be_written() {
    let written = fault(
        r#"
        effect = "hang"
        share = 0.5
        experiment = "slow"
        sticky = { header = "x-account" }
        at_most = 7
        on_delicate_calls = true
        target = { all = [
            { any = [{ pipeline = "a" }, { route = "/a" }, { method = "GET" }, { path = "/a" }] },
            { header = { name = "X-Cohort", value = "blue" } }, { caller = "a" }, { tenant = "a" },
            { instance = "a" }, { attempt = 2 }, { not = { priority = "sheddable" } },
        ] }"#,
    );
    let any = [Target::pipeline("a"), Target::route("/a"), Target::method("GET"), Target::path("/a")];
    let target = Target::All(vec![
        Target::Any(any.into()),
        Target::Header { name: "X-Cohort".into(), value: "blue".into() },
        Target::Caller("a".into()),
        Target::Tenant("a".into()),
        Target::Instance("a".into()),
        Target::Attempt(2),
        Target::Priority(Priority::Sheddable).not(),
    ]);
    let meant = Fault::hang()
        .on(Ratio::new(0.005).expect("it is a ratio"))
        .experiment("slow")
        .sticky(Unit::Header("x-account".into()))
        .at_most(7)
        .on_delicate_calls()
        .target(target)
        .lasting(Duration::from_secs(3_600));
    assert_eq!(format!("{written:?}"), format!("{meant:?}"));
}

#[test]
fn what_cannot_be_meant_is_refused_and_nothing_panics() {
    for words in [
        "",
        "effect = \"hook\"",
        "effect = { hang = true }",
        "effect = { latency = \"soon\" }",
        "effect = { latency = \"-1s\" }",
        "effect = { latency = { low = \"2ms\", high = \"1ms\" } }",
        "effect = { latency = { median = \"0s\", p99 = \"1ms\" } }",
        "effect = { latency = { median = \"2ms\", p99 = \"1ms\" } }",
        "effect = { error = \"success\" }",
        "effect = { error = { fault = \"1s\" } }",
        "effect = { status = 100 }",
        "effect = { status = 1000 }",
        "effect = { body_rate = { bytes = 0, per = \"1s\" } }",
        "effect = { body_rate = { bytes = 1, per = \"x\" } }",
        "effect = { code = 0 }",
        "effect = { code = 17 }",
        "effect = { broken_body = -1 }",
        "effect = \"hang\"\nshare = 100.5",
        "effect = \"hang\"\nshare = -1",
        "effect = \"hang\"\nshare = nan",
        "effect = \"hang\"\nat_most = -1",
        "effect = \"hang\"\nhook = \"outside\"",
        "effect = \"hang\"\nsticky = \"name\"",
        "effect = \"hang\"\ntarget = { priority = \"huge\" }",
        "effect = \"hang\"\ntarget = { all = [{ user = \"a\" }] }",
        "effect = \"hang\"\nlasting = \"1h\"",
    ] {
        assert!(parsed(words).is_err(), "{words}");
    }
    let nested =
        format!("effect = \"hang\"\ntarget = {}{{}}{}", "{ not = ".repeat(10_000), "}".repeat(10_000));
    assert!(parsed(&nested).is_err());
    assert!(toml::from_str::<Content>("[[fault]]\neffect = \"hang\"").is_err(), "an end has to be said");
}

#[test]
fn a_fault_ends_at_the_moment_that_is_written_whenever_it_is_read() {
    let written = parsed("effect = \"hang\"").expect("it is well");
    for (after, lasts) in [(0, Some(3_600)), (3_599, Some(1)), (3_600, None), (9_999, None)] {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(WALL + after);
        let meant = lasts.map(|seconds| format!("{:?}", Fault::hang().lasting(Duration::from_secs(seconds))));
        assert_eq!(written.fault(wall).map(|fault| format!("{fault:?}")), meant);
    }
}
