//! What the golden path promises its callers, and whether a run kept it.

use std::{ops::Range, time::Duration};

use crate::{
    load::PATIENCE,
    measure::{Call, Outcome, Share, Stalls, worst_window},
    phases::Phase,
};

/// Of every thousand callers in every phase so many have an answer in time.
const ANSWERED: Share = Share::new(999, 1000);
/// The transport is called so often per caller's call, over any window.
const CALLS_PER_CALL: Share = Share::new(13, 10);
const WINDOW: Duration = Duration::from_secs(10);
/// Once the upstream is back, so many answers are full again within this time.
const FULL: Share = Share::new(99, 100);
const RECOVERY: Duration = Duration::from_secs(20);
/// ... in this second and every later one.
const SECOND: Duration = Duration::from_secs(1);

/// A promise and what the run says about it.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) promise: String,
    pub(crate) kept: bool,
    pub(crate) seen: String,
}

/// Judges what the callers of one path saw.
pub(crate) fn judge(
    calls: &[Call],
    transport: &[Duration],
    stalls: &Stalls,
    phases: &[Phase],
) -> [Verdict; 3] {
    [answers(calls, stalls, phases), amplification(calls, transport, phases), recovery(calls, phases)]
}

/// Full or degraded: everybody gets an answer in time, whatever the weather.
fn answers(calls: &[Call], stalls: &Stalls, phases: &[Phase]) -> Verdict {
    let in_time = |call: &Call| call.answered() && call.waited(stalls) <= PATIENCE;
    let worst = phases
        .iter()
        .map(|phase| (Share::count(phase.calls(calls), in_time), phase))
        .min_by_key(|(share, _)| if share.of == 0 { Share::new(0, 1) } else { *share });
    Verdict {
        promise: format!(
            "in every phase {} % of the callers have an answer within {} ms",
            ANSWERED.percent(),
            PATIENCE.as_millis()
        ),
        kept: worst.is_some_and(|(share, _)| share.of > 0 && share >= ANSWERED),
        seen: worst.map_or_else(
            || "no phase was run".to_owned(),
            |(share, phase)| format!("least: {} of {} ({})", share.part, share.of, phase.name),
        ),
    }
}

/// Retries help the callers without becoming the upstream's next problem.
fn amplification(calls: &[Call], transport: &[Duration], phases: &[Phase]) -> Verdict {
    let mut sent: Vec<_> = calls.iter().map(|call| call.sent).collect();
    sent.sort_unstable();
    let run = Duration::ZERO..phases.iter().map(|phase| phase.span.end).max().unwrap_or_default();
    let worst = worst_window(transport, &sent, run, WINDOW);
    Verdict {
        promise: format!(
            "over any {} s at most {} transport calls per caller's call",
            WINDOW.as_secs(),
            CALLS_PER_CALL.ratio()
        ),
        kept: worst.is_some_and(|(share, _)| share.of > 0 && share <= CALLS_PER_CALL),
        seen: worst.map_or_else(
            || "the run was too short".to_owned(),
            |(share, at)| {
                let (part, of, at) = (share.part, share.of, at.as_secs_f64());
                format!("most: {:.3} ({part} for {of}, from {at:.1} s on)", share.ratio())
            },
        ),
    }
}

/// Once the upstream is back, so are its quotes.
fn recovery(calls: &[Call], phases: &[Phase]) -> Verdict {
    let after = phases.last().and_then(|phase| {
        let until = phase.span.end.min(phase.span.start + RECOVERY);
        full_again(calls, phase.span.start..until)
    });
    Verdict {
        promise: format!(
            "within {} s of the upstream's return {} % of the answers are full again",
            RECOVERY.as_secs(),
            FULL.percent()
        ),
        kept: after.is_some(),
        seen: after.map_or_else(|| "not yet".to_owned(), |after| format!("after {} s", after.as_secs())),
    }
}

