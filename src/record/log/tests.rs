use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use proptest::prelude::*;
use serde_json::Value;
use tracing_subscriber::layer::SubscriberExt;

use super::{CallLog, JsonLines, LogGuard, calls};
use crate::{
    event::{End, Ended, Event, Exchange, Outcome, Protocol, Severity},
    name::Name,
    observer::Sink,
    ratio::Ratio,
    redact,
    sync::lock,
};

const SECOND: Duration = Duration::from_secs(1);
/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(600);

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8(lock(&self.0).clone()).expect("lines are text")
    }

    /// The lines, each of which is an object of JSON.
    fn lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.text().lines().map(parse).collect()
    }
}

/// The text of what is logged while `work` runs.
fn page(work: impl FnOnce()) -> Page {
    let page = Page::default();
    let (json, guard) = JsonLines::new("payments").write_to(page.clone()).expect("a thread");
    tracing::subscriber::with_default(tracing_subscriber::registry().with(json), work);
    assert!(guard.flush(LONG));
    assert_eq!(guard.dropped(), 0);
    page
}

fn logged(work: impl FnOnce()) -> Vec<Value> {
    page(work).lines()
}

fn only(lines: Vec<Value>) -> Value {
    let [line] = <[Value; 1]>::try_from(lines).expect("one line");
    line
}

fn served(status: u16, error: Option<&'static str>, elapsed: Duration) -> [Event; 2] {
    const EXCHANGE: &Exchange = &Exchange {
        protocol: Protocol::Http,
        end: End::Server,
        method: "POST",
        scheme: Some("https"),
        route: Some("/payments/{id}"),
        address: None,
        port: None,
    };
    let ended = Ended {
        outcome: Outcome::Success,
        synthetic: false,
        injected: false,
        status: Some(status),
        error,
        version: Some("1.1"),
        elapsed,
        request_size: None,
        response_size: 7,
    };
    let outcome = if error.is_some() { Outcome::Fault } else { Outcome::Success };
    [
        Event::RequestFinished { exchange: EXCHANGE, ended },
        Event::CallFinished { outcome, elapsed, synthetic: false, injected: false },
    ]
}

fn tell(log: &dyn Sink, events: impl IntoIterator<Item = Event>) {
    let pipeline = Name::literal("payments");
    events.into_iter().for_each(|event| log.record(&pipeline, &event));
}

#[test]
fn a_server_call_is_one_line_with_its_severity() {
    for (status, error, elapsed, severity) in [
        (201, None, SECOND, "INFO"),
        (404, None, SECOND, "INFO"),
        (201, None, 2 * SECOND, "WARN"),
        (503, Some("503"), SECOND, "ERROR"),
    ] {
        let line = only(logged(|| tell(&CallLog::new(), served(status, error, elapsed))));
        assert_eq!(line["severity_text"], severity);
        assert_eq!(line["body"], format!("POST /payments/{{id}} {status}"));
        assert_eq!((&line["route"], &line["status"]), (&"/payments/{id}".into(), &status.into()));
        assert_eq!((&line["kind"], &line["pipeline"]), (&"server".into(), &"payments".into()));
        assert_eq!((&line["protocol"], &line["method"]), (&"http".into(), &"POST".into()));
        assert_eq!(line["duration"], elapsed.as_secs_f64());
        assert_eq!(line["error.type"], error.map_or(Value::Null, Value::from));
        assert_eq!(line["slow"], if elapsed > SECOND { Value::Bool(true) } else { Value::Null });
    }
}

#[test]
fn a_server_call_whose_caller_went_away_says_so_and_is_never_sampled() {
    let none = CallLog::new().successes(Ratio::ZERO);
    for (status, text) in [(Some(200), "200 cancelled"), (None, "cancelled")] {
        let [mut request, mut call] = served(200, None, SECOND);
        if let Event::RequestFinished { ended, .. } = &mut request {
            *ended = Ended { status, outcome: Outcome::Cancelled, ..*ended };
        }
        if let Event::CallFinished { outcome, .. } = &mut call {
            *outcome = Outcome::Cancelled;
        }
        let line = only(logged(|| tell(&none, [request, call])));
        assert_eq!((&line["severity_text"], &line["outcome"]), (&"INFO".into(), &"cancelled".into()));
        assert_eq!(line["body"], format!("POST /payments/{{id}} {text}"));
        assert_eq!(line["status"], status.map_or(Value::Null, Value::from));
    }
}

