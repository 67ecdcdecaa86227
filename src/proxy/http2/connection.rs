//! Serves one HTTP/2 connection: h2 reads and writes its frames, and each of its streams is served by itself. It ends idle
//! connections, and those of a gateway that stops, with GOAWAY.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::{Builder, Connection, Handshake};
use tokio::io::ReadBuf;

use super::open_stream::OpenStream;
use super::outgoing::PART_BYTES;
use super::socket::Socket;
use super::stream;
use super::unwritten::{Part, Unwritten};
use super::watched::WatchedStream;
use crate::http1::{HeadLimits, RequestError};
use crate::proxy::client::ConnectionState;
use crate::proxy::context::{Downstream, DownstreamKind};
use crate::proxy::stop::Stop;
use crate::transport::Stream;

/// The most open streams of one connection.
const STREAMS: u32 = 128;

/// How much a client may send beyond what the gateway has passed on, for a stream and for its connection, in bytes.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// The most resets for errors of the client, until its connection is ended.
const ERROR_RESETS: usize = 1024;

/// What a field adds to the size of a field section (RFC 9113, 6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// Serves a client until its connection is over. Its first bytes, if any were read, are `begun`.
pub(crate) async fn serve(stream: Stream, begun: Bytes, connection: &Rc<Downstream>) {
    let state = &connection.state;
    stream.keep_unread_for(connection.worker.forwarder.exchanges.idle_body());
    let socket = Rc::new(RefCell::new(Socket::new(stream, Rc::clone(state))));
    {
        let io = WatchedStream::new(Rc::clone(&socket), begun, Rc::clone(state));
        let mut streams = Streams::new(io, connection);
        poll_fn(|context| {
            state.remember(context);
            if state.take_expired().is_some() {
                return Poll::Ready(());
            }
            if streams.is_leaving && state.is_idle_over() {
                return Poll::Ready(());
            }
            streams.is_leaving |= state.is_idle_over() || must_leave(connection, streams.has_request);
            if streams.poll(context).is_ready() {
                return Poll::Ready(());
            }
            let was_refused = socket.borrow().is_refusing();
            let flushed = socket.borrow_mut().poll_flush(context);
            if matches!(flushed, Poll::Ready(Err(_))) {
                return Poll::Ready(());
            }
            streams.unwritten.note_written(was_refused, flushed.is_pending());
            note_pause(state);
            if state.is_shrunk() {
                socket.borrow_mut().shrink();
            }
            Poll::Pending
        })
        .await;
    }
    state.take_expired().into_iter().for_each(|error| note_fault(connection, error));
    if socket.borrow().is_shut() {
        linger(&socket, state).await;
    }
}

/// The connection is idle if no response is in progress.
fn note_pause(state: &ConnectionState) {
    // A client that is told of the end has the time of another idle connection to end it.
    if state.is_responding() || state.is_idle_over() {
        state.note_bytes();
    }
    if !state.is_responding() {
        state.note_waiting();
    }
}

/// The streams of a connection, as h2 has them.
struct Streams<'c> {
    connection: &'c Rc<Downstream>,
    /// Until the client's preface is complete.
    opening: Option<Handshake<WatchedStream, Part>>,
    open: Option<Connection<WatchedStream, Part>>,
    /// What it was given by them.
    unwritten: Rc<Unwritten>,
    /// Whether there has been a stream.
    has_request: bool,
    /// Whether the client is told that there will be no more.
    is_leaving: bool,
}

impl Streams<'_> {
    fn new(io: WatchedStream, connection: &Rc<Downstream>) -> Streams<'_> {
        let opening = Some(builder(&connection.worker.head_limits).handshake(io));
        let unwritten = Rc::new(Unwritten::new());
        Streams { connection, opening, open: None, unwritten, has_request: false, is_leaving: false }
    }

    /// Reads and writes frames, and begins to serve new streams, until the connection is over.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(opening) = &mut self.opening {
            self.open = ready!(Pin::new(opening).poll(context)).ok();
            self.opening = None;
        }
        let Some(open) = &mut self.open else { return Poll::Ready(()) };
        if self.is_leaving {
            open.graceful_shutdown();
        }
        while let Some(Ok((request, reply))) = ready!(open.poll_accept(context)) {
            self.has_request = true;
            let stream = OpenStream::new(self.connection, &self.unwritten);
            let client = stream.downstream.task.clone();
            client.set(tokio::task::spawn_local(stream::serve(stream, request, reply)).abort_handle());
        }
        Poll::Ready(())
    }
}

fn builder(limits: &HeadLimits) -> Builder {
    // Twice as much as is accepted, so that the client of a head that is a little too long gets the usual response.
    let longest = 2 * (limits.head_bytes + FIELD_OVERHEAD * limits.header_count);
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(PART_BYTES)
        .max_header_list_size(u32::try_from(longest).unwrap_or(u32::MAX))
        .max_local_error_reset_streams(Some(ERROR_RESETS));
    builder
}

/// Whether the gateway stops, and the client is told so. One that has connected since then has a response first.
fn must_leave(connection: &Downstream, has_request: bool) -> bool {
    match connection.worker.stop.get() {
        Stop::None => false,
        Stop::Lingering { .. } => has_request || connection.kind == DownstreamKind::PREDATES_STOP,
        Stop::Draining { .. } => true,
    }
}

fn note_fault(connection: &Downstream, error: RequestError) {
    connection.worker.recorder.metrics.wire_fault(error.reason());
    tracing::debug!(peer = %connection.peer, %error, "an HTTP/2 connection was closed");
}

/// Discards what the client still sends: closing a connection with unread input makes the kernel send RST, which can destroy the
/// last responses. The sweeper limits the time.
async fn linger(socket: &RefCell<Socket>, state: &ConnectionState) {
    state.begin_discard();
    let mut bytes = vec![0; 4096];
    loop {
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = poll_fn(|context| socket.borrow_mut().poll_read(context, &mut buffer)).await;
        match buffer.filled().len() {
            length @ 1.. if read.is_ok() => state.discarded(length),
            _ => break,
        }
    }
    state.end_discard();
}
