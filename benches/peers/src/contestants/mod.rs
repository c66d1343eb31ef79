//! Who does what. The peers are configured for the same work; where one cannot do a part of it, its name says so.

/// Adds a contestant, over a service of a type of its own.
macro_rules! each {
    ($all:ident.$add:ident, $name:expr, $build:expr) => {{
        #[derive(Clone)]
        struct Own;
        $all.$add::<_, Own>($name, $build);
    }};
}

mod patterns;
mod pieces;
mod seatbelt;
mod stacks;
mod tower_own;

use std::time::Duration;

pub use stacks::by_hand;

use crate::scenario::{Scenario, Scenarios};

/// A limit that no call reaches.
const FAR: Duration = Duration::from_secs(30);
/// How long what is open stays open.
const HOUR: Duration = Duration::from_hours(1);

/// Every contestant in whose name this is, in the order of the table. The meter provider of the process should be set by now.
pub fn named(part: &str) -> Vec<Scenario> {
    let mut all = Scenarios::new(part);
    pieces::add(&mut all);
    patterns::add(&mut all);
    stacks::add(&mut all);
    all.list
}
