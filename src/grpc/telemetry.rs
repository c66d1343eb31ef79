//! What became of a gRPC call: its status, wherever that stands, and nothing but its status.

use http::{HeaderMap, Response};
use tonic::{Code, Status};

use super::status::{client_code, server_code};
use crate::{
    class::Class,
    classify::{ByCode, Classify, class_of, code_of_end, code_of_head},
    error::{BoxError, Rejected, sources},
    event::{Outcome, Protocol},
    http::{Judge, Part, Said, Verdict},
    policy::outcome_of,
};

/// Judges by the status of gRPC.
#[derive(Debug)]
pub(crate) struct Grpc;

impl Judge for Grpc {
    fn protocol(&self) -> Protocol {
        Protocol::Grpc
    }

    fn on_head(&self, part: Part, class: Class, outcome: Outcome, said: Said<'_>) -> Verdict {
        let code = match outcome {
            // Nobody judges what a fallback gives.
            Outcome::Degraded => Some(Code::Ok),
            _ => code_of_head(said.status, said.headers),
        };
        match code {
            Some(code) => answered(part, class, outcome, code, said.headers),
            // The end will tell.
            None => Verdict { class, outcome, error: None, status: None, version: None, recognised: false },
        }
    }

    fn on_error(&self, part: Part, outcome: Outcome, error: &BoxError) -> Verdict {
        let code = match part {
            Part::Server => server_code(Some(error)),
            Part::Call | Part::Client => client_code(error),
        };
        let status = || sources(&**error).any(<dyn std::error::Error>::is::<Status>);
        let named = Rejected::find(&**error).is_none() && status();
        let kind = if named { Some(name(code)) } else { part.side().error_type(outcome, Some(error)) };
        Verdict {
            class: Class::Neutral,
            outcome,
            error: kind.filter(|_| is_error(part, code)),
            status: Some(number(code)),
            version: None,
            recognised: false,
        }
    }

    fn on_drop(&self, part: Part, outcome: Outcome) -> Verdict {
        let code = if outcome == Outcome::Cancelled { Code::Cancelled } else { server_code(None) };
        let error = part.side().error_type(outcome, None);
        let status = Some(number(code));
        Verdict { class: Class::Neutral, outcome, error, status, version: None, recognised: false }
    }

    fn on_end(&self, part: Part, head: &Verdict, trailers: Option<&HeaderMap>) -> Option<Verdict> {
        if head.status.is_some() {
            return None;
        }
        let code = code_of_end(trailers);
        let class = class_of(code);
        Some(answered(part, class, class.into(), code, trailers.unwrap_or(&HeaderMap::new())))
    }

    fn on_break(&self, part: Part, head: Verdict, error: &BoxError) -> Verdict {
        if head.status.is_some() && head.outcome != Outcome::Degraded {
            return head;
        }
        let class = Classify::<Response<()>>::classify(&ByCode, Err(error));
        let outcome = if part == Part::Server { Outcome::Fault } else { outcome_of(error, class) };
        Verdict { class, ..self.on_error(part, outcome, error) }
    }

    /// Who does not wait for the status has cancelled the call.
    fn on_leave(&self, part: Part, head: Verdict, _whole: bool) -> Verdict {
        if head.status.is_some() { head } else { self.on_drop(part, Outcome::Cancelled) }
    }
}

/// The other side has said how it ended, there or by saying nothing of it.
fn answered(part: Part, class: Class, outcome: Outcome, code: Code, there: &HeaderMap) -> Verdict {
    Verdict {
        class,
        outcome,
        error: is_error(part, code).then(|| name(code)),
        status: Some(number(code)),
        version: None,
        // What knows no gRPC, and so says no status, answers for whatever is asked.
        recognised: there.contains_key(Status::GRPC_STATUS) && shows_method(code),
    }
}

/// What the conventions call an error.
fn is_error(part: Part, code: Code) -> bool {
    match part {
        Part::Server => matches!(
            code,
            Code::Unknown
                | Code::DeadlineExceeded
                | Code::Unimplemented
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss
        ),
        Part::Call | Part::Client => code != Code::Ok,
    }
}

/// Whether a server answers so only for methods that it has. Whatever stands in front of them, and refuses callers before it
/// is known what they ask for, says otherwise.
fn shows_method(code: Code) -> bool {
    !matches!(
        code,
        Code::Unimplemented
            | Code::Unauthenticated
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::Unavailable
    )
}

fn number(code: Code) -> u16 {
    u16::try_from(code as i32).expect("codes are 0 to 16")
}

fn name(code: Code) -> &'static str {
    Protocol::Grpc.status_name(number(code)).expect("codes are 0 to 16")
}