#[test]
fn a_client_call_is_a_line_only_if_it_failed() {
    for (outcome, severity) in [
        (Outcome::Success, None),
        (Outcome::CallerFault, None),
        (Outcome::Cancelled, None),
        (Outcome::Transient, Some("WARN")),
        (Outcome::Rejected, Some("WARN")),
        (Outcome::Degraded, Some("WARN")),
        (Outcome::Panicked, Some("ERROR")),
    ] {
        let lines = logged(|| {
            tell(
                &CallLog::new(),
                [Event::CallFinished { outcome, elapsed: SECOND / 2, synthetic: false, injected: false }],
            );
        });
        let told: Vec<_> = lines.iter().map(|line| line["severity_text"].as_str()).collect();
        assert_eq!(told, severity.into_iter().map(Some).collect::<Vec<_>>(), "{outcome:?}");
        for line in lines {
            assert_eq!(line["outcome"], outcome.as_str());
            assert_eq!(line["body"], format!("payments {}", outcome.as_str()));
            assert_eq!(line["kind"], "client");
        }
    }
}

#[test]
fn an_answer_that_ended_badly_is_a_line_of_its_own_before_that_of_its_call() {
    let elapsed = SECOND / 2;
    for outcome in
        [Outcome::CallerFault, Outcome::Transient, Outcome::Throttled, Outcome::Fault, Outcome::Timeout]
    {
        let events = [
            Event::AnswerBroken { outcome },
            Event::CallFinished { outcome, elapsed, synthetic: false, injected: false },
        ];
        let lines = logged(|| tell(&CallLog::new(), events));
        let failed = outcome != Outcome::CallerFault;
        assert_eq!(lines.len(), 1 + usize::from(failed), "{lines:?}");
        assert_eq!(lines[0]["severity_text"], if failed { "WARN" } else { "INFO" });
        assert_eq!(lines[0]["body"], format!("payments {} after a good beginning", outcome.as_str()));
        assert_eq!((&lines[0]["outcome"], &lines[0]["kind"]), (&outcome.as_str().into(), &"client".into()));
        assert_eq!((&lines[0]["broken"], &lines[0]["duration"]), (&true.into(), &Value::Null));
        assert!(lines[1..].iter().all(|call| call["broken"] == Value::Null && call["duration"] == 0.5));
    }
}

#[test]
fn an_alert_is_a_line_when_it_begins_and_one_when_it_ends() {
    for (severity, firing, level, text) in [
        (Severity::Page, true, "ERROR", "login burns its error budget: the page over 6h begins"),
        (Severity::Ticket, true, "WARN", "login burns its error budget: the ticket over 6h begins"),
        (Severity::Page, false, "INFO", "login burns its error budget: the page over 6h ends"),
        (Severity::Ticket, false, "INFO", "login burns its error budget: the ticket over 6h ends"),
    ] {
        let window = 6 * 3_600 * SECOND;
        let alert = Event::BudgetAlert { slo: "login", severity, window, firing };
        let observer = crate::observer::Observer::unnamed("payments").sink(calls());
        let line = only(logged(|| observer.emit(alert)));
        assert_eq!((&line["severity_text"], &line["body"]), (&level.into(), &text.into()));
        assert_eq!((&line["pipeline"], &line["slo"]), (&"payments".into(), &"login".into()));
        assert_eq!((&line["severity"], &line["window"]), (&severity.as_str().into(), &21_600.into()));
        assert_eq!((&line["firing"], &line["kind"]), (&firing.into(), &Value::Null));
    }
}

#[test]
fn a_client_call_that_fails_like_the_server_call_before_it_is_a_line_of_its_own() {
    let elapsed = SECOND / 2;
    let [request, call] = served(503, Some("503"), elapsed);
    let lines = logged(|| tell(&CallLog::new(), [request, call, call]));
    assert_eq!(lines.iter().map(|line| &line["kind"]).collect::<Vec<_>>(), ["server", "client"]);
}

