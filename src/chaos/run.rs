use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Either, join_all, select},
};
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    Environment, Experiment, Happened, Lab, Report, Verdict,
    armory::Armory,
    audit::Audit,
    machine::{Machine, Next, Phase, Seen},
    readings::Readings,
    report::Findings,
};
use crate::{
    fault::{ArmError, Outcomes},
    ratio::Ratio,
    sync::{Mutex, lock},
};

/// An experiment that runs while it is polled, and ends in a [`Report`].
///
/// # Cancellation
///
/// Dropped, it disarms what it armed, at once. Forgotten, or no longer polled, what it armed ends with its lease.
#[must_use = "a run does nothing unless it is polled"]
pub struct Run {
    grip: Grip,
    course: BoxFuture<'static, Report>,
}

/// A grip on a run from outside: calls it off. Clones are the same grip.
#[derive(Clone)]
pub struct Grip {
    shared: Arc<Shared>,
}

/// What a run shares with its grips.
struct Shared {
    audit: Audit,
    armory: Armory,
    aborted: Mutex<Option<Aborted>>,
    bell: Notify,
}

/// That a run was called off.
#[derive(Clone, Debug)]
pub(super) struct Aborted {
    pub(super) by: String,
    pub(super) why: String,
    pub(super) at: Instant,
}

impl Run {
    pub(super) fn new(lab: Lab, experiment: Experiment) -> Self {
        let audit = Audit::new(&experiment.name, lab.sinks.clone());
        audit.write(Happened::Created);
        if let Some(by) = experiment.approved_by.clone() {
            audit.write(Happened::Approved { by });
        }
        let (armory, aborted, bell) = (Armory::default(), Mutex::new(None), Notify::new());
        let shared = Arc::new(Shared { audit, armory, aborted, bell });
        let course = Box::pin(conduct(lab, experiment, Arc::clone(&shared)));
        Self { grip: Grip { shared }, course }
    }

    /// A grip on it, which calls it off from elsewhere.
    pub fn grip(&self) -> Grip {
        self.grip.clone()
    }
}

impl Future for Run {
    type Output = Report;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Report> {
        self.course.as_mut().poll(cx)
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").finish_non_exhaustive()
    }
}

impl Grip {
    /// Calls it off. Once this returns no call is hit any more, and those that were held go on.
    pub fn abort(&self, by: &str, why: &str) {
        let aborted = Aborted { by: by.into(), why: why.into(), at: Instant::now() };
        lock(&self.shared.aborted).get_or_insert(aborted);
        self.shared.armory.close();
        self.shared.bell.notify_one();
    }
}

impl fmt::Debug for Grip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grip").finish_non_exhaustive()
    }
}

/// Disarms everything, however the run ends, and says so where it does not end by itself.
struct Undone(Arc<Shared>);

impl Drop for Undone {
    fn drop(&mut self) {
        self.0.armory.close();
        if !self.0.audit.is_completed() {
            // A sink that panics may be what it ends by.
            let hit = self.0.armory.hit();
            let _ = catch_unwind(AssertUnwindSafe(|| self.0.audit.write(Happened::Injected { hit })));
            let (by, why) = ("its task".to_owned(), "it was dropped before it was over".to_owned());
            let _ = catch_unwind(AssertUnwindSafe(|| self.0.audit.write(Happened::Aborted { by, why })));
        }
        if let (Some(undo), Ok(runtime)) = (self.0.armory.take_undo(), tokio::runtime::Handle::try_current())
        {
            drop(runtime.spawn(undo()));
        }
    }
}

/// Something could not be armed.
fn refused(error: &ArmError) -> Aborted {
    let by = if *error == ArmError::Killed { "kill switch" } else { "hook" };
    Aborted { by: by.into(), why: error.to_string(), at: Instant::now() }
}

/// A run from its begin to its end.
struct Course {
    lab: Lab,
    experiment: Experiment,
    shared: Arc<Shared>,
    machine: Machine,
    findings: Findings,
    /// How often breakers had opened when it began.
    opened: BTreeMap<String, u64>,
    /// The counts when the phase began.
    before: (Outcomes, Outcomes),
}

