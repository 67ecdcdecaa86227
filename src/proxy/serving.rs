//! One client's connection, request after request: it reads a head, has it answered, writes the answer, and goes on until
//! either side ends it. What a request is, and what it gets for an answer, is decided in `respond`.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::body::Body;
use hyper::{Method, Request, Response, Version};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use super::account::Account;
use super::body::ReplyBody;
use super::respond::{refuse_fault, respond};
use super::sending::{AnswerTerms, SendFault, Sending};
use super::wire::{ClientBody, ClientInput, Next, RequestHead, Scratch, WireLimits};
use super::worker::Downstream;

/// RFC 9110, 15.2.1.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Serves a client until its connection is over.
pub async fn serve(stream: TcpStream, downstream: Rc<Downstream>, limits: WireLimits, scratch: Rc<Scratch>) {
    let (reader, writer) = stream.into_split();
    let mut output = Output { writer: Some(writer), is_open_ended: false };
    let input = ClientInput::new(reader, limits, Rc::clone(&downstream.wire), scratch);
    let input = Open(Rc::new(RefCell::new(input)));
    while let Some(next) = poll_fn(|context| input.0.borrow_mut().poll_next(context)).await {
        // In a box of its own, which goes when the client is idle: what a request needs is many times what a wait needs.
        match Box::pin(serve_while_busy(&downstream, &input.0, &mut output, next)).await {
            After::Next => {}
            After::End => break,
            After::Broken => return,
        }
    }
    // A client that has gone cannot be told.
    if output.writer().shutdown().await.is_ok() {
        ClientInput::linger(&input.0).await;
    }
}

type Input = Rc<RefCell<ClientInput>>;

/// The way to the client.
struct Output {
    /// Gone only once it is dropped.
    writer: Option<OwnedWriteHalf>,
    /// An answer is on its way that only the end of the connection ends.
    is_open_ended: bool,
}

impl Output {
    fn writer(&mut self) -> &mut OwnedWriteHalf {
        self.writer.as_mut().expect("only its drop takes it")
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let Some(writer) = self.writer.take().filter(|_| self.is_open_ended) else { return };
        // A regular end would make a whole answer of what was sent of it: the connection breaks instead.
        drop(writer.as_ref().set_zero_linger());
        writer.forget();
    }
}

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

/// Answers requests until the client has been idle for a while, or has ended.
async fn serve_while_busy(downstream: &Rc<Downstream>, input: &Input, output: &mut Output, mut next: Next) -> After {
    loop {
        match answer(downstream, input, output, next).await {
            After::Next => {}
            over => return over,
        }
        let more = poll_fn(|context| match input.borrow_mut().poll_next(context) {
            Poll::Ready(Some(request)) => Poll::Ready(Ok(request)),
            Poll::Ready(None) => Poll::Ready(Err(After::End)),
            Poll::Pending if downstream.wire.is_resting() => Poll::Ready(Err(After::Next)),
            Poll::Pending => Poll::Pending,
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

async fn answer(downstream: &Rc<Downstream>, input: &Input, output: &mut Output, next: Next) -> After {
    let account = Account::open(downstream, Instant::now());
    let (mut terms, response) = match next {
        Next::Fault(fault) => (AnswerTerms::last(), refuse_fault(downstream, fault, account)),
        Next::Request(head) => {
            let terms = terms_of(&head);
            let request = Request::from_parts(head.parts, ClientBody::new(Rc::clone(input)));
            match respond_to_client(downstream, input, output.writer(), request, account).await {
                Some(response) => (terms, response),
                None => return After::Broken,
            }
        }
    };
    input.borrow_mut().answer_begins();
    // RFC 9112, 9.3: what nobody reads of this request must not be taken for the next one.
    terms.closes |= downstream.wire.is_stopping() || !input.borrow().is_in_step();
    write(downstream, input, output, response, terms).await
}

/// What a request says of the answer's form.
fn terms_of(head: &RequestHead) -> AnswerTerms {
    let RequestHead { parts, asks } = head;
    let is_old = parts.version == Version::HTTP_10;
    AnswerTerms {
        is_head: parts.method == Method::HEAD,
        is_old,
        closes: asks.close || (is_old && !asks.keep_alive),
        // RFC 9110, 6.5.1: trailers are for those who say that they take them.
        takes_trailers: asks.trailers,
    }
}

/// The answer; `None` when the client has gone before there was one.
async fn respond_to_client(
    downstream: &Rc<Downstream>,
    input: &Input,
    writer: &OwnedWriteHalf,
    request: Request<ClientBody>,
    account: Account,
) -> Option<Response<ReplyBody>> {
    let mut responding = pin!(respond(Rc::clone(downstream), request, account));
    poll_fn(|context| {
        let response = responding.as_mut().poll(context);
        if let Poll::Ready(response) = response {
            return Poll::Ready(Some(response));
        }
        if downstream.wire.takes_continue() && !is_told_to_continue(writer) {
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
    output: &mut Output,
    response: Response<ReplyBody>,
    terms: AnswerTerms,
) -> After {
    let mut sending = Sending::answer(response, terms, &downstream.worker.date.borrow());
    let closes = sending.closes();
    output.is_open_ended = sending.is_open_ended();
    let writer = output.writer();
    let wrote = poll_fn(|context| poll_write(downstream, input, writer, &mut sending, context)).await;
    output.is_open_ended &= !wrote;
    downstream.wire.all_was_read();
    match wrote {
        false => After::Broken,
        true if closes || !input.borrow().is_in_step() => After::End,
        true => After::Next,
    }
}

fn poll_write<B: Body<Data = bytes::Bytes> + Unpin>(
    downstream: &Downstream,
    input: &Input,
    writer: &mut OwnedWriteHalf,
    sending: &mut Sending<B>,
    context: &mut Context<'_>,
) -> Poll<bool> {
    let before = sending.sent();
    if let Poll::Ready(written) = sending.poll(writer, context) {
        if let Err(SendFault::Body) = written {
            // A connection that ends without a byte tells clients that nothing was done, and that they may ask again.
            sending.write_last(writer, context);
        }
        return Poll::Ready(written.is_ok());
    }
    if sending.waits_for_reader() {
        downstream.wire.wait_for_reading(sending.sent() > before);
    } else {
        downstream.wire.all_was_read();
    }
    input.borrow_mut().poll_gone(context, false).map(|()| false)
}
