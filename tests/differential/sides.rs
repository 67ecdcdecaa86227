//! The three readers of the same bytes, their outcomes in the same words.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Collected, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use ucs_gateway::http1::{BodyEvent, HeadLimits, RESPONSE_LIMITS, RequestHead, ResponseError, read_response_head};
use ucs_gateway::proxy::client::{ClientBody, ClientInput, ConnectionState, Next, Scratch};

/// The limits for which the recorded requests are written.
const LIMITS: HeadLimits = HeadLimits { target_bytes: 256, head_bytes: 1024, header_count: 16 };

/// The most header lines of a response.
const RESPONSE_LINES: usize = 128;

/// The outcome of one stream on one side.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The messages that came whole, in every detail that is compared.
    pub messages: Vec<String>,
    /// What came behind them.
    pub end: End,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// No further message, or one that is not whole.
    #[default]
    Over,
    /// A message that is rejected, with the reason where there is one.
    Rejected(&'static str),
}

impl Outcome {
    fn accepted(message: String) -> Outcome {
        Outcome { messages: vec![message], end: End::Over }
    }

    fn rejected(reason: &'static str) -> Outcome {
        Outcome { messages: Vec::new(), end: End::Rejected(reason) }
    }

    /// In the words of a table.
    pub fn at(&self, index: usize) -> &'static str {
        match &self.end {
            _ if index < self.messages.len() => "accepts",
            End::Over => "waits",
            End::Rejected(reason) => reason,
        }
    }
}

/// `http1` on the requests of a client's stream, up to the one that ends the connection.
pub fn requests<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Outcome {
    let state = Rc::new(ConnectionState::default());
    let input = ClientInput::new(Pieces::of(pieces), Rc::clone(&state), Scratch::new(LIMITS));
    let input = Rc::new(RefCell::new(input));
    let mut outcome = Outcome::default();
    loop {
        let head = match now(std::future::poll_fn(|context| input.borrow_mut().poll_next(context))) {
            None => return outcome,
            Some(Next::Malformed(error)) => return Outcome { end: End::Rejected(error.reason()), ..outcome },
            Some(Next::Request(head)) => head,
        };
        let line = format!("{} {}", head.method, String::from_utf8([head.path(), head.query()].concat()).unwrap());
        let closes = head.asks.close || (head.is_http10 && !head.asks.keep_alive);
        input.borrow_mut().take_back(head);
        match now(ClientBody::new(Rc::clone(&input)).collect()) {
            Ok(body) => outcome.messages.push(format!("{line} {}", told(body))),
            Err(_) => {
                let reason = state.body_error().map_or("unknown", |error| error.reason());
                let end = if reason == "body_truncated" { End::Over } else { End::Rejected(reason) };
                return Outcome { end, ..outcome };
            }
        }
        if closes {
            return outcome;
        }
    }
}

/// `http1` on the first request head alone.
pub fn first_head(stream: &[u8]) -> Outcome {
    let mut input = ClientInput::new(Pieces::of([stream]), Rc::default(), Scratch::new(LIMITS));
    match now(std::future::poll_fn(|context| input.poll_next(context))) {
        None => Outcome::default(),
        Some(Next::Malformed(error)) => Outcome::rejected(error.reason()),
        Some(Next::Request(head)) => Outcome::accepted(told_head(&head)),
    }
}

fn told_head(head: &RequestHead) -> String {
    let target = [head.authority().unwrap_or_default(), head.path(), head.query()].concat();
    let lines = head.fields.lines().map(|line| told_line(line.name(), line.value()));
    let version = u8::from(!head.is_http10);
    format!("{} {} {version} {}", head.method, target.escape_ascii(), lines.collect::<String>())
}

/// `http1` on one response, perhaps one to HEAD.
pub fn response<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, is_head: bool) -> Outcome {
    match whole_response(pieces, is_head) {
        Ok(message) => Outcome::accepted(message),
        Err(ResponseError::Ended) => Outcome::default(),
        Err(error) => Outcome::rejected(word(&error)),
    }
}

