//! The body of a stream's request, shared by the request that reads it and the stream that discards its rest. hyper frames it
//! and limits what is buffered; trailers are checked as those of HTTP/1.1.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::http1::{RequestError, check_trailer};
use crate::proxy::client::{BodyFailed, ConnectionState};

/// How long the rest of a body is read and discarded after the response; then the client is told to stop. Some clients, such as
/// curl 7.88, lose a response that is followed by a reset at once.
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// The body of one stream's request.
#[derive(Clone, Debug)]
pub(crate) struct StreamBody {
    incoming: Rc<RefCell<Incoming>>,
    /// The state of the stream: it gets the body's error.
    state: Rc<ConnectionState>,
}

impl StreamBody {
    pub(super) fn new(incoming: Incoming, state: Rc<ConnectionState>) -> StreamBody {
        StreamBody { incoming: Rc::new(RefCell::new(incoming)), state }
    }

    fn failed(&self, error: RequestError) -> BodyFailed {
        self.state.fail_body(Some(error));
        BodyFailed
    }

    /// Reads the rest and discards it, for a while.
    pub(super) fn discard(mut self) {
        if self.is_end_stream() {
            return;
        }
        let discarding =
            async move { while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut self).poll_frame(context)).await {} };
        tokio::task::spawn_local(tokio::time::timeout(DISCARD_TIME, discarding));
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = BodyFailed;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFailed>>> {
        let polled = ready!(Pin::new(&mut *self.incoming.borrow_mut()).poll_frame(context));
        Poll::Ready(match polled {
            Some(Ok(frame)) => match frame.trailers_ref().map(check_trailers) {
                Some(Err(error)) => Some(Err(self.failed(error))),
                Some(Ok(())) | None => Some(Ok(frame)),
            },
            Some(Err(_)) => Some(Err(self.failed(RequestError::BodyTruncated))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.borrow().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.borrow().size_hint()
    }
}

fn check_trailers(trailers: &HeaderMap) -> Result<(), RequestError> {
    trailers.keys().try_for_each(|name| check_trailer(name.as_str().as_bytes()))
}
