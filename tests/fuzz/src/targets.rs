//! What is fuzzed, and what must hold whatever the bytes are. Each target panics when it does not. Used twice: by the
//! fuzzer (`tests/fuzz/run`) and, with seeds, found regressions and a few thousand mutations of both, by `tests/fuzzing.rs`.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use hyper::body::Body;
use tokio::io::{AsyncRead, ReadBuf};
use ucs_gateway::control::store::Token;
use ucs_gateway::control::store::file::RecordFile;
use ucs_gateway::control::store::local::LocalDir;
use ucs_gateway::http1::{BodyEvent, HeadLimits, RESPONSE_LIMITS, RequestHead, ResponseError, read_response_head};
use ucs_gateway::policy::explain::explain;
use ucs_gateway::policy::mode::{Mode, ModeRecord};
use ucs_gateway::policy::path::CanonicalPath;
use ucs_gateway::policy::routes_yaml;
use ucs_gateway::proxy::client::{ClientBody, ClientInput, ConnectionState, Next, Scratch};
use ucs_gateway::proxy::headers::{self, Destination, ForwardedInfo, ProxyFields, Received, RequestIds};

#[path = "connection.rs"]
mod connection;

pub use connection::connection;

/// A path has one reading or none: what is accepted stays as it is, and holds nothing that a server behind could read in
/// another way.
pub fn path(bytes: &[u8]) {
    let Ok(path) = CanonicalPath::parse(bytes) else { return };
    let text = path.as_str();
    assert!(text.starts_with('/') && text.is_ascii() && !text.contains("//"), "{text:?}");
    assert!(
        !text.contains([';', '\\', '#', '?']) && !text.bytes().any(|byte| byte <= b' ' || byte == 0x7f),
        "{text:?}"
    );
    assert!(text.split('/').all(|segment| segment != "." && segment != ".."), "{text:?}");
    let lower = text.to_ascii_lowercase();
    for escape in ["%2f", "%5c", "%3b", "%2e", "%00", "%252f", "%252e"] {
        assert!(!lower.contains(escape), "{text:?}");
    }
    let again = CanonicalPath::parse(text.as_bytes()).expect("what was accepted is accepted again");
    assert_eq!(again.as_str(), text);
}

/// Any text is a table or a list of faults; what `explain` says of a table is what it does.
pub fn routes_yaml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let table = match routes_yaml::parse(text, "fuzzed.yaml") {
        Ok(table) => table,
        Err(faults) => {
            assert!(!faults.is_empty(), "a table that is refused without a word");
            return;
        }
    };
    for raw in ["/", "/profiles/1", "/metadata/profiles", "/server/mode", "/a/b/c/d", "/%41"] {
        for method in ["GET", "POST", "OPTIONS", "ODD"] {
            let path = CanonicalPath::parse(raw.as_bytes()).unwrap();
            let found = table.classify(method, &path).map(|index| table.routes[index as usize].operation.to_string());
            let told = serde_json_of(&explain(&table, method, raw));
            if let Some(operation) = found {
                assert!(told.contains(&operation), "{method} {raw} is {operation}, and not {told}");
            }
        }
    }
}

fn serde_json_of(value: &impl std::fmt::Debug) -> String {
    // The debug form escapes what JSON escapes; operations are compared by their text.
    format!("{value:?}").replace("\\\"", "\"").replace("\\\\", "\\")
}

const LIMITS: HeadLimits = HeadLimits { target_bytes: 256, head_bytes: 2048, header_count: 24 };

/// However a client's bytes are split, they are read in the same way; and the head that UCS would get is one clean head.
pub fn client(bytes: &[u8]) {
    let Some((&split, stream)) = bytes.split_first() else { return };
    let whole = said([stream]);
    assert_eq!(said(stream.chunks(usize::from(split % 61) + 1)), whole, "a split changes what is read");
}

