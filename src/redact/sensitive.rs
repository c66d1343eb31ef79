use std::{fmt, marker::PhantomData};

/// A value that must not be printed: it has no `Display`, and its `Debug` shows only of what kind it is.
///
/// ```
/// use moneta_resilience::redact::{Sensitive, kind};
///
/// #[derive(Debug)]
/// struct Payment {
///     card: Sensitive<String, kind::Card>,
///     cents: u64,
/// }
///
/// let payment = Payment { card: Sensitive::new("4111111111111111".to_owned()), cents: 499 };
/// assert_eq!(format!("{payment:?}"), "Payment { card: [card], cents: 499 }");
/// assert!(payment.card.expose().starts_with("4111"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sensitive<T, K = kind::Secret> {
    value: T,
    _kind: PhantomData<fn() -> K>,
}

impl<T, K> Sensitive<T, K> {
    /// Puts a value out of sight.
    pub const fn new(value: T) -> Self {
        Self { value, _kind: PhantomData }
    }

    /// The value, said aloud so that a reader of the code sees where it comes out.
    pub const fn expose(&self) -> &T {
        &self.value
    }

    /// The value itself.
    pub fn into_exposed(self) -> T {
        self.value
    }
}

impl<T, K: Kind> fmt::Debug for Sensitive<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", K::NAME)
    }
}

/// Of what kind a [`Sensitive`] value is.
pub trait Kind {
    /// What is shown in the place of the value.
    const NAME: &'static str;
}

/// Kinds of sensitive values.
pub mod kind {
    use super::Kind;

    macro_rules! kinds {
        ($($(#[$doc:meta])* $kind:ident = $name:literal;)*) => {
            $(
                $(#[$doc])*
                #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
                #[non_exhaustive]
                pub struct $kind;

                impl Kind for $kind {
                    const NAME: &'static str = $name;
                }
            )*
        };
    }

    kinds! {
        /// A password, a key, a token.
        Secret = "secret";
        /// The number of a payment card.
        Card = "card";
        /// The number of an account.
        Account = "account";
        /// What tells who somebody is: a name, an address, a date of birth.
        Personal = "personal";
    }
}