/// How long after the beginning of a span it took until every full second, to the end of the span, was good.
fn full_again(calls: &[Call], span: Range<Duration>) -> Option<Duration> {
    let good = |second: &Duration| {
        let within = *second..*second + SECOND;
        let share = Share::count(calls.iter().filter(|call| within.contains(&call.due)), |call| {
            call.outcome == Outcome::Full
        });
        share.of > 0 && share >= FULL
    };
    let seconds: Vec<_> = std::iter::successors(Some(span.start), |second| Some(*second + SECOND))
        .take_while(|second| *second + SECOND <= span.end)
        .collect();
    let first = seconds.iter().rev().take_while(|second| good(second)).last()?;
    Some(first.saturating_sub(span.start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        measure::Outcome::{Degraded, Failed, Full},
        phases,
    };

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// 200 calls a second over the whole run, each answered after 5 ms.
    fn run(outcome: impl Fn(Duration) -> Outcome) -> Vec<Call> {
        let due = (0..).map(|n| ms(5 * n)).take_while(|due| *due < phases::length());
        due.map(|due| Call { due, sent: due, ended: due + ms(5), outcome: outcome(due) }).collect()
    }

    fn kept(calls: &[Call], transport: &[Duration]) -> [bool; 3] {
        judge(calls, transport, &Stalls::default(), &phases::all()).map(|verdict| verdict.kept)
    }

    fn sent(calls: &[Call]) -> Vec<Duration> {
        calls.iter().map(|call| call.sent).collect()
    }

    fn span(name: &str) -> Range<Duration> {
        phases::all().into_iter().find(|phase| phase.name == name).expect("a phase of that name").span
    }

    #[test]
    fn a_good_day_keeps_every_promise() {
        let calls = run(|_| Full);
        assert_eq!(kept(&calls, &sent(&calls)), [true; 3]);
    }

    #[test]
    fn a_day_without_calls_keeps_none() {
        assert_eq!(kept(&[], &[]), [false; 3]);
    }

    #[test]
    fn one_failure_in_a_thousand_is_allowed_and_two_are_not() {
        let Range { start, end } = span("hard outage");
        assert_eq!(end.saturating_sub(start), ms(8_000), "1600 calls: one may fail");
        let failing = |many: u64| {
            let until = start + ms(5 * many);
            run(move |due| if (start..until).contains(&due) { Failed } else { Full })
        };
        assert!(kept(&failing(1), &[])[0]);
        assert!(!kept(&failing(2), &[])[0]);
    }

    #[test]
    fn a_late_answer_is_no_answer_unless_the_generator_was_late() {
        let mut calls = run(|_| Degraded);
        for call in &mut calls[100..110] {
            call.ended = call.due + PATIENCE + ms(1);
        }
        assert!(!kept(&calls, &[])[0]);
        let mut stalls = Stalls::default();
        stalls.note(calls[100].due..calls[110].due);
        assert!(judge(&calls, &[], &stalls, &phases::all())[0].kept);
    }

    #[test]
    fn more_than_thirteen_transport_calls_in_ten_are_a_storm() {
        let calls = run(|_| Full);
        let outage = span("hard outage").start;
        // 2000 calls in ten seconds: 600 more are just allowed.
        let with = |more: usize| {
            let mut all = sent(&calls);
            all.extend(std::iter::repeat_n(outage, more));
            all.sort_unstable();
            all
        };
        assert!(kept(&calls, &with(600))[1]);
        assert!(!kept(&calls, &with(601))[1]);
    }

    #[test]
    fn recovery_lasts_until_the_last_bad_second() {
        let back = span("recovery");
        let calls =
            run(|due| if (back.start..back.start + ms(3_500)).contains(&due) { Degraded } else { Full });
        assert_eq!(full_again(&calls, back.clone()), Some(ms(4_000)));
        let relapsed = run(|due| if due + ms(20) >= back.end { Degraded } else { Full });
        assert_eq!(full_again(&relapsed, back), None);
    }
}
