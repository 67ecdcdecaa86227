//! One connection to the admin port, from its acceptance to its end, with all that bounds it: its place among the others,
//! a deadline for each message in both directions, an age. What is asked over it, and who may, is decided elsewhere.

use std::convert::Infallible;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::paced::{Paced, Resets};
use super::places::Place;
use super::{Plane, becomes_true, calls};
use crate::access::Peer;

/// How long a client may take to send a request's head, and how long a kept connection may stay idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may go on without a credential. Its answer under way is still sent.
const LONGEST_UNPROVEN: Duration = Duration::from_secs(20);

/// Where a connection came from and arrived, and its place.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) peer: Peer,
    /// The address that the client connected to; none over a unix socket.
    pub(super) local: Option<IpAddr>,
    pub(super) place: Arc<Place>,
}

/// Serves it to its end.
pub(super) async fn serve<S>(stream: S, arrival: Arrival, plane: Arc<Plane>)
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
        () = answer_all(stream, arrival, plane) => {}
    }
}

async fn answer_all<S>(stream: Paced<S>, arrival: Arrival, plane: Arc<Plane>)
where
    S: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static,
{
    let closing = becomes_true(plane.closing.clone());
    let place = Arc::clone(&arrival.place);
    let service = service_fn(move |request| {
        let (plane, arrival) = (Arc::clone(&plane), arrival.clone());
        async move { Ok::<_, Infallible>(calls::respond(&plane, &arrival, request).await) }
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
