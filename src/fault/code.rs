use http::HeaderValue;
use tonic::Code;

use super::Fault;

/// Faults of the answers of gRPC. All calls over gRPC are POSTs: those without an idempotency key are hit only
/// [on request](Fault::on_delicate_calls).
impl Fault {
    /// The service does its work, and its answer is this status and nothing else: "trailers-only", as of a server that fails
    /// before its first message.
    ///
    /// # Panics
    ///
    /// When `code` is `Ok`: an answer that is well has a message.
    #[track_caller]
    pub fn code(code: Code) -> Self {
        assert!(code != Code::Ok, "an injected status is not OK");
        Self::with_code(value(code))
    }

    /// The service does its work, its messages pass, and the answer ends with this status, as of a stream that breaks off.
    ///
    /// # Panics
    ///
    /// When `code` is `Ok`.
    #[track_caller]
    pub fn code_at_end(code: Code) -> Self {
        assert!(code != Code::Ok, "an injected status is not OK");
        Self::with_code_at_end(value(code))
    }
}

fn value(code: Code) -> HeaderValue {
    i32::from(code).into()
}
