//! The response of a stream: its head and its body as h2 takes them. h2 gets no more of a body than the client's windows admit and
//! than it may keep (see `unwritten`), and the rest waits here: so such a stream has a task that can be ended, however little is left.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use hyper::body::Body;
use hyper::header::{CONTENT_LENGTH, DATE, HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};

use super::fields::fields_of;
use super::incoming::StreamBody;
use super::interim;
use super::open_stream::OpenStream;
use super::unwritten::Part;
use crate::http1::FieldNames;
use crate::proxy::response::{Response, ResponseBody, length_of_nothing};

/// The most bytes of a part, and the most that waits in h2 for one stream.
pub(super) const PART_BYTES: usize = 16 * 1024;

/// What the request demands of its response.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutgoingFraming {
    /// The method is HEAD.
    pub(super) is_head: bool,
    /// The client accepts trailers.
    pub(super) takes_trailers: bool,
}

/// Sends the response. The stream is open until it is sent; `rest` is what the client has still to send.
pub(super) async fn send(
    response: Response,
    framing: OutgoingFraming,
    reply: SendResponse<Part>,
    stream: OpenStream,
    rest: StreamBody,
) {
    let Response { status, lines, meta, length: declared_length, body, .. } = response;
    let size = body.size_hint().exact();
    let mut fields = fields_of(&lines);
    if !meta.dated
        && let Ok(date) = HeaderValue::from_str(&stream.downstream.worker.date.borrow())
    {
        fields.insert(DATE, date);
    }
    let has_no_body = framing.is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = if has_no_body { length_of_nothing(status, declared_length, size) } else { size };
    if let Some(length) = length {
        fields.insert(CONTENT_LENGTH, length.into());
    }
    let trailers = if framing.takes_trailers { meta.trailers } else { FieldNames::default() };
    let is_over = has_no_body || body.is_end_stream();
    let (mut head, head_bytes) = (hyper::Response::new(()), lines.len());
    drop(lines);
    (*head.status_mut(), *head.headers_mut()) = (status, fields);
    let piece = Bytes::new();
    let outgoing = Outgoing { body, piece, is_long: false, is_over, trailers, rest: Some(rest), stream };
    if let Err(error) = outgoing.send(head, head_bytes, reply).await {
        tracing::debug!(%error, "an HTTP/2 stream ended");
    }
}

/// What is left of a stream's response.
#[derive(Debug)]
struct Outgoing {
    body: ResponseBody,
    /// What is left of the current piece.
    piece: Bytes,
    /// Whether the piece was longer than a part.
    is_long: bool,
    /// Whether nothing is left of `body`.
    is_over: bool,
    /// The trailers that may follow.
    trailers: FieldNames,
    /// The body of the request, until this is dropped.
    rest: Option<StreamBody>,
    /// Declared after the body, whose record is written first.
    stream: OpenStream,
}

impl Outgoing {
    async fn send(
        mut self,
        head: hyper::Response<()>,
        head_bytes: usize,
        mut reply: SendResponse<Part>,
    ) -> Result<(), h2::Error> {
        poll_fn(|context| self.poll_head(&mut reply, context)).await?;
        self.stream.unwritten.head_given(head_bytes);
        let sending = match reply.send_response(head, self.is_over) {
            Ok(sending) => sending,
            Err(error) => {
                reply.send_reset(Reason::INTERNAL_ERROR);
                return Err(error);
            }
        };
        if self.is_over { Ok(()) } else { self.send_body(sending).await }
    }

    /// Waits until the head may be given to h2, after the interim ones.
    fn poll_head(&mut self, reply: &mut SendResponse<Part>, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        if let Poll::Ready(reset) = reply.poll_reset(context) {
            return Poll::Ready(Err(reset?.into()));
        }
        interim::send(&self.stream, reply, context);
        self.poll_writable(context).map(Ok)
    }

    /// Waits until the client's connection takes more.
    fn poll_writable(&self, context: &Context<'_>) -> Poll<()> {
        let writable = self.stream.unwritten.poll_writable(context);
        if writable.is_pending() {
            self.note_waiting();
            self.body.wait_for_client_reading();
        }
        writable
    }

