//! Which answers may be kept, and what of them is (RFC 9111).

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version,
    header::{
        AGE, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, SET_COOKIE, TE, TRANSFER_ENCODING, UPGRADE, VARY,
    },
};
use http_body_util::Full;

/// What a field takes beside its name and value: about that.
const FIELD: usize = 128;
/// More than any service sends. A map of fields that is full panics over one more, and a copy gets two of ours.
const MAX_FIELDS: usize = 1_000;

/// A good answer, or the head of one while its body comes.
#[derive(Debug)]
pub(super) struct Kept {
    status: StatusCode,
    version: Version,
    headers: HeaderMap,
    body: Bytes,
    /// The fields by which the dependency chose this answer, as the request had them.
    varies: Vec<(HeaderName, Vec<HeaderValue>)>,
    /// How old it may become.
    max_age: Duration,
}

impl Kept {
    /// What is kept of this answer to a request with these fields; `None` when it may not be kept, or not served later.
    ///
    /// Copied, not shared: a field may be a piece of a large buffer.
    pub(super) fn of<B>(
        head: &Response<B>,
        asked: &HeaderMap,
        max_age: Duration,
        is_private: bool,
    ) -> Option<Self> {
        let control = Control::of(head.headers());
        let shared_only = control.is_private || head.headers().contains_key(SET_COOKIE);
        if control.is_forbidden || (shared_only && !is_private) || head.headers().len() > MAX_FIELDS {
            return None;
        }
        Some(Self {
            status: head.status(),
            version: head.version(),
            headers: end_to_end(head.headers()),
            body: Bytes::new(),
            varies: varies(head.headers(), asked)?,
            max_age: control.stale_if_error.map_or(max_age, |limit| limit.min(max_age)),
        })
    }

    pub(super) fn with_body(self, body: Bytes) -> Self {
        Self { body, ..self }
    }

    /// How many bytes it takes, about.
    pub(super) fn size(&self) -> usize {
        let fields = self.headers.iter().chain(
            self.varies.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value))),
        );
        let fields: usize = fields.map(|(name, value)| FIELD + name.as_str().len() + value.len()).sum();
        fields + self.body.len()
    }

    /// Whether it may answer a request with these fields, being so old.
    pub(super) fn answers(&self, asked: &HeaderMap, age: Duration) -> bool {
        age <= self.max_age && self.varies.iter().all(|(name, values)| asked.get_all(name).iter().eq(values))
    }

    /// It as an answer.
    pub(super) fn response(&self, age: Duration, status: HeaderValue) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body.clone()));
        *response.status_mut() = self.status;
        *response.version_mut() = self.version;
        *response.headers_mut() = self.headers.clone();
        response.headers_mut().insert(AGE, age.as_secs().into());
        response.headers_mut().append(HeaderName::from_static("cache-status"), status);
        response
    }

    #[cfg(test)]
    pub(super) fn of_size(size: usize) -> Self {
        let head = Response::new(());
        let kept = Self::of(&head, &HeaderMap::new(), Duration::MAX, false).expect("nothing forbids it");
        kept.with_body(vec![0; size].into())
    }
}

/// How old the answer was when it came: caches further out say so.
pub(super) fn age(headers: &HeaderMap) -> Duration {
    headers.get(AGE).and_then(|age| seconds(age.to_str().ok()?)).unwrap_or_default()
}

/// How long its body must be.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the request wants nothing to do with caches.
pub(super) fn shuns_caches(headers: &HeaderMap) -> bool {
    Control::of(headers).is_forbidden
}

/// What `Cache-Control` says, as far as it matters here.
#[derive(Debug, Default)]
struct Control {
    is_forbidden: bool,
    /// For one caller alone, or not to be served stale to several.
    is_private: bool,
    /// How old an answer may be that stands in for an error (RFC 5861).
    stale_if_error: Option<Duration>,
}

impl Control {
    fn of(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        let (mut fresh, mut stale) = (Duration::ZERO, None);
        let values = headers.get_all(CACHE_CONTROL).iter();
        for directive in values.flat_map(|value| value.as_bytes().split(|&byte| byte == b',')) {
            let directive = String::from_utf8_lossy(directive).to_ascii_lowercase();
            let (name, value) = directive.split_once('=').unwrap_or((&directive, ""));
            match name.trim() {
                "no-store" | "no-cache" | "must-revalidate" => control.is_forbidden = true,
                "private" | "proxy-revalidate" | "s-maxage" => control.is_private = true,
                "max-age" => fresh = seconds(value).unwrap_or_default(),
                "stale-if-error" => stale = seconds(value).or(stale),
                _ => {}
            }
        }
        control.stale_if_error = stale.map(|stale| fresh + stale);
        control
    }
}

/// Seconds; what is too many for the format is as many as there can be.
fn seconds(value: &str) -> Option<Duration> {
    let digits = value.trim().trim_matches('"');
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Duration::from_secs(digits.parse::<u32>().unwrap_or(u32::MAX).into()))
}

/// The fields of the request by which the answer was chosen; `None` when nobody can tell.
fn varies(headers: &HeaderMap, asked: &HeaderMap) -> Option<Vec<(HeaderName, Vec<HeaderValue>)>> {
    let values = headers.get_all(VARY).iter();
    let names = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
    names
        .filter(|name| !name.is_empty())
        .map(|name| {
            let name = HeaderName::from_bytes(name).ok().filter(|name| name != "*")?;
            let values = asked.get_all(&name).iter().map(copied).collect();
            Some((name, values))
        })
        .collect()
}

/// The fields that are not about one connection (RFC 9110, section 7.6.1).
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let is_named = |name: &HeaderName| {
        let lists = headers.get_all(CONNECTION).iter().filter_map(|list| list.to_str().ok());
        lists.flat_map(|list| list.split(',')).any(|other| name.as_str().eq_ignore_ascii_case(other.trim()))
    };
    let hops = [CONNECTION, TE, TRANSFER_ENCODING, UPGRADE];
    let is_of_one_hop = |name: &HeaderName| {
        hops.contains(name) || matches!(name.as_str(), "keep-alive" | "proxy-connection") || is_named(name)
    };
    let kept = headers.iter().filter(|(name, _)| !is_of_one_hop(name));
    kept.map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).expect("it was a name before");
        (name, copied(value))
    })
    .collect()
}

fn copied(value: &HeaderValue) -> HeaderValue {
    let mut copy = HeaderValue::from_bytes(value.as_bytes()).expect("it was a value before");
    copy.set_sensitive(value.is_sensitive());
    copy
}
