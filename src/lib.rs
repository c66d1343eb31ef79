//! Composable resilience.

mod class;
mod clock;
mod random;
mod ratio;
mod sync;

pub use class::{Class, Ending};
pub use ratio::{InvalidRatio, Ratio};
