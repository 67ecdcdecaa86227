//! The body of a request as it comes from a client, of either protocol. It adds nothing to it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::client::{BodyFailed, ClientBody};
use super::http2::StreamBody;
use crate::transport::ReadHalf;

#[derive(Debug)]
pub(crate) enum IncomingBody {
    /// Of the current request of an HTTP/1.1 connection.
    Http1(ClientBody<ReadHalf>),
    /// Of an HTTP/2 stream.
    Http2(StreamBody),
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = BodyFailed;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFailed>>> {
        match self.get_mut() {
            IncomingBody::Http1(body) => Pin::new(body).poll_frame(context),
            IncomingBody::Http2(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            IncomingBody::Http1(body) => body.is_end_stream(),
            IncomingBody::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            IncomingBody::Http1(body) => body.size_hint(),
            IncomingBody::Http2(body) => body.size_hint(),
        }
    }
}
