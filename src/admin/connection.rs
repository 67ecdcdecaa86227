//! One connection to the admin port and its bounds: its slot, a deadline for each message in both directions, and a lifetime
//! while it is anonymous. Calls and permissions are decided elsewhere.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;

use super::calls;
use super::connection_limits::ConnectionSlot;
use super::deadline_io::{DeadlineIo, ResetOnDrop};
use super::state::{AdminState, Arrival, becomes_true};
use crate::transport::{HandshakeError, Stream};

/// The timeout for a TLS handshake, for receiving the head of a request, and the idle timeout of a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest life of a connection without an accepted credential. A response in progress is still sent.
const ANONYMOUS_LIFETIME: Duration = Duration::from_secs(20);

/// The time that open connections have for their end at a shutdown.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection without a request may still send its first one at a shutdown: hyper would close it without a response,
/// even with the request in the socket.
const FIRST_REQUEST_TIME: Duration = Duration::from_millis(500);

/// Serves a connection to its end.
pub(super) async fn serve(stream: Stream, arrival: Arrival, state: Arc<AdminState>) {
    let slot = Arc::clone(&arrival.slot);
    let reset = ResetOnDrop::default();
    tokio::select! {
        // First, so that no more work is done for an evicted connection.
        biased;
        // Set within the future: the stream is dropped before the arm of the branch runs.
        () = async { slot.evicted().await; reset.set(); } => {}
        () = async { is_closed_for_long(&state).await; reset.set(); } => {}
        () = serve_connection(stream, arrival, &state, reset.clone()) => {}
    }
}

async fn serve_connection(stream: Stream, arrival: Arrival, state: &Arc<AdminState>, reset: ResetOnDrop) {
    let Some((stream, arrival)) = secured(stream, arrival, state).await else { return };
    serve_requests(DeadlineIo::new(stream, reset), arrival, Arc::clone(state)).await;
}

/// The connection after its TLS handshake, with the client's certificate; `None` if the handshake failed.
async fn secured(stream: Stream, mut arrival: Arrival, state: &AdminState) -> Option<(Stream, Arrival)> {
    let (tls, socket) = match (&state.parts.tls, stream) {
        (Some(tls), Stream::Tcp(socket)) => (tls, socket),
        (_, stream) => return Some((stream, arrival)),
    };
    let handshake = tls.accept(socket, |_| Poll::Pending);
    let accepted = tokio::time::timeout(HEAD_TIMEOUT, handshake).await.unwrap_or(Err(HandshakeError::TimedOut));
    let accepted = accepted.inspect_err(|error| tracing::debug!(?error, "a TLS handshake on the admin port failed"));
    let (stream, certificate) = accepted.ok()?;
    arrival.certificate = certificate.map(Arc::new);
    Some((stream, arrival))
}

async fn serve_requests(stream: DeadlineIo, arrival: Arrival, state: Arc<AdminState>) {
    let closing = state.closing.clone();
    let (slot, has_request) = (Arc::clone(&arrival.slot), Arc::new(AtomicBool::new(false)));
    let noted = Arc::clone(&has_request);
    let service = service_fn(move |request| {
        noted.store(true, Ordering::Relaxed);
        let (state, arrival) = (Arc::clone(&state), arrival.clone());
        async move { Ok::<_, Infallible>(calls::respond(&state, &arrival, request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(128 * 1024)
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = async {
            tokio::select! { () = must_end(closing, &has_request) => {}, () = is_anonymous_for_long(&slot) => {} }
        } => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an admin connection ended early");
    }
}

/// Waits until the admin listener closes, and a connection without a request has had time for one.
async fn must_end(closing: watch::Receiver<bool>, has_request: &AtomicBool) {
    becomes_true(closing).await;
    if !has_request.load(Ordering::Relaxed) {
        tokio::time::sleep(FIRST_REQUEST_TIME).await;
    }
}

/// Waits until the time that a shutdown leaves to connections is over.
async fn is_closed_for_long(state: &AdminState) {
    becomes_true(state.closing.clone()).await;
    tokio::time::sleep(CLOSE_TIMEOUT).await;
}

async fn is_anonymous_for_long(slot: &ConnectionSlot) {
    tokio::time::sleep(ANONYMOUS_LIFETIME).await;
    if !slot.is_anonymous() {
        std::future::pending().await
    }
}