async fn conduct(lab: Lab, experiment: Experiment, shared: Arc<Shared>) -> Report {
    let _undone = Undone(Arc::clone(&shared));
    let findings = Findings::begin(&lab, &experiment);
    match (&experiment.production, lab.environment) {
        (None, Environment::Production) => {
            let why = "it is not allowed in production".to_owned();
            shared.audit.write(Happened::Completed { verdict: Verdict::NotStarted });
            return findings.report(Verdict::NotStarted, why, None, &shared.audit);
        }
        (Some(reason), Environment::Production) => {
            shared.audit.write(Happened::AllowedInProduction { reason: reason.clone() });
        }
        _ => {}
    }
    shared.audit.write(Happened::Started);
    let machine = Machine::new(experiment.clone(), Instant::now());
    let opened = lab.opened();
    let before = Default::default();
    Course { lab, experiment, shared, machine, findings, opened, before }.run().await
}

impl Course {
    async fn run(mut self) -> Report {
        if let Err(error) = self.shared.armory.watch(&self.lab, &self.experiment) {
            return self.aborted(refused(&error)).await;
        }
        let mut ticks = interval(self.lab.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let shared = Arc::clone(&self.shared);
            select(pin!(ticks.tick()), pin!(shared.bell.notified())).await;
            let readings = self.read().await;
            // Whatever it took to read: what comes next is decided by what is armed now.
            if let Err(aborted) = self.keep_up() {
                return self.aborted(aborted).await;
            }
            let (hit, control) = self.seen();
            let seen = Seen { hit: &hit, control: &control, readings: &readings };
            match self.machine.look(&seen, Instant::now()) {
                Next::Wait => {}
                Next::Step(index) => {
                    if let Err(aborted) = self.step(index, hit, control).await {
                        return self.aborted(aborted).await;
                    }
                }
                Next::Recover => {
                    if let Err(aborted) = self.recover(hit, control).await {
                        return self.aborted(aborted).await;
                    }
                }
                Next::Again => self.before = self.shared.armory.outcomes(),
                Next::Abort(trip) => {
                    let at = Instant::now();
                    self.shared.armory.close();
                    let why = format!("{} (limit {})", trip.value, trip.limit);
                    let by = format!("guard: {}", trip.guard);
                    let (guard, value, limit) = (trip.guard, trip.value, trip.limit);
                    self.shared.audit.write(Happened::GuardTripped { guard, value, limit });
                    return self.aborted(Aborted { by, why, at }).await;
                }
                Next::End(verdict, why) => return self.end(verdict, why, None).await,
            }
        }
    }

    /// Renews the lease, unless the run is over.
    fn keep_up(&self) -> Result<(), Aborted> {
        if let Some(aborted) = lock(&self.shared.aborted).clone() {
            return Err(aborted);
        }
        let Err(expired) = self.shared.armory.renew() else { return Ok(()) };
        let aborted = |by: &str, why: &str| Aborted { by: by.into(), why: why.into(), at: Instant::now() };
        if expired {
            self.shared.audit.write(Happened::Expired);
            return Err(aborted("lease", "nobody renewed it in time"));
        }
        Err(aborted("kill switch", "somebody disarmed its faults"))
    }

    async fn read(&self) -> Readings {
        let mut readings = self.lab.read(&self.opened);
        let limit = self.lab.every.min(self.lab.leased_for() / 3);
        let asked = self.experiment.probes().filter_map(|name| {
            let ask = self.lab.probes.get(name)?;
            // A probe that panics has no answer.
            let answer = AssertUnwindSafe(async move { timeout(limit, ask()).await }).catch_unwind();
            Some(async move { (name.to_owned(), answer.await) })
        });
        for (name, answer) in join_all(asked).await {
            if let Ok(Ok(answer)) = answer {
                readings.probes.insert(name, answer.map_err(|error| error.to_string()));
            }
        }
        readings
    }

    /// What became of the calls of this phase.
    fn seen(&self) -> (Outcomes, Outcomes) {
        let (hit, control) = self.shared.armory.outcomes();
        (hit.since(&self.before.0), control.since(&self.before.1))
    }

