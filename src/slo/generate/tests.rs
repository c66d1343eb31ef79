use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;
use serde_json::Value;

use super::{Artefacts, panels};
use crate::{
    name::Name,
    slo::{Objective, Target},
};

/// Whatever a name can do to those who read it.
const HOSTILE: &str = "{{ $job }} \"a\\b\" [[c]] 'd' `e` <f> #g: é\u{2028}";

fn login() -> Artefacts {
    Artefacts::of(&Objective::new("login").target(99.9).within(Duration::from_secs(2))).route("/login")
}

fn report() -> Artefacts {
    Artefacts::of(&Objective::new("portfolio-report").target(99.0).by("06:00", "Europe/Zurich"))
}

fn hostile() -> Artefacts {
    Artefacts::of(&Objective::new(HOSTILE).target(50.0)).route("/$x/{id}")
}

/// `promtool` tests these files, in `tests/run.sh`.
#[test]
fn the_rules_are_those_that_are_tested_to_the_byte() {
    assert_eq!(login().rules(), include_str!("../../../tests/slo/rules/login.yml"));
    assert_eq!(report().rules(), include_str!("../../../tests/slo/rules/portfolio-report.yml"));
    assert_eq!(hostile().rules(), include_str!("../../../tests/slo/rules/hostile.yml"));
}

#[test]
fn a_runbook_says_what_is_known_and_asks_for_the_rest() {
    let files: BTreeMap<_, _> = login().files().into_iter().collect();
    assert_eq!(
        files["runbooks/login/SloBurnsFast.md"],
        include_str!("../../../tests/slo/runbooks/SloBurnsFast.md")
    );
    let pages =
        ["SloAbsent", "SloBurnsFast", "SloBurnsSlowly"].map(|alert| format!("runbooks/login/{alert}.md"));
    let paths: Vec<_> = files.keys().cloned().collect();
    assert_eq!(paths, [&["dashboards/login.json".into(), "rules/login.yml".into()], &pages[..]].concat());
}

#[test]
fn every_alert_has_the_runbook_that_it_names_and_there_are_no_others() {
    for artefacts in [login(), report(), hostile()] {
        let rules = artefacts.rules();
        let named: BTreeSet<_> = rules
            .lines()
            .filter_map(|line| line.trim().strip_prefix("runbook: "))
            .map(str::to_owned)
            .collect();
        let written: BTreeSet<_> = artefacts.files().into_iter().map(|(file, _)| file).collect();
        let written: BTreeSet<_> = written.into_iter().filter(|file| file.starts_with("runbooks/")).collect();
        assert_eq!(named, written);
    }
    let elsewhere = login().runbooks_at("https://wiki.example/slo").rules();
    assert!(elsewhere.contains("runbook: https://wiki.example/slo/login/SloAbsent.md\n"), "{elsewhere}");
}

#[test]
fn an_alert_that_no_outage_can_raise_is_left_out() {
    let of = |percent| Artefacts::of(&Objective::new("x").target(percent)).rules();
    let (tight, loose, looser) = (of(94.0), of(93.0), of(83.0));
    assert!(tight.contains("> 0.864 and"), "14.4 times 6 %");
    assert!(loose.contains("> 0.42 and") && !loose.contains("> 1.008"), "14.4 times 7 % is more than all");
    assert!(!looser.contains("SloBurnsFast") && looser.contains("SloBurnsSlowly"));
}

#[test]
#[should_panic(expected = "daily runs are no requests of a route")]
fn daily_runs_have_no_route() {
    let _ = report().route("/report");
}

#[test]
#[should_panic(expected = "runbooks are found at a URL, and not at \"https://wiki/{{ x }}\"")]
fn what_is_no_url_is_refused() {
    let _ = login().runbooks_at("https://wiki/{{ x }}");
}

#[test]
#[should_panic(expected = "runbooks are found at a URL, and not at \"*alias/\"")]
fn what_yaml_would_take_for_something_else_is_refused() {
    let _ = login().runbooks_at("*alias/");
}