/// What one client said: requests with their bodies, as UCS would get them, and the fault at the end.
fn said<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<String> {
    let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).map(<[u8]>::to_vec).collect();
    let state = Rc::new(ConnectionState::default());
    let input = ClientInput::new(Pieces(pieces), Rc::clone(&state), Scratch::new(LIMITS));
    let input = Rc::new(RefCell::new(input));
    let mut said = Vec::new();
    loop {
        let next = now(std::future::poll_fn(|context| input.borrow_mut().poll_next(context)));
        match next {
            None => return said,
            Some(Next::Malformed(error)) => said.push(error.reason().to_owned()),
            Some(Next::Request(head)) => {
                let forwarded = check_forwarded(&head);
                let mut body = ClientBody::new(Rc::clone(&input));
                input.borrow_mut().take_back(head);
                said.push(format!("{forwarded:?} {}", whole_body(&mut body)));
            }
        }
        if !input.borrow().can_keep_alive() {
            return said;
        }
    }
}

fn whole_body(body: &mut (impl Body<Data = bytes::Bytes> + Unpin)) -> String {
    let mut data = Vec::new();
    loop {
        match now(std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context))) {
            None => return format!("{data:?}"),
            Some(Err(_)) => return "broken".to_owned(),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(piece) => data.extend_from_slice(&piece),
                Err(_) => data.extend_from_slice(b" and trailers"),
            },
        }
    }
}

/// The head that UCS would get: read again by another parser, and held against the rules.
fn check_forwarded(head: &RequestHead) -> Vec<u8> {
    let host = head.authority().or_else(|| head.fields.get("host")).unwrap_or(b"ucs");
    let to = Destination { method: &head.method, path: b"/a", query: head.query(), host };
    let hop = ForwardedInfo::new("192.0.2.1".parse().ok(), false);
    let own = ProxyFields {
        hop: &hop,
        client: None,
        received: if head.is_http10 { Received::Http10 } else { Received::Http11 },
        ids: &RequestIds::new(7),
        buffers: &Rc::default(),
    };
    let mut sent = headers::to_upstream(to, &head.fields, &[], own).bytes.to_vec();
    sent.extend_from_slice(b"\r\n");
    let mut lines = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut lines);
    let read = parsed.parse(&sent).unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&sent)));
    assert_eq!(read, httparse::Status::Complete(sent.len()), "{:?}", String::from_utf8_lossy(&sent));
    let count = |name: &str| parsed.headers.iter().filter(|line| line.name.eq_ignore_ascii_case(name)).count();
    for (name, times) in [("host", 1), ("via", 1), ("x-forwarded-for", 1), ("x-request-id", 1)] {
        assert_eq!(count(name), times, "{name}: {:?}", String::from_utf8_lossy(&sent));
    }
    let never =
        ["connection", "keep-alive", "te", "upgrade", "expect", "transfer-encoding", "content-length", "ucs-gateway"];
    for name in
        never.into_iter().chain(["proxy-connection", "x-http-method-override", "x-original-url", "x-rewrite-url"])
    {
        assert_eq!(count(name), 0, "{name}: {:?}", String::from_utf8_lossy(&sent));
    }
    sent
}

/// However UCS's bytes are split, they are the same answer or the same fault; what ends early is never whole.
pub fn answer(bytes: &[u8]) {
    let [how, split, stream @ ..] = bytes else { return };
    let is_head = how % 4 == 0;
    let whole = answered(is_head, [stream]);
    assert_eq!(answered(is_head, stream.chunks(usize::from(split % 61) + 1)), whole, "a split changes what is read");
}

