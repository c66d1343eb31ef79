use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{AUTHORIZATION, COOKIE, HOST, RANGE},
};
use http_body::Body;
use http_body_util::Full;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{
    KeptBody, Stale, StaleBody, StaleCache,
    body::Record,
    copy::{self, Kept},
};
use crate::{
    class::Class,
    fallback::{Answers, End, Failed, FallbackKind, Kind},
    head::Head,
    http::{AnswerBody, Degraded},
    observer::Observer,
    policy::{Answer, Course, Poller, Slot, sealed::Sealed},
    sync::lock,
};

/// What is remembered of a request that has to do with the cache.
struct Asked {
    uri: Uri,
    /// The field, which is a part of the target (RFC 9110, section 7.1): the URI may say no more than a path, or which machine
    /// is asked for one of several hosts.
    host: String,
    caller: String,
    started: Instant,
    use_of: Use,
}

enum Use {
    /// Its answer may be kept, or a copy stand in for it.
    Read { head: bool, headers: HeaderMap },
    /// What was kept before it may be wrong after it.
    Write,
}

impl<K> StaleCache<K> {
    fn asked(&self, head: Head<'_>, started: Instant) -> Option<Asked> {
        let has_credentials =
            || head.headers.contains_key(AUTHORIZATION) || head.headers.contains_key(COOKIE);
        let is_read = matches!(*head.method, Method::GET | Method::HEAD);
        let caller = match &self.caller {
            Some(caller) => caller(head)?,
            None if is_read && has_credentials() => return None,
            None => String::new(),
        };
        let use_of = if is_read {
            if head.headers.contains_key(RANGE) || copy::shuns_caches(head.headers) {
                return None;
            }
            Use::Read { head: *head.method == Method::HEAD, headers: head.headers.clone() }
        } else if matches!(*head.method, Method::OPTIONS | Method::TRACE) {
            return None;
        } else {
            Use::Write
        };
        let host = match head.headers.get(HOST) {
            Some(host) => host.to_str().ok()?.to_owned(),
            None => String::new(),
        };
        Some(Asked { uri: head.uri.clone(), host, caller, started, use_of })
    }

    /// The dependency has answered: keeps what may be kept, and forgets what is not so any more.
    fn learn<B: Body>(
        &self,
        asked: Option<Asked>,
        answer: Answer<Response<B>>,
        now: Instant,
    ) -> Answer<Response<StaleBody<B>>> {
        let is_healthy = matches!(answer.class, Class::Success | Class::CallerFault);
        answer.map(|response| {
            let record = asked.filter(|_| is_healthy).and_then(|asked| self.record(&asked, &response, now));
            response.map(|body| AnswerBody::of_dependency(KeptBody::new(body, record)))
        })
    }

    fn record<B>(&self, asked: &Asked, response: &Response<B>, now: Instant) -> Option<Record> {
        let status = response.status();
        let headers = match &asked.use_of {
            Use::Read { headers, .. } => headers,
            Use::Write if status.is_client_error() || status.is_server_error() => return None,
            Use::Write => {
                for head in [false, true] {
                    lock(&self.store).put(&asked.key(head), now, None);
                }
                return None;
            }
        };
        // Neither says anything about the whole.
        if matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED) {
            return None;
        }
        let key = asked.key(matches!(asked.use_of, Use::Read { head: true, .. }));
        let copy = if status.is_success() {
            Kept::of(response, headers, self.max_age, self.caller.is_some())
        } else {
            None
        };
        let Some(head) = copy else {
            lock(&self.store).put(&key, asked.started, None);
            return None;
        };
        let length = copy::content_length(response.headers());
        Some(Record {
            store: Arc::clone(&self.store),
            key,
            // One that is older than the clock can tell is too old.
            born: asked.started.checked_sub(copy::age(response.headers()))?,
            head,
            data: Vec::new(),
            limit: self.max_body,
            length: length.filter(|_| matches!(asked.use_of, Use::Read { head: false, .. })),
        })
    }

    /// The copy that stands in for a failure, if there is one.
    fn stand_in<B>(
        &self,
        asked: &Asked,
        failed: &Failed<Response<B>>,
        now: Instant,
    ) -> Option<Response<Full<Bytes>>> {
        let Use::Read { head, headers } = &asked.use_of else { return None };
        let (born, copy) = lock(&self.store).get(&asked.key(*head))?;
        let age = now.saturating_duration_since(born);
        if !copy.answers(headers, age) {
            return None;
        }
        let mut response = copy.response(age, cache_status(failed));
        response.extensions_mut().insert(Stale { age });
        response.extensions_mut().insert(Degraded);
        Some(response)
    }
}

