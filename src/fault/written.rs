//! Faults as they are written in a file.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{Delay, Fault, Target, Unit};
use crate::{class::Class, priority::Priority, ratio::Ratio};

/// A fault and the hooks that it is for, in words; see `docs/faults.md`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    /// The stacks; all where it is not said.
    pub(crate) pipeline: Option<String>,
    /// Which hook of theirs.
    #[serde(default)]
    pub(crate) hook: Place,
    effect: Effect,
    until: Until,
    /// In percent.
    #[serde(default = "Percent::all")]
    share: Percent,
    target: Option<Target>,
    sticky: Option<Unit>,
    experiment: Option<String>,
    at_most: Option<usize>,
    #[serde(default)]
    on_delicate_calls: bool,
}

/// A hook of a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    /// In front of the service or the handler.
    #[default]
    Service,
    /// Where calls come in.
    Ingress,
}

impl Written {
    /// The fault, unless its time is over at `wall`.
    pub(crate) fn fault(&self, wall: SystemTime) -> Option<Fault> {
        let lasts = self.until.0.duration_since(wall).ok().filter(|lasts| !lasts.is_zero())?;
        let (target, sticky) = (self.target.as_ref(), self.sticky.as_ref());
        let fault = self.effect.fault(target, sticky, self.at_most, self.on_delicate_calls);
        let mut fault = fault.on(self.share()).lasting(lasts);
        if let Some(experiment) = &self.experiment {
            fault = fault.experiment(experiment);
        }
        Some(fault)
    }

    /// The share of the calls that is hit.
    pub(crate) fn share(&self) -> Ratio {
        self.share.0
    }

    /// Whether the two differ in their share at most.
    pub(crate) fn is_but_for_its_share(&self, other: &Self) -> bool {
        Self { share: other.share, ..self.clone() } == *other
    }
}

/// A moment as RFC 3339 writes it, in UTC.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Until(SystemTime);

impl<'de> Deserialize<'de> for Until {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text).map(Self).map_err(D::Error::custom)
    }
}

/// A share, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Percent(pub(crate) Ratio);

impl Percent {
    fn all() -> Self {
        Self(Ratio::ONE)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let percent = f64::deserialize(deserializer)?;
        Ratio::new(percent / 100.0)
            .map(Self)
            .map_err(|_| D::Error::custom("a share is from 0 to 100 percent"))
    }
}

/// A length of time as people write it: `300ms`, `2s`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Length(pub(crate) Duration);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Self).map_err(D::Error::custom)
    }
}

/// What is done to a call, and the words for it.
#[derive(Clone, Debug)]
pub(crate) struct Effect(Fault, Words);

impl Effect {
    /// The fault that does this to these.
    pub(crate) fn fault(
        &self,
        target: Option<&Target>,
        sticky: Option<&Unit>,
        at_most: Option<usize>,
        on_delicate_calls: bool,
    ) -> Fault {
        let mut fault = self.0.clone();
        if let Some(target) = target {
            fault = fault.target(target.clone());
        }
        if let Some(unit) = sticky {
            fault = fault.sticky(unit.clone());
        }
        if let Some(calls) = at_most {
            fault = fault.at_most(calls);
        }
        if on_delicate_calls { fault.on_delicate_calls() } else { fault }
    }
}

impl PartialEq for Effect {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Words {
    Latency(Delay),
    Error(Stands),
    Refused,
    Hang,
    LostAnswer,
    Status(u16),
    Body(String),
    SlowBody(Delay),
    BodyRate {
        bytes: u64,
        per: String,
    },
    BrokenBody(u64),
    ShortBody(u64),
    /// A status of gRPC, by its number.
    Code(u8),
    CodeAtEnd(u8),
    Duplicate,
    DuplicateAtOnce,
}

/// For what an injected error stands.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stands {
    CallerFault,
    Transient,
    Throttled,
    Fault,
    Neutral,
}

impl<'de> Deserialize<'de> for Effect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Words::deserialize(deserializer)?;
        words.fault().map(|fault| Self(fault, words)).map_err(D::Error::custom)
    }
}

impl Words {
    fn fault(&self) -> Result<Fault, &'static str> {
        Ok(match self {
            Self::Latency(delay) => Fault::latency(*delay),
            Self::Error(stands) => Fault::error(match stands {
                Stands::CallerFault => Class::CallerFault,
                Stands::Transient => Class::TRANSIENT,
                Stands::Throttled => Class::THROTTLED,
                Stands::Fault => Class::Fault,
                Stands::Neutral => Class::Neutral,
            }),
            Self::Refused => Fault::refused(),
            Self::Hang => Fault::hang(),
            Self::LostAnswer => Fault::lost_answer(),
            Self::Status(status) => {
                let status = StatusCode::from_u16(*status).ok().filter(|status| !status.is_informational());
                Fault::status(status.ok_or("a status is from 200 to 999")?)
            }
            Self::Body(content) => Fault::body(Bytes::from(content.clone())),
            Self::SlowBody(delay) => Fault::slow_body(*delay),
            Self::BodyRate { bytes: 0, .. } => return Err("a line carries at least one byte"),
            Self::BodyRate { bytes, per } => {
                let per = humantime::parse_duration(per)
                    .map_err(|_| "a rate is so many bytes per a length of time")?;
                Fault::body_rate(*bytes, per)
            }
            Self::BrokenBody(after) => Fault::broken_body(*after),
            Self::ShortBody(after) => Fault::short_body(*after),
            Self::Code(code) => Fault::with_code(code_of(*code)?),
            Self::CodeAtEnd(code) => Fault::with_code_at_end(code_of(*code)?),
            Self::Duplicate => Fault::duplicate(),
            Self::DuplicateAtOnce => Fault::duplicate_at_once(),
        })
    }
}

fn code_of(code: u8) -> Result<http::HeaderValue, &'static str> {
    if (1..=16).contains(&code) {
        Ok(u16::from(code).into())
    } else {
        Err("a status of gRPC is from 1 to 16")
    }
}

impl<'de> Deserialize<'de> for Delay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Law {
            Fixed(Length),
            Uniform(Uniform),
            LogNormal(LogNormal),
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Uniform {
            low: Length,
            high: Length,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct LogNormal {
            median: Length,
            p99: Length,
        }
        match Law::deserialize(deserializer)? {
            Law::Fixed(Length(delay)) => Ok(Self::fixed(delay)),
            Law::Uniform(Uniform { low: Length(low), high: Length(high) }) if low <= high => {
                Ok(Self::uniform(low, high))
            }
            Law::LogNormal(LogNormal { median: Length(median), p99: Length(p99) })
                if !median.is_zero() && median <= p99 =>
            {
                Ok(Self::log_normal(median, p99))
            }
            _ => Err(D::Error::custom("a delay is above zero, and its low end not above its high end")),
        }
    }
}

impl<'de> Deserialize<'de> for Priority {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::parse(text.as_bytes()).ok_or_else(|| D::Error::custom("no such priority"))
    }
}
