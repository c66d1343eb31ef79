use std::{error::Error, io};

use crate::error::{BoxError, CallError, sources};

/// Whether an error says that the service has not even begun with the call, so that not even a payment can have happened.
///
/// | in the chain of sources | why |
/// |---|---|
/// | an [`io::Error`] of kind [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) | nobody listened |
/// | an error of hyper-util's client that `is_connect` (feature `hyper`) | there was no connection to send it on: no address, nobody there, no TLS |
/// | an HTTP/2 stream that the other side reset with `REFUSED_STREAM` (feature `hyper`) | it says so (RFC 9113, section 8.7) |
/// | an HTTP/2 stream that ended by the `GOAWAY` of the other side (feature `hyper`) | that happens only to streams above the last one that it processes (section 6.8) |
/// | a `tonic::ConnectError` (feature `grpc`) | there was no connection |
///
/// What lies behind a [`CallError`] does not count: it is about a call that the service made in its turn, or about the
/// body of the request, and says nothing about what was done before.
///
/// By default the [retry layer](crate::retry::RetryLayer::never_processed) asks this.
pub fn never_processed(error: &BoxError) -> bool {
    sources(&**error).take_while(|source| !source.is::<CallError>()).any(says_so)
}

fn says_so(error: &(dyn Error + 'static)) -> bool {
    let refused = error.downcast_ref().is_some_and(|error: &io::Error| {
        // Of a connection that was made, this is never the end.
        error.kind() == io::ErrorKind::ConnectionRefused
    });
    #[cfg(feature = "grpc")]
    let refused = refused || error.is::<tonic::ConnectError>();
    #[cfg(feature = "hyper")]
    let refused = refused
        || error.downcast_ref().is_some_and(hyper_util::client::legacy::Error::is_connect)
        || error.downcast_ref().is_some_and(refused_stream);
    refused
}

/// A stream does not end by a `GOAWAY` that lets it finish: its error is then another one.
#[cfg(feature = "hyper")]
fn refused_stream(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("sending failed")]
    struct Sending(#[source] BoxError);

    #[test]
    fn a_refused_connection_was_never_processed_wherever_it_stands() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(never_processed(&refused().into()));
        assert!(never_processed(&Sending(refused().into()).into()));
        assert!(never_processed(&io::Error::other(refused()).into()));
        for kind in [io::ErrorKind::ConnectionReset, io::ErrorKind::TimedOut, io::ErrorKind::BrokenPipe] {
            assert!(!never_processed(&Sending(io::Error::from(kind).into()).into()), "{kind}");
        }
        assert!(!never_processed(&"connection refused".into()));
    }

    #[test]
    fn a_call_that_the_service_made_in_its_turn_says_nothing_about_the_service() {
        let nested = CallError::new(io::Error::from(io::ErrorKind::ConnectionRefused).into());
        assert!(!never_processed(&Sending(nested.into()).into()));
    }

    #[cfg(feature = "hyper")]
    #[test]
    fn an_error_that_nobody_sent_refuses_no_stream() {
        assert!(!never_processed(&h2::Error::from(h2::Reason::REFUSED_STREAM).into()));
    }
}