    async fn send_body(&mut self, mut sending: SendStream<Part>) -> Result<(), h2::Error> {
        loop {
            match poll_fn(|context| self.poll_piece(&mut sending, context)).await? {
                Piece::Data => {}
                Piece::Trailers(trailers) => return sending.send_trailers(trailers),
                Piece::End => return sending.send_data(Part::new(Bytes::new(), &self.stream.unwritten), true),
                Piece::Failed => {
                    sending.send_reset(Reason::INTERNAL_ERROR);
                    return Ok(());
                }
            }
            while !self.piece.is_empty() {
                self.send_part(&mut sending).await?;
            }
            if self.is_over {
                return Ok(());
            }
        }
    }

    /// Reads the next piece of the body.
    fn poll_piece(
        &mut self,
        sending: &mut SendStream<Part>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Piece, h2::Error>> {
        if let Poll::Ready(reset) = sending.poll_reset(context) {
            return Poll::Ready(Err(reset?.into()));
        }
        ready!(self.poll_writable(context));
        // The client has read all before, or its window has room for it.
        self.stream.downstream.state.all_read();
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return Poll::Ready(Ok(Piece::Failed)),
            None => {
                self.is_over = true;
                return Poll::Ready(Ok(Piece::End));
            }
        };
        let piece = match frame.into_data() {
            Ok(piece) => {
                (self.is_long, self.is_over) = (piece.len() > PART_BYTES, self.body.is_end_stream());
                self.piece = piece;
                if self.is_over && self.piece.is_empty() { Piece::End } else { Piece::Data }
            }
            Err(frame) => {
                self.is_over = true;
                let trailers = frame.into_trailers().ok().and_then(|trailers| self.accepted(&trailers));
                trailers.map_or(Piece::End, Piece::Trailers)
            }
        };
        Poll::Ready(Ok(piece))
    }

    /// Sends as much of the piece as the client's windows admit, once there is room for it. h2 keeps a part until the client
    /// reads it, even if this task is over: so one of a long piece is copied, as it would keep the whole piece in memory.
    async fn send_part(&mut self, sending: &mut SendStream<Part>) -> Result<(), h2::Error> {
        let wanted = self.piece.len().min(PART_BYTES);
        sending.reserve_capacity(wanted);
        let length = poll_fn(|context| self.poll_window(sending, context)).await?.min(wanted);
        if !self.stream.unwritten.try_take(length) {
            let mut taking = pin!(self.stream.unwritten.take(length));
            poll_fn(|context| {
                if let Poll::Ready(reset) = sending.poll_reset(context) {
                    return Poll::Ready(Err::<(), h2::Error>(reset?.into()));
                }
                let taken = taking.as_mut().poll(context);
                if taken.is_pending() {
                    self.note_waiting();
                }
                taken.map(Ok)
            })
            .await?;
        }
        self.stream.downstream.state.all_read();
        let part = self.piece.split_to(length);
        let part = if self.is_long { Bytes::copy_from_slice(&part) } else { part };
        let is_last = self.is_over && self.piece.is_empty();
        sending.send_data(Part::new(part, &self.stream.unwritten), is_last)
    }

    /// How many bytes the client's windows admit.
    fn poll_window(&self, sending: &mut SendStream<Part>, context: &mut Context<'_>) -> Poll<Result<usize, h2::Error>> {
        loop {
            let admitted = sending.capacity();
            if admitted > 0 {
                return Poll::Ready(Ok(admitted));
            }
            match sending.poll_capacity(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Err(Reason::CANCEL.into())),
                Poll::Pending => {
                    self.note_waiting();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Nothing more goes to the client until it reads.
    fn note_waiting(&self) {
        self.stream.downstream.state.wait_for_reading(false);
    }

    /// The trailers that the response has announced and the client accepts.
    fn accepted(&self, trailers: &HeaderMap) -> Option<HeaderMap> {
        let passes = |name: &HeaderName| self.trailers.has(name.as_str().as_bytes());
        let mut accepted = HeaderMap::new();
        for (name, value) in trailers.iter().filter(|(name, _)| passes(name)) {
            accepted.append(name, value.clone());
        }
        if accepted.is_empty() { None } else { Some(accepted) }
    }
}

/// The next piece of a body.
enum Piece {
    Data,
    Trailers(HeaderMap),
    End,
    Failed,
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Some(unread_for) = self.body.unread_for() {
            self.stream.end_unread_connection(unread_for);
        }
        let is_sent = self.is_over && self.piece.is_empty() && !self.stream.downstream.state.ended_unread();
        self.rest.take().filter(|_| is_sent).into_iter().for_each(StreamBody::discard);
    }
}