fn whole_response<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, is_head: bool) -> Result<String, ResponseError> {
    let mut pieces = pieces.into_iter();
    let mut buffer = BytesMut::new();
    let mut head = loop {
        match read_response_head(&mut buffer, is_head)? {
            Some(head) if head.is_interim() => {}
            Some(head) => break head,
            None => buffer.extend_from_slice(pieces.next().ok_or(ResponseError::Ended)?),
        }
    };
    let (mut data, mut trailers) = (BytesMut::new(), String::new());
    while !head.body.is_over() {
        match head.body.take(&mut buffer, &RESPONSE_LIMITS)? {
            BodyEvent::Data(piece) => data.extend_from_slice(&piece),
            BodyEvent::Trailers(fields) => trailers = told_map(&fields),
            BodyEvent::End => break,
            BodyEvent::More => match pieces.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None if head.body.end() => {}
                None => return Err(ResponseError::Ended),
            },
        }
    }
    Ok(format!("{} {:?} {trailers}", head.status.as_u16(), data.freeze()))
}

/// `http1` on the head of a response alone, interim ones apart.
pub fn response_head(stream: &[u8]) -> Outcome {
    let mut stream = BytesMut::from(stream);
    let mut read = read_response_head(&mut stream, false);
    while let Ok(Some(interim)) = &read
        && interim.is_interim()
    {
        read = read_response_head(&mut stream, false);
    }
    match read {
        Err(error) => Outcome::rejected(word(&error)),
        Ok(None) => Outcome::default(),
        Ok(Some(head)) => {
            let lines = head.fields.lines().map(|line| told_line(line.name(), line.value()));
            Outcome::accepted(format!("{} {}", head.status.as_u16(), lines.collect::<String>()))
        }
    }
}

/// An error of a response in one word: the reason of its chunks, or the variant.
fn word(error: &ResponseError) -> &'static str {
    match error {
        ResponseError::Head(_) => "head",
        ResponseError::HeadTooLong => "head too long",
        ResponseError::Connection => "connection",
        ResponseError::Length => "length",
        ResponseError::Encoding => "encoding",
        ResponseError::Chunks(error) => error.reason(),
        ResponseError::Ended | ResponseError::Broke(_) | ResponseError::GaveUp => "not of the bytes",
    }
}

pub fn httparse_request(stream: &[u8]) -> Outcome {
    let mut lines = [httparse::EMPTY_HEADER; LIMITS.header_count];
    let mut head = httparse::Request::new(&mut lines);
    match head.parse(stream) {
        Err(_) => Outcome::rejected("rejects"),
        Ok(httparse::Status::Partial) => Outcome::default(),
        Ok(httparse::Status::Complete(_)) => {
            // RFC 9112, 3.2.2: the absolute form, without its scheme and with its path.
            let target = head.path.unwrap();
            let target = match target.split_once("://").filter(|(scheme, _)| scheme.chars().all(char::is_alphabetic)) {
                None => target.to_owned(),
                Some((_, rest)) => {
                    let end = rest.find(['/', '?']).unwrap_or(rest.len());
                    let slash = if rest[end..].starts_with('/') { "" } else { "/" };
                    format!("{}{slash}{}", &rest[..end], &rest[end..])
                }
            };
            let lines = head.headers.iter().map(|line| told_line(line.name.as_bytes(), line.value));
            let (method, version) = (head.method.unwrap(), head.version.unwrap());
            Outcome::accepted(format!(
                "{method} {} {version} {}",
                target.as_bytes().escape_ascii(),
                lines.collect::<String>()
            ))
        }
    }
}

