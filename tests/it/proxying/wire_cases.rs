//! The wire cases of `tests/cases/wire` from end to end: bytes in, status and reason out, and what UCS saw of them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Connection, Gateway, Scripted, TempDir};

/// The limits that the cases are written for.
const LIMITS: [&str; 6] = ["--max-target", "256", "--max-head", "1024", "--max-headers", "16"];

/// Forwards whatever it may.
const TABLE: &str = "version: 1\nunmatched: {class: any}\nclasses:\n  any: [maintenance, production]\nroutes:\n  \
                     - {operation: Set Server Mode, method: POST, path: /server/mode, class: any, answer: set_mode}\n";

/// Behind a case that passes: its answer shows that all before it was understood.
const LAST: &str = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

struct Case {
    name: String,
    expected: String,
    bytes: Vec<u8>,
}

#[test]
fn every_case_is_answered_as_written_down_and_ucs_sees_only_whole_requests() {
    let dir = TempDir::new();
    let table = dir.file("routes.yaml", TABLE);
    let whole = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&whole);
    let upstream = Scripted::start(move |conn| {
        while conn.read_request().is_some() {
            seen.fetch_add(1, Ordering::SeqCst);
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let gateway = Gateway::bare(upstream.address, &[&LIMITS[..], &["--routes", table.to_str().unwrap()]].concat());
    for case in cases() {
        let before = whole.load(Ordering::SeqCst);
        let answers = answers(&gateway, &case);
        let went_through = answers.iter().filter(|(status, _)| *status == 200).count();
        let name = &case.name;
        assert_eq!(whole.load(Ordering::SeqCst) - before, went_through, "{name}: UCS saw something else: {answers:?}");
        let (status, reason) = answers.last().unwrap_or_else(|| panic!("{name}: no answer"));
        if case.expected == "pass" {
            assert_eq!(reason, &None, "{name}");
        } else {
            let expected = (status_of(&case.expected), Some(case.expected.clone()));
            assert_eq!((*status, reason.clone()), expected, "{name}: {answers:?}");
        }
    }
}

/// Status and reason of every answer, until the gateway closes.
fn answers(gateway: &Gateway, case: &Case) -> Vec<(u16, Option<String>)> {
    let mut client = Connection::open(gateway.data);
    client.send(&case.bytes);
    if case.expected == "pass" {
        client.send(LAST);
    }
    let text = String::from_utf8_lossy(&client.read_to_end()).into_owned();
    let heads = text.split("HTTP/1.").skip(1);
    let reason = |head: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix("UCS-Gateway: refused; reason="));
        line.map(str::to_owned)
    };
    // The sentences of problem documents speak of HTTP/1.1 as well; no status follows there.
    heads.filter_map(|head| Some((head.get(2..5)?.parse().ok()?, reason(head)))).collect()
}

fn status_of(reason: &str) -> u16 {
    match reason {
        "target_too_long" => 414,
        "head_too_large" | "too_many_headers" | "trailers_too_large" => 431,
        "connect" => 501,
        "expectation" => 417,
        _ => 400,
    }
}

fn cases() -> Vec<Case> {
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
            cases.push(Case { name: name.to_owned(), expected: expected.to_owned(), bytes: unescape(bytes) });
        }
    }
    assert!(cases.len() >= 80, "only {} cases were found", cases.len());
    cases
}

/// The escapes that the README beside the cases describes.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let Some(escape) = rest.strip_prefix('\\') else {
            bytes.push(first as u8);
            rest = &rest[1..];
            continue;
        };
        let (kind, after) = escape.split_at(1);
        rest = after;
        match kind {
            "r" => bytes.push(b'\r'),
            "n" => bytes.push(b'\n'),
            "t" => bytes.push(b'\t'),
            "s" => bytes.push(b' '),
            "\\" => bytes.push(b'\\'),
            "x" => {
                bytes.push(u8::from_str_radix(&after[..2], 16).unwrap());
                rest = &after[2..];
            }
            "{" => {
                let (repeat, behind) = after.split_once('}').unwrap();
                let (count, piece) = repeat.split_once('*').unwrap();
                bytes.extend(unescape(piece).repeat(count.parse().unwrap()));
                rest = behind;
            }
            other => panic!("unknown escape \\{other}"),
        }
    }
    bytes
}