#[test]
fn files_are_written_where_they_belong_and_again() {
    let folder = std::env::temp_dir().join(format!("moneta-slo-{}", std::process::id()));
    for _ in 0..2 {
        hostile().write_to(&folder).expect("it can be written");
        for (file, text) in hostile().files() {
            assert_eq!(std::fs::read_to_string(folder.join(file)).ok(), Some(text));
        }
    }
    std::fs::remove_dir_all(&folder).expect("it is there");
    std::fs::write(&folder, "no folder").expect("there is a place");
    assert!(login().write_to(&folder).is_err());
    std::fs::remove_file(&folder).expect("it is there");
}

mod dashboards {
    use super::*;

    fn parsed(artefacts: &Artefacts) -> Value {
        serde_json::from_str(&artefacts.dashboard()).expect("JSON")
    }

    #[test]
    fn a_dashboard_is_found_by_a_uid_of_its_name_alone() {
        let other = Artefacts::of(&Objective::new("login").target(50.0));
        assert_eq!(parsed(&login())["uid"], "slo-login");
        assert_eq!(parsed(&other)["uid"], "slo-login");
        assert_eq!(login().dashboard(), login().dashboard());
    }

    #[test]
    fn panels_have_numbers_of_their_own_and_do_not_cover_each_other() {
        let dashboard = parsed(&login());
        let panels = dashboard["panels"].as_array().expect("a list");
        let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().expect("a number")).collect();
        assert_eq!(ids.len(), panels.len());
        let mut taken = BTreeSet::new();
        for panel in panels {
            let at = |side| panel["gridPos"][side].as_u64().expect("a number");
            assert!(at("x") + at("w") <= 24, "{panel}");
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(taken.insert((x, y)), "two panels at {x}, {y}: {panel}");
                }
            }
        }
    }

    #[test]
    fn each_thing_that_goes_wrong_has_its_row() {
        let rows: Vec<_> = panels::rows(&login()).iter().map(|row| row.title).collect();
        let expected = [
            "Objective",
            "Requests over HTTP, by route",
            "Requests over gRPC, by method",
            "Calls",
            "Circuit breakers",
            "Retries",
            "Bulkheads and overload",
            "Idempotency",
            "Faults and fallbacks",
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn every_expression_names_series_that_there_are() {
        let exposed = exposed();
        for artefacts in [login(), report(), hostile()] {
            let rules = artefacts.rules();
            let recorded = rules.lines().filter_map(|line| line.trim().strip_prefix("- record: "));
            let known: BTreeSet<_> = exposed.series.iter().map(String::as_str).chain(recorded).collect();
            let mut seen = 0;
            for query in
                panels::rows(&artefacts).iter().flat_map(|row| &row.panels).flat_map(|panel| &panel.queries)
            {
                let (series, labels) = named(&query.expression);
                assert!(!series.is_empty(), "{}", query.expression);
                for name in series {
                    assert!(known.contains(&*name), "there is no {name}: {}", query.expression);
                    seen += 1;
                }
                let of_prometheus = ["job", "le"];
                for label in labels {
                    let is_known = exposed.labels.contains(&label) || of_prometheus.contains(&&*label);
                    assert!(is_known, "nothing has a label {label}: {}", query.expression);
                }
            }
            assert!(seen > 30, "the expressions were not understood: {seen} series");
        }
    }

    #[test]
    fn an_expression_is_taken_apart_into_series_and_labels() {
        let (series, labels) =
            named("sum by (a, le) (rate(x:y_total{b=\"q{r}\",c!~\"s\"}[5m])) or 0 * absent(z) / 1e3 > 0.5");
        assert_eq!(series, ["x:y_total", "z"].map(str::to_owned).into());
        assert_eq!(labels, ["a", "b", "c", "le"].map(str::to_owned).into());
    }

    struct Exposed {
        series: BTreeSet<String>,
        labels: BTreeSet<String>,
    }

    /// What the crate exposes, as Prometheus has it, from the constants and their sections.
    fn exposed() -> Exposed {
        let source =
            include_str!("../../telemetry/names.rs").split("#[cfg(test)]\n").next().expect("the constants");
        let mut exposed = Exposed { series: BTreeSet::new(), labels: BTreeSet::new() };
        let mut section = "";
        for line in source.lines() {
            if let Some(heading) = line.strip_prefix("// ") {
                section = heading.split([',', '.']).next().expect("a word");
            }
            let Some(name) = line.split('"').nth(1) else { continue };
            let name = name.replace('.', "_");
            let suffixes: &[_] = match section {
                "Attributes" => {
                    exposed.labels.insert(name);
                    continue;
                }
                "Durations" => &["_seconds_bucket", "_seconds_count", "_seconds_sum"],
                "Sizes" => &["_bytes_bucket", "_bytes_count", "_bytes_sum"],
                "Totals" => &["_total"],
                "States" => &[""],
                other => panic!("what are {other}? {line}"),
            };
            exposed.series.extend(suffixes.iter().map(|suffix| format!("{name}{suffix}")));
        }
        assert!(exposed.series.len() > 40 && exposed.labels.len() > 20, "the constants were not understood");
        exposed
    }
}

/// The series and the labels that an expression names.
fn named(expression: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut series, mut labels) = (BTreeSet::new(), BTreeSet::new());
    // Without what stands in quotes, and without ranges.
    let expression: String = expression.split('"').step_by(2).collect();
    let expression: String = expression.split(['[', ']']).step_by(2).collect();
    let is_of_names = |c: char| c.is_ascii_alphanumeric() || "_:".contains(c);
    let mut rest = &*expression;
    let (mut in_braces, mut in_by) = (false, false);
    while let Some(c) = rest.chars().next() {
        let word = &rest[..rest.find(|c| !is_of_names(c)).unwrap_or(rest.len())];
        if word.is_empty() {
            match c {
                '{' => in_braces = true,
                '}' => in_braces = false,
                ')' => in_by = false,
                _ => {}
            }
            rest = &rest[c.len_utf8()..];
            continue;
        }
        rest = &rest[word.len()..];
        if in_braces || in_by {
            labels.insert(word.to_owned());
        } else if word == "by" {
            in_by = true;
        } else if !c.is_ascii_digit() && !rest.starts_with('(') && !["or", "and", "sum"].contains(&word) {
            series.insert(word.to_owned());
        }
    }
    (series, labels)
}

