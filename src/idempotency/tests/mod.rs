mod by;
mod machine;
mod memory;
mod model;

use std::time::Duration;

use super::{Ask, Fingerprint, Identity, LeaseOver, Outcome, Owner};

const LEASE: Duration = Duration::from_secs(60);
const RETENTION: Duration = Duration::from_secs(600);

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn key(number: u32) -> Identity {
    Identity::of(b"tenant", b"POST /payments", &number.to_be_bytes())
}

fn owner(number: u8) -> Owner {
    Owner::from_u128(number.into())
}

/// Owner `number` asks for the request `what`.
fn ask(number: u8, what: u8) -> Ask {
    Ask {
        owner: owner(number),
        fingerprint: Fingerprint::of([&[what][..]]),
        lease: LEASE,
        lease_over: LeaseOver::InDoubt,
    }
}

fn answer(text: &'static str) -> Outcome {
    Outcome::Answer(text.into())
}
