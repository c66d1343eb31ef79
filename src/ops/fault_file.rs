use std::{
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;
use tokio::{
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    clock,
    fault::{ArmError, Armed, Faults, Place, Written},
    golden::Handle,
    name::Name,
    registry::Registry,
};

/// The longest file that is read.
const LONGEST: u64 = 64 * 1024;
/// How many times in a row the file may not be readable before what it armed is over.
const PATIENCE: u32 = 3;

/// Arms what a file says, in the golden stacks of this process, for as long as the file says it.
///
/// A platform that distributes configuration (a `ConfigMap`, a package, a file pushed to all hosts) so arms a fault in a whole fleet
/// by one change, and ends it by another.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use moneta_resilience::ops::FaultFile;
///
/// tokio::spawn(FaultFile::new("/etc/payments/faults.toml").watch());
/// # }
/// ```
///
/// ```toml
/// [[fault]]
/// pipeline = "market-data"            # all stacks, where it is not said
/// effect = { latency = { median = "40ms", p99 = "2s" } }
/// until = "2026-11-23T18:00:00Z"      # has to be said
/// share = 5                           # percent; all, where it is not said
/// experiment = "slow-quotes"
/// target = { all = [{ route = "/quotes/{symbol}" }, { not = { priority = "sheddable" } }] }
/// sticky = "tenant"
/// ```
///
/// Every word of it is explained in `docs/faults.md`. A file whose name ends with `.json` is JSON. A fault of somebody's own
/// ([`Fault::hook`](crate::fault::Fault::hook)) is code, and cannot be written in a file.
///
/// # Safety
///
/// * What is more than before is armed once two looks in a row find the same, so that no half of a file is, of which the share or the
///   target was not written yet. What is less is so at once.
/// * `until` is a moment and no length, so that a process which starts later ends it with the others.
/// * What is armed has a lease, which each look at the file renews: without this task, or without the file being readable, it ends
///   after three intervals, until the file can be read again. Dropping the task ends it at once.
/// * A file that cannot be understood, or is longer than 64 KiB, changes nothing: what the last good one said stays armed. One that is
///   gone, or empty, disarms.
/// * What was ended by hand or by a kill switch is not armed again before the file says something else about it.
/// * The [limits](crate::fault::FaultLimits) hold. What they refuse is tried again with each look.
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`every`](Self::every) | 5 s |
/// | [`registry`](Self::registry) | that of the process |
/// | [`tell`](Self::tell) | lines through `tracing` |
#[must_use = "nothing is armed until the file is watched"]
pub struct FaultFile {
    path: Arc<Path>,
    every: Duration,
    registry: Registry,
    tell: Box<dyn FnMut(FaultFileEvent) + Send>,
}

/// What a [`FaultFile`] did, or could not do.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum FaultFileEvent {
    /// The file says something else, or is there for the first time.
    Read {
        /// How many faults it says.
        faults: usize,
    },
    /// The file cannot be read or understood, and changes nothing.
    Bad {
        /// Why.
        why: String,
    },
    /// A fault was armed.
    Armed {
        /// In a stack of this name.
        pipeline: Name,
    },
    /// A fault may not be armed.
    Refused {
        /// In a stack of this name.
        pipeline: Name,
        /// Why.
        why: ArmError,
    },
    /// A fault is armed no more: the file does not say it, or its time is over.
    Disarmed {
        /// In a stack of this name.
        pipeline: Name,
    },
}

