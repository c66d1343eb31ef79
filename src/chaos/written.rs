//! Experiments and game days as they are written in a file.

use std::borrow::Cow;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};

use super::{Experiment, GameDay, Guard, Hypothesis, InvalidExperiment, Step};
use crate::{
    fault::{Effect, Length, Percent, Place, Target, Unit},
    slo::Window,
};

/// The longest text that is read, in bytes.
const LONGEST: usize = 64 * 1024;

impl Experiment {
    /// Reads one as it is written in TOML; `docs/chaos.md` has the words. Feature `fault-file`.
    ///
    /// Probes, actions, budgets and stacks are named in it. Whether there are such ones the [lab](super::Lab::run) says.
    ///
    /// # Errors
    ///
    /// [`InvalidExperiment`] when it is not TOML, is longer than 64 KiB, or has a word or a value that means nothing.
    pub fn from_toml(text: &str) -> Result<Self, InvalidExperiment> {
        from_toml(text)
    }

    /// Reads one from JSON, with the same words. Feature `fault-file`.
    ///
    /// # Errors
    ///
    /// As of [`from_toml`](Self::from_toml).
    pub fn from_json(text: &str) -> Result<Self, InvalidExperiment> {
        from_json(text)
    }
}

impl GameDay {
    /// Reads one as it is written in TOML; `docs/chaos.md` has the words. Feature `fault-file`.
    ///
    /// # Errors
    ///
    /// As of [`Experiment::from_toml`], with the experiment's place in the list.
    pub fn from_toml(text: &str) -> Result<Self, InvalidExperiment> {
        from_toml(text)
    }

    /// Reads one from JSON, with the same words. Feature `fault-file`.
    ///
    /// # Errors
    ///
    /// As of [`from_toml`](Self::from_toml).
    pub fn from_json(text: &str) -> Result<Self, InvalidExperiment> {
        from_json(text)
    }
}

fn from_toml<T: DeserializeOwned>(text: &str) -> Result<T, InvalidExperiment> {
    let no_toml = |error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        InvalidExperiment::new(format!("line {line}"), error.message())
    };
    let content = toml::Deserializer::parse(bounded(text)?).map_err(no_toml)?;
    serde_path_to_error::deserialize(content)
        .map_err(|error| InvalidExperiment::new(place(error.path()), error.inner().message()))
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, InvalidExperiment> {
    let mut content = serde_json::Deserializer::from_str(bounded(text)?);
    let read = serde_path_to_error::deserialize(&mut content)
        .map_err(|error| InvalidExperiment::new(place(error.path()), error.inner().to_string()))?;
    content.end().map_err(|error| InvalidExperiment::new("text", error.to_string()))?;
    Ok(read)
}

/// Where it is: `experiments[1].steps[0].share`.
fn place(path: &serde_path_to_error::Path) -> String {
    if path.iter().next().is_some() { path.to_string() } else { "text".into() }
}

fn bounded(text: &str) -> Result<&str, InvalidExperiment> {
    let why = || InvalidExperiment::new("text", format!("it is longer than {LONGEST} bytes"));
    (text.len() <= LONGEST).then_some(text).ok_or_else(why)
}

impl<'de> Deserialize<'de> for Experiment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Written::deserialize(deserializer).map(Written::experiment)
    }
}

impl<'de> Deserialize<'de> for GameDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            name: String,
            experiments: Vec<Experiment>,
            #[serde(default)]
            at_once: bool,
            #[serde(default)]
            going_on: bool,
        }
        let Written { name, experiments, at_once, going_on } = Written::deserialize(deserializer)?;
        let mut day = experiments.into_iter().fold(Self::new(&name), Self::experiment);
        if at_once {
            day = day.at_once();
        }
        Ok(if going_on { day.going_on() } else { day })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default)]
    faults: Vec<Injects>,
    action: Option<Acts>,
    #[serde(default)]
    hypothesis: Expects,
    #[serde(default)]
    steps: Vec<Ramps>,
    #[serde(default)]
    guards: Vec<Watches>,
    baseline: Option<Length>,
    recovery: Option<Length>,
    approved_by: Option<String>,
    allow_production: Option<String>,
}

