//! The request of one stream to the handler, and its response. A stream is a task of its own, so that its end touches no other.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use h2::RecvStream;
use h2::server::SendResponse;
use hyper::{Method, Request};

use super::incoming::StreamBody;
use super::interim;
use super::open_stream::OpenStream;
use super::outgoing::{self, OutgoingFraming};
use super::request::head_of;
use super::unwritten::Part;
use crate::proxy::context::RequestContext;
use crate::proxy::handler::{respond, respond_to_malformed};
use crate::proxy::incoming::IncomingBody;
use crate::proxy::request_log::RequestLog;
use crate::proxy::response::Response;

/// Responds to the request of a stream.
pub(super) async fn serve(stream: OpenStream, request: Request<RecvStream>, mut reply: SendResponse<Part>) {
    let downstream = Rc::clone(&stream.downstream);
    let request_log = RequestLog::open(&downstream, Instant::now());
    let (parts, incoming) = request.into_parts();
    let mut framing = OutgoingFraming { is_head: parts.method == Method::HEAD, takes_trailers: false };
    let head = head_of(&parts, &downstream.worker.head_limits);
    let body = StreamBody::new(incoming, &parts.headers, Rc::clone(&downstream.state));
    drop(parts);
    let response = match head {
        Err(error) => Some(respond_to_malformed(&downstream, error, request_log)),
        Ok(head) => {
            framing.takes_trailers = head.asks.trailers;
            body.expects_continue(head.asks.continues);
            let context = RequestContext { downstream: &downstream, head: &head };
            let responding = respond(context, IncomingBody::Http2(body.clone()), request_log);
            until_reset(responding, &stream, &mut reply).await
        }
    };
    if let Some(response) = response {
        outgoing::send(*response, framing, reply, stream, body).await;
    }
}

/// Waits for the response, and sends the interim ones before it; `None` if the client resets the stream first.
async fn until_reset(
    responding: impl Future<Output = Box<Response>>,
    stream: &OpenStream,
    reply: &mut SendResponse<Part>,
) -> Option<Box<Response>> {
    let mut responding = pin!(responding);
    poll_fn(|context| {
        if let Poll::Ready(response) = responding.as_mut().poll(context) {
            return Poll::Ready(Some(response));
        }
        if reply.poll_reset(context).is_ready() {
            return Poll::Ready(None);
        }
        interim::send(stream, reply, context);
        Poll::Pending
    })
    .await
}
