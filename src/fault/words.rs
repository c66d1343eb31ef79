//! The words of faults.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    Delay, Fault,
    alter::{Alteration, Change},
    body::{Course, Pace},
    delay::Law,
    fault::Effect,
};
use crate::{class::Class, priority::Priority, ratio::Ratio};

/// What is done to a call.
#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum Words {
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
        #[serde(with = "length")]
        per: Duration,
    },
    BrokenBody(u64),
    ShortBody(u64),
    /// A status of gRPC, by its number.
    Code(u8),
    CodeAtEnd(u8),
    Duplicate,
    DuplicateAtOnce,
}

/// For what an injected error stands, and after how long it asks to be called again, where it does.
#[derive(PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Stands {
    For(Plain),
    After(Asking),
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Plain {
    CallerFault,
    Transient,
    Throttled,
    Fault,
    Neutral,
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Asking {
    Transient(Length),
    Throttled(Length),
}

impl From<&Stands> for Class {
    fn from(stands: &Stands) -> Self {
        match stands {
            Stands::For(Plain::CallerFault) => Self::CallerFault,
            Stands::For(Plain::Transient) => Self::TRANSIENT,
            Stands::For(Plain::Throttled) => Self::THROTTLED,
            Stands::For(Plain::Fault) => Self::Fault,
            Stands::For(Plain::Neutral) => Self::Neutral,
            Stands::After(Asking::Transient(Length(after))) => Self::Transient { retry_after: Some(*after) },
            Stands::After(Asking::Throttled(Length(after))) => Self::Throttled { retry_after: Some(*after) },
        }
    }
}

impl Stands {
    fn of(class: Class) -> Result<Self, &'static str> {
        Ok(Self::For(match class {
            Class::Success => return Err("no error stands for success"),
            Class::Transient { retry_after: Some(after) } => {
                return Ok(Self::After(Asking::Transient(Length(after))));
            }
            Class::Throttled { retry_after: Some(after) } => {
                return Ok(Self::After(Asking::Throttled(Length(after))));
            }
            Class::CallerFault => Plain::CallerFault,
            Class::Transient { retry_after: None } => Plain::Transient,
            Class::Throttled { retry_after: None } => Plain::Throttled,
            Class::Fault => Plain::Fault,
            Class::Neutral => Plain::Neutral,
        }))
    }
}

impl Words {
    pub(super) fn of(done: &Effect) -> Result<Self, &'static str> {
        Ok(match done {
            Effect::Latency(delay) => Self::Latency(*delay),
            Effect::Error(class) => Self::Error(Stands::of(*class)?),
            Effect::Refused => Self::Refused,
            Effect::Hang => Self::Hang,
            Effect::Lost => Self::LostAnswer,
            Effect::Duplicate { at_once: false } => Self::Duplicate,
            Effect::Duplicate { at_once: true } => Self::DuplicateAtOnce,
            Effect::Hook(_) => return Err("a hook is code, and cannot be written"),
            Effect::Alter(Alteration(change)) => match change {
                Change::Status(status) => Self::Status(status.as_u16()),
                Change::Code(code) => Self::Code(number_of(code)?),
                Change::Content(content) => {
                    let text = std::str::from_utf8(content);
                    Self::Body(text.map_err(|_| "content that is no text cannot be written")?.into())
                }
                Change::Course(Course::Slow(Pace::Frames(delay))) => Self::SlowBody(*delay),
                Change::Course(Course::Slow(Pace::Bytes { bytes, per })) => {
                    Self::BodyRate { bytes: *bytes, per: *per }
                }
                Change::Course(Course::Cut { after, silent: false }) => Self::BrokenBody(*after),
                Change::Course(Course::Cut { after, silent: true }) => Self::ShortBody(*after),
                Change::Course(Course::Ends(code)) => Self::CodeAtEnd(number_of(code)?),
            },
        })
    }

    pub(super) fn fault(&self) -> Result<Fault, &'static str> {
        Ok(match self {
            Self::Latency(delay) => Fault::latency(*delay),
            Self::Error(stands) => Fault::error(stands.into()),
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
            Self::BodyRate { bytes, per } => Fault::body_rate(*bytes, *per),
            Self::BrokenBody(after) => Fault::broken_body(*after),
            Self::ShortBody(after) => Fault::short_body(*after),
            Self::Code(code) => Fault::with_code(code_of(*code)?),
            Self::CodeAtEnd(code) => Fault::with_code_at_end(code_of(*code)?),
            Self::Duplicate => Fault::duplicate(),
            Self::DuplicateAtOnce => Fault::duplicate_at_once(),
        })
    }
}

fn code_of(code: u8) -> Result<HeaderValue, &'static str> {
    if (1..=16).contains(&code) {
        Ok(u16::from(code).into())
    } else {
        Err("a status of gRPC is from 1 to 16")
    }
}

fn number_of(code: &HeaderValue) -> Result<u8, &'static str> {
    code.to_str().ok().and_then(|code| code.parse().ok()).ok_or("a status of gRPC is a number")
}

/// A delay in words.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Waits {
    Fixed(Length),
    Uniform(Between),
    LogNormal(About),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Between {
    low: Length,
    high: Length,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    median: Length,
    p99: Length,
}

impl Serialize for Delay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let waits = match self.0 {
            Law::Fixed(delay) => Waits::Fixed(Length(delay)),
            Law::Uniform { low, high } => Waits::Uniform(Between { low: Length(low), high: Length(high) }),
            Law::LogNormal { median, p99 } => {
                Waits::LogNormal(About { median: Length(median), p99: Length(p99) })
            }
        };
        waits.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Delay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Waits::deserialize(deserializer)? {
            Waits::Fixed(Length(delay)) => Ok(Self::fixed(delay)),
            Waits::Uniform(Between { low: Length(low), high: Length(high) }) if low <= high => {
                Ok(Self::uniform(low, high))
            }
            Waits::LogNormal(About { median: Length(median), p99: Length(p99) })
                if !median.is_zero() && median <= p99 =>
            {
                Ok(Self::log_normal(median, p99))
            }
            _ => Err(D::Error::custom("a delay is above zero, and its low end not above its high end")),
        }
    }
}

impl Serialize for Priority {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Priority {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::parse(text.as_bytes()).ok_or_else(|| D::Error::custom("no such priority"))
    }
}

/// In percent.
impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.in_percent())
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_percent(f64::deserialize(deserializer)?)
            .map_err(|_| D::Error::custom("a share is from 0 to 100 percent"))
    }
}

/// Lengths of time as people write them, `300ms`, `2m`; also such as may be missing.
pub(crate) mod length {
    use std::{borrow::Cow, time::Duration};

    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(
        length: &(impl Copy + Into<Option<Duration>>),
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match (*length).into() {
            Some(length) => serializer.collect_str(&humantime::format_duration(length)),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: From<Duration>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(T::from).map_err(D::Error::custom)
    }
}

/// A length of time in words.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Length(#[serde(with = "length")] Duration);
