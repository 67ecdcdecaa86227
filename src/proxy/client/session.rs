//! Serves one client connection, request by request: reads a head, calls the handler, writes the response, and continues until
//! either side closes the connection. The handler decides about the response.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use hyper::Method;
use hyper::body::Body;
use tokio::io::AsyncWrite;

use super::handshake;
use super::input::{ClientBody, ClientInput, Next, Scratch};
use super::preface::{self, Begun};
use crate::http1::RequestHead;
use crate::http1::writer::{MessageWriter, WriteError};
use crate::proxy::context::{Downstream, RequestContext};
use crate::proxy::handler::{respond, respond_to_malformed};
use crate::proxy::http2;
use crate::proxy::incoming::IncomingBody;
use crate::proxy::request_log::RequestLog;
use crate::proxy::response::Response;
use crate::proxy::response::http1::{self, ResponseFraming};
use crate::transport::{ReadHalf, Stream, WriteHalf};

/// The pipelined requests of a client that are served before the others of this worker have their turn. With more, a thousand
/// clients that pipeline would keep an ordinary one waiting for as many requests each.
const REQUESTS_IN_A_ROW: u32 = 4;

/// Serves a client until its connection is over. This future is a large part of the memory of an idle connection: see the row
/// *idle* of benches/compare.
pub(crate) async fn serve(stream: Stream, downstream: Rc<Downstream>, _guard: impl Sized, scratch: Rc<Scratch>) {
    let downstream = &downstream;
    let stream = match downstream.worker.tls {
        None => stream,
        // Boxed: it is over when the connection is idle.
        Some(_) => match Box::pin(handshake::secured(stream, downstream)).await {
            Some(stream) => stream,
            None => return,
        },
    };
    let (stream, begun) = match protocol(stream, downstream).await {
        Begun::Http1(stream, begun) => (stream, begun),
        // Boxed, as most connections speak HTTP/1.1.
        Begun::Http2(stream, begun) => return Box::pin(http2::serve(stream, begun, downstream)).await,
    };
    let (reader, writer) = stream.split();
    let unread_limit = downstream.worker.forwarder.exchanges.idle_body();
    let mut writer = ClientWriter { half: Some(writer), end: End::Regular, unread_limit };
    let input = ClientInput::new(reader, Rc::clone(&downstream.state), scratch).with_unread(begun);
    let input = OpenInput(Rc::new(RefCell::new(input)));
    while let Some(next) = poll_fn(|context| input.0.borrow_mut().poll_next(context)).await {
        // Boxed separately, and freed when the client is idle: a request needs far more memory than the wait for one.
        match Box::pin(serve_while_busy(downstream, &input.0, &mut writer, next)).await {
            After::Next => {}
            After::End => break,
            After::Broken => return,
        }
    }
    // An error means that the client has disconnected.
    if poll_fn(|context| poll_shutdown(downstream, &mut writer, context)).await.is_ok() {
        ClientInput::linger(&input.0).await;
    }
}

/// The protocol of a connection, with its first bytes if they had to be read for that.
async fn protocol(stream: Stream, downstream: &Downstream) -> Begun {
    match stream.speaks_http2() {
        Some(true) => Begun::Http2(stream, Bytes::new()),
        Some(false) => Begun::Http1(stream, BytesMut::new()),
        None if downstream.worker.h2c => Box::pin(preface::read(stream, &downstream.state)).await,
        None => Begun::Http1(stream, BytesMut::new()),
    }
}

type Input = Rc<RefCell<ClientInput<ReadHalf>>>;

/// Closes the input with the connection: a request that continues without its client must not wait for its body.
struct OpenInput(Input);

impl Drop for OpenInput {
    fn drop(&mut self) {
        // It is borrowed only while it is polled: then a panic is unwinding, and must not become an abort.
        if let Ok(mut input) = self.0.try_borrow_mut() {
            input.close();
        }
    }
}

/// The write half of a client's connection.
struct ClientWriter {
    half: Option<WriteHalf>,
    /// How closing now ends the connection.
    end: End,
    /// How long the kernel keeps unread bytes for the client after a regular end.
    unread_limit: Duration,
}

/// How a connection ends.
#[derive(Clone, Copy)]
enum End {
    /// Between two messages.
    Regular,
    /// The client must see the beginning of a response whose rest is missing.
    Truncated,
    /// While a response is in progress: the kernel must keep nothing for a client that was given up, and an HTTP/1.0 client
    /// would take a FIN for the end of the body.
    Reset,
}

impl ClientWriter {
    fn half(&mut self) -> &mut WriteHalf {
        self.half.as_mut().expect("it is taken only when this is dropped")
    }
}

impl Drop for ClientWriter {
    /// Also runs when the whole task is aborted.
    fn drop(&mut self) {
        let Some(half) = self.half.take() else { return };
        match self.end {
            End::Regular => half.close(self.unread_limit),
            End::Truncated => half.truncate(self.unread_limit),
            End::Reset => half.reset(),
        }
    }
}

/// Ends the sending side. Over TLS that is one more message, which a client that does not read can hold up.
fn poll_shutdown(
    downstream: &Downstream,
    writer: &mut ClientWriter,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let ended = Pin::new(writer.half()).poll_shutdown(context);
    match ended {
        Poll::Pending => downstream.state.wait_for_reading(false),
        Poll::Ready(_) => downstream.state.all_read(),
    }
    ended
}

