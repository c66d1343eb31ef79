//! What operators do to a service while it runs.

mod fault_file;
#[cfg(test)]
mod tests;

pub use fault_file::{FaultFile, FaultFileEvent};
