//! What happens while payments are made.

use std::{env, process::Command};

use tokio::time::sleep;

use crate::{Course, LEASE, chance::Chance, clients::Clients, processes::Processes};

#[derive(Clone, Copy)]
enum Blow {
    /// A process dies where it stands, and another one begins.
    Kill,
    /// A process stands still for longer than its leases, and goes on.
    Pause,
    /// Postgres dies, with all that is not on its disk, and is there again.
    Crash,
}

/// Deals all blows, in an order that chance chooses, as the payments go on.
pub(crate) async fn happen(course: &Course, processes: &Processes, chance: &Chance, clients: &Clients<'_>) {
    let kinds = [
        (Blow::Kill, course.kills),
        (Blow::Pause, course.pauses),
        (Blow::Crash, course.crashes_of_the_database),
    ];
    let mut blows: Vec<_> = kinds.into_iter().flat_map(|(blow, many)| vec![blow; many]).collect();
    for last in (1..blows.len()).rev() {
        blows.swap(last, chance.below(last + 1));
    }
    let apart = course.payments / (blows.len() + 1);
    for (n, blow) in blows.into_iter().enumerate() {
        clients.have((n + 1) * apart).await;
        sleep(chance.up_to(LEASE / 10)).await;
        match blow {
            Blow::Kill => processes.kill_and_start_again(processes.nth(chance.below(processes.many()))).await,
            Blow::Pause => {
                let process = processes.busiest();
                process.stop();
                sleep(LEASE * 3 / 2 + chance.up_to(LEASE)).await;
                process.go_on();
            }
            Blow::Crash => crash_postgres().await,
        }
    }
}

async fn crash_postgres() {
    let restart = env::var_os("MONETA_POSTGRES_RESTART")
        .expect("it is to crash: run the tests through tests/servers.sh, or set MONETA_POSTGRES_RESTART");
    let restarted = tokio::task::spawn_blocking(|| Command::new(restart).status()).await.unwrap();
    assert!(restarted.unwrap().success(), "it did not come back");
}