#[test]
fn successes_are_sampled_by_the_seed_and_nothing_else_is() {
    let log = |seed| CallLog::new().successes(Ratio::percent(10)).seed(seed);
    let well = |n: u16| served(200, None, SECOND / 2 + Duration::from_micros(n.into()));
    let sample = |seed| {
        let log = log(seed);
        let lines = logged(|| (0..1_000).for_each(|n| tell(&log, well(n))));
        lines.into_iter().map(|line| line["duration"].clone()).collect::<Vec<_>>()
    };
    let first = sample(7);
    assert!((70..130).contains(&first.len()), "{}", first.len());
    assert_eq!(first, sample(7));
    assert_ne!(first, sample(8));

    let none = CallLog::new().successes(Ratio::ZERO).slow(SECOND);
    let lines = logged(|| {
        tell(&none, served(200, None, SECOND));
        tell(&none, served(200, None, 2 * SECOND));
        tell(&none, served(404, None, SECOND));
        tell(&none, served(500, Some("500"), SECOND));
        tell(
            &none,
            [Event::CallFinished {
                outcome: Outcome::Rejected,
                elapsed: SECOND,
                synthetic: false,
                injected: false,
            }],
        );
    });
    assert_eq!(lines.len(), 4, "{lines:?}");
}

#[test]
fn the_log_of_the_process_is_the_one_that_was_installed_last() {
    let sink = calls();
    CallLog::new().successes(Ratio::ZERO).install();
    assert_eq!(logged(|| tell(&*sink, served(200, None, SECOND))).len(), 0);
    CallLog::new().install();
    assert_eq!(logged(|| tell(&*sink, served(200, None, SECOND))).len(), 1);
}

#[cfg(feature = "otel")]
#[test]
fn lines_say_where_they_belong_sampled_or_not() {
    use opentelemetry::{
        Context,
        trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
    };

    // Digits that pass for those of a card.
    let (trace, span) = ("a000000000000004111111111111111b", "4111111111111111");
    for (flags, shown) in [(TraceFlags::SAMPLED, "01"), (TraceFlags::default(), "00")] {
        let identity = SpanContext::new(
            TraceId::from_hex(trace).expect("it is one"),
            SpanId::from_hex(span).expect("it is one"),
            flags,
            true,
            TraceState::default(),
        );
        let _inside = Context::new().with_remote_span_context(identity).attach();
        let lines = logged(|| {
            tell(&CallLog::new(), served(200, None, SECOND));
            tracing::info!("of the service itself");
        });
        assert_eq!(lines.len(), 2);
        for line in lines {
            assert_eq!((&line["trace_id"], &line["span_id"]), (&trace.into(), &span.into()), "{line}");
            assert_eq!(line["trace_flags"], shown);
        }
    }
    let line = only(logged(|| tell(&CallLog::new(), served(200, None, SECOND))));
    assert_eq!(line["trace_id"], Value::Null, "outside of any span");
}

#[cfg(all(feature = "http", feature = "otel"))]
#[test]
fn a_line_that_says_a_part_of_where_it_belongs_says_that_once_and_the_rest_too() {
    let mut headers = http::HeaderMap::new();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01").parse().expect("it is a value");
    headers.insert("traceparent", parent);
    headers.insert("x-request-id", http::HeaderValue::from_static("req-7f9c"));
    let page = page(|| {
        crate::correlation::Correlation::of(&headers, true).enter(|| {
            tracing::info!(request_id = "mine", "of a request that the service names itself");
            tracing::info!(span_id = "mine", "of a span that it names itself");
        });
    });
    let [named, spanned] = <[Value; 2]>::try_from(page.lines()).expect("two lines");
    assert_eq!((&named["request_id"], &named["trace_id"]), (&"mine".into(), &trace.into()));
    assert_eq!((&spanned["request_id"], &spanned["span_id"]), (&"req-7f9c".into(), &"mine".into()));
    assert_eq!(spanned["trace_id"], Value::Null, "another's span is not in this trace");
    for once in ["request_id", "span_id"] {
        assert_eq!(page.text().matches(&format!("\"{once}\"")).count(), 2, "{once}: once in each line");
    }
}

#[test]
fn every_line_says_when_and_by_whom() {
    let page = Page::default();
    let lines = JsonLines::new("payments\n").version("1.4.2").instance("ada@example.com");
    let (json, guard) = lines.write_to(page.clone()).expect("a thread");
    tracing::subscriber::with_default(tracing_subscriber::registry().with(json), || {
        tracing::info!(timestamp = "never", service = "another", target = 1, truncated = 2, "hello");
    });
    drop(guard);
    let line = only(page.lines());
    assert_eq!((&line["service"], &line["version"]), (&"payments\n".into(), &"1.4.2".into()));
    assert_eq!(line["instance"], "[email]");
    assert_eq!((&line["field.service"], &line["field.timestamp"]), (&"another".into(), &"never".into()));
    let timestamp = line["timestamp"].as_str().expect("a text");
    let at = humantime::parse_rfc3339(timestamp).expect("a time");
    let now = crate::clock::wall(tokio::time::Instant::now());
    assert!(at <= now && now.duration_since(at).expect("it is earlier") < LONG, "{timestamp}");
    assert_eq!(line["target"], module_path!());
}

