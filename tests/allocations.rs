//! Law 5: a call that goes well allocates nothing, whether its service answers at once or on the second poll.
//!
//! The stacks are those of `benches/scenarios`. The counting allocator counts for each thread by itself.

#[path = "../benches/scenarios/mod.rs"]
mod scenarios;

use allocation_counter::measure;

const CALLS: u64 = 100;

#[test]
fn a_call_that_goes_well_allocates_nothing() {
    let mut allocating = Vec::new();
    for mut scenario in scenarios::all() {
        // What is made once, by a first call, is no cost of a call.
        scenario.run(CALLS);
        let allocations = measure(|| scenario.run(CALLS)).count_total;
        if allocations > 0 {
            allocating.push(format!("{}: {allocations} allocations in {CALLS} calls", scenario.name));
        }
    }
    assert!(allocating.is_empty(), "{allocating:#?}");
}

#[test]
fn the_counter_counts() {
    assert_eq!(measure(|| drop(Box::new(std::hint::black_box(1)))).count_total, 1);
}