/// hyper's server on the requests of a client's stream.
pub fn hyper_requests<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Outcome {
    let outcome = Rc::new(RefCell::new(Outcome::default()));
    let service = service_fn(|request: Request<Incoming>| {
        let outcome = Rc::clone(&outcome);
        async move {
            let (head, body) = request.into_parts();
            let target = head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string);
            match body.collect().await {
                Ok(body) => outcome.borrow_mut().messages.push(format!("{} {target} {}", head.method, told(body))),
                Err(error) => outcome.borrow_mut().end = end_of(&error),
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.half_close(true).max_headers(LIMITS.header_count);
    let connection = builder.serve_connection(TokioIo::new(Pieces::of(pieces)), service);
    let ended = now(connection);
    let mut outcome = std::mem::take(&mut *outcome.borrow_mut());
    if let (End::Over, Err(error)) = (&outcome.end, ended) {
        outcome.end = end_of(&error);
    }
    outcome
}

/// Whether a connection or a body ended early, or was rejected.
fn end_of(error: &hyper::Error) -> End {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    let ended =
        error.is_incomplete_message() || cause.is_some_and(|cause| cause.kind() == io::ErrorKind::UnexpectedEof);
    if ended { End::Over } else { End::Rejected("rejects") }
}

pub fn httparse_response(mut stream: &[u8]) -> Outcome {
    loop {
        let mut lines = [httparse::EMPTY_HEADER; RESPONSE_LINES];
        let mut head = httparse::Response::new(&mut lines);
        match head.parse(stream) {
            Err(_) => return Outcome::rejected("rejects"),
            Ok(httparse::Status::Partial) => return Outcome::default(),
            Ok(httparse::Status::Complete(length)) => {
                let status = head.code.unwrap();
                if !(100..200).contains(&status) || status == 101 {
                    let lines = head.headers.iter().map(|line| told_line(line.name.as_bytes(), line.value));
                    return Outcome::accepted(format!("{status} {}", lines.collect::<String>()));
                }
                stream = &stream[length..];
            }
        }
    }
}

/// hyper's client on one response, perhaps one to HEAD.
pub fn hyper_response<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, is_head: bool) -> Outcome {
    let mut pieces = Pieces::of(pieces);
    pieces.awaits_request = true;
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_headers(RESPONSE_LINES);
    let (mut sender, mut connection) = now(builder.handshake(TokioIo::new(pieces))).unwrap();
    let method = if is_head { "HEAD" } else { "GET" };
    let request = Request::builder().method(method).uri("/").header("host", "a").body(Empty::<Bytes>::new()).unwrap();
    let response = async move {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?;
        Ok::<_, hyper::Error>(format!("{status} {}", told(body)))
    };
    let mut response = std::pin::pin!(response);
    let mut is_over = false;
    let ended = now(std::future::poll_fn(|context| {
        if !is_over {
            is_over = Pin::new(&mut connection).poll(context).is_ready();
        }
        response.as_mut().poll(context)
    }));
    match ended {
        Ok(message) => Outcome::accepted(message),
        Err(error) => Outcome { messages: Vec::new(), end: end_of(&error) },
    }
}

fn told_line(name: &[u8], value: &[u8]) -> String {
    format!("{}={};", name.escape_ascii().to_string().to_ascii_lowercase(), value.escape_ascii())
}

fn told(body: Collected<Bytes>) -> String {
    let trailers = body.trailers().map_or_else(String::new, told_map);
    format!("{:?} {trailers}", body.to_bytes())
}

fn told_map(map: &HeaderMap) -> String {
    map.iter().map(|(name, value)| told_line(name.as_str().as_bytes(), value.as_bytes())).collect()
}

/// A socket on which these pieces come one by one, and then the end; what is written to it is dropped.
struct Pieces {
    left: VecDeque<Vec<u8>>,
    /// Nothing comes before the first write.
    awaits_request: bool,
}

impl Pieces {
    fn of<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Pieces {
        let left = pieces.into_iter().filter(|piece| !piece.is_empty()).map(<[u8]>::to_vec).collect();
        Pieces { left, awaits_request: false }
    }
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.awaits_request {
            return Poll::Pending;
        }
        let mut piece = self.left.pop_front().unwrap_or_default();
        let fits = piece.len().min(buffer.remaining());
        buffer.put_slice(&piece[..fits]);
        if fits < piece.len() {
            self.left.push_front(piece.split_off(fits));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.awaits_request = false;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The outcome of a future that waits for nothing but its next turn, as its socket never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    for _ in 0..10_000 {
        if let Poll::Ready(outcome) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return outcome;
        }
    }
    panic!("it waits");
}
