//! Processes that are killed, stopped and started again, and a database that crashes under them, while payments are made.
//!
//! A ledger, a small service with idempotency keys, runs in several processes over one database. Clients send it payments: some twice
//! at once, some given up half-way, all of them again and again with the same key until there is an answer. Meanwhile its
//! processes are killed, or stand still for longer than their leases, and Postgres loses all that is not on its disk. In the
//! end every payment is in the books once, and everybody who asked about it got the same answer, to the byte.
//!
//! A ledger that does not write the records of keys in its transactions, and by default never starts a payment a second time, is
//! reconciled in the end: nothing was paid twice, and what is in doubt is found out from the books. And one that says aloud that
//! it starts again must pay twice: a suite that cannot show that proves nothing about the others.
//!
//! This is the only suite that takes real time, because real processes and the clock of a server do. It needs `kill`, and for
//! Postgres what `tests/servers.sh` sets; it fails where that is missing.
//!
//! ```text
//! tests/servers.sh cargo test --all-features --test crash
//!
//! MONETA_CRASH_SEED     the seed of all choices, to repeat them; the order in which processes run cannot be repeated
//! MONETA_CRASH_TIMES    how many times as many payments and crashes; 1 by default, which takes less than a minute
//! ```
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::print_stdout, reason = "it says what it does")]

mod books;
mod chance;
mod clients;
mod ledger;
mod outage;
mod processes;
mod verdict;

use std::{env, time::Duration};

use tokio::time::{Instant, timeout};

use self::{
    books::{Books, File, Server},
    chance::Chance,
    clients::Clients,
    ledger::Way,
    processes::Processes,
};

/// Short, because a payment whose process died waits for it.
const LEASE: Duration = Duration::from_secs(1);
/// What is not answered by then, of a thousand payments, never will be.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is done to a ledger.
struct Course {
    way: Way,
    processes: usize,
    payments: usize,
    kills: usize,
    pauses: usize,
    crashes_of_the_database: usize,
}

const LAWS: [(&str, Course); 5] = [
    (
        "postgres_pays_once_in_one_transaction",
        Course {
            way: Way::OneTransaction,
            processes: 3,
            payments: 1200,
            kills: 4,
            pauses: 3,
            crashes_of_the_database: 2,
        },
    ),
    (
        "postgres_starts_a_payment_once_by_default",
        Course {
            way: Way::OneStart,
            processes: 3,
            payments: 500,
            kills: 3,
            pauses: 1,
            crashes_of_the_database: 1,
        },
    ),
    (
        "postgres_pays_twice_where_that_was_said_aloud",
        Course {
            way: Way::ManyStarts,
            processes: 3,
            payments: 200,
            kills: 3,
            pauses: 0,
            crashes_of_the_database: 0,
        },
    ),
    (
        "sqlite_pays_once_in_one_transaction",
        Course {
            way: Way::OneTransaction,
            processes: 1,
            payments: 300,
            kills: 3,
            pauses: 1,
            crashes_of_the_database: 0,
        },
    ),
    (
        "sqlite_pays_twice_where_that_was_said_aloud",
        Course {
            way: Way::ManyStarts,
            processes: 1,
            payments: 100,
            kills: 2,
            pauses: 0,
            crashes_of_the_database: 0,
        },
    ),
];

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if args.first().is_some_and(|arg| arg == ledger::ARGUMENT) {
        return runtime.block_on(ledger::run(&args[1..]));
    }
    if args.iter().any(|arg| arg == "--list") {
        return LAWS.iter().for_each(|(law, _)| println!("{law}: test"));
    }
    // Filters come first, and flags of the usual harness after them.
    let filter = args.first().filter(|arg| !arg.starts_with('-'));
    let chosen = |law: &str| filter.is_none_or(|filter| law.contains(filter.as_str()));
    let times = number("MONETA_CRASH_TIMES").unwrap_or(1).max(1);
    let seed = number("MONETA_CRASH_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("\nthe seed is {seed}");
    for (law, course) in LAWS.iter().filter(|(law, _)| chosen(law)) {
        let (begun, course) = (Instant::now(), course.times(usize::try_from(times).unwrap()));
        let chance = Chance::new(seed);
        let what = if law.starts_with("postgres") {
            runtime.block_on(async { course.run(Server::new().await, chance).await })
        } else {
            runtime.block_on(async { course.run(File::new().await, chance).await })
        };
        println!("{law} ... ok, {:.1} s: {what}", begun.elapsed().as_secs_f64());
    }
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

impl Course {
    fn times(&self, times: usize) -> Self {
        Self {
            payments: self.payments * times,
            kills: self.kills * times,
            pauses: self.pauses * times,
            crashes_of_the_database: self.crashes_of_the_database * times,
            ..*self
        }
    }

    async fn run<B: Books>(&self, books: B, chance: Chance) -> String {
        let processes = Processes::start(self.processes, &books, self.way).await;
        let clients = Clients::new(&processes, &chance, self.way, self.payments);
        let happens = async {
            tokio::join!(clients.pay(), outage::happen(self, &processes, &chance, &clients));
        };
        let operated = async {
            tokio::select! {
                () = happens => {}
                never = verdict::reconcile_on_the_way(&books, self.way) => match never {},
            }
        };
        let patience = PATIENCE * u32::try_from(self.payments / 1000 + 1).unwrap();
        let in_time = timeout(patience, operated).await.is_ok();
        assert!(in_time, "{} of {} payments are answered", clients.answered(), self.payments);
        let mut in_doubt = 0;
        if self.way == Way::OneStart {
            processes.kill_all();
            in_doubt = verdict::reconcile(&books).await;
            processes.start_all_again().await;
        }
        if self.way != Way::ManyStarts {
            clients.ask_again().await;
        }
        let seen = verdict::of(self, &books, &clients, in_doubt).await;
        drop(clients);
        drop(processes);
        books.erase().await;
        seen
    }
}