impl Asked {
    fn key(&self, head: bool) -> String {
        let method = if head { "HEAD" } else { "GET" };
        // With its length, so that no caller can write another's. A URI has no spaces.
        format!("{method} {} {}{} {}", self.caller.len(), self.caller, self.host, self.uri)
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("started", &self.started).finish_non_exhaustive()
    }
}

/// How the cache came to answer, in the words of RFC 9211.
fn cache_status<B>(failed: &Failed<Response<B>>) -> HeaderValue {
    let status = match (failed.class(), failed.response()) {
        // Nobody was asked.
        (Class::Neutral, _) => "moneta-resilience; hit".to_owned(),
        (_, Some(response)) => {
            format!("moneta-resilience; fwd=stale; fwd-status={}", response.status().as_u16())
        }
        (_, None) => "moneta-resilience; fwd=stale".to_owned(),
    };
    HeaderValue::try_from(status).expect("letters, digits and signs make a value")
}

impl<K> Sealed for StaleCache<K> {}
impl<K: Kind> Kind for StaleCache<K> {
    fn within(self, limit: Duration) -> Self {
        Self { fallback: self.fallback.within(limit), ..self }
    }
}

pin_project! {
    /// The pass of a [`StaleCache`].
    #[derive(Debug)]
    pub struct StalePass<P> {
        asked: Option<Asked>,
        #[pin]
        inner: P,
    }
}

impl<K, B> FallbackKind<Request<B>> for StaleCache<K>
where
    K: FallbackKind<Request<B>>,
{
    type Pass<P> = StalePass<K::Pass<P>>;

    fn pass<P>(inner: P) -> Self::Pass<P> {
        StalePass { asked: None, inner: K::pass(inner) }
    }

    fn begin<P>(&self, pass: Pin<&mut Self::Pass<P>>, request: &Request<B>, course: &mut Course) {
        let pass = pass.project();
        *pass.asked = self.asked(Head::of(request), course.call.started());
        self.fallback.begin(pass.inner, request, course);
    }

    fn inner<P>(pass: Pin<&mut Self::Pass<P>>) -> Option<Pin<&mut P>> {
        K::inner(pass.project().inner)
    }
}

impl<K, B, R, J> Answers<Request<B>, Response<R>, J> for StaleCache<K>
where
    K: Answers<Request<B>, Response<StaleBody<R>>, J>,
    R: Body,
{
    type Response = K::Response;

    fn poll<P>(
        &self,
        pass: Pin<&mut Self::Pass<P>>,
        inner: impl FnOnce(Pin<&mut P>, &mut Poller<'_, '_>, &mut Slot<Response<R>>) -> Poll<End<Response<R>>>,
        observer: &Observer,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<K::Response>,
    ) -> Poll<()> {
        let pass = pass.project();
        let asked = pass.asked;
        let with_copies = |pass: Pin<&mut P>, cx: &mut Poller<'_, '_>, out: &mut Slot<_>| {
            let mut slot = Slot::new();
            let end = ready!(inner(pass, cx, &mut slot));
            let (asked, now) = (asked.take(), cx.now());
            let answer = match end {
                End::Stands => self.learn(asked, slot.into_answer(), now),
                End::Failed(failed) => {
                    let copy = asked.and_then(|asked| self.stand_in(&asked, &failed, now));
                    let Some(copy) = copy else { return Poll::Ready(End::Failed(failed.map(unrecorded))) };
                    let (_, verdict) = failed.into_why();
                    verdict.replaced(Ok(copy.map(AnswerBody::of_fallback)), observer)
                }
            };
            out.put(answer).map(|()| End::Stands)
        };
        self.fallback.poll(pass.inner, with_copies, observer, cx, out)
    }
}

fn unrecorded<B: Body>(response: Response<B>) -> Response<StaleBody<B>> {
    response.map(|body| AnswerBody::of_dependency(KeptBody::new(body, None)))
}
