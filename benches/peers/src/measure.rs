//! Time, instructions and allocations of a call.

use std::{
    collections::HashMap,
    env, io,
    process::{Command, Output},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use cpu_time::ThreadTime;
use moneta_resilience_peers::{
    clock::runtime,
    scenario::{Run, Scenario},
};
use tokio::time::Instant;

/// How often each contestant has its turn.
const ROUNDS: usize = 101;
/// Calls under callgrind, and as many again.
const COUNTED: u64 = 2_000;

/// What a call costs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Of processor time; the median of all turns.
    pub(crate) nanos: Option<f64>,
    /// What two threads get through, over what one does; the median of all turns. `None` where they share nothing.
    pub(crate) two_threads: Option<f64>,
    pub(crate) instructions: u64,
    pub(crate) allocations: f64,
    pub(crate) bytes: f64,
}

/// Measures all of them, or only what can be counted.
pub(crate) fn all(scenarios: &[Scenario], only_counts: bool) -> io::Result<Vec<Cost>> {
    let allocations = allocations()?;
    let instructions = instructions(scenarios)?;
    let times = if only_counts { vec![(None, None); scenarios.len()] } else { times(scenarios) };
    Ok(scenarios
        .iter()
        .zip(instructions)
        .zip(times)
        .map(|((scenario, instructions), (nanos, two_threads))| {
            let (allocations, bytes) = allocations[&scenario.name()];
            Cost { nanos, two_threads, instructions, allocations, bytes }
        })
        .collect())
}

/// In every round each of them has its turn, so that what the machine does meanwhile hits all alike.
fn times(scenarios: &[Scenario]) -> Vec<(Option<f64>, Option<f64>)> {
    let _inside = runtime().enter();
    let mut callers: Vec<Run> = scenarios.iter().map(Scenario::caller).collect();
    let calls: Vec<u64> = callers.iter_mut().map(calls_of_a_turn).collect();
    let mut turns = vec![(Vec::new(), Vec::new()); scenarios.len()];
    for round in 0..ROUNDS {
        for (((scenario, caller), calls), (alone, in_two)) in
            scenarios.iter().zip(&mut callers).zip(&calls).zip(&mut turns)
        {
            let start = ThreadTime::now();
            caller(*calls);
            alone.push(nanos(start.elapsed(), *calls));
            if scenario.shared && round % 5 == 0 {
                in_two.push(2.0 * of_threads(scenario, 1, 4 * calls) / of_threads(scenario, 2, 4 * calls));
            }
        }
    }
    turns.into_iter().map(|(alone, in_two)| (median(alone), median(in_two))).collect()
}

/// As many as take about half a millisecond.
fn calls_of_a_turn(caller: &mut Run) -> u64 {
    const SOME: u32 = 2_000;
    caller(SOME.into());
    let start = ThreadTime::now();
    caller(SOME.into());
    let call = start.elapsed().max(Duration::from_nanos(SOME.into())) / SOME;
    u64::try_from(Duration::from_micros(500).as_nanos() / call.as_nanos()).expect("half a million at most")
}

/// What a call takes while so many threads make theirs.
fn of_threads(scenario: &Scenario, threads: usize, calls: u64) -> f64 {
    let ready = AtomicUsize::new(0);
    let run = || {
        let _inside = runtime().enter();
        let mut caller = scenario.caller();
        caller(100);
        // Not a barrier: whoever waits there takes longer to wake up than some turns last.
        ready.fetch_add(1, Ordering::SeqCst);
        while ready.load(Ordering::SeqCst) < threads {
            std::hint::spin_loop();
        }
        let start = Instant::now();
        caller(calls);
        (start, Instant::now())
    };
    let times: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    // From the first beginning to the last end: threads that did not run side by side are no faster than one.
    let began = times.iter().map(|time| time.0).min().expect("there is a thread");
    let ended = times.iter().map(|time| time.1).max().expect("there is a thread");
    nanos(ended - began, calls)
}

#[expect(clippy::cast_precision_loss, reason = "millions")]
fn nanos(time: Duration, calls: u64) -> f64 {
    time.as_secs_f64() * 1e9 / calls as f64
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Each runs under callgrind for N calls and for 2 N: the difference is N calls, free of what starting a program costs.
fn instructions(scenarios: &[Scenario]) -> io::Result<Vec<u64>> {
    let counts = Mutex::new(vec![0; scenarios.len()]);
    let next = AtomicUsize::new(0);
    // What is counted does not depend on what else runs.
    let count = || -> io::Result<()> {
        while let Some((index, scenario)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            scenarios.get(index).map(|scenario| (index, scenario))
        } {
            let (once, twice) = (callgrind(scenario, COUNTED)?, callgrind(scenario, 2 * COUNTED)?);
            counts.lock().expect("no panic")[index] = (twice.saturating_sub(once) + COUNTED / 2) / COUNTED;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(count)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    Ok(counts.into_inner().expect("no panic"))
}

fn callgrind(scenario: &Scenario, calls: u64) -> io::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args(["--call", &scenario.name(), &calls.to_string()])
        .output()?;
    let told = String::from_utf8_lossy(&succeeded(&output)?.stderr).into_owned();
    let collected = told.lines().find_map(|line| line.split("Collected : ").nth(1));
    collected.and_then(|count| count.trim().parse().ok()).ok_or_else(|| io::Error::other(told))
}

/// Number and bytes by name.
fn allocations() -> io::Result<HashMap<String, (f64, f64)>> {
    let output = Command::new(env::current_exe()?.with_file_name("allocations")).output()?;
    let lines = String::from_utf8_lossy(&succeeded(&output)?.stdout).into_owned();
    let line = |line: &str| {
        let mut words = line.split('\t');
        let name = words.next()?.to_owned();
        Some((name, (words.next()?.parse().ok()?, words.next()?.parse().ok()?)))
    };
    lines.lines().map(|text| line(text).ok_or_else(|| io::Error::other(text.to_owned()))).collect()
}

fn succeeded(output: &Output) -> io::Result<&Output> {
    if output.status.success() {
        return Ok(output);
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}
