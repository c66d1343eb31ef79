use super::*;

/// What is made of these variables, and which of them were ignored for what.
fn reading<T>(said: &[(&str, &str)], read: impl FnOnce(&mut Variables<'_>) -> T) -> (T, Vec<String>) {
    let variable =
        |name: &str| said.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let mut variables = Variables::new(&variable);
    let read = read(&mut variables);
    (read, variables.ignored.iter().map(ToString::to_string).collect())
}

fn read(said: &[(&str, &str)]) -> Environment {
    reading(said, Environment::read).0
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
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
    ];
    let none = read(&[]);
    assert!(!none.disabled && none.attributes.is_empty());
    assert_eq!(none.propagators, [Propagator::TraceContext, Propagator::Baggage]);
    assert_eq!(reading(&names.map(|name| (name, " ")), Environment::read), (none, vec![]));
}

#[test]
fn only_true_disables_and_what_looks_like_it_is_told() {
    for (value, disabled, told) in [
        ("true", true, false),
        ("TRUE", true, false),
        ("False", false, false),
        ("1", false, true),
        ("yes", false, true),
        ("false,true", false, true),
    ] {
        let (environment, ignored) = reading(&[("OTEL_SDK_DISABLED", value)], Environment::read);
        assert_eq!(environment.disabled, disabled, "{value}");
        assert_eq!(!ignored.is_empty(), told, "{ignored:?}");
        let expected = format!("OTEL_SDK_DISABLED is ignored: `{value}` is none of `true`, `false`");
        assert!(ignored.iter().all(|ignored| *ignored == expected), "{ignored:?}");
    }
}

#[test]
fn attributes_are_decoded_and_the_name_has_a_variable_of_its_own_that_goes_before() {
    let (environment, ignored) = reading(
        &[
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "service.name =books, a%2Cb=c%3Dd,,broken,=x,empty=,e=Z%C3%BC=rich,f=50%",
            ),
            ("OTEL_SERVICE_NAME", "ledger"),
        ],
        Environment::read,
    );
    let expected = [
        ("service.name", "books"),
        ("a,b", "c=d"),
        ("e", "Zü=rich"),
        ("f", "50%"),
        ("service.name", "ledger"),
    ];
    assert_eq!(environment.attributes, owned(&expected));
    let told = ["4", "5", "6"]
        .map(|entry| format!("OTEL_RESOURCE_ATTRIBUTES is ignored: its entry {entry} is no `key=value`"));
    assert_eq!(ignored, told);
}

