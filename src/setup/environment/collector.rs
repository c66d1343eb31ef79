//! What is said about the collector, and about what waits for it.

use std::{collections::HashMap, time::Duration};

use opentelemetry_otlp::{Compression, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{metrics::Temporality, trace::Sampler};

use super::{super::SetupError, Variables};

/// How a signal reaches the collector. It does not print: there are passwords in headers and in URLs.
#[derive(PartialEq, Eq)]
pub(in super::super) struct Way {
    pub(super) endpoint: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) timeout: Duration,
    pub(super) compression: Option<Compression>,
}

/// How much of a signal waits, and for how long.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Queue {
    pub(in super::super) room: usize,
    pub(in super::super) batch: usize,
    pub(in super::super) delay: Duration,
}

/// Milliseconds: up to 49 days.
const MILLISECONDS: std::ops::RangeInclusive<u64> = 1..=u32::MAX as u64;

impl Way {
    /// The way of a signal, `TRACES` say. What is said of the signal goes before what is said of all.
    pub(in super::super) fn read(variables: &mut Variables<'_>, signal: &str) -> Result<Self, SetupError> {
        let names = |what: &str| {
            [format!("OTEL_EXPORTER_OTLP_{signal}_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")]
        };
        let foreign = |protocol: &str| !protocol.eq_ignore_ascii_case("http/protobuf");
        if let Some((variable, protocol)) = variables.first(names("PROTOCOL")).filter(|(_, it)| foreign(it)) {
            return Err(SetupError::Protocol { variable, protocol });
        }
        let endpoint = endpoint(variables, names("ENDPOINT"), signal)?;
        for what in ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"] {
            if let Some((variable, _)) = variables.first(names(what)) {
                variables.ignore(&variable, "TLS is as the features of `reqwest` have it".to_owned());
            }
        }
        let headers = variables.first(names("HEADERS")).map(|(variable, _)| variables.pairs(&variable));
        let timeout = names("TIMEOUT").iter().find_map(|name| variables.number(name, MILLISECONDS));
        let compression =
            names("COMPRESSION").iter().find_map(|name| variables.word(name, &["gzip", "none"]));
        Ok(Self {
            endpoint,
            headers: headers.into_iter().flatten().collect(),
            timeout: Duration::from_millis(timeout.unwrap_or(10_000)),
            compression: (compression == Some("gzip")).then_some(Compression::Gzip),
        })
    }

    /// Has an exporter take it.
    pub(in super::super) fn of<B: WithExportConfig + WithHttpConfig>(self, exporter: B) -> B {
        let exporter = exporter.with_endpoint(self.endpoint).with_timeout(self.timeout);
        let exporter = exporter.with_headers(self.headers);
        match self.compression {
            Some(compression) => exporter.with_compression(compression),
            None => exporter,
        }
    }
}

/// Where a signal goes: its own URL as it is, or its path behind that of all.
fn endpoint(variables: &Variables<'_>, names: [String; 2], signal: &str) -> Result<String, SetupError> {
    let own = names[0].clone();
    let said = variables.first(names);
    if let Some((variable, _)) = said.as_ref().filter(|(_, endpoint)| !is_url(endpoint)) {
        return Err(SetupError::Endpoint { variable: variable.clone() });
    }
    Ok(match said {
        Some((variable, endpoint)) if variable == own => endpoint,
        all => {
            let base = all.map_or_else(|| "http://localhost:4318".to_owned(), |(_, endpoint)| endpoint);
            format!("{}/v1/{}", base.trim_end_matches('/'), signal.to_ascii_lowercase())
        }
    })
}

/// Whether it has a scheme that the exporter speaks, a host, and a port that can be one, if any. Anything else would fail at each
/// export, hours later, as a "network error".
fn is_url(endpoint: &str) -> bool {
    let (scheme, rest) = endpoint.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    // The colons in the brackets of an IPv6 address are no port's.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, ""),
    };
    ["http", "https"].iter().any(|known| known.eq_ignore_ascii_case(scheme))
        && !host.is_empty()
        && (port.is_empty() || port.parse::<u16>().is_ok())
        && endpoint.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Queue {
    pub(in super::super) fn of_spans(variables: &mut Variables<'_>) -> Self {
        Self::read(variables, "OTEL_BSP", 5_000)
    }

    pub(in super::super) fn of_logs(variables: &mut Variables<'_>) -> Self {
        Self::read(variables, "OTEL_BLRP", 1_000)
    }

    fn read(variables: &mut Variables<'_>, prefix: &str, delay: u64) -> Self {
        // Its memory is taken at once.
        let mut count = |what: &str, default: usize| {
            let count = variables.number(&format!("{prefix}_{what}"), 1..=1_000_000);
            count.and_then(|count| usize::try_from(count).ok()).unwrap_or(default)
        };
        let (room, batch) = (count("MAX_QUEUE_SIZE", 2_048), count("MAX_EXPORT_BATCH_SIZE", 512));
        let delay = variables.number(&format!("{prefix}_SCHEDULE_DELAY"), MILLISECONDS).unwrap_or(delay);
        Self { room, batch, delay: Duration::from_millis(delay) }
    }
}

/// How long it is from one export of metrics to the next.
pub(in super::super) fn interval(variables: &mut Variables<'_>) -> Duration {
    Duration::from_millis(variables.number("OTEL_METRIC_EXPORT_INTERVAL", MILLISECONDS).unwrap_or(60_000))
}

pub(in super::super) fn temporality(variables: &mut Variables<'_>) -> Temporality {
    let name = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
    match variables.word(name, &["cumulative", "delta", "lowmemory"]) {
        Some("delta") => Temporality::Delta,
        Some("lowmemory") => Temporality::LowMemory,
        _ => Temporality::Cumulative,
    }
}

/// Which traces are exported.
pub(in super::super) fn sampler(variables: &mut Variables<'_>) -> Sampler {
    const KNOWN: [&str; 6] = [
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ];
    let word = variables.word("OTEL_TRACES_SAMPLER", &KNOWN).unwrap_or("parentbased_always_on");
    let root = match word.strip_prefix("parentbased_").unwrap_or(word) {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        _ => Sampler::TraceIdRatioBased(ratio(variables)),
    };
    if word.starts_with("parentbased_") { Sampler::ParentBased(Box::new(root)) } else { root }
}

fn ratio(variables: &mut Variables<'_>) -> f64 {
    let name = "OTEL_TRACES_SAMPLER_ARG";
    let Some(value) = variables.value(name) else { return 1.0 };
    let ratio = value.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.unwrap_or_else(|| {
        variables.ignore(name, format!("`{value}` is no number from 0 to 1"));
        1.0
    })
}
