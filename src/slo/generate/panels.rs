//! What the dashboard shows. Every metric is one of [`names`], by the name that Prometheus knows it by.

use super::Artefacts;
use crate::{
    slo::{Injected, Promise},
    telemetry::names,
};

/// Panels under one heading.
pub(super) struct Row {
    pub(super) title: &'static str,
    pub(super) panels: Vec<Panel>,
}

/// A picture of some series over time.
pub(super) struct Panel {
    pub(super) title: &'static str,
    /// The unit, as Grafana calls it.
    pub(super) unit: &'static str,
    /// The question that it answers.
    pub(super) says: &'static str,
    pub(super) queries: Vec<Query>,
}

/// A question to Prometheus.
pub(super) struct Query {
    pub(super) expression: String,
    pub(super) legend: &'static str,
}

/// All of them, the objective first.
pub(super) fn rows(of: &Artefacts) -> [Row; 9] {
    [
        objective(of),
        over_http(),
        over_grpc(),
        calls(),
        circuit_breakers(),
        retries(),
        bulkheads(),
        idempotency(),
        faults(),
    ]
}

fn objective(of: &Artefacts) -> Row {
    let labels = format!("{{slo_name={}}}", of.quoted_name());
    let budget = of.objective.target_value().budget();
    let burn = |window| format!("slo:bad:ratio_rate{window}{labels} / {budget}");
    let (unit, per_time) = match of.objective.promise() {
        Promise::By(_) => ("short", format!("increase(slo_events_total{labels}[1d])")),
        Promise::Success | Promise::Within(_) => {
            ("cps", format!("rate(slo_events_total{labels}[$__rate_interval])"))
        }
    };
    let mut bad = vec![query(format!("slo:bad:ratio_rate1h{labels}"), "counted")];
    if of.route.is_some() {
        bad.push(query(format!("slo:histogram_bad:ratio_rate1h{labels}"), "by the durations"));
    }
    let left = vec![query(format!("slo:budget_remaining:ratio{labels}"), "left")];
    let burns = [("5m", "5 m"), ("1h", "1 h"), ("6h", "6 h"), ("3d", "3 d")];
    let burns = burns.map(|(window, legend)| query(burn(window), legend)).into();
    let mut events = vec![query(format!("sum by (slo_result) ({per_time})"), "{{slo_result}}")];
    if of.objective.injected_value() == Injected::Separate {
        let apart = underscored(names::SLO_INJECTED);
        let apart = format!("sum by (slo_result) (rate({apart}_total{labels}[$__rate_interval]))");
        events.push(query(apart, "{{slo_result}}, under a fault"));
    }
    Row {
        title: "Objective",
        panels: vec![
            panel(
                "Budget left",
                "percentunit",
                "Of what may be bad in 30 days. Below 0 the objective is missed.",
                left,
            ),
            panel(
                "Burn rate",
                "none",
                "How many times what may be bad is bad. At 1 the budget lasts for 30 days. Over 14.4 (1 h and 5 m) or 6 (6 h and \
                 30 m) somebody is paged.",
                burns,
            ),
            panel(
                "Events",
                unit,
                "What is counted for the objective: in a second, or, of daily runs, in a day.",
                events,
            ),
            panel("Bad", "percentunit", "Of the events of the last hour.", bad),
        ],
    }
}

fn over_http() -> Row {
    let durations = histogram(names::HTTP_SERVER_DURATION);
    let requests = format!("{durations}_count");
    let failed = format!("{requests}{{job=~\"$job\",http_response_status_code=~\"5..\"}}");
    let all = format!("{requests}{{job=~\"$job\"}}");
    let by_route = "{{http_route}}";
    Row {
        title: "Requests over HTTP, by route",
        panels: vec![
            panel("Rate", "reqps", "Answered requests.", vec![query(rate("http_route", &all), by_route)]),
            panel(
                "Errors",
                "percentunit",
                "Answers with a 5xx, of all.",
                vec![query(share("http_route", &failed, &all), by_route)],
            ),
            panel(
                "Duration",
                "s",
                "To the end of the answer's body.",
                quantiles(
                    "http_route",
                    &durations,
                    "{job=~\"$job\"}",
                    ["{{http_route}} p50", "{{http_route}} p99"],
                ),
            ),
        ],
    }
}

