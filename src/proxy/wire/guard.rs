//! A client's socket as hyper sees it: reads are scanned first, writes pass through. The bytes of a head are held back
//! until the head is complete, so hyper never sees one byte of a faulty one.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::fault::WireFault;
use super::scan::{Scan, Scanner, WireLimits};
use super::state::{SYNTHETIC_REQUEST, WireState};

/// One read takes at most this much. It lies in the thread's scratch buffer, so idle connections hold no buffer at all.
const SCRATCH_BYTES: usize = 32 * 1024;

/// How long, and for how many bytes, input is still thrown away after an answer that ends the connection early. Closing
/// with unread input makes the kernel send RST, which can destroy the answer on its way.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1024 * 1024;

/// How much input is thrown away while the answer to a fault is being made.
const DISCARD_BYTES: usize = 64 * 1024;

/// The read buffer that all connections of one thread share: it is empty between two polls.
pub struct Scratch(RefCell<Box<[u8]>>);

impl Scratch {
    /// One for each worker thread.
    pub fn new() -> Rc<Scratch> {
        Rc::new(Scratch(RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice())))
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Scratch")
    }
}

/// The guarded socket. Give it to hyper's HTTP/1 server connection.
#[derive(Debug)]
pub struct GuardedIo<T> {
    inner: T,
    scanner: Scanner,
    state: Rc<WireState>,
    scratch: Rc<Scratch>,
    /// Bytes that wait: first `released` good ones that hyper had no room for, then those of an unfinished head.
    held: Vec<u8>,
    released: usize,
    input: Input,
    closing: Closing,
}

/// What becomes of the client's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Scanned,
    /// A faulty head was replaced; so many further bytes are thrown away.
    Discarded {
        left: usize,
    },
    /// A body is faulty: every read fails.
    Broken(WireFault),
    Ended,
}

#[derive(Debug)]
enum Closing {
    Not,
    Lingering { until: Pin<Box<Sleep>>, left: usize },
    Done,
}

impl<T: AsyncRead + AsyncWrite + Unpin> GuardedIo<T> {
    /// Guards `inner`. `state` is shared with the service and the sweeper, `scratch` with the thread's other connections.
    pub fn new(inner: T, limits: WireLimits, state: Rc<WireState>, scratch: Rc<Scratch>) -> GuardedIo<T> {
        GuardedIo {
            inner,
            scanner: Scanner::new(limits),
            state,
            scratch,
            held: Vec::new(),
            released: 0,
            input: Input::Scanned,
            closing: Closing::Not,
        }
    }

    /// Gives hyper as many released bytes as it has room for.
    fn deliver(&mut self, cursor: &mut ReadBufCursor<'_>) {
        let length = self.released.min(cursor.remaining());
        cursor.put_slice(&self.held[..length]);
        self.released -= length;
        if length == self.held.len() {
            self.held = Vec::new();
        } else {
            self.held.drain(..length);
        }
    }

