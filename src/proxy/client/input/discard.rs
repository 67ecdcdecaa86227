//! What a client sends and nobody needs: the body of a refused request, and what comes behind the last answer. It is read and
//! dropped, past the same reader of framing that other bodies pass, so that no byte of it is read as a request. How long that
//! may go on is the sweeper's to say: see [`DiscardLimits`](crate::proxy::client::DiscardLimits).

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use super::ClientInput;

/// The longest rest of a refused request's body that is read and dropped to keep the connection, in bytes: a new one would
/// cost more.
const DROPPED_REST: u64 = 64 * 1024;

impl<R: AsyncRead + Unpin> ClientInput<R> {
    /// Nobody takes the body any more: drops what has come of it. Whether the connection can serve another request: the body is
    /// over, or its rest is short and surely comes. To be asked before the answer begins.
    pub fn leave_body(&mut self) -> bool {
        let has_begun = !self.unread.is_empty();
        self.drop_body();
        // RFC 9110, 10.1.1: who waits for 100 (Continue) and gets a final answer may send the body or not.
        let comes = !self.ended && (has_begun || !self.expects);
        let is_short = self.body.left().is_some_and(|left| left == 0 || (comes && left <= DROPPED_REST));
        is_short && !self.failed
    }

    /// Drops what has come of the body; what follows it stays.
    fn drop_body(&mut self) {
        if self.failed || self.body.is_over() {
            return;
        }
        match self.body.skip(&self.unread, &self.scratch.limits) {
            Ok(length) => self.unread.advance(length),
            Err(_) => self.failed = true,
        }
    }

    /// Drops the rest of the body; false when it does not come to its end.
    pub(super) fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        self.drop_body();
        while !self.failed && !self.body.is_over() {
            if self.ended {
                self.failed = true;
                break;
            }
            ready!(self.poll_discard(context));
        }
        self.state.end_discard();
        Poll::Ready(!self.failed)
    }

    /// Reads and drops what the client still sends of its last request, so that it can read the answer: input that is unread
    /// when the connection is closed makes the kernel send RST, which can destroy the answer on its way. The sweeper ends it
    /// for those who send too much, or too little.
    pub async fn linger(input: &RefCell<ClientInput<R>>) {
        poll_fn(|context| input.borrow_mut().poll_linger(context)).await;
    }

    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.drop_body();
        while !self.ended {
            if self.can_keep_alive() {
                if self.unread.is_empty() {
                    break;
                }
                // Requests behind the last one.
                self.failed = true;
            }
            if self.failed {
                self.unread = BytesMut::new();
            }
            ready!(self.poll_discard(context));
        }
        self.state.end_discard();
        Poll::Ready(())
    }

    /// Reads once, and drops what is of the body; all, when nobody can tell what is. Needs no memory but for trailers.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.state.begin_discard();
        self.state.remember(context);
        let Some(reader) = &mut self.reader else {
            self.ended = true;
            return Poll::Ready(());
        };
        let scratch = Rc::clone(&self.scratch);
        let mut scratch = scratch.buffer.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        let read = ready!(Pin::new(reader).poll_read(context, &mut buffer));
        let mut came = buffer.filled();
        self.state.note_bytes();
        self.state.discarded(came.len());
        self.ended = read.is_err() || came.is_empty();
        if self.failed {
            return Poll::Ready(());
        }
        if self.unread.is_empty() {
            match self.body.skip(came, &self.scratch.limits) {
                Ok(length) => came = &came[length..],
                Err(_) => self.failed = true,
            }
        }
        self.unread.extend_from_slice(came);
        self.drop_body();
        Poll::Ready(())
    }
}
