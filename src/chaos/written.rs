//! Experiments and game days as they are written in a file.

use std::borrow::Cow;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, Error as _},
};

use super::{Experiment, GameDay, InvalidExperiment};
use crate::slo::Window;

/// The longest text that is read or written, in bytes.
const LONGEST: usize = 64 * 1024;

impl Experiment {
    /// Reads one as it is written in TOML; `docs/chaos.md` has the words.
    ///
    /// Probes, actions, budgets and stacks are named in it. Whether there are such ones the [lab](super::Lab::run) says.
    ///
    /// # Errors
    ///
    /// [`InvalidExperiment`] when it is not TOML, is longer than 64 KiB, or has a word or a value that means nothing.
    pub fn from_toml(text: &str) -> Result<Self, InvalidExperiment> {
        from_toml(text)
    }

    /// Reads one from JSON, with the same words.
    ///
    /// # Errors
    ///
    /// As of [`from_toml`](Self::from_toml).
    pub fn from_json(text: &str) -> Result<Self, InvalidExperiment> {
        from_json(text)
    }

    /// Writes it as TOML; read again it is the same. A share keeps 15 digits.
    ///
    /// # Errors
    ///
    /// [`InvalidExperiment`] when it cannot be written: a [hook](crate::fault::Fault::hook) is code, a body that is no text has no words,
    /// a limit may be no number, and a whole number over 2⁶³ − 1 none of TOML; or when it is longer than 64 KiB.
    pub fn to_toml(&self) -> Result<String, InvalidExperiment> {
        to_toml(self)
    }

    /// The same as JSON.
    ///
    /// # Errors
    ///
    /// As of [`to_toml`](Self::to_toml).
    pub fn to_json(&self) -> Result<String, InvalidExperiment> {
        to_json(self)
    }
}

impl GameDay {
    /// Reads one as it is written in TOML; `docs/chaos.md` has the words.
    ///
    /// # Errors
    ///
    /// As of [`Experiment::from_toml`], with the experiment's place in the list.
    pub fn from_toml(text: &str) -> Result<Self, InvalidExperiment> {
        from_toml(text)
    }

    /// Reads one from JSON, with the same words.
    ///
    /// # Errors
    ///
    /// As of [`from_toml`](Self::from_toml).
    pub fn from_json(text: &str) -> Result<Self, InvalidExperiment> {
        from_json(text)
    }

    /// Writes it as TOML; read again it is the same.
    ///
    /// # Errors
    ///
    /// As of [`Experiment::to_toml`].
    pub fn to_toml(&self) -> Result<String, InvalidExperiment> {
        to_toml(self)
    }

    /// The same as JSON.
    ///
    /// # Errors
    ///
    /// As of [`Experiment::to_toml`].
    pub fn to_json(&self) -> Result<String, InvalidExperiment> {
        to_json(self)
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

fn to_toml(value: &impl Serialize) -> Result<String, InvalidExperiment> {
    // What has no words is refused here, with its place, which TOML does not tell.
    to_json(value)?;
    let text = toml::to_string_pretty(value);
    bounded(text.map_err(|error| InvalidExperiment::new("text", error.to_string()))?)
}

fn to_json(value: &impl Serialize) -> Result<String, InvalidExperiment> {
    let mut text = Vec::new();
    serde_path_to_error::serialize(value, &mut serde_json::Serializer::new(&mut text))
        .map_err(|error| InvalidExperiment::new(place(error.path()), error.inner().to_string()))?;
    let text = String::from_utf8(text).expect("JSON is written as UTF-8");
    bounded(text)
}

/// Where it is: `experiments[1].steps[0].share`.
fn place(path: &serde_path_to_error::Path) -> String {
    if path.iter().next().is_some() { path.to_string() } else { "text".into() }
}

fn bounded<T: AsRef<str>>(text: T) -> Result<T, InvalidExperiment> {
    let why = || InvalidExperiment::new("text", format!("it is longer than {LONGEST} bytes"));
    if text.as_ref().len() <= LONGEST { Ok(text) } else { Err(why()) }
}

/// A limit: any number but those that are none.
pub(super) mod number {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

    const WHY: &str = "a limit is a number";

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(crate) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if number.is_finite() { number.serialize(serializer) } else { Err(S::Error::custom(WHY)) }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        let number = f64::deserialize(deserializer)?;
        if number.is_finite() { Ok(number) } else { Err(D::Error::custom(WHY)) }
    }
}

/// As it is called everywhere: `5m`, `1h`.
impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let known = Self::ALL.into_iter().find(|window| window.as_str() == text);
        known.ok_or_else(|| {
            D::Error::custom(format!("a window is one of {}", Self::ALL.map(Self::as_str).join(", ")))
        })
    }
}
