//! The course of an experiment under whatever may be seen.

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::{
    chaos::{
        machine::{Machine, Next, Seen},
        readings::Readings,
    },
    event::Outcome,
    fault::Outcomes,
};

fn outcomes(good: u8, bad: u8) -> Outcomes {
    calls(&[(good, Outcome::Success, MILLI), (bad, Outcome::Fault, MILLI)])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn steps_come_in_their_order_and_every_course_ends_in_time(
        seen in proptest::collection::vec((0..200_u8, 0..100_u8, 0..60_u8), 1..40),
    ) {
        let guard = Guard::errors(Ratio::percent(50));
        let mut now = Instant::now();
        let (mut machine, began) = (Machine::new(experiment(broken()).guard(guard), now), now);
        let (mut steps, mut over, mut recovers) = (0, None, false);
        let readings = Readings::default();
        // What was seen last goes on.
        let last = seen[seen.len() - 1];
        for (good, bad, pause) in seen.into_iter().chain(std::iter::repeat_n(last, 800)) {
            now += SECOND + u32::from(pause) * SECOND / 60;
            let (hit, control) = (outcomes(good, bad), outcomes(200, 0));
            let next = machine.look(&Seen { hit: &hit, control: &control, readings: &readings }, now);
            prop_assert!(over.is_none() || next == Next::Wait, "{next:?} after the end");
            match next {
                Next::Wait => {}
                Next::Step(index) => {
                    prop_assert!(index == steps && !recovers);
                    steps += 1;
                }
                Next::Recover => recovers = true,
                Next::Again => prop_assert!(recovers),
                Next::Abort(_) => {
                    prop_assert!(steps > 0 && !recovers, "only what is injected is called off");
                    over = Some(Verdict::Aborted);
                }
                Next::End(verdict, _) => {
                    let expected = match verdict {
                        Verdict::Confirmed => steps == 2 && recovers,
                        Verdict::Refuted => steps > 0 && recovers,
                        Verdict::Inconclusive => steps > 0,
                        Verdict::NotStarted => steps == 0,
                        Verdict::Aborted => false,
                    };
                    prop_assert!(expected, "{verdict} after {steps} steps");
                    over = Some(verdict);
                }
            }
        }
        // Four times each phase, and a look late in each.
        prop_assert!(over.is_some(), "it runs since {:?}", now - began);
    }
}
