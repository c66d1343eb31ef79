//! Calls in flight, bounded, so that one slow dependency cannot take every connection, task and byte of a
//! service.
//!
//! By Little's law the calls in flight are their rate times their latency: when a dependency becomes ten
//! times slower, ten times as many calls pile up in front of it, and what they hold is missing everywhere
//! else. A bulkhead gives each dependency a compartment of its own (Nygard, *Release It!*, "Bulkheads"). A
//! call that finds it full waits shortly, in order, or is refused.
//!
//! # Defaults
//!
//! | knob | client | server |
//! |---|---|---|
//! | `max_concurrent` | 256 | 1024 |
//! | `max_queue` | 64 | 0: refused at once |
//! | `max_wait` | 100 ms, and never past the call's deadline | – |

mod machine;
#[cfg(test)]
mod tests;
