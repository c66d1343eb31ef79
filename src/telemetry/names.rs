//! What the crate's telemetry is called in OpenTelemetry.
//!
//! These are constants of our own, so that no version of another crate can rename a series. `docs/telemetry.md` says
//! what they mean; tests hold it, and the tables of the conventions, against this file.

// Attributes.

pub(crate) const PIPELINE: &str = "pipeline";
pub(crate) const OUTCOME: &str = "outcome";
pub(crate) const RESULT: &str = "result";
pub(crate) const REASON: &str = "reason";
pub(crate) const STATE: &str = "state";
pub(crate) const FROM: &str = "from";
pub(crate) const TO: &str = "to";
pub(crate) const EXPERIMENT: &str = "experiment";
pub(crate) const FAULT: &str = "fault";
pub(crate) const OPERATION: &str = "operation";
pub(crate) const ATTEMPT_TYPE: &str = "attempt.type";
pub(crate) const ERROR_TYPE: &str = "error.type";
pub(crate) const RESEND_COUNT: &str = "resilience.resend_count";
pub(crate) const HTTP_RESEND_COUNT: &str = "http.request.resend_count";
pub(crate) const HTTP_METHOD: &str = "http.request.method";
pub(crate) const HTTP_METHOD_ORIGINAL: &str = "http.request.method_original";
pub(crate) const HTTP_ROUTE: &str = "http.route";
pub(crate) const HTTP_STATUS: &str = "http.response.status_code";
pub(crate) const PROTOCOL_VERSION: &str = "network.protocol.version";
pub(crate) const URL_SCHEME: &str = "url.scheme";
pub(crate) const URL_PATH: &str = "url.path";
pub(crate) const URL_QUERY: &str = "url.query";
pub(crate) const URL_FULL: &str = "url.full";
pub(crate) const RPC_SYSTEM: &str = "rpc.system.name";
pub(crate) const RPC_METHOD: &str = "rpc.method";
pub(crate) const RPC_METHOD_ORIGINAL: &str = "rpc.method_original";
pub(crate) const RPC_STATUS: &str = "rpc.response.status_code";
pub(crate) const SERVER_ADDRESS: &str = "server.address";
pub(crate) const SERVER_PORT: &str = "server.port";
pub(crate) const MESSAGING_SYSTEM: &str = "messaging.system";
pub(crate) const MESSAGING_OPERATION: &str = "messaging.operation.name";
pub(crate) const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
pub(crate) const MESSAGING_DESTINATION: &str = "messaging.destination.name";
pub(crate) const MESSAGING_GROUP: &str = "messaging.consumer.group.name";
pub(crate) const SLO_NAME: &str = "slo.name";
pub(crate) const SLO_RESULT: &str = "slo.result";
pub(crate) const METRIC_OVERFLOW: &str = "otel.metric.overflow";

// Durations, recorded one by one.

pub(crate) const CALL_DURATION: &str = "resilience.call.duration";
pub(crate) const ATTEMPT_DURATION: &str = "resilience.attempt.duration";
pub(crate) const BULKHEAD_WAIT_DURATION: &str = "resilience.bulkhead.wait.duration";
pub(crate) const IDEMPOTENCY_STORE_DURATION: &str = "resilience.idempotency.store.duration";
pub(crate) const HTTP_SERVER_DURATION: &str = "http.server.request.duration";
pub(crate) const HTTP_CLIENT_DURATION: &str = "http.client.request.duration";
pub(crate) const RPC_SERVER_DURATION: &str = "rpc.server.call.duration";
pub(crate) const RPC_CLIENT_DURATION: &str = "rpc.client.call.duration";

pub(crate) const MESSAGING_PROCESS_DURATION: &str = "messaging.process.duration";

// Totals, added up one by one.

pub(crate) const MESSAGING_CONSUMED: &str = "messaging.client.consumed.messages";

// Sizes, recorded one by one.

pub(crate) const HTTP_SERVER_REQUEST_SIZE: &str = "http.server.request.body.size";
pub(crate) const HTTP_SERVER_RESPONSE_SIZE: &str = "http.server.response.body.size";
pub(crate) const HTTP_CLIENT_REQUEST_SIZE: &str = "http.client.request.body.size";
pub(crate) const HTTP_CLIENT_RESPONSE_SIZE: &str = "http.client.response.body.size";

// Totals, read when somebody asks.

pub(crate) const CALLS: &str = "resilience.calls";
pub(crate) const ATTEMPTS: &str = "resilience.attempts";
pub(crate) const RETRY_CALLS: &str = "resilience.retry.calls";
pub(crate) const RETRY_GAVE_UP: &str = "resilience.retry.gave_up";
pub(crate) const HEDGE_CALLS: &str = "resilience.hedge.calls";
pub(crate) const BREAKER_CALLS: &str = "resilience.circuit_breaker.calls";
pub(crate) const BREAKER_TRANSITIONS: &str = "resilience.circuit_breaker.transitions";
pub(crate) const BULKHEAD_REFUSED: &str = "resilience.bulkhead.refused";
pub(crate) const RATE_LIMITER_REQUESTS: &str = "resilience.rate_limiter.requests";
pub(crate) const LOAD_SHED_REFUSED: &str = "resilience.load_shed.refused";
pub(crate) const IDEMPOTENCY_OUTCOMES: &str = "resilience.idempotency.outcomes";
pub(crate) const IDEMPOTENCY_LEASES_LOST: &str = "resilience.idempotency.leases_lost";
pub(crate) const DELIVERIES: &str = "resilience.deliveries";
pub(crate) const DEAD_LETTERS_FAILED: &str = "resilience.dead_letters.failed";
pub(crate) const TIMEOUTS: &str = "resilience.timeouts";
pub(crate) const ANSWERS_BROKEN: &str = "resilience.answers.broken";
pub(crate) const FALLBACK_CALLS: &str = "resilience.fallback.calls";
pub(crate) const FAULT_INJECTIONS: &str = "resilience.fault.injections";
pub(crate) const DEADLINES_EXPIRED: &str = "resilience.deadlines.expired";
pub(crate) const DEADLINES_MALFORMED: &str = "resilience.deadlines.malformed";
pub(crate) const PRIORITIES_MALFORMED: &str = "resilience.priorities.malformed";
pub(crate) const SLO_EVENTS: &str = "slo.events";
pub(crate) const SLO_INJECTED: &str = "slo.injected";
#[cfg(feature = "logs")]
pub(crate) const LOG_DROPPED: &str = "resilience.log.dropped";