#[test]
fn a_field_with_a_sensitive_name_shows_nothing_of_its_value() {
    let line = only(logged(|| {
        tracing::info!(
            password = "hunter2",
            "card.number" = 41_u64,
            pin = -1234,
            iban = ?Some("x"),
            api_key = 0.5,
            token = true,
            phone = 1_i128,
            amount = 499,
            "paid"
        );
    }));
    for name in ["password", "card.number", "pin", "iban", "api_key", "token", "phone"] {
        assert_eq!(line[name], "[redacted]", "{name}");
    }
    assert_eq!((&line["amount"], &line["body"]), (&499.into(), &"paid".into()));
}

#[test]
fn values_of_all_types_are_json_and_redacted() {
    let error = io::Error::other("no account for ada@example.com");
    let line = only(logged(|| {
        tracing::info!(
            number = 4_111_111_111_111_111_u64,
            wide = 4_111_111_111_111_111_u128,
            order = 4_111_111_111_111_112_i64,
            share = 0.25,
            nothing = f64::NAN,
            ok = false,
            failure = &error as &(dyn std::error::Error + 'static),
            debug = ?["Bearer abc.def"],
            "to {}", "ada@example.com",
        );
    }));
    assert_eq!((&line["number"], &line["wide"]), (&"[card]".into(), &"[card]".into()));
    assert_eq!((&line["order"], &line["share"]), (&4_111_111_111_111_112_u64.into(), &0.25.into()));
    assert_eq!((&line["nothing"], &line["ok"]), (&Value::Null, &false.into()));
    assert_eq!(line["failure"], "no account for [email]");
    assert_eq!(line["debug"], r#"["Bearer [token]"]"#);
    assert_eq!(line["body"], "to [email]");
}

#[test]
fn what_is_too_long_is_cut_after_it_was_redacted_or_not_shown() {
    let card = "4111 1111 1111 1111";
    let cut = format!("{}{card} and more", "é".repeat(2_044));
    let line = only(logged(|| tracing::info!(cut, long = "x".repeat(70_000), debug = ?"x".repeat(70_000))));
    let shown = line["cut"].as_str().expect("a text");
    assert!(shown.ends_with("é[card] a…"), "{shown}");
    let other = only(logged(|| tracing::info!(cut = format!("é{cut}"))));
    assert!(other["cut"].as_str().expect("a text").ends_with("é[card]…"), "{other}");
    assert_eq!(line["long"], "[70000 bytes]");
    assert_eq!(line["debug"], "[more than 65536 bytes]");

    let big = "x".repeat(4_000);
    let line = only(logged(|| {
        tracing::info!(a = big, b = big, c = big, d = big, e = big, f = big, "many");
    }));
    assert_eq!(line["truncated"], true);
    assert_eq!((&line["d"], &line["f"]), (&big.into(), &Value::Null));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_logged_is_one_line_of_json(
        texts in prop::collection::vec(
            prop_oneof![any::<String>(), "[\r\n\t\u{b}\u{c}\u{85}\u{2028}\u{2029}\u{0}\u{1b}\"\\\\{},:\u{202e}é€😀]{0,40}"],
            1..8,
        ),
    ) {
        let page = page(|| {
            for text in &texts {
                tracing::warn!(text, debug = ?text, "{text}");
            }
        });
        let raw = page.text();
        // By anybody's idea of a line.
        let ends = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}');
        prop_assert_eq!(raw.chars().filter(|&c| ends(c)).collect::<String>(), "\n".repeat(texts.len()));
        let lines = page.lines();
        prop_assert_eq!(lines.len(), texts.len());
        for (line, text) in lines.iter().zip(&texts) {
            prop_assert_eq!(&line["text"], &*redact::text(text));
            prop_assert_eq!(&line["body"], &*redact::text(text));
            let debug = format!("{text:?}");
            prop_assert_eq!(&line["debug"], &*redact::text(&debug));
        }
    }
}

/// Says when it is written to, and goes on when it is told to.
struct Hangs {
    writes: Sender<()>,
    go_on: Receiver<()>,
    page: Page,
}

impl Write for Hangs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes.send(()).expect("the test waits for it");
        let _ = self.go_on.recv();
        self.page.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_that_hangs_blocks_nobody_and_what_it_misses_is_counted() {
    let ((writes, writing), (go_on, going_on)) = (channel(), channel());
    let page = Page::default();
    let out = Hangs { writes, go_on: going_on, page: page.clone() };
    let (json, guard) = JsonLines::new("payments").capacity(2).write_to(out).expect("a thread");
    let before = super::dropped();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(json), || {
        tracing::info!(n = 0);
        writing.recv().expect("the first is being written");
        for n in 1..=5 {
            tracing::info!(n);
        }
    });
    assert_eq!(guard.dropped(), 3, "there is room for two");
    assert!(super::dropped() >= before + 3);
    assert!(!guard.flush(Duration::ZERO));
    drop(go_on);
    let _rest: Vec<()> = writing.try_iter().collect();
    assert!(guard.flush(LONG));
    let written: Vec<_> = page.lines().iter().map(|line| line["n"].clone()).collect();
    assert_eq!(written, [0, 1, 2]);
}

