//! The request of one stream to the handler, and its response. Streams are tasks of their own, so that the end of one touches
//! no other.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::{Method, Request};

use super::incoming::StreamBody;
use super::open_stream::OpenStream;
use super::outgoing::{OutgoingBody, OutgoingFraming, message};
use super::request::head_of;
use crate::proxy::context::RequestContext;
use crate::proxy::handler::{respond, respond_to_malformed};
use crate::proxy::incoming::IncomingBody;
use crate::proxy::request_log::RequestLog;
use crate::proxy::upstream::exchange::ClientTask;

/// Responds to the request of a stream.
pub(super) async fn serve(
    stream: OpenStream,
    request: Request<Incoming>,
) -> Result<hyper::Response<OutgoingBody>, Infallible> {
    let downstream = Rc::clone(&stream.downstream);
    let request_log = RequestLog::open(&downstream, Instant::now());
    let (parts, incoming) = request.into_parts();
    let body = StreamBody::new(incoming, Rc::clone(&downstream.state));
    let mut framing = OutgoingFraming { is_head: parts.method == Method::HEAD, takes_trailers: false };
    let response = match head_of(&parts, &downstream.worker.head_limits) {
        Err(error) => respond_to_malformed(&downstream, error, request_log),
        Ok(head) => {
            drop(parts);
            framing.takes_trailers = head.asks.trailers;
            let context = RequestContext { downstream: &downstream, head: &head };
            respond(context, IncomingBody::Http2(body.clone()), request_log).await
        }
    };
    Ok(message(*response, framing, stream, body))
}

/// Spawns the tasks of streams. hyper spawns the task of a stream right after its request was taken.
#[derive(Clone, Debug, Default)]
pub(super) struct StreamTasks(Rc<RefCell<Option<ClientTask>>>);

impl StreamTasks {
    /// The next task is that of this stream.
    pub(super) fn expect(&self, stream: &OpenStream) {
        self.0.replace(Some(stream.downstream.task.clone()));
    }
}

impl<F: Future<Output: 'static> + 'static> Executor<F> for StreamTasks {
    fn execute(&self, task: F) {
        let task = tokio::task::spawn_local(task);
        self.0.take().into_iter().for_each(|client| client.set(task.abort_handle()));
    }
}