#[test]
fn a_list_chooses_what_it_names() {
    let propagators = |list| {
        let (environment, ignored) = reading(&[("OTEL_PROPAGATORS", list)], Environment::read);
        (environment.propagators, ignored.len())
    };
    let both = vec![Propagator::TraceContext, Propagator::Baggage];
    assert_eq!(propagators("baggage"), (vec![Propagator::Baggage], 0));
    assert_eq!(propagators("b3, TraceContext ,baggage,baggage"), (both.clone(), 1));
    assert_eq!(propagators("none"), (vec![], 0));
    assert_eq!(propagators("b3,jaeger"), (both, 2), "it names nothing known");
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

#[cfg(feature = "otlp")]
mod of_the_collector {
    use std::time::Duration;

    use super::{
        super::collector::{Queue, Way, interval, sampler, temporality},
        owned, reading,
    };

    fn way(said: &[(&str, &str)]) -> (Way, Vec<String>) {
        let (way, ignored) = reading(said, |variables| Way::read(variables, "TRACES"));
        (way.expect("it can be sent there"), ignored)
    }

    fn refused(said: &[(&str, &str)]) -> Option<String> {
        reading(said, |variables| Way::read(variables, "TRACES")).0.err().map(|error| error.to_string())
    }

    #[test]
    fn the_variable_of_a_signal_goes_before_that_of_all() {
        let all = [
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a=b, team = core%20banking "),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "GZIP"),
            ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "7"),
        ];
        let (of_all, ignored) = way(&all);
        assert_eq!(
            of_all.headers,
            owned(&[("api-key", "a=b"), ("team", "core%20banking")]).into_iter().collect()
        );
        assert_eq!(of_all.timeout, Duration::from_secs(2));
        assert!(of_all.compression.is_some() && ignored.is_empty());
        let own = [
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "api-key=own"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "300"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none"),
        ];
        let (own, _) = way(&[&own[..], &all[..]].concat());
        assert_eq!(own.headers, owned(&[("api-key", "own")]).into_iter().collect());
        assert_eq!((own.timeout, own.compression), (Duration::from_millis(300), None));
    }

    #[test]
    fn what_means_nothing_is_as_good_as_none_and_told_once() {
        let said = [
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/ca.pem"),
        ];
        let (ways, told) = reading(&said, |variables| {
            ["METRICS", "TRACES"].map(|signal| Way::read(variables, signal).expect("nothing is refused"))
        });
        let (none, nothing) = way(&[]);
        assert_eq!((none.timeout, nothing), (Duration::from_secs(10), vec![]));
        let [metrics, traces] = ways;
        assert!(traces == none && metrics.timeout == none.timeout && metrics.compression.is_none());
        let expected = [
            "OTEL_EXPORTER_OTLP_CERTIFICATE is ignored: TLS is as the features of `reqwest` have it",
            "OTEL_EXPORTER_OTLP_TIMEOUT is ignored: `10s` is no whole number from 1 to 4294967295",
            "OTEL_EXPORTER_OTLP_COMPRESSION is ignored: `zstd` is none of `gzip`, `none`",
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT is ignored: `0` is no whole number from 1 to 4294967295",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_header_that_was_written_down_wrong_is_told_and_not_shown() {
        let said = [("OTEL_EXPORTER_OTLP_HEADERS", "team=core,Authorization: Bearer s3cret,x-key=")];
        let (way, told) = way(&said);
        assert_eq!(way.headers, owned(&[("team", "core")]).into_iter().collect());
        let entries = ["2", "3"];
        assert_eq!(
            told,
            entries.map(|entry| {
                format!("OTEL_EXPORTER_OTLP_HEADERS is ignored: its entry {entry} is no `key=value`")
            })
        );
    }

    #[test]
    fn the_path_of_a_signal_is_added_to_the_endpoint_of_all_alone() {
        let (all, own) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        for (said, expected) in [
            (&[][..], "http://localhost:4318/v1/traces"),
            (&[(all, " "), (own, "")], "http://localhost:4318/v1/traces"),
            (&[(all, "http://c:4318")], "http://c:4318/v1/traces"),
            (&[(all, " https://c/otlp/ ")], "https://c/otlp/v1/traces"),
            (&[(all, "http://c:4318"), (own, "http://d:9/x/")], "http://d:9/x/"),
            (&[(own, "http://d:9")], "http://d:9"),
        ] {
            assert_eq!(way(said).0.endpoint, expected, "{said:?}");
        }
    }

    #[test]
    fn an_endpoint_is_a_url_with_a_host() {
        let endpoint = |endpoint| refused(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]);
        for good in [
            "http://collector:4318",
            "HTTPS://collector/otlp/",
            "http://[::1]:4318/?a=b",
            "http://[::1]",
            "http://a:b@c:1",
            " ",
        ] {
            assert_eq!(endpoint(good), None, "{good}");
        }
        for bad in [
            "collector:4318",
            "/v1/traces",
            "http://",
            "http:///v1",
            "grpc://collector",
            "http://a b",
            "http://a:b@c:port",
            "http://c:65536",
            "http://:1",
        ] {
            let why = endpoint(bad).expect("nothing can be sent there");
            assert!(why.starts_with("OTEL_EXPORTER_OTLP_ENDPOINT is no URL"), "{bad}: {why}");
        }
    }

    #[test]
    fn the_protocol_is_that_of_the_signal_before_that_of_all() {
        let (all, traces) = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL");
        assert_eq!(refused(&[(all, "http/protobuf")]), None);
        assert_eq!(refused(&[(all, "grpc"), (traces, " HTTP/protobuf ")]), None);
        assert_eq!(
            refused(&[(all, "grpc"), ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "x")]).map(|why| why.contains(all)),
            Some(true)
        );
        let why = refused(&[(all, "http/protobuf"), (traces, "grpc")]);
        let expected =
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL asks for `grpc`: this build speaks `http/protobuf`";
        assert_eq!(why.as_deref(), Some(expected));
    }

    #[test]
    fn queues_and_intervals_are_as_said_where_that_is_possible() {
        let queue = |room, batch, delay| Queue { room, batch, delay: Duration::from_millis(delay) };
        let of = |said: &[_]| {
            let (read, told) = reading(said, |variables| {
                (Queue::of_spans(variables), Queue::of_logs(variables), interval(variables).as_millis())
            });
            (read, told.len())
        };
        let defaults = (queue(2_048, 512, 5_000), queue(2_048, 512, 1_000), 60_000);
        assert_eq!(of(&[]), (defaults, 0));
        let said = [
            ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5"),
            ("OTEL_BLRP_SCHEDULE_DELAY", "200"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "15000"),
        ];
        assert_eq!(of(&said), ((queue(10, 5, 5_000), queue(2_048, 512, 200), 15_000), 0));
        let wrong = [
            ("OTEL_BSP_MAX_QUEUE_SIZE", "18446744073709551615"),
            ("OTEL_BSP_SCHEDULE_DELAY", "0"),
            ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "-1"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "15s"),
        ];
        let defaults = (queue(2_048, 512, 5_000), queue(2_048, 512, 1_000), 60_000);
        assert_eq!(of(&wrong), (defaults, 4));
    }

    #[test]
    fn a_sampler_is_one_that_is_known_and_its_ratio_one() {
        let of = |word, ratio| {
            let said = [("OTEL_TRACES_SAMPLER", word), ("OTEL_TRACES_SAMPLER_ARG", ratio)];
            let (sampler, told) = reading(&said, sampler);
            (format!("{sampler:?}"), told.len())
        };
        for (word, ratio, expected, told) in [
            ("", "", "ParentBased(AlwaysOn)", 0),
            ("always_on", "0.5", "AlwaysOn", 0),
            ("ALWAYS_OFF", "", "AlwaysOff", 0),
            ("parentbased_always_off", "", "ParentBased(AlwaysOff)", 0),
            ("traceidratio", "0.25", "TraceIdRatioBased(0.25)", 0),
            ("parentbased_traceidratio", "", "ParentBased(TraceIdRatioBased(1.0))", 0),
            ("parentbased_traceidratio", "1", "ParentBased(TraceIdRatioBased(1.0))", 0),
            ("traceidratio", "10%", "TraceIdRatioBased(1.0)", 1),
            ("traceidratio", "NaN", "TraceIdRatioBased(1.0)", 1),
            ("traceidratio", "50", "TraceIdRatioBased(1.0)", 1),
            ("xray", "0.1", "ParentBased(AlwaysOn)", 1),
        ] {
            assert_eq!(of(word, ratio), (expected.to_owned(), told), "{word} {ratio}");
        }
    }

    #[test]
    fn a_temporality_is_one_that_is_known() {
        let of = |word| {
            let said = [("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", word)];
            let (temporality, told) = reading(&said, temporality);
            (format!("{temporality:?}"), told.len())
        };
        for (word, expected, told) in [
            ("", "Cumulative", 0),
            ("Delta", "Delta", 0),
            ("lowmemory", "LowMemory", 0),
            ("sum", "Cumulative", 1),
        ] {
            assert_eq!(of(word), (expected.to_owned(), told), "{word}");
        }
    }
}
