use http::{HeaderName, Method, Request};

use super::Repeat;

/// The field of `draft-ietf-httpapi-idempotency-key-header`.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

// A body that is not `Clone` is to be told of in the words of `Repeat`.
#[diagnostic::do_not_recommend]
impl<B: Clone> Repeat for Request<B> {
    fn again(&self) -> Option<Self> {
        may_be_sent_twice(self).then(|| self.clone())
    }

    fn if_unprocessed(&self) -> Option<Self> {
        Some(self.clone())
    }
}

/// Whether the request carries a key. An empty one is none.
pub(crate) fn has_key<B>(request: &Request<B>) -> bool {
    request.headers().get(IDEMPOTENCY_KEY).is_some_and(|key| !key.is_empty())
}

/// Whether the method, or a key, says that sending the request twice does no harm.
pub(crate) fn may_be_sent_twice<B>(request: &Request<B>) -> bool {
    // Not `Method::is_idempotent`: it may grow with the `http` crate, and a method that nobody here has thought about
    // must not be repeated.
    let idempotent = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    );
    idempotent || has_key(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str) -> Request<&'static str> {
        Request::builder().method(method).body("body").expect("the method is valid")
    }

    #[test]
    fn safe_and_idempotent_methods_may_be_sent_twice() {
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
            assert!(request(method).again().is_some(), "{method}");
        }
        for method in ["POST", "PATCH", "CONNECT", "LOCK"] {
            assert!(request(method).again().is_none(), "{method}");
            assert!(request(method).if_unprocessed().is_some(), "{method}");
        }
    }

    #[test]
    fn key_makes_any_method_repeatable_and_an_empty_key_does_not() {
        for (key, repeatable) in [("8e03978e", true), ("", false)] {
            let mut post = request("POST");
            post.headers_mut().insert(IDEMPOTENCY_KEY, http::HeaderValue::from_static(key));
            assert_eq!(post.again().is_some(), repeatable, "{key:?}");
        }
    }

    #[test]
    fn copy_carries_everything_also_the_extensions() {
        let mut get = request("GET");
        get.headers_mut().insert("accept", http::HeaderValue::from_static("text/plain"));
        get.extensions_mut().insert(7_u32);
        let copy = get.again().expect("GET is safe");
        assert_eq!(copy.headers(), get.headers());
        assert_eq!((copy.extensions().get::<u32>(), *copy.body()), (Some(&7), "body"));
    }
}