/// Serves requests until the client has been idle for a while, or the connection is over.
async fn serve_while_busy(
    downstream: &Rc<Downstream>,
    input: &Input,
    writer: &mut ClientWriter,
    mut next: Next,
) -> After {
    let mut in_a_row = 0;
    loop {
        match serve_one(downstream, input, writer, next).await {
            After::Next => {}
            over => return over,
        }
        let more = poll_fn(|context| {
            let polled = input.borrow_mut().poll_next(context);
            match polled {
                Poll::Ready(Some(request)) => Poll::Ready(Ok(request)),
                Poll::Ready(None) => Poll::Ready(Err(After::End)),
                Poll::Pending if downstream.state.is_shrunk() => {
                    input.borrow_mut().shrink();
                    Poll::Ready(Err(After::Next))
                }
                Poll::Pending => {
                    in_a_row = 0;
                    Poll::Pending
                }
            }
        });
        match more.await {
            Ok(request) => next = request,
            Err(over) => return over,
        }
        in_a_row += 1;
        if in_a_row == REQUESTS_IN_A_ROW {
            in_a_row = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// The next step after a response.
enum After {
    Next,
    /// The regular end of the connection.
    End,
    /// An abrupt end: the client has disconnected, or must see that its response is incomplete.
    Broken,
}

async fn serve_one(downstream: &Rc<Downstream>, input: &Input, writer: &mut ClientWriter, next: Next) -> After {
    let request_log = RequestLog::open(downstream, Instant::now());
    writer.end = End::Reset;
    let (mut framing, response) = match next {
        Next::Malformed(error) => (ResponseFraming::last(), respond_to_malformed(downstream, error, request_log)),
        Next::Request(head) => {
            let framing = framing_of(&head);
            let response = respond_to_client(downstream, input, writer.half(), &head, request_log).await;
            let Some(response) = response else { return After::Broken };
            let mut input = input.borrow_mut();
            // RFC 9112, 9.3: the unread rest of this request must not be read as the next one.
            let goes_on = if response.discards_body { input.discard_body() } else { input.can_keep_alive() };
            input.take_back(head);
            (ResponseFraming { closes: framing.closes || !goes_on, ..framing }, response)
        }
    };
    input.borrow_mut().response_begins();
    framing.closes |= downstream.worker.stop.get().has_begun();
    write(downstream, input, writer, response, framing).await
}

fn framing_of(head: &RequestHead) -> ResponseFraming {
    let asks = head.asks;
    ResponseFraming {
        is_head: head.method == Method::HEAD,
        is_http10: head.is_http10,
        closes: asks.close || (head.is_http10 && !asks.keep_alive),
        // RFC 9110, 6.5.1: trailers are sent only to clients that accept them.
        takes_trailers: asks.trailers,
    }
}

/// Runs the handler; `None` if the client disconnects before there is a response.
async fn respond_to_client(
    downstream: &Rc<Downstream>,
    input: &Input,
    writer: &mut WriteHalf,
    head: &RequestHead,
    request_log: RequestLog,
) -> Option<Box<Response>> {
    let body = IncomingBody::Http1(ClientBody::new(Rc::clone(input)));
    let mut responding = pin!(respond(RequestContext { downstream, head }, body, request_log));
    poll_fn(|context| {
        let response = responding.as_mut().poll(context);
        if let Poll::Ready(response) = response {
            return Poll::Ready(Some(response));
        }
        let write = |bytes: &[u8]| Pin::new(&mut *writer).poll_write(context, bytes);
        if downstream.state.send_interim(write).is_err() {
            return Poll::Ready(None);
        }
        input.borrow_mut().poll_gone(context, is_broken).map(|()| None)
    })
    .await
}

/// Whether the connection of a half-closed client is broken. From the first look on, the kernel asks its peer for signs of life.
fn is_broken(reader: &ReadHalf, is_first: bool) -> bool {
    if is_first {
        reader.probe_peer();
    }
    reader.has_error()
}

async fn write(
    downstream: &Downstream,
    input: &Input,
    writer: &mut ClientWriter,
    response: Box<Response>,
    framing: ResponseFraming,
) -> After {
    let (worker, interim) = (&downstream.worker, downstream.state.take_interim());
    let mut message = http1::encode(*response, &interim, framing, &worker.date.borrow());
    let closes = message.closes();
    let wrote = poll_fn(|context| poll_write(downstream, input, writer.half(), &mut message, context)).await;
    downstream.state.all_read();
    writer.end = match &wrote {
        Ok(()) => End::Regular,
        Err(WriteError::Body) if !message.ends_by_closing() => End::Truncated,
        Err(WriteError::Body | WriteError::Refused(_)) => End::Reset,
    };
    match wrote {
        Ok(()) if closes => After::End,
        Ok(()) => After::Next,
        Err(error) => {
            if let WriteError::Refused(_) = error {
                message.body_mut().client_gone();
            }
            After::Broken
        }
    }
}

fn poll_write<B: Body<Data = Bytes> + Unpin>(
    downstream: &Downstream,
    input: &Input,
    writer: &mut WriteHalf,
    message: &mut MessageWriter<B>,
    context: &mut Context<'_>,
) -> Poll<Result<(), WriteError>> {
    let before = message.sent();
    if let Poll::Ready(written) = message.poll(writer, context) {
        return Poll::Ready(written);
    }
    if message.waits_for_reader() {
        downstream.state.wait_for_reading(message.sent() > before);
    } else {
        downstream.state.all_read();
    }
    let gone = || Err(WriteError::Refused(io::ErrorKind::NotConnected.into()));
    input.borrow_mut().poll_gone(context, is_broken).map(|()| gone())
}
