//! Tests of the scanner alone: the cases under `tests/cases/wire`, and that no split of a stream changes a verdict.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use proptest::prelude::*;

use super::{Scan, Scanner, WireFault, WireLimits};

pub(super) const LIMITS: WireLimits = WireLimits { target_bytes: 256, head_bytes: 1024, header_count: 16 };

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

/// Feeds `pieces` as the guard does; answers with the bytes that passed, the fault, and whether the stream ended between
/// two requests.
fn feed<'p>(pieces: impl Iterator<Item = &'p [u8]>) -> (Vec<u8>, Option<WireFault>, bool) {
    let mut scanner = Scanner::new(LIMITS);
    let (mut passed, mut held) = (Vec::new(), Vec::new());
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            match scanner.scan(&held) {
                Scan::Pass(length) => passed.extend(held.drain(..length)),
                Scan::Hold => break,
                Scan::Fault(fault) => return (passed, Some(fault), false),
            }
        }
    }
    (passed, None, scanner.in_head() && held.is_empty())
}

#[test]
fn every_case_is_judged_as_written_down_and_no_split_changes_it() {
    for case in all() {
        let whole = feed(std::iter::once(&case.bytes[..]));
        let reason = whole.1.map_or("pass", WireFault::reason);
        assert_eq!(reason, case.expected, "case {:?}", case.name);
        if reason == "pass" {
            assert!(whole.2, "case {:?} ends inside a request", case.name);
            assert_eq!(whole.0, case.bytes, "case {:?} was changed", case.name);
        }
        for middle in 0..case.bytes.len() {
            let (left, right) = case.bytes.split_at(middle);
            assert_eq!(feed([left, right].into_iter()), whole, "case {:?} split at {middle}", case.name);
        }
        assert_eq!(feed(case.bytes.chunks(1)), whole, "case {:?} byte by byte", case.name);
    }
}

#[test]
fn a_fault_is_final() {
    let mut scanner = Scanner::new(LIMITS);
    assert_eq!(scanner.scan(b"\0"), Scan::Fault(WireFault::Method));
    assert_eq!(scanner.scan(b"GET / HTTP/1.0\r\n\r\n"), Scan::Fault(WireFault::Method));
}

#[test]
fn limits_of_any_size_do_not_overflow() {
    let limits = WireLimits { target_bytes: usize::MAX, head_bytes: usize::MAX, header_count: usize::MAX };
    assert_eq!(Scanner::new(limits).scan(b"GET / HTTP/1.0\r\n\r\n"), Scan::Pass(18));
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

fn good_stream() -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(any::<u8>(), 0..40);
    let request = (body, prop::option::of(1..9_usize), "[!-~]{0,20}", "/[a-z0-9/%?&=._~-]{0,40}");
    let request = request.prop_map(|(body, chunk, value, target)| {
        let mut bytes = format!("POST {target} HTTP/1.1\r\nhost: ucs:8080\r\nX-Value: {value}\r\n").into_bytes();
        let Some(chunk) = chunk else {
            bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
            bytes.extend(body);
            return bytes;
        };
        bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        for data in body.chunks(chunk) {
            bytes.extend(format!("{:x}\r\n", data.len()).bytes());
            bytes.extend(data);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\nX-Sum: 1\r\n\r\n");
        bytes
    });
    prop::collection::vec(request, 1..4).prop_map(|requests| requests.concat())
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
        let whole = feed(std::iter::once(&bytes[..]));
        prop_assert_eq!(feed(pieces(&bytes, &cuts).into_iter()), whole.clone());
        prop_assert_eq!(feed(bytes.chunks(1)), whole);
    }

    #[test]
    fn good_requests_pass_unchanged(bytes in good_stream(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        let expected = (bytes.clone(), None, true);
        prop_assert_eq!(feed(pieces(&bytes, &cuts).into_iter()), expected);
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (passed, _, _) = feed(std::iter::once(&bytes[..]));
        prop_assert_eq!(&passed[..], &bytes[..passed.len()]);
    }
}
