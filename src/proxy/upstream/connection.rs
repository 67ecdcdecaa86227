//! One connection to UCS, with its read buffer. It knows neither requests nor responses, and has no deadlines. Dropping it
//! closes it: by a reset, unless the exchange that used it has completed.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// The room for one read: enough for most responses.
const READ_BYTES: usize = 8 * 1024;

/// The room for one read of a long body.
const LONG_READ_BYTES: usize = 64 * 1024;

/// A connection to UCS.
#[derive(Debug)]
pub struct Connection {
    /// Bytes that were received and not yet consumed.
    pub unread: BytesMut,
    reader: OwnedReadHalf,
    writer: Option<OwnedWriteHalf>,
    /// Whether an exchange uses it that has not completed.
    is_in_use: bool,
}

impl Connection {
    /// A new connection.
    pub fn new(stream: TcpStream) -> Connection {
        let (reader, writer) = stream.into_split();
        Connection { unread: BytesMut::new(), reader, writer: Some(writer), is_in_use: false }
    }

    /// An exchange begins. If the connection is closed before the exchange completes, it is reset: buffered bytes of the request
    /// must not reach UCS after the exchange was given up.
    pub fn begin_exchange(&mut self) {
        self.is_in_use = true;
    }

    /// The exchange has completed.
    pub fn end_exchange(&mut self) {
        self.is_in_use = false;
    }

    /// The write half; `None` once it was taken.
    pub fn writer(&mut self) -> Option<&mut OwnedWriteHalf> {
        self.writer.as_mut()
    }

    /// Takes the write half, for a request that continues after its response has begun. The connection is not reused.
    pub fn take_writer(&mut self) -> Option<OwnedWriteHalf> {
        self.writer.take()
    }

    /// Whether the write half was taken.
    pub fn is_split(&self) -> bool {
        self.writer.is_none()
    }

    /// Whether it can serve another request: it has its write half, and no unsolicited bytes.
    pub fn is_whole(&self) -> bool {
        self.writer.is_some() && self.unread.is_empty()
    }

    /// Whether UCS has neither closed it nor sent anything, as far as the event loop knows. Costs no system call.
    pub fn is_quiet(&self) -> bool {
        let read = self.reader.try_read(&mut [0]);
        self.is_whole() && read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Releases memory that only a long body needed.
    pub fn shrink(&mut self) {
        if self.unread.capacity() > READ_BYTES {
            self.unread = BytesMut::new();
        }
    }

    /// Reads once; `left` is the number of bytes that the body still lacks, if known. 0 when UCS has closed its side.
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
            // An error means that the connection is already broken.
            drop(socket2::SockRef::from(self.reader.as_ref()).set_linger(Some(Duration::ZERO)));
            // Dropping it would send a FIN first.
            self.writer.take().into_iter().for_each(OwnedWriteHalf::forget);
        }
    }
}
