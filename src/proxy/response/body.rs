//! The body of a response: the gateway's own, or UCS's, streamed. The request's record ends with it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::proxy::request_log::RequestLog;
use crate::proxy::upstream::body::Download;
use crate::proxy::upstream::error::ForwardError;
use crate::telemetry::Outcome;

/// The body of a response to a client.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    source: Source,
    /// Absent until the response is sent.
    request_log: Option<RequestLog>,
}

#[derive(Debug)]
enum Source {
    Own(Option<Bytes>),
    Relay(Download),
}

impl ResponseBody {
    /// A body of the gateway itself.
    pub(crate) fn own(content: Bytes) -> ResponseBody {
        ResponseBody { source: Source::Own((!content.is_empty()).then_some(content)), request_log: None }
    }

    /// Reports the progress and the end of the body to the request's record.
    pub(crate) fn log_to(&mut self, request_log: RequestLog) {
        self.request_log = Some(request_log);
    }

    /// The client disconnected before it had received all of it, even if the last piece had been handed over.
    pub(crate) fn client_gone(&mut self) {
        if let (Source::Relay(_), Some(request_log)) = (&self.source, &mut self.request_log) {
            request_log.outcome = Outcome::ClientGone;
        }
    }

    /// The client is to read what it has before it gets more.
    pub(crate) fn wait_for_client_reading(&self) {
        if let Source::Relay(download) = &self.source {
            download.wait_for_client_reading();
        }
    }

    /// For how long the client had read nothing, if the exchange was given up for that.
    pub(crate) fn unread_for(&self) -> Option<Duration> {
        let Source::Relay(download) = &self.source else { return None };
        download.exchange()?.unread_for()
    }

    /// The body of UCS's response.
    pub(crate) fn relay(download: Download) -> ResponseBody {
        ResponseBody { source: Source::Relay(download), request_log: None }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ForwardError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ForwardError>>> {
        let this = self.get_mut();
        let frame = match &mut this.source {
            Source::Own(content) => Poll::Ready(content.take().map(|content| Ok(Frame::data(content)))),
            Source::Relay(download) => Pin::new(download).poll_frame(cx),
        };
        if let (Poll::Ready(Some(frame)), Some(request_log)) = (&frame, &mut this.request_log) {
            match frame {
                Ok(frame) => request_log.sent(frame.data_ref().map_or(0, Bytes::len)),
                Err(error) => request_log.cut_short(error),
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(content) => content.is_none(),
            Source::Relay(download) => download.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(content) => SizeHint::with_exact(content.as_ref().map_or(0, |content| content.len() as u64)),
            Source::Relay(download) => download.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let Some(request_log) = &mut self.request_log else { return };
        // A connection whose task was aborted, such as one past a deadline, does not poll its body to the end.
        let Source::Relay(download) = &self.source else { return };
        match download.exchange().and_then(|exchange| exchange.gave_up()) {
            Some(why) => request_log.cut_short(&ForwardError::GaveUp(why)),
            None if download.is_unfinished() => request_log.outcome = Outcome::ClientGone,
            None => {}
        }
    }
}
