//! Tests of the input with the cases under `tests/cases/wire`: each has its verdict, and no split of a stream changes it.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http_body_util::BodyExt;
use proptest::prelude::*;
use tokio::io::{AsyncRead, ReadBuf};

use super::{ClientBody, ClientInput, Next, Scratch};
use crate::http1::{HeadLimits, RequestError};
use crate::proxy::client::ConnectionState;

pub(super) const LIMITS: HeadLimits = HeadLimits { target_bytes: 256, head_bytes: 1024, header_count: 16 };

/// One line of a case file; its format is described beside the files.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) expected: String,
    pub(super) bytes: Vec<u8>,
}

pub(super) fn all() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/wire");
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let [name, expected, bytes] = line.splitn(3, " | ").collect::<Vec<_>>().try_into().expect(line);
            let case = Case { name: name.into(), expected: expected.into(), bytes: unescape(bytes) };
            cases.push(case);
        }
    }
    assert!(cases.len() >= 80, "only {} cases were found", cases.len());
    cases
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = unescape_one(rest);
        bytes.extend(piece);
        rest = after;
    }
    bytes
}

fn unescape_one(text: &str) -> (Vec<u8>, &str) {
    let Some(escape) = text.strip_prefix('\\') else { return (text[..1].into(), &text[1..]) };
    match &escape[..1] {
        "r" => (vec![b'\r'], &escape[1..]),
        "n" => (vec![b'\n'], &escape[1..]),
        "t" => (vec![b'\t'], &escape[1..]),
        "s" => (vec![b' '], &escape[1..]),
        "\\" => (vec![b'\\'], &escape[1..]),
        "x" => (vec![u8::from_str_radix(&escape[1..3], 16).unwrap()], &escape[3..]),
        "{" => {
            let (repeat, after) = escape[1..].split_once('}').unwrap();
            let (count, piece) = repeat.split_once('*').unwrap();
            (unescape(piece).repeat(count.parse().unwrap()), after)
        }
        other => panic!("unknown escape \\{other}"),
    }
}

/// One result of reading a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Method and target, and the whole body.
    Request(String, Vec<u8>),
    /// A head with this error.
    Fault(&'static str),
    Body(&'static str),
}

/// A socket that delivers these pieces one by one, and then the end.
struct Pieces(VecDeque<Vec<u8>>);

impl AsyncRead for Pieces {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        buffer.put_slice(&self.get_mut().0.pop_front().unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

/// The results of a stream in these pieces, up to the first error.
pub(super) fn read<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<Said> {
    read_within(LIMITS, pieces)
}

fn read_within<'p>(limits: HeadLimits, pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<Said> {
    let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).map(<[u8]>::to_vec).collect();
    let state = Rc::new(ConnectionState::default());
    let input = ClientInput::new(Pieces(pieces), Rc::clone(&state), Scratch::new(limits));
    let input = Rc::new(RefCell::new(input));
    let mut said = Vec::new();
    loop {
        match now(std::future::poll_fn(|context| input.borrow_mut().poll_next(context))) {
            None => return said,
            Some(Next::Malformed(error)) => said.push(Said::Fault(error.reason())),
            Some(Next::Request(head)) => {
                let target = [head.path(), head.query()].concat();
                let line = format!("{} {}", head.method, String::from_utf8(target).unwrap());
                input.borrow_mut().take_back(head);
                match now(ClientBody::new(Rc::clone(&input)).collect()) {
                    Ok(body) => said.push(Said::Request(line, body.to_bytes().to_vec())),
                    Err(_) => said.push(Said::Body(state.body_error().map_or("unknown", RequestError::reason))),
                }
            }
        }
        if !input.borrow().can_keep_alive() {
            return said;
        }
    }
}

/// The output of a future that never waits, as its socket never does.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn every_case_is_read_as_written_down_and_no_split_changes_it() {
    for case in all() {
        let whole = read([&case.bytes[..]]);
        let reason = match whole.last() {
            Some(Said::Request(..)) => "pass",
            Some(Said::Fault(reason) | Said::Body(reason)) => reason,
            None => "nothing",
        };
        assert_eq!(reason, case.expected, "case {:?}", case.name);
        for middle in 0..case.bytes.len() {
            let (left, right) = case.bytes.split_at(middle);
            assert_eq!(read([left, right]), whole, "case {:?} split at {middle}", case.name);
        }
        assert_eq!(read(case.bytes.chunks(1)), whole, "case {:?} byte by byte", case.name);
    }
}

#[test]
fn limits_of_any_size_do_not_overflow() {
    let limits = HeadLimits { target_bytes: usize::MAX, head_bytes: usize::MAX, header_count: usize::MAX };
    assert_eq!(read_within(limits, [&b"GET / HTTP/1.0\r\n\r\n"[..]]), [Said::Request("GET /".to_owned(), Vec::new())]);
}

/// Pieces of requests, good and bad, so that random streams get past the first byte.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static [u8]> = vec![
        b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /d HTTP/1.0\r\n",
        b"Host: a\r\n",
        b"X: y\r\n",
        b"\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n",
        b"1;x\r\nz\r\n",
        b"\n",
        b"\r",
        b" ",
        b"Content-Length: 1\r\n",
    ];
    prop_oneof![8 => prop::sample::select(known).prop_map(<[u8]>::to_vec), 1 => prop::collection::vec(any::<u8>(), 0..4)]
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(fragment(), 1..12).prop_map(|fragments| fragments.concat())
}

/// A series of requests, and the expected results.
fn good_stream() -> impl Strategy<Value = (Vec<u8>, Vec<Said>)> {
    let body = prop::collection::vec(any::<u8>(), 0..40);
    let request = (body, prop::option::of(1..9_usize), "[!-~]{0,20}", "/[a-z0-9/%?&=._~-]{0,40}");
    let request = request.prop_map(|(body, chunk, value, target)| {
        let mut bytes = format!("POST {target} HTTP/1.1\r\nhost: ucs:8080\r\nX-Value: {value}\r\n").into_bytes();
        let said = Said::Request(format!("POST {target}"), body.clone());
        let Some(chunk) = chunk else {
            bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
            bytes.extend(body);
            return (bytes, said);
        };
        bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        for data in body.chunks(chunk) {
            bytes.extend(format!("{:x}\r\n", data.len()).bytes());
            bytes.extend(data);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\nX-Sum: 1\r\n\r\n");
        (bytes, said)
    });
    prop::collection::vec(request, 1..4).prop_map(|requests| {
        let (bytes, said): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
        (bytes.concat(), said)
    })
}

fn pieces<'b>(bytes: &'b [u8], cuts: &[prop::sample::Index]) -> Vec<&'b [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn any_split_gives_the_verdict_of_one_slice(bytes in stream(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        let whole = read([&bytes[..]]);
        prop_assert_eq!(read(pieces(&bytes, &cuts)), whole.clone());
        prop_assert_eq!(read(bytes.chunks(1)), whole);
    }

    #[test]
    fn good_requests_are_read_as_they_are((bytes, said) in good_stream(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        prop_assert_eq!(read(pieces(&bytes, &cuts)), said);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let errors = read([&bytes[..]]).into_iter().filter(|said| !matches!(said, Said::Request(..))).count();
        prop_assert!(errors <= 1);
    }
}