    /// Reads once and scans; true when there is something for hyper: bytes, or the end.
    fn read_and_scan(&mut self, context: &mut Context<'_>, cursor: &mut ReadBufCursor<'_>) -> Poll<io::Result<bool>> {
        let scratch = Rc::clone(&self.scratch);
        let mut scratch = scratch.0.borrow_mut();
        let room = scratch.len().min(cursor.remaining());
        let mut buffer = ReadBuf::new(&mut scratch[..room]);
        match Pin::new(&mut self.inner).poll_read(context, &mut buffer) {
            Poll::Pending => {
                self.note_waiting(context);
                return Poll::Pending;
            }
            Poll::Ready(result) => result?,
        }
        let bytes = buffer.filled();
        if bytes.is_empty() {
            self.end();
            return Poll::Ready(Ok(true));
        }
        self.state.idle_since.set(None);
        if self.held.is_empty() {
            let passed = self.scan(bytes);
            cursor.put_slice(&bytes[..passed]);
            if self.input == Input::Scanned {
                self.held.extend_from_slice(&bytes[passed..]);
            }
            return Poll::Ready(Ok(passed > 0 || self.input != Input::Scanned));
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(bytes);
        let passed = self.scan(&held);
        if self.input != Input::Scanned {
            held.truncate(passed);
        }
        held.append(&mut self.held);
        self.held = held;
        self.released += passed;
        Poll::Ready(Ok(self.released > 0 || self.input != Input::Scanned))
    }

    /// Says how many of `bytes` are good. A fault behind them is noted; if it is in a head, the stand-in is put in `held`.
    fn scan(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        while passed < bytes.len() {
            match self.scanner.scan(&bytes[passed..]) {
                Scan::Pass(length) => passed += length,
                Scan::Hold => break,
                Scan::Fault(fault) if self.scanner.in_head() => {
                    self.refuse(fault);
                    return passed;
                }
                Scan::Fault(fault) => {
                    self.state.body_fault.set(Some(fault));
                    self.input = Input::Broken(fault);
                    return passed;
                }
            }
        }
        let head_begun = self.scanner.in_head() && bytes[passed..].iter().any(|byte| !matches!(byte, b'\r' | b'\n'));
        if !head_begun {
            self.state.head_started.set(None);
        } else if passed > 0 || self.state.head_started.get().is_none() {
            self.state.head_started.set(Some(Instant::now()));
        }
        passed
    }

    /// Puts the stand-in for a faulty head in the place of everything that was not released.
    fn refuse(&mut self, fault: WireFault) {
        self.state.head_fault.set(Some(fault));
        self.state.head_started.set(None);
        self.held.truncate(self.released);
        self.held.extend_from_slice(SYNTHETIC_REQUEST);
        self.released += SYNTHETIC_REQUEST.len();
        self.input = Input::Discarded { left: DISCARD_BYTES };
    }

    /// The client sends no more. An unfinished head is dropped silently, an unfinished body is a fault of the client.
    fn end(&mut self) {
        if self.scanner.in_body() {
            self.state.body_fault.set(Some(WireFault::BodyTruncated));
        }
        self.state.head_started.set(None);
        self.held = Vec::new();
        self.input = Input::Ended;
    }

    /// Nothing to read: what the sweeper needs to know.
    fn note_waiting(&self, context: &Context<'_>) {
        if self.state.head_started.get().is_some() {
            self.state.remember(context);
        } else if self.scanner.in_head() && self.state.idle_since.get().is_none() {
            self.state.idle_since.set(Some(Instant::now()));
        }
    }

    /// Throws `left` bytes of input away; ready when all were, or the stream is over.
    fn discard(&mut self, context: &mut Context<'_>, left: &mut usize) -> Poll<()> {
        let scratch = Rc::clone(&self.scratch);
        let mut scratch = scratch.0.borrow_mut();
        while *left > 0 {
            let room = scratch.len().min(*left);
            let mut buffer = ReadBuf::new(&mut scratch[..room]);
            let over = ready!(Pin::new(&mut self.inner).poll_read(context, &mut buffer)).is_err();
            if over || buffer.filled().is_empty() {
                break;
            }
            *left -= buffer.filled().len();
        }
        Poll::Ready(())
    }

    /// Whether the client may still be sending what nobody will read.
    fn leaves_input_unread(&self) -> bool {
        match self.input {
            Input::Ended => false,
            Input::Discarded { .. } | Input::Broken(_) => true,
            Input::Scanned => self.scanner.in_body() || !self.held.is_empty(),
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Read for GuardedIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        loop {
            if guard.released > 0 {
                guard.deliver(&mut cursor);
                return Poll::Ready(Ok(()));
            }
            match guard.input {
                Input::Scanned => {}
                Input::Ended if guard.state.body_fault.get().is_none() && guard.state.hides_end() => {
                    guard.state.remember(context);
                    return Poll::Pending;
                }
                Input::Ended => return Poll::Ready(Ok(())),
                Input::Broken(fault) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault))),
                Input::Discarded { mut left } => {
                    // Pending for good: the end of the input must not cut off the answer.
                    let _ = guard.discard(context, &mut left);
                    guard.input = Input::Discarded { left };
                    return Poll::Pending;
                }
            }
            if let Some(fault) = guard.state.expired.take()
                && guard.state.head_started.get().is_some()
            {
                guard.scanner.fail(fault, true);
                guard.refuse(fault);
                continue;
            }
            let room = cursor.remaining();
            if ready!(guard.read_and_scan(context, &mut cursor))? && cursor.remaining() < room {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Write for GuardedIo<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    /// Ends the answers; then, if the client may still be sending, throws its input away for a short while, so that the
    /// client can read the answer.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        loop {
            match std::mem::replace(&mut guard.closing, Closing::Done) {
                Closing::Not => {
                    guard.closing = Closing::Not;
                    ready!(Pin::new(&mut guard.inner).poll_shutdown(context))?;
                    guard.closing = if guard.leaves_input_unread() {
                        Closing::Lingering { until: Box::pin(tokio::time::sleep(LINGER)), left: LINGER_BYTES }
                    } else {
                        Closing::Done
                    };
                }
                Closing::Lingering { mut until, mut left } => {
                    if guard.discard(context, &mut left).is_ready() || until.as_mut().poll(context).is_ready() {
                        continue;
                    }
                    guard.closing = Closing::Lingering { until, left };
                    return Poll::Pending;
                }
                Closing::Done => return Poll::Ready(Ok(())),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(context, slices)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http_body_util::{BodyExt, Full};
    use hyper::body::{Bytes, Incoming};
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::LocalSet;

    use super::super::cases::{self, LIMITS};
    use super::*;

    /// Answers as the gateway's service does: `fault REASON`, `body REASON`, or what was asked with the body's length.
    async fn answer(state: Rc<WireState>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let text = if let Some(fault) = state.refusal(&request) {
            format!("<fault {}>", fault.reason())
        } else {
            let (head, body) = request.into_parts();
            match body.collect().await {
                Ok(body) => format!("<{} {} {}>", head.method, head.uri, body.to_bytes().len()),
                Err(_) => format!("<body {}>", state.body_fault().map_or("unknown", WireFault::reason)),
            }
        };
        Ok(Response::new(Full::from(text)))
    }

    /// A client's end of a connection that hyper serves behind the guard.
    fn serve() -> (DuplexStream, Rc<WireState>) {
        let (client, server) = duplex(64 * 1024);
        let state = Rc::new(WireState::default());
        let guarded = GuardedIo::new(server, LIMITS, Rc::clone(&state), Scratch::new());
        let shared = Rc::clone(&state);
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| answer(Rc::clone(&shared), request));
            let mut http = hyper::server::conn::http1::Builder::new();
            let _ = http.half_close(true).serve_connection(guarded, service).await;
        });
        (client, state)
    }