// States, read when somebody asks.

pub(crate) const HTTP_SERVER_ACTIVE: &str = "http.server.active_requests";
pub(crate) const HTTP_CLIENT_ACTIVE: &str = "http.client.active_requests";

pub(crate) const IDEMPOTENCY_OLDEST_IN_DOUBT: &str = "resilience.idempotency.oldest_in_doubt";
pub(crate) const BREAKER_STATE: &str = "resilience.circuit_breaker.state";
pub(crate) const BULKHEAD_USAGE: &str = "resilience.bulkhead.usage";
pub(crate) const BULKHEAD_LIMIT: &str = "resilience.bulkhead.limit";
pub(crate) const BULKHEAD_QUEUED: &str = "resilience.bulkhead.queued";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use opentelemetry_semantic_conventions::{attribute, metric};

    /// What stands between two of `quote`, every other time.
    fn quoted(text: &str, quote: char) -> impl Iterator<Item = &str> {
        text.split(quote).skip(1).step_by(2)
    }

    fn names() -> BTreeSet<&'static str> {
        let source = include_str!("names.rs").split("#[cfg(test)]").next().expect("the constants");
        let constants = source.lines().filter(|line| line.starts_with("pub(crate) const"));
        constants.flat_map(|line| quoted(line, '"')).collect()
    }

    #[test]
    fn names_are_our_own_or_those_of_the_conventions() {
        let own = [
            "pipeline",
            "outcome",
            "result",
            "reason",
            "state",
            "from",
            "to",
            "fault",
            "experiment",
            "operation",
            "attempt.type",
        ];
        // The specification of metrics has it, and not the conventions.
        let overflow = "otel.metric.overflow";
        let is_own = |name: &&str| {
            let ours = ["resilience.", "slo."].iter().any(|ours| name.starts_with(ours));
            ours || own.contains(name) || *name == overflow
        };
        let names: BTreeSet<_> = names().into_iter().filter(|name| !is_own(name)).collect();
        let conventions = [
            attribute::ERROR_TYPE,
            attribute::HTTP_REQUEST_METHOD,
            attribute::HTTP_REQUEST_METHOD_ORIGINAL,
            attribute::HTTP_REQUEST_RESEND_COUNT,
            attribute::HTTP_RESPONSE_STATUS_CODE,
            attribute::HTTP_ROUTE,
            attribute::MESSAGING_CONSUMER_GROUP_NAME,
            attribute::MESSAGING_DESTINATION_NAME,
            attribute::MESSAGING_OPERATION_NAME,
            attribute::MESSAGING_OPERATION_TYPE,
            attribute::MESSAGING_SYSTEM,
            attribute::NETWORK_PROTOCOL_VERSION,
            attribute::RPC_METHOD,
            attribute::RPC_METHOD_ORIGINAL,
            attribute::RPC_RESPONSE_STATUS_CODE,
            attribute::RPC_SYSTEM_NAME,
            attribute::SERVER_ADDRESS,
            attribute::SERVER_PORT,
            attribute::URL_FULL,
            attribute::URL_PATH,
            attribute::URL_QUERY,
            attribute::URL_SCHEME,
            metric::HTTP_CLIENT_ACTIVE_REQUESTS,
            metric::HTTP_CLIENT_REQUEST_BODY_SIZE,
            metric::HTTP_CLIENT_REQUEST_DURATION,
            metric::HTTP_CLIENT_RESPONSE_BODY_SIZE,
            metric::HTTP_SERVER_ACTIVE_REQUESTS,
            metric::HTTP_SERVER_REQUEST_BODY_SIZE,
            metric::HTTP_SERVER_REQUEST_DURATION,
            metric::HTTP_SERVER_RESPONSE_BODY_SIZE,
            metric::MESSAGING_CLIENT_CONSUMED_MESSAGES,
            metric::MESSAGING_PROCESS_DURATION,
            metric::RPC_CLIENT_CALL_DURATION,
            metric::RPC_SERVER_CALL_DURATION,
        ];
        assert_eq!(names, BTreeSet::from(conventions));
    }

    #[test]
    fn documentation_lists_what_there_is_and_nothing_else() {
        let names = names();
        let document = include_str!("../../docs/telemetry.md");
        let listed: BTreeSet<_> = document
            .lines()
            .filter(|line| line.starts_with('|'))
            .flat_map(|line| quoted(line, '`'))
            .map(|name| name.split('{').next().expect("there is a first"))
            .collect();
        let missing: Vec<_> = names.difference(&listed).collect();
        assert!(missing.is_empty(), "docs/telemetry.md lacks {missing:?}");
        let unknown: Vec<_> =
            listed.difference(&names).filter(|name| name.starts_with("resilience.")).collect();
        assert!(unknown.is_empty(), "docs/telemetry.md lists {unknown:?}");
    }
}
