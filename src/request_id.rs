//! The id that a caller gave its request, for the lines of a log: in the context of the work, beside its span.

use std::sync::Arc;

use opentelemetry::Context;

use crate::redact;

/// The longest id, in bytes.
const MAX_LEN: usize = 128;

/// An id of visible ASCII characters, without what must not be told.
struct RequestId(Arc<str>);

/// The context with the id in it. What is no id is left out.
pub(crate) fn put(id: &str, context: &Context) -> Option<Context> {
    let is_id = (1..=MAX_LEN).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    is_id.then(|| context.with_value(RequestId(redact::text(id).into())))
}

/// The id of the request in hand.
pub(crate) fn current() -> Option<Arc<str>> {
    Context::map_current(|context| context.get::<RequestId>().map(|id| Arc::clone(&id.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(id: &str) -> Option<String> {
        let _inside = put(id, &Context::new())?.attach();
        current().map(|id| id.to_string())
    }

    #[test]
    fn an_id_is_short_visible_and_nobodys_business_in_no_part() {
        assert_eq!(kept("req-7f9c").as_deref(), Some("req-7f9c"));
        assert_eq!(kept("4111111111111111").as_deref(), Some("[card]"));
        assert_eq!(kept(&"x".repeat(MAX_LEN)).map(|id| id.len()), Some(MAX_LEN));
        for id in ["", "a b", "a\nb", "größe", &"x".repeat(MAX_LEN + 1)] {
            assert_eq!(kept(id), None, "{id:?}");
        }
        assert_eq!(current(), None, "outside of any request");
    }
}
