//! One connection to UCS, with its read buffer. It knows neither requests nor responses, and has no deadlines. Dropping it
//! closes it: by a reset, unless the exchange that used it has completed.

use std::io;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::AsyncReadExt;

use crate::transport::{ReadHalf, Stream, WriteHalf};

/// The room for one read: enough for most responses.
const READ_BYTES: usize = 8 * 1024;

/// The room for one read of a long body.
const LONG_READ_BYTES: usize = 64 * 1024;

/// The most bytes of one read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room(usize);

impl Room {
    /// For the head of a response, and with most the whole of it.
    pub(crate) const OF_HEAD: Room = Room(READ_BYTES);

    /// For a body that lacks so many bytes, if that is known. A client that does not read keeps a piece in memory, and while
    /// connections are scarce there are many clients.
    pub(crate) fn of_body(left: Option<u64>, is_scarce: bool) -> Room {
        let most = if is_scarce { READ_BYTES } else { LONG_READ_BYTES };
        let wanted = left.map_or(READ_BYTES, |left| usize::try_from(left).unwrap_or(most));
        Room(wanted.clamp(READ_BYTES, most))
    }
}

#[derive(Debug)]
pub(crate) struct Connection {
    /// Bytes that were received and not yet consumed.
    pub(crate) unread: BytesMut,
    reader: ReadHalf,
    writer: Option<WriteHalf>,
    /// Whether an exchange uses it that has not completed.
    is_in_use: bool,
}

impl Connection {
    pub(crate) fn new(stream: Stream) -> Connection {
        let (reader, writer) = stream.split();
        Connection { unread: BytesMut::new(), reader, writer: Some(writer), is_in_use: false }
    }

    /// An exchange begins. If the connection is closed before the exchange completes, it is reset: buffered bytes of the request
    /// must not reach UCS after the exchange was given up.
    pub(crate) fn begin_exchange(&mut self) {
        self.is_in_use = true;
    }

    /// The exchange has completed.
    pub(crate) fn end_exchange(&mut self) {
        self.is_in_use = false;
    }

    /// The write half; `None` once it was taken.
    pub(crate) fn writer(&mut self) -> Option<&mut WriteHalf> {
        self.writer.as_mut()
    }

    /// Takes the write half, for a request that continues after its response has begun. The connection is not reused.
    pub(crate) fn take_writer(&mut self) -> Option<WriteHalf> {
        self.writer.take()
    }

    /// Whether the write half was taken.
    pub(crate) fn is_split(&self) -> bool {
        self.writer.is_none()
    }

    /// Whether it can serve another request: it has its write half, and no unsolicited bytes.
    pub(crate) fn is_whole(&self) -> bool {
        self.writer.is_some() && self.unread.is_empty()
    }

    /// Whether UCS has neither closed it nor sent data, as far as the event loop knows.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_whole() && self.reader.is_quiet()
    }

    /// Releases memory that only a long body needed.
    pub(crate) fn shrink(&mut self) {
        if self.unread.capacity() > READ_BYTES {
            self.unread = BytesMut::new();
        }
    }

    /// Reads once, as far as such a read goes. 0 when UCS has closed its side.
    pub(crate) fn poll_fill(&mut self, room: Room, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.unread.reserve(room.0);
        std::pin::pin!(self.reader.read_buf(&mut self.unread)).poll(context)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.is_in_use {
            self.reader.reset_on_close();
            // Dropping it would send a FIN first.
            self.writer.take().into_iter().for_each(WriteHalf::forget);
        } else {
            self.writer.take().into_iter().for_each(WriteHalf::end);
        }
    }
}
