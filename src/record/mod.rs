//! Who takes what the layers tell, beyond counting it.
//!
//! [`Tape`] keeps events for a test to look at.

mod tape;

pub use tape::Tape;
