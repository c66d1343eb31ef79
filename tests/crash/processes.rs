//! The processes of the ledger, and what is done to them.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
};

use crate::{
    books::Books,
    ledger::{self, Way},
};

pub(crate) struct Processes {
    args: [String; 4],
    all: Vec<Process>,
}

/// One, and after it was killed the next one in its place.
pub(crate) struct Process {
    child: Mutex<Child>,
    port: AtomicU16,
    asked: AtomicUsize,
}

impl Processes {
    pub(crate) async fn start<B: Books>(many: usize, books: &B, way: Way) -> Self {
        let args = [ledger::ARGUMENT, B::NAME, books.place(), way.name()].map(ToOwned::to_owned);
        let mut all = Vec::new();
        for _ in 0..many {
            let (child, port) = begun(args.clone()).await;
            let (child, port) = (Mutex::new(child), AtomicU16::new(port));
            all.push(Process { child, port, asked: AtomicUsize::new(0) });
        }
        Self { args, all }
    }

    pub(crate) fn many(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn nth(&self, n: usize) -> &Process {
        &self.all[n]
    }

    /// The one that most clients wait for.
    pub(crate) fn busiest(&self) -> &Process {
        let asked = |process: &&Process| process.asked.load(Ordering::Relaxed);
        self.all.iter().max_by_key(asked).expect("there is one")
    }

    pub(crate) fn kill_all(&self) {
        self.all.iter().for_each(Process::kill);
    }

    pub(crate) async fn start_all_again(&self) {
        for process in &self.all {
            self.kill_and_start_again(process).await;
        }
    }

    pub(crate) async fn kill_and_start_again(&self, process: &Process) {
        process.kill();
        let (child, port) = begun(self.args.clone()).await;
        *process.child.lock().unwrap() = child;
        process.port.store(port, Ordering::Relaxed);
    }
}

impl Process {
    pub(crate) fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    /// Counts as one who waits, for as long as what comes back is held.
    pub(crate) fn ask(&self) -> impl Drop + use<'_> {
        struct Asks<'a>(&'a AtomicUsize);
        impl Drop for Asks<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        Asks(&self.asked)
    }

    /// It stands still where it is, until it is told to go on.
    pub(crate) fn stop(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.lock().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success(), "{signal} {pid}");
    }

    fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        _ = child.kill();
        _ = child.wait();
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// A process that takes connections, and where.
async fn begun(args: [String; 4]) -> (Child, u16) {
    let begin = move || {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix(ledger::LISTENS).expect("it did not start").parse().unwrap();
        (child, port)
    };
    tokio::task::spawn_blocking(begin).await.unwrap()
}
