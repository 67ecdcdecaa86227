//! The TLS handshake of a client's connection, in the connection's own task and under the time limit of a request head. What
//! follows is the session's.

use std::task::Poll;

use crate::proxy::context::Downstream;
use crate::telemetry::Handshake;
use crate::transport::{HandshakeError, Stream};

/// The connection as requests are read from it; `None` if the handshake failed.
pub(super) async fn secured(stream: Stream, downstream: &Downstream) -> Option<Stream> {
    let (Some(tls), Stream::Tcp(socket)) = (&downstream.worker.tls, stream) else { return None };
    let state = &downstream.state;
    state.note_head(true);
    let accepted = tls.accept(socket, |context| {
        state.remember(context);
        if state.take_expired().is_some() { Poll::Ready(HandshakeError::TimedOut) } else { Poll::Pending }
    });
    let accepted = accepted.await;
    state.head_over();
    downstream.worker.recorder.metrics.handshake(outcome(&accepted));
    match accepted {
        Ok((stream, _)) => Some(stream),
        Err(error) => {
            tracing::debug!(peer = %downstream.peer, ?error, "a TLS handshake failed");
            None
        }
    }
}

fn outcome<T>(accepted: &Result<T, HandshakeError>) -> Handshake {
    match accepted {
        Ok(_) => Handshake::Completed,
        Err(HandshakeError::PlainHttp) => Handshake::PlainHttp,
        Err(HandshakeError::Certificate) => Handshake::Certificate,
        Err(HandshakeError::Protocol) => Handshake::Protocol,
        Err(HandshakeError::Closed) => Handshake::Closed,
        Err(HandshakeError::TimedOut) => Handshake::TimedOut,
    }
}