impl FaultFile {
    /// The file at this path, which need not be there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into().into(),
            every: Duration::from_secs(5),
            registry: Registry::global().clone(),
            tell: Box::new(log),
        }
    }

    /// How often it is looked at. Default: 5 s.
    ///
    /// # Panics
    ///
    /// When `interval` is zero.
    #[track_caller]
    pub fn every(self, interval: Duration) -> Self {
        assert!(!interval.is_zero(), "a file is not looked at all the time");
        Self { every: interval, ..self }
    }

    /// In the stacks of this registry. Default: that of the process.
    pub fn registry(self, registry: &Registry) -> Self {
        Self { registry: registry.clone(), ..self }
    }

    /// Tells this what happens, in the place of the log.
    pub fn tell(self, tell: impl FnMut(FaultFileEvent) + Send + 'static) -> Self {
        Self { tell: Box::new(tell), ..self }
    }

    /// Watches the file. It does not end; give it to a task of its own.
    ///
    /// # Cancellation
    ///
    /// What it armed is over at once.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time enabled.
    pub async fn watch(mut self) {
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last, mut said, mut standing) = (None, Vec::new(), Vec::new());
        // Whether what was read last can be understood; and whether what is said was found by two looks, and is no half of a file
        // that is being written.
        let (mut good, mut sure) = (true, false);
        loop {
            ticks.tick().await;
            let path = Arc::clone(&self.path);
            // A disk that hangs holds this task, and the leases end.
            let read =
                spawn_blocking(move || read(&path)).await.unwrap_or_else(|error| Err(error.to_string()));
            if last.as_ref() == Some(&read) {
                sure |= good;
            } else {
                match read.as_ref().map_err(String::clone).and_then(|text| self.parse(text)) {
                    Ok(faults) => {
                        (self.tell)(FaultFileEvent::Read { faults: faults.len() });
                        (said, good, sure) = (faults, true, false);
                    }
                    Err(why) => {
                        (self.tell)(FaultFileEvent::Bad { why });
                        good = false;
                    }
                }
            }
            if read.is_ok() {
                self.settle(&said, sure, &mut standing);
            }
            last = Some(read);
        }
    }

    fn parse(&self, text: &str) -> Result<Vec<Written>, String> {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Content {
            #[serde(default)]
            fault: Vec<Written>,
        }
        let content: Result<Content, String> = if text.trim().is_empty() {
            Ok(Content::default())
        } else if self.path.extension().is_some_and(|extension| extension == "json") {
            serde_json::from_str(text).map_err(|error| error.to_string())
        } else {
            toml::from_str(text).map_err(|error| error.message().to_owned())
        };
        content.map(|content| content.fault)
    }

    /// Makes what is armed what the file says; while that is not sure, only where it is less.
    fn settle(&mut self, said: &[Written], sure: bool, standing: &mut Vec<Standing>) {
        let handles = Handle::all(&self.registry);
        let wanted: Vec<_> = said.iter().flat_map(|said| hooks(said, &handles)).collect();
        standing.retain_mut(|standing| {
            // What lapsed because nobody looked for a while is armed again, unless its moment has come.
            let kept =
                !standing.armed.has_lapsed() && wanted.iter().any(|wanted| standing.becomes(wanted, sure));
            if !kept {
                (self.tell)(FaultFileEvent::Disarmed { pipeline: standing.pipeline.clone() });
            }
            kept
        });
        let wall = clock::wall(Instant::now());
        for wanted in wanted.into_iter().filter(|_| sure) {
            if standing.iter().any(|standing| standing.is(&wanted)) {
                continue;
            }
            let Some(fault) = wanted.said.fault(wall) else { continue };
            let pipeline = wanted.pipeline.clone();
            match wanted.hook.try_arm(fault.lease(self.every * PATIENCE)) {
                Ok(armed) => {
                    standing.push(Standing {
                        said: wanted.said.clone(),
                        pipeline: pipeline.clone(),
                        hook: wanted.hook.clone(),
                        armed,
                    });
                    (self.tell)(FaultFileEvent::Armed { pipeline });
                }
                Err(why) => (self.tell)(FaultFileEvent::Refused { pipeline, why }),
            }
        }
        for standing in standing {
            standing.armed.renew();
        }
    }
}

/// A fault that is to be armed in a hook.
struct Wanted<'a> {
    said: &'a Written,
    pipeline: &'a Name,
    hook: &'a Faults,
}

/// One that was. Armed as long as this is.
struct Standing {
    said: Written,
    pipeline: Name,
    hook: Faults,
    armed: Armed,
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.armed.disarm();
    }
}

impl Standing {
    fn is(&self, wanted: &Wanted<'_>) -> bool {
        self.hook.is(wanted.hook) && self.said == *wanted.said
    }

    /// Whether it is what is wanted, or is made so by another share: by a smaller one at once, by a larger one when that is sure.
    fn becomes(&mut self, wanted: &Wanted<'_>, sure: bool) -> bool {
        if self.is(wanted) {
            return true;
        }
        if !self.hook.is(wanted.hook) || !self.said.is_but_for_its_share(wanted.said) {
            return false;
        }
        if !sure && wanted.said.share() > self.said.share() {
            return true;
        }
        let ramped = self.armed.set_share(wanted.said.share()).is_ok();
        if ramped {
            self.said = wanted.said.clone();
        }
        ramped
    }
}

/// The hooks that it is said of.
fn hooks<'a>(said: &'a Written, handles: &'a [Handle]) -> impl Iterator<Item = Wanted<'a>> {
    let meant = handles
        .iter()
        .filter(|handle| said.pipeline.as_deref().is_none_or(|name| name == handle.name().as_str()));
    meant.filter_map(move |handle| {
        let hook = match said.hook {
            Place::Service => Some(handle.faults()),
            Place::Ingress => handle.ingress_faults(),
        };
        Some(Wanted { said, pipeline: handle.name(), hook: hook? })
    })
}

/// The text of the file; none where there is no file.
fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    // Asked before it is opened: a pipe would not open until somebody writes.
    let read = fs::metadata(path).and_then(|known| {
        if !known.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)
    });
    match read {
        Ok(length) if length as u64 > LONGEST => Err(format!("it is longer than {LONGEST} bytes")),
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error.to_string()),
    }
}

fn log(event: FaultFileEvent) {
    match event {
        FaultFileEvent::Read { faults } => tracing::info!(faults, "the file of faults was read"),
        FaultFileEvent::Bad { why } => tracing::warn!(why, "the file of faults is bad, and changes nothing"),
        FaultFileEvent::Armed { pipeline } => tracing::warn!(%pipeline, "a fault was armed"),
        FaultFileEvent::Refused { pipeline, why } => {
            tracing::warn!(%pipeline, %why, "a fault may not be armed");
        }
        FaultFileEvent::Disarmed { pipeline } => tracing::warn!(%pipeline, "a fault is armed no more"),
    }
}

impl fmt::Debug for FaultFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultFile")
            .field("path", &self.path)
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}