fn over_grpc() -> Row {
    let durations = histogram(names::RPC_SERVER_DURATION);
    let requests = format!("{durations}_count");
    // Those that are the server's fault, by OpenTelemetry's conventions.
    let failed = "UNKNOWN|DEADLINE_EXCEEDED|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS";
    let failed = format!("{requests}{{job=~\"$job\",rpc_response_status_code=~\"{failed}\"}}");
    let all = format!("{requests}{{job=~\"$job\"}}");
    let by_method = "{{rpc_method}}";
    Row {
        title: "Requests over gRPC, by method",
        panels: vec![
            panel("Rate", "reqps", "Answered requests.", vec![query(rate("rpc_method", &all), by_method)]),
            panel(
                "Errors",
                "percentunit",
                "Answers that are the server's fault, of all.",
                vec![query(share("rpc_method", &failed, &all), by_method)],
            ),
            panel(
                "Duration",
                "s",
                "To the end of the call.",
                quantiles(
                    "rpc_method",
                    &durations,
                    "{job=~\"$job\"}",
                    ["{{rpc_method}} p50", "{{rpc_method}} p99"],
                ),
            ),
        ],
    }
}

fn calls() -> Row {
    let durations = histogram(names::CALL_DURATION);
    Row {
        title: "Calls",
        panels: vec![
            total(
                "Outcomes",
                "How calls ended for who made them.",
                names::CALLS,
                "outcome",
                "{{pipeline}} {{outcome}}",
            ),
            panel(
                "Duration",
                "s",
                "As the caller saw it: waits and all attempts included.",
                quantiles("pipeline", &durations, PIPELINES, ["{{pipeline}} p50", "{{pipeline}} p99"]),
            ),
            total(
                "Limits of time",
                "Limits that passed and cut the work short.",
                names::TIMEOUTS,
                "reason",
                "{{pipeline}} {{reason}}",
            ),
            total(
                "Too late",
                "Calls that arrived after their deadline.",
                names::DEADLINES_EXPIRED,
                "",
                "{{pipeline}}",
            ),
        ],
    }
}

fn circuit_breakers() -> Row {
    Row {
        title: "Circuit breakers",
        panels: vec![
            state(
                "State",
                "1 is the state that it is in.",
                &[(names::BREAKER_STATE, "pipeline, state", "{{pipeline}} {{state}}")],
            ),
            total(
                "Calls",
                "As the circuit breaker counted them; rejected ones did not reach the dependency.",
                names::BREAKER_CALLS,
                "result",
                "{{pipeline}} {{result}}",
            ),
            total(
                "Changes",
                "Of its state.",
                names::BREAKER_TRANSITIONS,
                "from, to",
                "{{pipeline}} {{from}} to {{to}}",
            ),
        ],
    }
}

fn retries() -> Row {
    Row {
        title: "Retries",
        panels: vec![
            total(
                "Calls",
                "Whether asking again helped. Above 0, budget_exhausted says that a storm was held back.",
                names::RETRY_CALLS,
                "result",
                "{{pipeline}} {{result}}",
            ),
            total(
                "Attempts",
                "The load on the dependency, and what of it retries and hedges add.",
                names::ATTEMPTS,
                "attempt_type",
                "{{pipeline}} {{attempt_type}}",
            ),
            total(
                "Gave up",
                "Why failed calls were not tried again.",
                names::RETRY_GAVE_UP,
                "reason",
                "{{pipeline}} {{reason}}",
            ),
            total(
                "Hedges",
                "What became of calls that may be hedged.",
                names::HEDGE_CALLS,
                "result",
                "{{pipeline}} {{result}}",
            ),
        ],
    }
}

