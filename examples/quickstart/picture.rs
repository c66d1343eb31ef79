//! The day in pictures: a phase a block, a character a second.

use std::{ops::Range, time::Duration};

use moneta_resilience::event::CircuitState;
use tokio::time::Instant;

use crate::{
    circuit::Transition,
    load::{PATIENCE, SPACING, Seen},
    measure::{Call, Outcome, Stalls, percentile},
    phases::Phase,
};

const SECOND: Duration = Duration::from_secs(1);
/// From a little to all of it; nothing at all is a dot.
const LEVELS: [char; 9] = ['.', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// As many as the longest phase has seconds.
const WIDTH: usize = 20;

/// What the calls of a second look like.
type Picture<'a> = dyn Fn(&[&Call]) -> char + 'a;

/// Per phase and side by side: who was answered, how long that took, and what the circuit did.
pub(crate) fn day(seen: &Seen, transitions: &[Transition], start: Instant, phases: &[Phase]) -> String {
    let mut lines = vec![
        "a character a second:".to_owned(),
        format!("{:22} {:WIDTH$}  bare client", "", "golden path").trim_end().to_owned(),
    ];
    let rows: [(_, &Picture<'_>); 3] =
        [("answered", &answered), ("full", &full), ("p99", &|calls| p99(calls, &seen.stalls))];
    for phase in phases {
        let picture = |of: &Picture<'_>, calls: &[Call]| -> String {
            seconds(&phase.span).map(|second| of(&due(calls, &second))).collect()
        };
        for ((what, of), name) in rows.into_iter().zip([phase.name, "", ""]) {
            let (golden, bare) = (picture(of, &seen.golden), picture(of, &seen.bare));
            lines.push(format!("{name:13} {what:8} {golden:WIDTH$}  {bare}"));
        }
        let circuit: String =
            seconds(&phase.span).map(|second| letter(state(transitions, start + second.end))).collect();
        lines.push(format!("{:13} {:8} {circuit}", "", "circuit"));
    }
    lines.push(format!(
        "\n\
         answered, full  of the {} calls due in the second; {} is all, {} is less than an eighth\n\
         p99             how long 99 % of them waited; {} is up to {} ms, {} is {} ms and more\n\
         circuit         at the second's end: - closed, O open, h half open, r recovering",
        SECOND.as_millis() / SPACING.as_millis(),
        LEVELS[8],
        LEVELS[0],
        LEVELS[1],
        PATIENCE.as_millis() / 8,
        LEVELS[8],
        PATIENCE.as_millis() * 7 / 8,
    ));
    lines.join("\n")
}

fn seconds(span: &Range<Duration>) -> impl Iterator<Item = Range<Duration>> + use<> {
    (span.start.as_secs()..span.end.as_secs()).map(|at| Duration::from_secs(at)..Duration::from_secs(at + 1))
}

fn due<'a>(calls: &'a [Call], second: &Range<Duration>) -> Vec<&'a Call> {
    calls.iter().filter(|call| second.contains(&call.due)).collect()
}

fn answered(calls: &[&Call]) -> char {
    share(calls, Call::answered)
}

fn full(calls: &[&Call]) -> char {
    share(calls, |call| call.outcome == Outcome::Full)
}

/// Rounded towards the worse: only all of them are all.
fn share(calls: &[&Call], is: impl Fn(&Call) -> bool) -> char {
    LEVELS[8 * calls.iter().filter(|call| is(call)).count() / calls.len().max(1)]
}

/// Rounded towards the worse as well.
fn p99(calls: &[&Call], stalls: &Stalls) -> char {
    let mut waits: Vec<_> = calls.iter().map(|call| call.waited(stalls)).collect();
    let eighths =
        percentile(&mut waits, 99).map_or(0, |wait| (8 * wait).as_nanos().div_ceil(PATIENCE.as_nanos()));
    LEVELS[usize::try_from(eighths).map_or(8, |eighths| eighths.min(8))]
}

/// The state that the circuit was in.
fn state(transitions: &[Transition], at: Instant) -> CircuitState {
    transitions.iter().rfind(|change| change.at < at).map_or(CircuitState::Closed, |change| change.to)
}

fn letter(state: CircuitState) -> char {
    match state {
        CircuitState::Closed => '-',
        CircuitState::Open => 'O',
        CircuitState::HalfOpen => 'h',
        CircuitState::Recovering => 'r',
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn calls(answered: u64, of: u64, wait: Duration) -> Vec<Call> {
        let outcome = |n| if n < answered { Outcome::Full } else { Outcome::Failed };
        let due = |n| ms(5 * n);
        (0..of)
            .map(|n| Call { due: due(n), sent: due(n), ended: due(n) + wait, outcome: outcome(n) })
            .collect()
    }

    fn picture(of: impl Fn(&[&Call]) -> char, calls: &[Call]) -> char {
        of(&due(calls, &(ms(0)..SECOND)))
    }

    #[test]
    fn a_single_call_without_an_answer_is_seen() {
        let share = |count| picture(answered, &calls(count, 200, ms(5)));
        assert_eq!([share(200), share(199), share(100), share(24), share(0)], ['█', '▇', '▄', '.', '.']);
        assert_eq!(picture(answered, &[]), '.');
    }

    #[test]
    fn waits_are_measured_by_the_callers_patience() {
        let wait = |wait| picture(|calls| p99(calls, &Stalls::default()), &calls(200, 200, wait));
        assert_eq!(
            [wait(ms(1)), wait(PATIENCE / 2), wait(PATIENCE), wait(2 * PATIENCE)],
            ['▁', '▄', '█', '█']
        );
    }

    #[test]
    fn a_state_lasts_from_its_change_to_the_next() {
        let start = Instant::now();
        let change = |after, to| Transition { at: start + ms(after), from: CircuitState::Closed, to };
        let changes = [change(500, CircuitState::Open), change(2_500, CircuitState::HalfOpen)];
        let letters: String = (0..4).map(|second| letter(state(&changes, start + second * SECOND))).collect();
        assert_eq!(letters, "-OOh");
    }
}
