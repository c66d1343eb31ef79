use std::mem;

use crate::{call::Call, name::Name, priority::Priority};

use super::Subject;

/// Which calls a fault is meant for.
///
/// ```
/// use moneta_resilience::{Priority, fault::Target};
///
/// let target = Target::route("/quotes/{symbol}").and(Target::Priority(Priority::Sheddable).not());
/// # assert_ne!(target, Target::everything());
/// ```
///
/// What is not known of a call is not matched: a route on a server without one, a header of a call that is no request of HTTP.
/// Negated, it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "fault-file",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields, rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Target {
    /// Calls that match all of these; with none of them, every call.
    All(Vec<Self>),
    /// Calls that match one of these; with none of them, no call.
    Any(Vec<Self>),
    /// Calls that do not match this.
    Not(Box<Self>),
    /// Calls of the stacks of this name.
    Pipeline(String),
    /// Calls that the server's router matched to this route.
    Route(String),
    /// Calls with this method of HTTP, in capitals.
    Method(String),
    /// Calls with this path, of gRPC: `/package.Service/Method`.
    Path(String),
    /// Calls with a header of this name, in small letters, that has this value.
    Header {
        /// The name.
        name: String,
        /// The value, all of it.
        value: String,
    },
    /// Calls of this caller: those whose request has an extension [`Caller`](super::Caller).
    Caller(String),
    /// Calls for this tenant: those whose request has an extension [`Tenant`](super::Tenant).
    Tenant(String),
    /// Calls in the process that was [named](super::name_instance) so.
    Instance(String),
    /// This attempt of a call, counted from 1.
    Attempt(u32),
    /// Calls of this priority.
    Priority(Priority),
}

impl Target {
    /// Every call.
    pub const fn everything() -> Self {
        Self::All(Vec::new())
    }

    /// Calls of the stacks of this name.
    pub fn pipeline(name: impl Into<String>) -> Self {
        Self::Pipeline(name.into())
    }

    /// Calls that the server's router matched to this route.
    pub fn route(route: impl Into<String>) -> Self {
        Self::Route(route.into())
    }

    /// Calls with this method.
    pub fn method(method: impl Into<String>) -> Self {
        Self::Method(method.into())
    }

    /// Calls with this path.
    pub fn path(path: impl Into<String>) -> Self {
        Self::Path(path.into())
    }

    /// Calls with this value in this header.
    pub fn header(name: &str, value: impl Into<String>) -> Self {
        Self::Header { name: name.to_ascii_lowercase(), value: value.into() }
    }

    /// Calls that match this and `other`.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match self {
            Self::All(mut all) => {
                all.push(other);
                Self::All(all)
            }
            one => Self::All(vec![one, other]),
        }
    }

    /// Calls that match this or `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match self {
            Self::Any(mut any) => {
                any.push(other);
                Self::Any(any)
            }
            one => Self::Any(vec![one, other]),
        }
    }

    /// Calls that do not match this.
    #[expect(clippy::should_implement_trait, reason = "beside `and` and `or`, which are no operators either")]
    #[must_use]
    pub fn not(self) -> Self {
        Self::Not(Box::new(self))
    }

    /// False where no call matches both, as far as that can be seen: they name different values of one thing, or one is the other
    /// negated.
    pub(super) fn may_meet(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All(all), other) | (other, Self::All(all)) => {
                all.iter().all(|target| target.may_meet(other))
            }
            (Self::Any(any), other) | (other, Self::Any(any)) => {
                any.iter().any(|target| target.may_meet(other))
            }
            (Self::Not(target), other) | (other, Self::Not(target)) => **target != *other,
            (Self::Header { name, value }, Self::Header { name: other, value: another }) => {
                name != other || value == another
            }
            (one, other) => mem::discriminant(one) != mem::discriminant(other) || one == other,
        }
    }

    pub(super) fn matches(&self, seen: &Seen<'_>) -> bool {
        let Seen { pipeline, instance, call, subject } = *seen;
        match self {
            Self::All(all) => all.iter().all(|target| target.matches(seen)),
            Self::Any(any) => any.iter().any(|target| target.matches(seen)),
            Self::Not(target) => !target.matches(seen),
            Self::Pipeline(name) => pipeline.as_str() == name,
            Self::Route(route) => subject.route() == Some(route),
            Self::Method(method) => subject.method() == Some(method),
            Self::Path(path) => subject.path() == Some(path),
            Self::Header { name, value } => subject.header(name) == Some(value.as_bytes()),
            Self::Caller(caller) => subject.caller() == Some(caller),
            Self::Tenant(tenant) => subject.tenant() == Some(tenant),
            Self::Instance(name) => instance == name,
            Self::Attempt(attempt) => call.attempt == *attempt,
            Self::Priority(priority) => call.priority.unwrap_or_default() == *priority,
        }
    }
}

/// A call, as a target looks at it.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) pipeline: &'a Name,
    pub(super) instance: &'a str,
    pub(super) call: &'a Call,
    pub(super) subject: &'a dyn Subject,
}
