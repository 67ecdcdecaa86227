//! The socket of an HTTP/2 connection as h2 reads and writes it, with the deadlines and limits of received frames that h2 does not
//! have: the beginning of an incomplete frame, and the rate of control frames.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{DATA, FrameEvent, Frames, PING, SETTINGS};
use super::socket::Socket;
use crate::http1::RequestError;
use crate::proxy::client::ConnectionState;

/// The length of the client's preface (RFC 9113, 3.4).
const PREFACE_BYTES: usize = 24;

/// The most PING frames in a second, and the most SETTINGS frames: each needs a response.
const CONTROL_FRAMES: u32 = 100;

/// The socket as h2 has it.
#[derive(Debug)]
pub(super) struct WatchedStream {
    socket: Rc<RefCell<Socket>>,
    /// Bytes that were read before this existed.
    begun: Bytes,
    state: Rc<ConnectionState>,
    received: Frames,
    /// Whether a field block has begun and not ended.
    is_block_open: bool,
    pings: Rate,
    settings: Rate,
}

impl WatchedStream {
    /// Watches a connection whose first bytes, if any were read, are `begun`.
    pub(super) fn new(socket: Rc<RefCell<Socket>>, begun: Bytes, state: Rc<ConnectionState>) -> WatchedStream {
        state.note_head(true);
        WatchedStream {
            socket,
            begun,
            state,
            received: Frames::after(PREFACE_BYTES),
            is_block_open: true,
            pings: Rate::default(),
            settings: Rate::default(),
        }
    }

    /// Follows received bytes. An error ends the connection.
    fn follow(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (mut is_flooded, mut has_progress) = (false, false);
        let WatchedStream { received, is_block_open, pings, settings, .. } = self;
        received.advance(bytes, |event| match event {
            FrameEvent::Begins(frame) => {
                is_flooded |= match frame.kind {
                    PING => pings.exceeds(CONTROL_FRAMES),
                    SETTINGS => settings.exceeds(CONTROL_FRAMES),
                    _ => false,
                };
            }
            FrameEvent::Ends(frame) => {
                *is_block_open = frame.leaves_block_open();
                has_progress |= !*is_block_open;
            }
        });
        if has_progress {
            self.state.head_over();
        }
        // A body may be slow: its exchange has deadlines of its own.
        let is_body = self.received.unfinished().is_some_and(|frame| frame.kind == DATA);
        if self.is_block_open || (!self.received.is_between() && !is_body) {
            self.state.note_head(true);
        }
        if is_flooded {
            self.state.note_head(true);
            self.state.expire(RequestError::FrameFlood);
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(())
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.begun.is_empty() {
            ready!(self.socket.borrow_mut().poll_read(context, buffer))?;
        } else {
            let length = self.begun.len().min(buffer.remaining());
            buffer.put_slice(&self.begun[..length]);
            self.begun.advance(length);
        }
        Poll::Ready(self.follow(&buffer.filled()[before..]))
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket.borrow_mut().poll_gather(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The connection's task flushes once h2 has no more to write.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.borrow_mut().poll_shutdown(context)
    }
}

/// Counts events by the second.
#[derive(Debug, Default)]
struct Rate {
    second: Option<Instant>,
    count: u32,
}

impl Rate {
    /// Counts one more; whether this second has had more than `most`.
    fn exceeds(&mut self, most: u32) -> bool {
        let is_over = self.second.is_none_or(|second| second.elapsed() >= Duration::from_secs(1));
        if is_over {
            *self = Rate { second: Some(Instant::now()), count: 0 };
        }
        self.count += 1;
        self.count > most
    }
}
