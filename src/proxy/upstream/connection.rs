//! One connection to UCS: what is read from it waits in a buffer until it is taken. It knows neither requests nor answers,
//! and has no deadlines. Dropping it closes it: by a reset, unless the exchange that used it came to its regular end.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// One read takes at least this many bytes, if they are there: most answers whole.
const READ_BYTES: usize = 8 * 1024;

/// One read takes at most this many bytes; only long bodies need it.
const LONG_READ_BYTES: usize = 64 * 1024;

/// A connection to UCS.
#[derive(Debug)]
pub struct Connection {
    /// What UCS has sent and nobody has taken.
    pub unread: BytesMut,
    reader: OwnedReadHalf,
    writer: Option<OwnedWriteHalf>,
    /// An exchange uses it that has not come to its regular end.
    is_in_use: bool,
}

impl Connection {
    /// A new connection.
    pub fn new(stream: TcpStream) -> Connection {
        let (reader, writer) = stream.into_split();
        Connection { unread: BytesMut::new(), reader, writer: Some(writer), is_in_use: false }
    }

    /// An exchange begins. Closed before its regular end, the connection is reset: what the system still holds of the request
    /// must not reach UCS after the exchange was given up.
    pub fn begin_exchange(&mut self) {
        self.is_in_use = true;
    }

    /// The exchange came to its regular end.
    pub fn end_exchange(&mut self) {
        self.is_in_use = false;
    }

    /// The way out; `None` once it was taken away.
    pub fn writer(&mut self) -> Option<&mut OwnedWriteHalf> {
        self.writer.as_mut()
    }

    /// Takes the way out away, for a request that goes on after its answer has begun. The connection serves no other.
    pub fn take_writer(&mut self) -> Option<OwnedWriteHalf> {
        self.writer.take()
    }

    /// Whether the way out was taken away.
    pub fn is_split(&self) -> bool {
        self.writer.is_none()
    }

    /// Whether it can serve a further request: nothing was taken from it, and nothing waits that nobody asked for.
    pub fn is_whole(&self) -> bool {
        self.writer.is_some() && self.unread.is_empty()
    }

    /// Whether UCS has neither closed it nor sent anything, as far as the event loop has heard. Costs no system call.
    pub fn is_quiet(&self) -> bool {
        let answer = self.reader.try_read(&mut [0]);
        self.is_whole() && answer.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Gives memory back that only a long body needed.
    pub fn rest(&mut self) {
        if self.unread.capacity() > READ_BYTES {
            self.unread = BytesMut::new();
        }
    }

    /// Reads once, of a body of which `left` bytes are known to be missing; 0 when UCS has closed its side.
    pub fn poll_fill(&mut self, left: Option<u64>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let wanted = left.map_or(READ_BYTES, |left| usize::try_from(left).unwrap_or(LONG_READ_BYTES));
        let room = wanted.clamp(READ_BYTES, LONG_READ_BYTES);
        self.unread.reserve(room);
        std::pin::pin!(self.reader.read_buf(&mut self.unread)).poll(context)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.is_in_use {
            // One that cannot be told so is broken already.
            drop(socket2::SockRef::from(self.reader.as_ref()).set_linger(Some(Duration::ZERO)));
            // Dropping it would say a regular end first.
            self.writer.take().into_iter().for_each(OwnedWriteHalf::forget);
        }
    }
}