/// A fault; its share, its name and its end are the experiment's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Injects {
    stack: String,
    #[serde(default)]
    hook: Place,
    effect: Effect,
    target: Option<Target>,
    sticky: Option<Unit>,
    at_most: Option<usize>,
    #[serde(default)]
    on_delicate_calls: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acts {
    name: String,
    watching: String,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Expects {
    success: Option<Percent>,
    answered: Option<Percent>,
    latency: Vec<Takes>,
    burn: Vec<Burns>,
    probes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Takes {
    share: Percent,
    within: Length,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Burns {
    objective: String,
    over: Over,
    at_most: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ramps {
    share: Percent,
    hold: Option<Length>,
    min_calls: Option<u64>,
    at_most: Option<Length>,
}

/// A guard, with the fields that it has as a value.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Watches {
    Burn { objective: String, over: Over, above: f64 },
    Budget { objective: String, below: Percent },
    Errors { above: Percent },
    Slower { quantile: Option<Percent>, above: f64 },
    BreakerOpened { stack: String },
    Probe { name: String },
}

/// A window, as it is called everywhere: `5m`, `1h`.
struct Over(Window);

impl<'de> Deserialize<'de> for Over {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let known = Window::ALL.into_iter().find(|window| window.as_str() == text);
        known.map(Self).ok_or_else(|| {
            D::Error::custom(format!("a window is one of {}", Window::ALL.map(Window::as_str).join(", ")))
        })
    }
}

impl Written {
    fn experiment(self) -> Experiment {
        let mut experiment = Experiment::new(&self.name).hypothesis(self.hypothesis.meant());
        for Injects { stack, hook, effect, target, sticky, at_most, on_delicate_calls } in self.faults {
            let fault = effect.fault(target.as_ref(), sticky.as_ref(), at_most, on_delicate_calls);
            experiment = match hook {
                Place::Service => experiment.fault(&stack, fault),
                Place::Ingress => experiment.ingress_fault(&stack, fault),
            };
        }
        if let Some(Acts { name, watching }) = self.action {
            experiment = experiment.action(&name, &watching);
        }
        experiment = self.steps.into_iter().map(Ramps::meant).fold(experiment, Experiment::step);
        experiment = self.guards.into_iter().map(Watches::meant).fold(experiment, Experiment::guard);
        if let Some(Length(length)) = self.baseline {
            experiment = experiment.baseline(length);
        }
        if let Some(Length(length)) = self.recovery {
            experiment = experiment.recovery(length);
        }
        if let Some(whom) = self.approved_by {
            experiment = experiment.approved_by(&whom);
        }
        if let Some(reason) = self.allow_production {
            experiment = experiment.allow_production(&reason);
        }
        experiment
    }
}

impl Expects {
    fn meant(self) -> Hypothesis {
        Hypothesis {
            success: self.success.map(|Percent(share)| share),
            answered: self.answered.map(|Percent(share)| share),
            latency: self.latency.into_iter().map(|takes| (takes.share.0, takes.within.0)).collect(),
            burn: self.burn.into_iter().map(|burns| (burns.objective, burns.over.0, burns.at_most)).collect(),
            probes: self.probes,
        }
    }
}

impl Ramps {
    fn meant(self) -> Step {
        let mut step = Step::new(self.share.0);
        if let Some(Length(length)) = self.hold {
            step = step.hold(length);
        }
        if let Some(calls) = self.min_calls {
            step = step.min_calls(calls);
        }
        if let Some(Length(length)) = self.at_most {
            step = step.at_most(length);
        }
        step
    }
}

impl Watches {
    fn meant(self) -> Guard {
        match self {
            Self::Burn { objective, over: Over(over), above } => Guard::Burn { objective, over, above },
            Self::Budget { objective, below: Percent(below) } => Guard::Budget { objective, below },
            Self::Errors { above: Percent(above) } => Guard::Errors { above },
            Self::Slower { quantile: None, above } => Guard::slower(above),
            Self::Slower { quantile: Some(Percent(quantile)), above } => Guard::Slower { quantile, above },
            Self::BreakerOpened { stack } => Guard::BreakerOpened { stack },
            Self::Probe { name } => Guard::Probe { name },
        }
    }
}
