//! The table as Markdown.

use std::{fmt::Write, fs, process::Command};

use moneta_resilience_peers::scenario::{Scenario, When};

use crate::measure::Cost;

/// Whose columns the summary has.
const COLUMNS: [(&str, &str); 7] = [
    ("ours", "ours"),
    ("by hand", "by hand"),
    ("tower", "`tower`"),
    ("tower-resilience", "`tower-resilience`"),
    ("seatbelt", "`seatbelt`"),
    ("failsafe", "`failsafe`"),
    ("recloser", "`recloser`"),
];

/// A contestant at a pattern, over a service that is ready and over one that is pending once.
struct Row<'a> {
    pattern: &'a str,
    contestant: &'a str,
    future: usize,
    ready: Cost,
    pending: Option<Cost>,
}

impl Row<'_> {
    /// Both values, or the one that there is.
    fn both(&self, show: impl Fn(&Cost) -> String) -> String {
        let ready = show(&self.ready);
        match &self.pending {
            Some(pending) => format!("{ready} · {}", show(pending)),
            None => ready,
        }
    }
}

pub(crate) struct Report<'a> {
    rows: Vec<Row<'a>>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(scenarios: &'a [Scenario], costs: &[Cost]) -> Self {
        let mut rows: Vec<Row<'a>> = Vec::new();
        for (scenario, cost) in scenarios.iter().zip(costs) {
            match rows.last_mut() {
                Some(row)
                    if scenario.when == When::Pending
                        && (row.pattern, row.contestant) == (scenario.pattern, scenario.contestant) =>
                {
                    row.pending = Some(*cost);
                }
                _ => rows.push(Row {
                    pattern: scenario.pattern,
                    contestant: scenario.contestant,
                    future: scenario.future,
                    ready: *cost,
                    pending: None,
                }),
            }
        }
        Self { rows }
    }

    /// Everything.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("{}\n\n", machine());
        text += "| | | instructions | over ours | ns | allocations | bytes | future | two threads |\n";
        text += "|---|---|---:|---:|---:|---:|---:|---:|---:|\n";
        let mut before = "";
        for row in &self.rows {
            let pattern = if row.pattern == before { "" } else { row.pattern };
            before = row.pattern;
            _ = writeln!(
                text,
                "| {pattern} | {} | {} | {} | {} | {} | {} | {} | {} |",
                row.contestant,
                row.both(|cost| cost.instructions.to_string()),
                self.over_ours(row),
                row.both(|cost| cost.nanos.map_or("–".to_owned(), |nanos| format!("{nanos:.0}"))),
                row.both(|cost| format!("{}", cost.allocations)),
                row.both(|cost| format!("{:.0}", cost.bytes)),
                row.future,
                row.both(|cost| cost.two_threads.map_or("–".to_owned(), |over| format!("{over:.2}"))),
            );
        }
        text
    }

    /// How many times our instructions.
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    fn over_ours(&self, row: &Row<'_>) -> String {
        let Some(ours) =
            self.rows.iter().find(|ours| ours.pattern == row.pattern && ours.contestant == "ours")
        else {
            return String::new();
        };
        let over =
            |cost: &Cost, ours: &Cost| format!("{:.2}", cost.instructions as f64 / ours.instructions as f64);
        let ready = over(&row.ready, &ours.ready);
        match (&row.pending, &ours.pending) {
            (Some(pending), Some(ours)) => format!("{ready} · {}", over(pending, ours)),
            _ => ready,
        }
    }

    /// The instructions alone, a line for each pattern.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::from("| instructions of a call |");
        for (_, heading) in COLUMNS {
            _ = write!(text, " {heading} |");
        }
        text += "\n|---|";
        text += &"---:|".repeat(COLUMNS.len());
        let mut patterns: Vec<&str> = self.rows.iter().map(|row| row.pattern).collect();
        patterns.dedup();
        // Of the bare service there is nothing to compare.
        for pattern in &patterns[1..] {
            _ = write!(text, "\n| {pattern} |");
            for (contestant, _) in COLUMNS {
                let row = self.rows.iter().find(|row| {
                    row.pattern == *pattern && row.contestant.split(',').next() == Some(contestant)
                });
                let cell = row.map(|row| row.both(|cost| cost.instructions.to_string()));
                _ = write!(text, " {} |", cell.unwrap_or_default());
            }
        }
        _ = write!(text, "\n\n{}", machine());
        text
    }
}

/// What it was measured on.
fn machine() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let rustc =
        Command::new("rustc").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    let rustc = String::from_utf8_lossy(&rustc);
    let packages = ["tokio", "tower", "tower-resilience", "seatbelt", "failsafe", "recloser"];
    let versions: Vec<_> = packages.iter().map(|name| format!("{name} {}", version(name))).collect();
    format!("{cores} × {}; {}; {}.", model.unwrap_or("?"), rustc.trim(), versions.join(", "))
}

/// The version of a package, as the lock file has it.
fn version(package: &str) -> &'static str {
    const LOCK: &str = include_str!("../Cargo.lock");
    let entry = format!("name = \"{package}\"\nversion = \"");
    LOCK.split(&entry).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("?")
}
