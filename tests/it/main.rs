//! The integration tests, as one binary: what holds for the crate as a whole.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod contract;
mod floors;
mod outcomes;
mod shapes;
#[cfg(feature = "http")]
mod ui;
