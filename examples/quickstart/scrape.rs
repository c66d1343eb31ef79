//! The service's `/metrics`, as Prometheus reads it.

use anyhow::{Result, ensure};
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};

use crate::transport::http_client;

/// What to look at first after a bad day; docs/telemetry.md has all of them.
const FIRST: [&str; 9] = [
    "http_server_request_duration_seconds_count",
    "http_client_request_duration_seconds_count",
    "resilience_calls_total",
    "resilience_attempts_total",
    "resilience_retry_calls_total",
    "resilience_timeouts_total",
    "resilience_circuit_breaker_calls_total",
    "resilience_circuit_breaker_transitions_total",
    "resilience_fallback_calls_total",
];

/// All that `/metrics` says.
pub(crate) async fn read(metrics: Uri) -> Result<String> {
    let answer = http_client().request(Request::get(metrics).body(Empty::new())?).await?;
    ensure!(answer.status().is_success(), "/metrics answered {}", answer.status());
    let text = answer.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(text.into())?)
}

/// The series to look at first, but for those that are zero.
pub(crate) fn first_look(metrics: &str) -> String {
    let mut lines = vec!["from the service's /metrics:".to_owned()];
    lines.extend(metrics.lines().filter_map(series).map(|(series, value)| format!("{value:>7}  {series}")));
    lines.join("\n")
}

/// A series and its value, if both say something. Which library tells it is left out, being the same in all.
fn series(line: &str) -> Option<(String, &str)> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.strip_suffix('}')?.split_once('{')?;
    let labels: Vec<_> = labels.split(',').filter(|label| !label.starts_with("otel_scope_")).collect();
    (FIRST.contains(&name) && value != "0").then(|| (format!("{name}{{{}}}", labels.join(",")), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_happened_is_not_shown() {
        let metrics = "# TYPE resilience_calls_total counter\n\
                       resilience_calls_total{outcome=\"fault\",pipeline=\"portfolio\",otel_scope_name=\"x\"} 0\n\
                       resilience_calls_total{outcome=\"success\",pipeline=\"portfolio\",otel_scope_name=\"x\"} 10\n\
                       resilience_bulkhead_usage{pipeline=\"portfolio\",otel_scope_name=\"x\"} 1\n\
                       up 1\n";
        let shown = first_look(metrics);
        let shown: Vec<_> = shown.lines().skip(1).collect();
        assert_eq!(shown, ["     10  resilience_calls_total{outcome=\"success\",pipeline=\"portfolio\"}"]);
    }
}
