//! The body of a response: the gateway's own, or UCS's as it comes. The request's log ends with it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::proxy::request_log::Account;
use crate::proxy::upstream::body::Download;
use crate::proxy::upstream::error::ForwardError;
use crate::telemetry::Outcome;

/// The body of every answer that leaves the gateway.
#[derive(Debug)]
pub struct ReplyBody {
    source: Source,
    /// Absent until the response leaves.
    account: Option<Account>,
}

#[derive(Debug)]
enum Source {
    Own(Option<Bytes>),
    Relay(Download),
}

impl ReplyBody {
    /// A body that the gateway made.
    pub fn own(content: Bytes) -> ReplyBody {
        ReplyBody { source: Source::Own((!content.is_empty()).then_some(content)), account: None }
    }

    /// Has the request's log told what becomes of it.
    pub fn log_to(&mut self, account: Account) {
        self.account = Some(account);
    }

    /// The client went before it had all of it, also when the last piece had been handed over.
    pub fn client_gone(&mut self) {
        if let (Source::Relay(_), Some(account)) = (&self.source, &mut self.account) {
            account.outcome = Outcome::ClientGone;
        }
    }

    /// UCS's own.
    pub fn relay(download: Download) -> ReplyBody {
        ReplyBody { source: Source::Relay(download), account: None }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = ForwardError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ForwardError>>> {
        let this = self.get_mut();
        let frame = match &mut this.source {
            Source::Own(content) => Poll::Ready(content.take().map(|content| Ok(Frame::data(content)))),
            Source::Relay(download) => Pin::new(download).poll_frame(cx),
        };
        if let (Poll::Ready(Some(frame)), Some(account)) = (&frame, &mut this.account) {
            match frame {
                Ok(frame) => account.sent(frame.data_ref().map_or(0, Bytes::len)),
                Err(error) => account.cut_short(error),
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

impl Drop for ReplyBody {
    fn drop(&mut self) {
        let Some(account) = &mut self.account else { return };
        // A client's connection that is ended from outside, as one that is waited for too long, polls its body no more.
        let Source::Relay(download) = &self.source else { return };
        match download.exchange().and_then(|exchange| exchange.gave_up()) {
            Some(why) => account.cut_short(&ForwardError::GaveUp(why)),
            None if download.is_unfinished() => account.outcome = Outcome::ClientGone,
            None => {}
        }
    }
}