    /// The `<…>` of the answers to a stream, until the server closes.
    async fn answers(pieces: impl Iterator<Item = &[u8]>) -> Vec<String> {
        let (mut client, _) = serve();
        for piece in pieces {
            client.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        client.shutdown().await.unwrap();
        read_answers(&mut client).await
    }

    async fn read_answers(client: &mut DuplexStream) -> Vec<String> {
        let mut text = Vec::new();
        client.read_to_end(&mut text).await.unwrap();
        let text = String::from_utf8(text).unwrap();
        text.split('<').skip(1).map(|rest| rest.split('>').next().unwrap().to_owned()).collect()
    }

    fn on_one_thread(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn every_case_comes_out_of_hyper_as_written_down() {
        on_one_thread(async {
            for case in cases::all() {
                for step in [case.bytes.len(), 1, 7] {
                    let got = answers(case.bytes.chunks(step)).await;
                    let last = got.last().unwrap_or_else(|| panic!("case {:?} was not answered", case.name));
                    let is_fault =
                        [format!("fault {}", case.expected), format!("body {}", case.expected)].contains(last);
                    let passed = !last.starts_with("fault") && !last.starts_with("body");
                    assert!(if case.expected == "pass" { passed } else { is_fault }, "case {:?}: {got:?}", case.name);
                }
            }
        });
    }

    #[test]
    fn good_requests_before_a_bad_one_are_answered_first() {
        on_one_thread(async {
            let stream =
                b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nPOST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\
                GET /c HTTP/1.1\nHost: a\r\n\r\nGET /d HTTP/1.1\r\nHost: a\r\n\r\n";
            for step in [stream.len(), 1, 30, 31, 32] {
                assert_eq!(answers(stream.chunks(step)).await, ["GET /a 0", "POST /b 2", "fault bare_lf"], "{step}");
            }
        });
    }

    #[test]
    fn a_client_cannot_send_the_stand_in_itself() {
        on_one_thread(async {
            let stream = b"GET /.wire-fault HTTP/1.1\r\nHost: wire-fault\r\n\r\nbad\0\r\n\r\n";
            assert_eq!(answers(std::iter::once(&stream[..])).await, ["GET /.wire-fault 0", "fault method"]);
            assert_eq!(answers(std::iter::once(SYNTHETIC_REQUEST)).await, ["fault host_missing"]);
        });
    }

    #[test]
    fn an_end_inside_a_head_is_silent_and_inside_a_body_a_fault() {
        on_one_thread(async {
            assert!(answers(std::iter::once(&b"GET / HTTP/1.1\r\nHo"[..])).await.is_empty());
            let stream = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf";
            assert_eq!(answers(std::iter::once(&stream[..])).await, ["body body_truncated"]);
        });
    }

    #[test]
    fn an_expired_head_is_answered_and_an_idle_connection_is_not_touched() {
        on_one_thread(async {
            let (mut client, state) = serve();
            client.write_all(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            let mut first = vec![0; 1024];
            let length = client.read(&mut first).await.unwrap();
            assert!(length > 0 && state.head_started().is_none());
            while state.idle_since().is_none() {
                tokio::task::yield_now().await;
            }
            state.expire(WireFault::HeaderTimeout);
            client.write_all(b"GET /slow").await.unwrap();
            while state.head_started().is_none() {
                tokio::task::yield_now().await;
            }
            assert!(state.head_fault().is_none() && state.idle_since().is_none());
            state.expire(WireFault::HeaderTimeout);
            assert_eq!(read_answers(&mut client).await, ["fault header_timeout"]);
        });
    }

    #[test]
    fn the_answer_to_a_fault_survives_a_client_that_goes_on_sending() {
        on_one_thread(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (socket, _) = listener.accept().await.unwrap();
            let state = Rc::new(WireState::default());
            let guarded = GuardedIo::new(socket, LIMITS, Rc::clone(&state), Scratch::new());
            tokio::task::spawn_local(async move {
                let service = service_fn(move |request| answer(Rc::clone(&state), request));
                hyper::server::conn::http1::Builder::new().serve_connection(guarded, service).await
            });
            client.write_all(b"GET / HTTP/1.1\r\nbad\r\n").await.unwrap();
            for _ in 0..20 {
                client.write_all(&[b'x'; 16 * 1024]).await.unwrap();
            }
            client.shutdown().await.unwrap();
            let mut text = String::new();
            client.read_to_string(&mut text).await.unwrap();
            assert!(text.contains("<fault missing_colon>") && text.contains("connection: close"), "{text}");
        });
    }

    #[test]
    fn large_bodies_pass_unchanged_through_small_buffers() {
        on_one_thread(async {
            let (mut client, server) = duplex(100);
            let state = Rc::new(WireState::default());
            let mut guarded = GuardedIo::new(server, LIMITS, state, Scratch::new());
            let mut stream = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n".to_vec();
            stream.extend((0..100_000).map(|number| (number % 251) as u8));
            let expected = stream.clone();
            let writing = async move {
                client.write_all(&stream).await.unwrap();
                client.shutdown().await.unwrap();
            };
            let reading = async move {
                let mut got = Vec::new();
                loop {
                    let mut space = [0; 33];
                    let mut buffer = hyper::rt::ReadBuf::new(&mut space);
                    std::future::poll_fn(|context| Pin::new(&mut guarded).poll_read(context, buffer.unfilled()))
                        .await
                        .unwrap();
                    if buffer.filled().is_empty() {
                        return got;
                    }
                    got.extend_from_slice(buffer.filled());
                }
            };
            let ((), got) = tokio::join!(writing, reading);
            assert!(got == expected);
        });
    }
}
