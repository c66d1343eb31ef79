use std::fmt;

use opentelemetry::propagation::{TextMapCompositePropagator, TextMapPropagator};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use tracing::warn;

/// What the variables say that the SDK leaves to whoever sets it up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Environment {
    /// Nothing is to be exported.
    pub(super) disabled: bool,
    /// The service has its name from there.
    pub(super) names_service: bool,
    pub(super) traces: Vec<Exporter>,
    pub(super) metrics: Vec<Exporter>,
    pub(super) logs: Vec<Exporter>,
    pub(super) propagators: Vec<Propagator>,
    /// What collectors are to be spoken to in and cannot be, and the variable that says so.
    pub(super) foreign: Option<(&'static str, String)>,
}

/// Where a signal can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exporter {
    Otlp,
    Prometheus,
}

/// How a trace goes on in the next service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Propagator {
    TraceContext,
    Baggage,
}

impl Environment {
    /// What `variable` gives for the name of each. One that is empty is as good as not set.
    pub(super) fn read(variable: impl Fn(&'static str) -> Option<String>) -> Self {
        let variable =
            |name| Variable { name, value: variable(name).filter(|value| !value.trim().is_empty()) };
        let otlp: &[_] = if cfg!(feature = "otlp") { &[Exporter::Otlp] } else { &[] };
        let scrape: &[_] = if cfg!(feature = "prometheus") { &[Exporter::Prometheus] } else { &[] };
        let mut environment = Self {
            disabled: variable("OTEL_SDK_DISABLED").is("true"),
            names_service: variable("OTEL_SERVICE_NAME").value.is_some()
                || variable("OTEL_RESOURCE_ATTRIBUTES").has("service.name"),
            traces: variable("OTEL_TRACES_EXPORTER").choose(otlp),
            metrics: variable("OTEL_METRICS_EXPORTER").choose(&[otlp, scrape].concat()),
            logs: variable("OTEL_LOGS_EXPORTER").choose(otlp),
            propagators: variable("OTEL_PROPAGATORS")
                .choose(&[Propagator::TraceContext, Propagator::Baggage]),
            foreign: None,
        };
        let foreign = environment.protocols().find_map(|variables| {
            let (variable, protocol) = variables.map(variable).into_iter().find_map(Variable::entry)?;
            (protocol != "http/protobuf").then_some((variable, protocol))
        });
        environment.foreign = foreign;
        environment
    }

    /// Where the protocol of each signal that goes to a collector is said: the first that says one counts.
    fn protocols(&self) -> impl Iterator<Item = [&'static str; 2]> {
        let signals = [
            (&self.traces, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
            (&self.metrics, "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"),
            (&self.logs, "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL"),
        ];
        let collected = signals.into_iter().filter(|(exporters, _)| exporters.contains(&Exporter::Otlp));
        collected.map(|(_, own)| [own, "OTEL_EXPORTER_OTLP_PROTOCOL"])
    }

    pub(super) fn propagator(&self) -> TextMapCompositePropagator {
        let each = self.propagators.iter().map(|propagator| match propagator {
            Propagator::TraceContext => Box::new(TraceContextPropagator::new()) as Box<Each>,
            Propagator::Baggage => Box::new(BaggagePropagator::new()),
        });
        TextMapCompositePropagator::new(each.collect())
    }
}

type Each = dyn TextMapPropagator + Send + Sync;

struct Variable {
    name: &'static str,
    value: Option<String>,
}

impl Variable {
    fn entry(self) -> Option<(&'static str, String)> {
        Some((self.name, self.value?))
    }

    fn is(&self, word: &str) -> bool {
        self.words().any(|value| value.eq_ignore_ascii_case(word))
    }

    /// Whether one of `key=value,key=value` is of this key.
    fn has(&self, key: &str) -> bool {
        self.words().filter_map(|pair| pair.split_once('=')).any(|(known, _)| known.trim() == key)
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.value.iter().flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty())
    }

    /// Those of `all` that the list names, none when it says `none`. Words that mean nothing here are ignored, as the
    /// specification asks for; a list without any that does is no choice, and so are all.
    fn choose<T: Copy + fmt::Display>(&self, all: &[T]) -> Vec<T> {
        if self.is("none") {
            return Vec::new();
        }
        let named =
            |word: &str| all.iter().copied().find(|known| known.to_string().eq_ignore_ascii_case(word));
        for word in self.words().filter(|word| named(word).is_none()) {
            warn!(variable = self.name, word, "ignored: it is unknown, or this build has no code for it");
        }
        let chosen: Vec<T> = all.iter().copied().filter(|known| self.is(&known.to_string())).collect();
        if chosen.is_empty() { all.to_vec() } else { chosen }
    }
}

impl fmt::Display for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Otlp => "otlp",
            Self::Prometheus => "prometheus",
        })
    }
}

