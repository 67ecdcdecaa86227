//! One connection to the admin port, from its acceptance to its end, with all that bounds it: its place among the others,
//! a deadline for each message in both directions, an age. What is asked over it, and who may, is decided elsewhere.

use std::convert::Infallible;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::calls;
use super::connection_limits::Place;
use super::deadline_io::{Paced, Resets};
use super::state::{AdminState, Arrival, becomes_true};

/// How long a client may take to send a request's head, and how long a kept connection may stay idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may go on without a credential. Its answer under way is still sent.
const LONGEST_UNPROVEN: Duration = Duration::from_secs(20);

/// Serves it to its end.
pub(super) async fn serve<S>(stream: S, arrival: Arrival, state: Arc<AdminState>)
where
    S: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static,
{
    let place = Arc::clone(&arrival.place);
    let resets = Resets::default();
    let stream = Paced::new(stream, resets.clone());
    tokio::select! {
        // First, so that nothing more is done for whoever has lost the place.
        biased;
        () = place.is_lost() => resets.set(),
        () = answer_all(stream, arrival, state) => {}
    }
}

async fn answer_all<S>(stream: Paced<S>, arrival: Arrival, state: Arc<AdminState>)
where
    S: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static,
{
    let closing = becomes_true(state.closing.clone());
    let place = Arc::clone(&arrival.place);
    let service = service_fn(move |request| {
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
        () = async { tokio::select! { () = closing => {}, () = is_unproven_for_long(&place) => {} } } => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an admin connection ended early");
    }
}

async fn is_unproven_for_long(place: &Place) {
    tokio::time::sleep(LONGEST_UNPROVEN).await;
    if !place.is_unproven() {
        std::future::pending().await
    }
}
