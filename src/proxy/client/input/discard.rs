//! Discards input: the body of a refused request, and input after the last response. Bodies pass the usual framing, so that no
//! byte of them is read as a request. The sweeper limits the time: see [`DiscardLimits`](crate::proxy::client::DiscardLimits).

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use super::ClientInput;

/// The longest rest of a body that is discarded to keep the connection, in bytes; beyond that, a new connection is cheaper.
const DROPPED_REST: u64 = 64 * 1024;

impl<R: AsyncRead + Unpin> ClientInput<R> {
    /// Discards the body, and returns whether the connection can serve another request: the body is complete, or its rest is
    /// short and certain to arrive. To be called before the response begins.
    pub(crate) fn discard_body(&mut self) -> bool {
        let has_begun = !self.unread.is_empty();
        self.drop_buffered_body();
        // RFC 9110, 10.1.1: a client that gets a final response instead of 100 (Continue) may send the body or not.
        let comes = !self.ended && (has_begun || !self.expects_continue);
        let is_short = self.body.left().is_some_and(|left| left == 0 || (comes && left <= DROPPED_REST));
        is_short && !self.failed
    }

    /// Discards the received part of the body, and keeps the bytes after it.
    fn drop_buffered_body(&mut self) {
        if self.failed || self.body.is_over() {
            return;
        }
        match self.body.skip(&self.unread, &self.scratch.limits) {
            Ok(length) => self.unread.advance(length),
            Err(_) => self.failed = true,
        }
    }

    /// Discards the rest of the body; false if it never completes.
    pub(super) fn poll_drop_rest(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        self.drop_buffered_body();
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

    /// Discards the rest of the last request, so that the client can read its response: closing a connection with unread input
    /// makes the kernel send RST, which can destroy the response in flight. The sweeper ends it for clients that send too long
    /// or too slowly.
    pub(crate) async fn linger(input: &RefCell<ClientInput<R>>) {
        poll_fn(|context| input.borrow_mut().poll_linger(context)).await;
    }

    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.drop_buffered_body();
        while !self.ended {
            if self.can_keep_alive() {
                if self.unread.is_empty() {
                    break;
                }
                // There are requests after the last one.
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

    /// Reads once and discards the bytes of the body; all bytes if its end is unknown. Needs memory for trailers only.
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
        let mut received = buffer.filled();
        self.state.note_bytes();
        self.state.discarded(received.len());
        self.ended = read.is_err() || received.is_empty();
        if self.failed {
            return Poll::Ready(());
        }
        if self.unread.is_empty() {
            match self.body.skip(received, &self.scratch.limits) {
                Ok(length) => received = &received[length..],
                Err(_) => self.failed = true,
            }
        }
        self.unread.extend_from_slice(received);
        self.drop_buffered_body();
        Poll::Ready(())
    }
}