    async fn step(&mut self, index: usize, hit: Outcomes, control: Outcomes) -> Result<(), Aborted> {
        let share = self.experiment.steps[index].share;
        if index == 0 {
            self.findings.baseline(&hit, &self.machine.checks);
            self.shared.armory.clear();
        } else {
            self.end_step(index - 1, hit, control);
        }
        // What was seen before says nothing of this step, should it be called off before anybody judges it.
        self.machine.checks.clear();
        let (step, number) = (index + 1, share.value());
        self.shared.audit.write(Happened::Step { step, share: number });
        if index > 0 {
            self.shared.armory.set_share(share).map_err(|error| refused(&error))?;
        } else if self.experiment.action.is_some() {
            self.shared.armory.watch(&self.lab, &self.experiment).map_err(|error| refused(&error))?;
            self.begin_action().await?;
        } else {
            let lasting = self
                .experiment
                .steps
                .iter()
                .fold(Duration::ZERO, |all, step| all.saturating_add(step.limit()));
            let lasting = lasting.saturating_add(self.lab.leased_for().saturating_mul(2));
            let injected = self.shared.armory.inject(&self.lab, &self.experiment, share, lasting);
            injected.map_err(|error| refused(&error))?;
        }
        self.before = self.shared.armory.outcomes();
        Ok(())
    }

    fn end_step(&mut self, index: usize, hit: Outcomes, control: Outcomes) {
        let is_action = self.experiment.action.is_some();
        if !is_action {
            self.shared.audit.write(Happened::Injected { hit: self.shared.armory.hit() });
        }
        let share = if is_action { Ratio::ONE } else { self.experiment.steps[index].share };
        self.findings.step(share, hit, control, &self.machine.checks);
    }

    async fn begin_action(&self) -> Result<(), Aborted> {
        let name = self.experiment.action.as_ref().map(|action| &action.name);
        let Some(action) = name.and_then(|name| self.lab.actions.get(name)) else { return Ok(()) };
        self.shared.armory.set_undo(Arc::clone(&action.end));
        // One that takes long, or for ever, is called off like all else.
        match select((action.begin)(), pin!(self.shared.bell.notified())).await {
            Either::Left((Ok(()), _)) => Ok(()),
            Either::Left((Err(error), _)) => {
                Err(Aborted { by: "action".into(), why: error.to_string(), at: Instant::now() })
            }
            Either::Right(_) => self.keep_up(),
        }
    }

    /// Undoes everything.
    async fn undo(&mut self) {
        self.shared.armory.clear();
        if let Some(undo) = self.shared.armory.take_undo() {
            // In a task, which goes on where this run is dropped meanwhile.
            match tokio::spawn(undo()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.findings.not_undone(error.to_string()),
                Err(error) => self.findings.not_undone(error.to_string()),
            }
        }
    }

    async fn recover(&mut self, hit: Outcomes, control: Outcomes) -> Result<(), Aborted> {
        self.end_step(self.findings.steps(), hit, control);
        self.undo().await;
        let watched = self.shared.armory.watch(&self.lab, &self.experiment);
        self.before = self.shared.armory.outcomes();
        watched.map_err(|error| refused(&error))
    }

    async fn aborted(mut self, aborted: Aborted) -> Report {
        self.shared.armory.close();
        let (hit, control) = self.seen();
        if let Phase::Step(_) | Phase::Over = self.machine.phase {
            self.end_step(self.findings.steps().min(self.experiment.steps.len() - 1), hit, control);
        }
        let Aborted { by, why, .. } = aborted.clone();
        self.shared.audit.write(Happened::Aborted { by, why });
        let verdict =
            if self.machine.phase == Phase::Baseline { Verdict::NotStarted } else { Verdict::Aborted };
        let why = format!("by {}: {}", aborted.by, aborted.why);
        self.end(verdict, why, Some(aborted)).await
    }

    async fn end(mut self, verdict: Verdict, why: String, aborted: Option<Aborted>) -> Report {
        let (hit, control) = self.seen();
        match (verdict, aborted.is_some()) {
            (Verdict::NotStarted, _) => self.findings.baseline(&hit, &self.machine.checks),
            (Verdict::Inconclusive, false) if self.findings.steps() < self.experiment.steps.len() => {
                self.end_step(self.findings.steps(), hit, control);
            }
            (_, false) => self.findings.recovery(&hit, &self.machine.checks),
            (_, true) => {}
        }
        let late = aborted.map(|aborted| {
            let last = self.shared.armory.last_hit();
            let late = last.map_or(Duration::ZERO, |last| last.saturating_duration_since(aborted.at));
            (aborted, late)
        });
        self.undo().await;
        self.shared.audit.write(Happened::Completed { verdict });
        self.findings.report(verdict, why, late, &self.shared.audit)
    }
}
