//! One-shot calls over HTTP/1.1: one connection for each, which is closed when the call or its response is dropped. It sets no
//! credentials, follows nothing and repeats nothing.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use crate::transport::Stream;

/// Waits for a connection for at most `limit`.
pub(crate) async fn connected<S>(connecting: impl Future<Output = io::Result<S>>, limit: Duration) -> io::Result<S> {
    let in_time = tokio::time::timeout(limit, connecting).await;
    in_time.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Sends a request and returns the response as soon as its head is complete. The caller limits the time.
pub(crate) async fn send(stream: Stream, request: Request<Full<Bytes>>) -> Result<Response<Arriving>, hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut connection = Connection(Some(Box::pin(connection)));
    let mut sending = pin!(sender.send_request(request));
    let response = poll_fn(|context| {
        connection.drive(context);
        sending.as_mut().poll(context)
    });
    Ok(response.await?.map(|body| Arriving { body, connection }))
}

/// The body of a response, and the connection that it arrives on.
pub(crate) struct Arriving {
    body: Incoming,
    connection: Connection,
}

impl Arriving {
    /// The whole body, if it has at most `limit` bytes.
    pub(crate) async fn collect(self, limit: usize) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Limited::new(self, limit).collect().await?.to_bytes())
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.connection.drive(context);
        Pin::new(&mut self.body).poll_frame(context)
    }
}

/// Driven by the call and not by a task, so that dropping the call closes it; `None` once it is over.
struct Connection(Option<Pin<Box<HttpConnection>>>);

type HttpConnection = http1::Connection<TokioIo<Stream>, Full<Bytes>>;

impl Connection {
    fn drive(&mut self, context: &mut Context<'_>) {
        // Its error also reaches the response.
        if self.0.as_mut().is_some_and(|connection| connection.as_mut().poll(context).is_ready()) {
            self.0 = None;
        }
    }
}
