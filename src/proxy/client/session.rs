//! One client's connection, request after request: it reads a head, has it answered, writes the answer, and goes on until
//! either side ends it. What a request is, and what it gets for an answer, is decided in `respond`.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::Method;
use hyper::body::Body;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use super::input::{ClientBody, ClientInput, Next, Scratch};
use crate::http1::RequestHead;
use crate::http1::writer::{MessageWriter, WriteError};
use crate::proxy::context::{Downstream, RequestContext};
use crate::proxy::handler::{respond, respond_to_malformed};
use crate::proxy::request_log::RequestLog;
use crate::proxy::response::Response;
use crate::proxy::response::http1::{self, ResponseFraming};

/// RFC 9110, 15.2.1.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Serves a client until its connection is over. This future is much of what an idle connection costs: the row *idle* of
/// benches/compare tells when it grows.
pub async fn serve(stream: TcpStream, downstream: Rc<Downstream>, _guard: impl Sized, scratch: Rc<Scratch>) {
    let downstream = &downstream;
    let (reader, writer) = stream.into_split();
    let unread_limit = downstream.worker.forwarder.exchanges.idle_body();
    let mut writer = Outward { half: Some(writer), resets: false, unread_limit };
    let input = ClientInput::new(reader, Rc::clone(&downstream.state), scratch);
    let input = Open(Rc::new(RefCell::new(input)));
    while let Some(next) = poll_fn(|context| input.0.borrow_mut().poll_next(context)).await {
        // In a box of its own, which goes when the client is idle: what a request needs is many times what a wait needs.
        match Box::pin(serve_while_busy(downstream, &input.0, &mut writer, next)).await {
            After::Next => {}
            After::End => break,
            After::Broken => return,
        }
    }
    // A client that has gone cannot be told.
    if writer.half().shutdown().await.is_ok() {
        ClientInput::linger(&input.0).await;
    }
}

type Input = Rc<RefCell<ClientInput>>;

/// Ends the input with the connection: the body of a request that goes on without its client must not be waited for.
struct Open(Input);

impl Drop for Open {
    fn drop(&mut self) {
        // Borrowed only while it is polled: then this is a panic on its way up, which must stay one.
        if let Ok(mut input) = self.0.try_borrow_mut() {
            input.close();
        }
    }
}

/// The way to the client.
struct Outward {
    half: Option<OwnedWriteHalf>,
    /// Whether an end now is a reset: while a request is being answered, as a client that is given up must leave nothing with
    /// the system, and an old client would take a regular end for the end of the body under way.
    resets: bool,
    /// How long the client may leave unread what the system still holds after a regular end.
    unread_limit: Duration,
}

impl Outward {
    fn half(&mut self) -> &mut OwnedWriteHalf {
        self.half.as_mut().expect("it is taken only when this is dropped")
    }
}

impl Drop for Outward {
    /// Also when the whole task is given up.
    fn drop(&mut self) {
        let Some(half) = self.half.take() else { return };
        let stream: &TcpStream = half.as_ref();
        let socket = socket2::SockRef::from(stream);
        // A connection that cannot be told so is broken already.
        if self.resets {
            drop(socket.set_linger(Some(Duration::ZERO)));
            // Dropping it would say a regular end first.
            half.forget();
        } else {
            // Else the system would offer the rest to a client that never reads for ever.
            drop(socket.set_tcp_user_timeout(Some(self.unread_limit)));
        }
    }
}

/// Answers requests until the client has been idle for a while, or has ended.
async fn serve_while_busy(downstream: &Rc<Downstream>, input: &Input, writer: &mut Outward, mut next: Next) -> After {
    loop {
        // A client that sends many requests at once must not keep all others of this worker waiting.
        tokio::task::coop::consume_budget().await;
        match answer(downstream, input, writer, next).await {
            After::Next => {}
            over => return over,
        }
        let more = poll_fn(|context| {
            let polled = input.borrow_mut().poll_next(context);
            match polled {
                Poll::Ready(Some(request)) => Poll::Ready(Ok(request)),
                Poll::Ready(None) => Poll::Ready(Err(After::End)),
                Poll::Pending if downstream.state.is_resting() => {
                    input.borrow_mut().rest();
                    Poll::Ready(Err(After::Next))
                }
                Poll::Pending => Poll::Pending,
            }
        });
        match more.await {
            Ok(request) => next = request,
            Err(over) => return over,
        }
    }
}