impl fmt::Display for Propagator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TraceContext => "tracecontext",
            Self::Baggage => "baggage",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Environment {
        Environment::read(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn an_empty_variable_is_as_good_as_none() {
        let names = [
            "OTEL_SDK_DISABLED",
            "OTEL_SERVICE_NAME",
            "OTEL_RESOURCE_ATTRIBUTES",
            "OTEL_TRACES_EXPORTER",
            "OTEL_METRICS_EXPORTER",
            "OTEL_LOGS_EXPORTER",
            "OTEL_PROPAGATORS",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ];
        let none = read(&[]);
        assert!(!none.disabled && !none.names_service);
        assert_eq!(none.propagators, [Propagator::TraceContext, Propagator::Baggage]);
        assert_eq!(read(&names.map(|name| (name, " "))), none);
    }

    #[test]
    fn only_true_disables() {
        for (value, disabled) in
            [("true", true), ("TRUE", true), ("1", false), ("yes", false), ("false", false)]
        {
            assert_eq!(read(&[("OTEL_SDK_DISABLED", value)]).disabled, disabled, "{value}");
        }
    }

    #[test]
    fn the_environment_names_the_service_in_either_of_two_ways() {
        assert!(read(&[("OTEL_SERVICE_NAME", "ledger")]).names_service);
        assert!(read(&[("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.name =ledger")]).names_service);
        assert!(
            !read(&[("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=bank,x=service.name")]).names_service
        );
    }

    #[test]
    fn a_list_chooses_what_it_names() {
        let propagators = |list| read(&[("OTEL_PROPAGATORS", list)]).propagators;
        assert_eq!(propagators("baggage"), [Propagator::Baggage]);
        assert_eq!(
            propagators("b3, TraceContext ,baggage,baggage"),
            [Propagator::TraceContext, Propagator::Baggage]
        );
        assert_eq!(propagators("none"), []);
        assert_eq!(
            propagators("b3"),
            [Propagator::TraceContext, Propagator::Baggage],
            "it names nothing known"
        );
    }

    #[test]
    fn the_protocol_is_that_of_the_signal_before_that_of_all() {
        let (all, traces) = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL");
        let foreign = |variables: &[_]| read(variables).foreign.map(|(variable, _)| variable);
        assert_eq!(foreign(&[(all, "http/protobuf")]), None);
        assert_eq!(
            foreign(&[(all, "grpc"), ("OTEL_METRICS_EXPORTER", "none")]).is_some(),
            cfg!(feature = "otlp")
        );
        if cfg!(feature = "otlp") {
            assert_eq!(foreign(&[(all, "http/protobuf"), (traces, "grpc")]), Some(traces));
            let others = [("OTEL_METRICS_EXPORTER", "none"), ("OTEL_LOGS_EXPORTER", "none")];
            assert_eq!(foreign(&[&[(all, "grpc"), (traces, "http/protobuf")], &others[..]].concat()), None);
        }
    }

    #[test]
    fn each_signal_goes_everywhere_unless_the_environment_chooses() {
        let (otlp, prometheus) = (cfg!(feature = "otlp"), cfg!(feature = "prometheus"));
        let none = read(&[]);
        assert_eq!(none.traces.contains(&Exporter::Otlp), otlp);
        assert_eq!(none.logs, none.traces);
        assert_eq!(none.metrics.contains(&Exporter::Otlp), otlp);
        assert_eq!(none.metrics.contains(&Exporter::Prometheus), prometheus);
        let some = read(&[
            ("OTEL_METRICS_EXPORTER", "none"),
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_LOGS_EXPORTER", "none"),
        ]);
        assert_eq!((some.traces, some.metrics, some.logs), (vec![], vec![], vec![]));
        if prometheus {
            let metrics = read(&[("OTEL_METRICS_EXPORTER", "prometheus,console")]).metrics;
            assert_eq!(metrics, [Exporter::Prometheus]);
        }
    }
}
