//! What a person reads at the end.

use std::{ops::Range, time::Duration};

use tokio::time::Instant;

use crate::{
    circuit::Transition,
    load::{PATIENCE, Seen},
    measure::{Call, Outcome, Share, Stalls, percentile},
    phases::{Phase, length},
    promises::Verdict,
};

/// All that was seen of one path.
pub(crate) struct Path<'a> {
    pub(crate) calls: &'a [Call],
    pub(crate) transport: &'a [Duration],
}

/// Per phase and side by side what the callers got and what it cost the upstream; 80 columns wide.
pub(crate) fn table(golden: &Path<'_>, bare: &Path<'_>, stalls: &Stalls, phases: &[Phase]) -> String {
    let mut lines = vec![
        format!("{:13}       |         golden path          |       bare client", ""),
        format!("{:13} calls | full degr fail  p50  p99 sent | full fail  p50  p99 sent", "phase"),
        format!("{:-<19}-|-{:-<29}|-{:-<24}", "", "", ""),
    ];
    let mut row = |name: &str, span: Range<Duration>| {
        let (golden, bare) = (golden.over(&span, stalls), bare.over(&span, stalls));
        lines.push(format!(
            "{name:13} {:5} |{:5}{:5}{:5}{:>5}{:>5}{:5.2} |{:5}{:5}{:>5}{:>5}{:5.2}",
            golden.calls,
            golden.full,
            golden.degraded,
            golden.failed,
            golden.p50,
            golden.p99,
            golden.sent,
            bare.full,
            bare.failed,
            bare.p50,
            bare.p99,
            bare.sent,
        ));
    };
    for phase in phases {
        row(phase.name, phase.span.clone());
    }
    row("all of it", Duration::ZERO..length());
    lines.push(format!(
        "\n\
         calls  due in the phase, on each path\n\
         full   answered from a fresh quote\n\
         degr   degraded: answered from an old quote, and said so\n\
         fail   an error, or no answer when the caller hung up, after {} ms\n\
         p50    half of the callers waited no longer, in ms since the call was due\n\
         p99    99 % of the callers waited no longer\n\
         sent   calls that the transport to market-data saw, per call of a caller",
        PATIENCE.as_millis()
    ));
    lines.join("\n")
}

/// A row's half.
struct Summary {
    calls: usize,
    full: usize,
    degraded: usize,
    failed: usize,
    p50: String,
    p99: String,
    sent: f64,
}

impl Path<'_> {
    fn over(&self, span: &Range<Duration>, stalls: &Stalls) -> Summary {
        let calls: Vec<_> = self.calls.iter().filter(|call| span.contains(&call.due)).collect();
        let of = |outcome| calls.iter().filter(|call| call.outcome == outcome).count();
        let mut waits: Vec<_> = calls.iter().map(|call| call.waited(stalls)).collect();
        let [p50, p99] =
            [50, 99].map(|percent| percentile(&mut waits, percent).map_or_else(String::new, brief));
        let sent = self.transport.iter().filter(|at| span.contains(at)).count();
        Summary {
            calls: calls.len(),
            full: of(Outcome::Full),
            degraded: of(Outcome::Degraded),
            failed: of(Outcome::Failed),
            p50,
            p99,
            sent: Share::new(sent as u64, calls.len() as u64).ratio(),
        }
    }
}

/// When the breaker changed its state.
pub(crate) fn circuit(transitions: &[Transition], start: Instant, phases: &[Phase]) -> String {
    let mut lines = vec!["the golden path's circuit breaker, and when it changed its state:".to_owned()];
    for Transition { at, from, to } in transitions {
        let at = at.saturating_duration_since(start);
        let phase = phases.iter().rfind(|phase| phase.span.start <= at);
        let into = phase.map_or(String::new(), |phase| {
            format!("{:5.2} s into {}", at.saturating_sub(phase.span.start).as_secs_f64(), phase.name)
        });
        lines.push(format!(
            "{:7.2} s  {:>10} -> {:10}  {into}",
            at.as_secs_f64(),
            from.as_str(),
            to.as_str()
        ));
    }
    if transitions.is_empty() {
        lines.push("  it stayed closed".to_owned());
    }
    lines.join("\n")
}

/// How well the load generator kept its own times.
pub(crate) fn generator(seen: &Seen) -> String {
    let late = |calls: &[Call]| {
        calls.iter().map(|call| call.sent.saturating_sub(call.due)).max().map_or(0.0, millis)
    };
    format!(
        "the load generator stood still {} times, {:.0} ms in all (in nobody's wait);\n\
         its latest call left {:.1} ms after it was due",
        seen.stalls.count(),
        millis(seen.stalls.total()),
        late(&seen.golden).max(late(&seen.bare)),
    )
}

/// What was promised, and what came of it; the bare client promised nothing, and is measured by the same.
pub(crate) fn verdicts(golden: &[Verdict], bare: &[Verdict]) -> String {
    let mut lines = vec!["what the golden path promises, and what came of it:".to_owned()];
    for (number, (golden, bare)) in (1..).zip(golden.iter().zip(bare)) {
        lines.push(format!("{number}. {}", golden.promise));
        for (path, Verdict { kept, seen, .. }) in [("golden", golden), ("bare", bare)] {
            lines.push(format!("     {path:6}  {:6}  {seen}", if *kept { "kept" } else { "BROKEN" }));
        }
    }
    lines.join("\n")
}

/// The whole run in two lines.
pub(crate) fn conclusion(seen: &Seen, golden: &[Verdict]) -> String {
    let failed = |calls: &[Call]| Share::count(calls, |call| !call.answered());
    let (without, bare) = (failed(&seen.golden), failed(&seen.bare));
    let broken = golden.iter().filter(|verdict| !verdict.kept).count();
    let kept = match broken {
        0 => "kept all its promises".to_owned(),
        _ => format!("BROKE {broken} of its {} promises", golden.len()),
    };
    format!(
        "Callers without an answer: {} of {} on the golden path, {} of {} bare.\n\
         The golden path {kept}.",
        without.part, without.of, bare.part, bare.of
    )
}

/// Milliseconds in at most four characters, below 10 s.
fn brief(duration: Duration) -> String {
    let millis = millis(duration);
    if millis < 99.95 { format!("{millis:.1}") } else { format!("{millis:.0}") }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