/// What follows an answer.
enum After {
    Next,
    /// The end, in good order.
    End,
    /// Nothing: the client has gone, or must see that its answer is not whole.
    Broken,
}

async fn answer(downstream: &Rc<Downstream>, input: &Input, writer: &mut Outward, next: Next) -> After {
    let request_log = RequestLog::open(downstream, Instant::now());
    writer.resets = true;
    let (mut terms, reply) = match next {
        Next::Fault(fault) => (ResponseFraming::last(), respond_to_malformed(downstream, fault, request_log)),
        Next::Request(head) => {
            let terms = terms_of(&head);
            let reply = respond_to_client(downstream, input, writer.half(), &head, request_log).await;
            let Some(reply) = reply else { return After::Broken };
            let mut input = input.borrow_mut();
            // RFC 9112, 9.3: what nobody reads of this request must not be taken for the next one.
            let goes_on = if reply.leaves_body { input.leave_body() } else { input.can_keep_alive() };
            input.take_back(head);
            (ResponseFraming { closes: terms.closes || !goes_on, ..terms }, reply)
        }
    };
    input.borrow_mut().answer_begins();
    terms.closes |= downstream.state.is_stopping();
    write(downstream, input, writer, reply, terms).await
}

/// What a request says of the answer's form.
fn terms_of(head: &RequestHead) -> ResponseFraming {
    let asks = head.asks;
    ResponseFraming {
        is_head: head.method == Method::HEAD,
        is_http10: head.is_http10,
        closes: asks.close || (head.is_http10 && !asks.keep_alive),
        // RFC 9110, 6.5.1: trailers are for those who say that they take them.
        takes_trailers: asks.trailers,
    }
}

/// The answer; `None` when the client has gone before there was one.
async fn respond_to_client(
    downstream: &Rc<Downstream>,
    input: &Input,
    writer: &OwnedWriteHalf,
    head: &RequestHead,
    request_log: RequestLog,
) -> Option<Box<Response>> {
    let body = ClientBody::new(Rc::clone(input));
    let mut responding = pin!(respond(RequestContext { downstream, head }, body, request_log));
    poll_fn(|context| {
        let response = responding.as_mut().poll(context);
        if let Poll::Ready(reply) = response {
            return Poll::Ready(Some(reply));
        }
        if downstream.state.takes_continue() && !is_told_to_continue(writer) {
            return Poll::Ready(None);
        }
        input.borrow_mut().poll_gone(context, true).map(|()| None)
    })
    .await
}

/// All earlier answers are with the kernel, so there is room for a line; a client that left none reads nothing.
fn is_told_to_continue(writer: &OwnedWriteHalf) -> bool {
    writer.try_write(CONTINUE).is_ok_and(|length| length == CONTINUE.len())
}

async fn write(
    downstream: &Downstream,
    input: &Input,
    writer: &mut Outward,
    reply: Box<Response>,
    terms: ResponseFraming,
) -> After {
    let mut sending = http1::sending(*reply, terms, &downstream.worker.date.borrow(), &downstream.worker.buffers);
    let closes = sending.closes();
    let wrote = poll_fn(|context| poll_write(downstream, input, writer.half(), &mut sending, context)).await;
    downstream.state.all_was_read();
    writer.resets = match &wrote {
        Ok(()) => false,
        // What came of the answer must reach the client.
        Err(WriteError::Body) => sending.ends_by_closing(),
        Err(WriteError::Refused(_)) => true,
    };
    match wrote {
        Ok(()) if closes => After::End,
        Ok(()) => After::Next,
        Err(fault) => {
            if let WriteError::Refused(_) = fault {
                sending.body_mut().client_gone();
            }
            After::Broken
        }
    }
}

fn poll_write<B: Body<Data = bytes::Bytes> + Unpin>(
    downstream: &Downstream,
    input: &Input,
    writer: &mut OwnedWriteHalf,
    sending: &mut MessageWriter<B>,
    context: &mut Context<'_>,
) -> Poll<Result<(), WriteError>> {
    let before = sending.sent();
    if let Poll::Ready(written) = sending.poll(writer, context) {
        return Poll::Ready(written);
    }
    if sending.waits_for_reader() {
        downstream.state.wait_for_reading(sending.sent() > before);
    } else {
        downstream.state.all_was_read();
    }
    let gone = || Err(WriteError::Refused(std::io::ErrorKind::NotConnected.into()));
    input.borrow_mut().poll_gone(context, false).map(|()| gone())
}