#[test]
fn what_waits_is_bounded_in_bytes() {
    let ((writes, writing), (go_on, going_on)) = (channel(), channel());
    let out = Hangs { writes, go_on: going_on, page: Page::default() };
    let (json, guard) = JsonLines::new("payments").capacity(100_000).write_to(out).expect("a thread");
    let long = "x".repeat(4_000);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(json), || {
        for _ in 0..5_000 {
            tracing::info!(a = long);
        }
    });
    let written = 5_000 - guard.dropped();
    assert!((3_500..4_200).contains(&written), "16 MiB are {written} lines");
    drop((go_on, writing));
}

#[test]
fn a_writer_that_fails_or_panics_costs_its_line_and_no_other() {
    #[derive(Clone, Default)]
    struct Moody(Page, Arc<AtomicU64>);
    impl Write for Moody {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.1.fetch_add(1, Ordering::Relaxed) {
                0 => panic!("a bug in the writer"),
                1 => Err(io::ErrorKind::StorageFull.into()),
                _ => self.0.write(bytes),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            panic!("another bug")
        }
    }

    let out = Moody::default();
    let (json, guard) = JsonLines::new("payments").write_to(out.clone()).expect("a thread");
    tracing::subscriber::with_default(tracing_subscriber::registry().with(json), || {
        for n in 0..4 {
            tracing::info!(n);
        }
    });
    assert!(guard.flush(LONG));
    assert_eq!(guard.dropped(), 2);
    assert_eq!(out.0.lines().iter().map(|line| line["n"].clone()).collect::<Vec<_>>(), [2, 3]);
}

/// A disk that was full for a moment.
#[test]
fn a_line_of_which_a_part_was_written_spoils_no_other() {
    #[derive(Clone, Default)]
    struct Full(Page, Arc<AtomicU64>);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.1.fetch_add(1, Ordering::Relaxed) {
                1 => self.0.write(&bytes[..9]),
                2 => Err(io::ErrorKind::StorageFull.into()),
                3 => Err(io::ErrorKind::Interrupted.into()),
                _ => self.0.write(bytes),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let out = Full::default();
    let (json, guard) = JsonLines::new("payments").write_to(out.clone()).expect("a thread");
    tracing::subscriber::with_default(tracing_subscriber::registry().with(json), || {
        (1..=4).for_each(|n| tracing::info!("line {n}"));
    });
    assert!(guard.flush(LONG));
    assert_eq!(guard.dropped(), 1);
    let text = out.0.text();
    let whole: Vec<_> = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect();
    assert_eq!(
        whole.iter().map(|line| &line["body"]).collect::<Vec<_>>(),
        ["line 1", "line 3", "line 4"],
        "{text}"
    );
}

#[test]
fn lines_after_the_guard_is_gone_are_still_written() {
    let page = Page::default();
    let (json, guard): (_, LogGuard) = JsonLines::new("payments").write_to(page.clone()).expect("a thread");
    drop(guard);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(json), || tracing::info!("late"));
    // The layer is gone, and with it the last sender: the thread ends with what is left.
    while page.text().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(only(page.lines())["body"], "late");
}

#[test]
#[should_panic(expected = "a log that may keep no line writes none")]
fn a_log_without_room_is_refused() {
    let _ = JsonLines::new("payments").capacity(0);
}
