use std::{sync::mpsc, thread, time::Duration};

use crate::sync::{Mutex, lock};

/// What is to be done at the end, within a deadline.
pub(super) struct Shutdown {
    deadline: Duration,
    steps: Mutex<Vec<Step>>,
}

/// Gives whether all was handed over. It is told how long it may take, and may take longer.
type Step = Box<dyn FnOnce(Duration) -> bool + Send>;

impl Shutdown {
    pub(super) fn within(deadline: Duration) -> Self {
        Self { deadline, steps: Mutex::default() }
    }

    pub(super) fn add(&mut self, step: impl FnOnce(Duration) -> bool + Send + 'static) {
        lock(&self.steps).push(Box::new(step));
    }

    /// Does it all at once, and gives whether all of it was done, and well, before the deadline. What takes longer is left
    /// behind: the SDK keeps no deadline of its own while an exporter hangs.
    pub(super) fn run(&self) -> bool {
        let (deadline, steps) = (self.deadline, std::mem::take(&mut *lock(&self.steps)));
        if steps.is_empty() {
            return true;
        }
        let count = steps.len();
        let (report, reports) = mpsc::channel();
        for step in steps {
            let report = report.clone();
            // Without a thread to spare nothing is handed over, which the missing report says.
            let _ = thread::Builder::new().name("telemetry shutdown".to_owned()).spawn(move || {
                let _ = report.send(step(deadline));
            });
        }
        drop(report);
        let (all, ended) = mpsc::channel();
        let _ = thread::Builder::new().spawn(move || all.send(reports.iter().filter(|&good| good).count()));
        ended.recv_timeout(deadline).is_ok_and(|good| good == count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shutdown(steps: Vec<Step>) -> Shutdown {
        let mut shutdown = Shutdown::within(Duration::from_secs(3600));
        for step in steps {
            shutdown.add(step);
        }
        shutdown
    }

    #[test]
    fn is_good_when_every_step_is() {
        assert!(shutdown(vec![]).run() && Shutdown::within(Duration::ZERO).run(), "nothing is left");
        assert!(shutdown(vec![Box::new(|_| true), Box::new(|_| true)]).run());
        assert!(!shutdown(vec![Box::new(|_| true), Box::new(|_| false)]).run());
        assert!(!shutdown(vec![Box::new(|_| true), Box::new(|_| panic!("a bug in an exporter"))]).run());
    }

    #[test]
    fn steps_do_not_wait_for_each_other() {
        let (first, second) = mpsc::channel();
        let steps: Vec<Step> =
            vec![Box::new(move |_| second.recv().is_ok()), Box::new(move |_| first.send(()).is_ok())];
        assert!(shutdown(steps).run());
    }

    #[test]
    fn a_step_that_hangs_is_left_behind() {
        let (holder, hang) = mpsc::channel::<()>();
        let mut shutdown = Shutdown::within(Duration::from_millis(1));
        shutdown.add(move |_| hang.recv().is_err());
        assert!(!shutdown.run(), "it ended before its step, which goes on until we let go here");
        drop(holder);
    }
}