fn bulkheads() -> Row {
    let waits = histogram(names::BULKHEAD_WAIT_DURATION);
    Row {
        title: "Bulkheads and overload",
        panels: vec![
            state(
                "Places",
                "Those that are taken and those that there are.",
                &[
                    (names::BULKHEAD_USAGE, "pipeline", "{{pipeline}} taken"),
                    (names::BULKHEAD_LIMIT, "pipeline", "{{pipeline}} of"),
                    (names::BULKHEAD_QUEUED, "pipeline", "{{pipeline}} waiting"),
                ],
            ),
            total("Refused", "Calls that found no place.", names::BULKHEAD_REFUSED, "", "{{pipeline}}"),
            panel(
                "Wait",
                "s",
                "Of calls that had to wait for a place and got it.",
                quantiles("pipeline", &waits, PIPELINES, ["{{pipeline}} p50", "{{pipeline}} p99"]),
            ),
            total(
                "Shed",
                "Calls that were refused to ease an overload.",
                names::LOAD_SHED_REFUSED,
                "reason",
                "{{pipeline}} {{reason}}",
            ),
            total(
                "Rate limits",
                "Calls that the rate limiter let in or refused.",
                names::RATE_LIMITER_REQUESTS,
                "result",
                "{{pipeline}} {{result}}",
            ),
        ],
    }
}

fn idempotency() -> Row {
    Row {
        title: "Idempotency",
        panels: vec![
            total(
                "Calls with a key",
                "What became of them.",
                names::IDEMPOTENCY_OUTCOMES,
                "outcome",
                "{{pipeline}} {{outcome}}",
            ),
            total(
                "Lost claims",
                "Handlers that lost their claim while they ran.",
                names::IDEMPOTENCY_LEASES_LOST,
                "",
                "{{pipeline}}",
            ),
        ],
    }
}

fn faults() -> Row {
    Row {
        title: "Faults and fallbacks",
        panels: vec![
            total(
                "Injected",
                "Calls that a fault hook acted on. Above 0 it is an experiment.",
                names::FAULT_INJECTIONS,
                "fault",
                "{{pipeline}} {{fault}}",
            ),
            total(
                "Fallbacks",
                "Calls that got second best, or not even that.",
                names::FALLBACK_CALLS,
                "result",
                "{{pipeline}} {{result}}",
            ),
        ],
    }
}

/// Which series of a pipeline are shown.
const PIPELINES: &str = "{job=~\"$job\",pipeline=~\"$pipeline\"}";

fn panel(title: &'static str, unit: &'static str, says: &'static str, queries: Vec<Query>) -> Panel {
    Panel { title, unit, says, queries }
}

fn query(expression: String, legend: &'static str) -> Query {
    Query { expression, legend }
}

/// How often something happens in a second, by pipeline and more.
fn total(title: &'static str, says: &'static str, name: &str, by: &str, legend: &'static str) -> Panel {
    let by = if by.is_empty() { "pipeline".to_owned() } else { format!("pipeline, {by}") };
    let series = format!("{}_total{PIPELINES}", underscored(name));
    panel(title, "cps", says, vec![query(rate(&by, &series), legend)])
}

/// How something is: metrics, by what they are told apart, and what they are called.
fn state(title: &'static str, says: &'static str, states: &[(&str, &str, &'static str)]) -> Panel {
    let sum = |name: &str, by: &str| format!("sum by ({by}) ({}{PIPELINES})", underscored(name));
    let queries = states.iter().map(|(name, by, legend)| query(sum(name, by), legend));
    panel(title, "none", says, queries.collect())
}

fn rate(by: &str, series: &str) -> String {
    format!("sum by ({by}) (rate({series}[$__rate_interval]))")
}

/// Which share of all series is in some of them: 0 where there is none of those.
fn share(by: &str, some: &str, all: &str) -> String {
    let (some, all) = (rate(by, some), rate(by, all));
    format!("({some} or 0 * {all}) / ({all} > 0)")
}

/// The median and the 99th percentile.
fn quantiles(by: &str, histogram: &str, labels: &str, legends: [&'static str; 2]) -> Vec<Query> {
    let buckets = rate(&format!("{by}, le"), &format!("{histogram}_bucket{labels}"));
    let quantile = |(quantile, legend)| query(format!("histogram_quantile({quantile}, {buckets})"), legend);
    ["0.5", "0.99"].into_iter().zip(legends).map(quantile).collect()
}

/// A histogram of durations, without the suffix of its series.
fn histogram(name: &str) -> String {
    format!("{}_seconds", underscored(name))
}

/// A metric as Prometheus has it, without the suffix of its kind.
fn underscored(name: &str) -> String {
    name.replace('.', "_")
}