/// The numbers of a text that stand outside of quotes and names.
fn numbers(text: &str) -> Vec<&str> {
    let outside = text.split('"').step_by(2);
    let words =
        outside.flat_map(|part| part.split(|c: char| !(c.is_ascii_alphanumeric() || "._:/-".contains(c))));
    let words = words.map(|word| word.trim_end_matches('.'));
    words
        .filter(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.parse::<f64>().is_ok())
        .collect()
}

proptest! {
    // Each case makes all files.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_number_has_the_noise_of_a_float(millionths in 1_u32..1_000_000, millis in 1_u64..100_000) {
        let target = Target::percent(f64::from(millionths) / 10_000.0).expect("it lies between");
        let objective = Objective::new("x").target_of(target).within(Duration::from_millis(millis));
        let artefacts = Artefacts::of(&objective).route("/x");
        for (_, text) in artefacts.files() {
            for number in numbers(&text) {
                let fraction = number.split('.').nth(1).unwrap_or_default();
                prop_assert!(fraction.len() <= 7 && !number.contains('e'), "{}", number);
            }
        }
        let bad = 1_000_000 - millionths;
        let rules = artefacts.rules();
        let over = rules.lines().filter_map(|line| line.trim().strip_prefix("(slo:bad:ratio_rate3d{slo_name=\"x\"} > "));
        let over: Vec<f64> = over.map(|line| line.split(' ').next().unwrap_or_default().parse().expect("a number")).collect();
        prop_assert_eq!(over, [f64::from(bad) / 1e6]);
    }

    #[test]
    fn no_name_changes_the_lines_of_a_file_or_leaves_its_quotes(name in "\\PC{1,64}") {
        prop_assume!(Name::new(&name).is_ok());
        let of = |name: &str| Artefacts::of(&Objective::new(name)).route("/").files();
        let shape = |text: &str| -> Vec<usize> {
            text.split(['\n', '\u{85}', '\u{2028}', '\u{2029}']).map(|line| line.matches('"').count()).collect()
        };
        for ((_, plain), (file, text)) in of("plain").iter().zip(of(&name)) {
            if file.starts_with("rules/") {
                prop_assert_eq!(shape(plain), shape(&text));
            } else if file.starts_with("dashboards/") {
                let dashboard: Value = serde_json::from_str(&text).expect("JSON");
                prop_assert_eq!(dashboard["title"].as_str(), Some(&*format!("SLO {name}")));
            }
        }
    }
}
