//! Serves one HTTP/2 connection: hyper reads and writes its frames, and each of its streams is served by itself. It ends idle
//! connections, and those of a gateway that stops, with GOAWAY.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::ReadBuf;

use super::open_stream::OpenStream;
use super::socket::Socket;
use super::stream::{self, StreamTasks};
use super::unwritten::Unwritten;
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

/// How much of a response waits in memory for the client, besides the current piece, in bytes. A connection has many.
const SEND_BUFFER: usize = 8 * 1024;

/// What a field adds to the size of a field section (RFC 9113, 6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// Serves a client until its connection is over. Its first bytes, if any were read, are `begun`.
pub(crate) async fn serve(stream: Stream, begun: Bytes, connection: &Rc<Downstream>) {
    let state = &connection.state;
    stream.keep_unread_for(connection.worker.forwarder.exchanges.idle_body());
    let unwritten = Rc::new(Unwritten::limited_to(SEND_BUFFER));
    let socket = Rc::new(RefCell::new(Socket::new(stream, Rc::clone(state), Rc::clone(&unwritten))));
    let io = WatchedStream::new(Rc::clone(&socket), begun, Rc::clone(state), Rc::clone(&unwritten));
    let (tasks, has_request) = (StreamTasks::default(), Cell::new(false));
    let service = service_fn(|request| {
        has_request.set(true);
        let open = OpenStream::new(connection, &unwritten);
        tasks.expect(&open);
        stream::serve(open, request)
    });
    {
        let builder = builder(tasks.clone(), &connection.worker.head_limits);
        let mut serving = pin!(builder.serve_connection(TokioIo::new(io), service));
        let mut is_leaving = false;
        poll_fn(|context| {
            state.remember(context);
            if state.take_expired().is_some() {
                return Poll::Ready(());
            }
            if !is_leaving && (state.is_idle_over() || must_leave(connection, has_request.get())) {
                is_leaving = true;
                serving.as_mut().graceful_shutdown();
            } else if state.is_idle_over() {
                return Poll::Ready(());
            }
            if serving.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            if matches!(socket.borrow_mut().poll_flush(context), Poll::Ready(Err(_))) {
                return Poll::Ready(());
            }
            // A client that is told of the end has the time of another idle connection to end it.
            if state.is_responding() || state.is_idle_over() {
                state.note_bytes();
            }
            if !state.is_responding() {
                state.note_waiting();
            }
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

fn builder(tasks: StreamTasks, limits: &HeadLimits) -> http2::Builder<StreamTasks> {
    // Twice as much as is accepted, so that the client of a head that is a little too long gets the usual response.
    let longest = 2 * (limits.head_bytes + FIELD_OVERHEAD * limits.header_count);
    let mut builder = http2::Builder::new(tasks);
    builder
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(longest).unwrap_or(u32::MAX))
        .auto_date_header(false);
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