fn answered<'p>(is_head: bool, pieces: impl IntoIterator<Item = &'p [u8]>) -> Result<String, String> {
    let mut pieces = pieces.into_iter();
    let mut buffer = BytesMut::new();
    let mut head = loop {
        match read_response_head(&mut buffer, is_head).map_err(kind)? {
            Some(head) if head.is_interim() => {}
            Some(head) => break head,
            None => buffer.extend_from_slice(pieces.next().ok_or("ended")?),
        }
    };
    let lines: Vec<_> = head.fields.lines().map(|line| (line.name().to_vec(), line.value().to_vec())).collect();
    let mut body = Vec::new();
    while !head.body.is_over() {
        match head.body.take(&mut buffer, &RESPONSE_LIMITS).map_err(|error| kind(error.into()))? {
            BodyEvent::Data(data) => body.extend_from_slice(&data),
            BodyEvent::Trailers(fields) => body.extend_from_slice(format!(" {} trailers", fields.len()).as_bytes()),
            BodyEvent::End => break,
            BodyEvent::More => match pieces.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None if head.body.end() => {}
                None => return Err(kind(ResponseError::Ended)),
            },
        }
    }
    pieces.for_each(|piece| buffer.extend_from_slice(piece));
    let mut sent = Vec::new();
    headers::to_downstream(&head.fields, &mut sent);
    let mut parsed = [httparse::EMPTY_HEADER; 256];
    sent.extend_from_slice(b"\r\n");
    let read = httparse::parse_headers(&sent, &mut parsed).expect("what the client gets are header lines");
    let httparse::Status::Complete((_, names)) = read else { panic!("the client gets half of it") };
    let never = ["connection", "keep-alive", "transfer-encoding", "content-length", "upgrade", "ucs-gateway"];
    assert!(names.iter().all(|line| !never.contains(&line.name)), "{:?}", String::from_utf8_lossy(&sent));
    Ok(format!("{} {lines:?} {body:?} {buffer:?} {}", head.status, head.keeps_open))
}

/// Which kind of fault it was: the words may tell of a position.
fn kind(fault: ResponseError) -> String {
    let text = format!("{fault:?}");
    text.split('(').next().unwrap_or_default().to_owned()
}

/// Whatever stands in `mode.json` and in the journal, a start neither panics nor takes what it cannot read for a record; and
/// what is saved after it is what the next start finds.
pub fn state_file(bytes: &[u8]) {
    let Some((&share, rest)) = bytes.split_first() else { return };
    let (record, journal) = rest.split_at(rest.len() * usize::from(share) / 255);
    let folder = scratch_folder();
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    if !record.is_empty() {
        std::fs::write(folder.join("mode.json"), record).unwrap();
    }
    if share % 3 != 0 {
        std::fs::write(folder.join("journal.jsonl"), journal).unwrap();
    }
    let lock = LocalDir::open(&folder).unwrap();
    let mut dir = RecordFile::in_dir(&lock);
    let loaded = dir.load().unwrap();
    if let Some(found) = &loaded.record {
        assert!(found.content().is_consistent(), "{found:?}");
    } else {
        assert!(loaded.first_start || !loaded.alarms.is_empty(), "a record is lost without an alarm");
        assert!(record.is_empty() || !loaded.alarms.is_empty(), "what is no record is set aside with an alarm");
    }
    // What a saved record must be: newer than all that was there.
    let token = loaded.record.as_ref().map_or(Token::NOTHING, |record| record.token());
    let Some(revision) = loaded.highest_revision.checked_add(1) else { return };
    let next = ModeRecord::first(Mode::Maintenance, revision, "fuzz", jiff::Timestamp::UNIX_EPOCH);
    let saved = dir.save(token, &next).unwrap();
    drop(dir);
    let again = RecordFile::in_dir(&lock).load().unwrap();
    assert_eq!(again.record, Some(saved), "what was saved is what the next start finds");
}

fn scratch_folder() -> std::path::PathBuf {
    // In memory where there is such a place: each turn syncs several files.
    let memory = std::path::Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    base.join(format!("ucs-gateway-fuzz-{}", std::process::id()))
}

/// A socket on which these pieces come one by one, and then the end.
struct Pieces(VecDeque<Vec<u8>>);

impl AsyncRead for Pieces {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let pieces = &mut self.get_mut().0;
        let mut piece = pieces.pop_front().unwrap_or_default();
        let fits = piece.len().min(buffer.remaining());
        buffer.put_slice(&piece[..fits]);
        if fits < piece.len() {
            pieces.push_front(piece.split_off(fits));
        }
        Poll::Ready(Ok(()))
    }
}

/// The outcome of what never waits, as its socket never does.
fn now<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("it waits"),
    }
}
