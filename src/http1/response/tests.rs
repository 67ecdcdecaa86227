//! The ends of responses, however their bytes arrive, and the bytes that are no response.

#![allow(clippy::unwrap_used)]

use hyper::Method;

use super::super::body::BodyEvent;
use super::*;

/// Status, body, number of trailers, the bytes that follow, whether the connection stays open.
type Got = (u16, Vec<u8>, usize, Vec<u8>, bool);

/// Reads a response whose bytes arrive in pieces of `size`, and then the end of the connection.
fn read(bytes: &[u8], method: &Method, size: usize) -> Result<Got, ResponseError> {
    let mut pieces = bytes.chunks(size);
    let mut buffer = BytesMut::new();
    let mut head = loop {
        match read_response_head(&mut buffer, method == Method::HEAD)? {
            Some(head) if head.is_interim() => {}
            Some(head) => break head,
            None => buffer.extend_from_slice(pieces.next().ok_or(ResponseError::Ended)?),
        }
    };
    let (mut body, mut trailers) = (Vec::new(), 0);
    while !head.body.is_over() {
        match head.body.take(&mut buffer, &RESPONSE_LIMITS)? {
            BodyEvent::Data(data) => body.extend_from_slice(&data),
            BodyEvent::Trailers(fields) => trailers = fields.len(),
            BodyEvent::End => break,
            BodyEvent::More => match pieces.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None if head.body.end() => {}
                None => return Err(ResponseError::Ended),
            },
        }
    }
    pieces.for_each(|piece| buffer.extend_from_slice(piece));
    Ok((head.status.as_u16(), body, trailers, buffer.to_vec(), head.keeps_open))
}

#[test]
fn every_framing_ends_where_it_says_however_its_bytes_arrive() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let cases: &[(&str, &Method, &str, usize, &str, bool)] = &[
        ("Content-Length: 5\r\n\r\nhelloHTTP", &Method::GET, "hello", 0, "HTTP", true),
        ("Content-Length: 0\r\n\r\nx", &Method::GET, "", 0, "x", true),
        ("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", &Method::GET, "hello", 0, "", true),
        // It declares a body that may follow after all.
        ("Content-Length: 5\r\n\r\nx", &Method::HEAD, "", 0, "x", false),
        ("Transfer-Encoding: chunked\r\n\r\n", &Method::HEAD, "", 0, "", false),
        ("Content-Length: 0\r\n\r\n", &Method::HEAD, "", 0, "", true),
        ("\r\n", &Method::HEAD, "", 0, "", true),
        ("Connection: close\r\nContent-Length: 1\r\n\r\nx", &Method::GET, "x", 0, "", false),
        ("\r\nuntil the end", &Method::GET, "until the end", 0, "", false),
        (
            "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3;a=b\r\n...\r\n0\r\n\r\nx",
            &Method::GET,
            "ok...",
            0,
            "x",
            true,
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n5  \t\r\nHello\r\n000000000000000000001 ; a = b\r\n!\r\n000 \r\n\r\nx",
            &Method::GET,
            "Hello!",
            0,
            "x",
            true,
        ),
        ("Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\nA: 1\r\nB: 2\r\n\r\nx", &Method::GET, "a", 2, "x", true),
        ("Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &Method::GET, "", 0, "", false),
    ];
    for (rest, method, body, trailers, behind, keeps_open) in cases {
        let bytes = [ok, rest].concat();
        for size in [1, 2, 3, 7, bytes.len()] {
            let got = read(bytes.as_bytes(), method, size).unwrap();
            let want = (200, body.as_bytes().to_vec(), *trailers, behind.as_bytes().to_vec(), *keeps_open);
            assert_eq!(got, want, "{rest:?} in pieces of {size}");
        }
    }
}

#[test]
fn an_old_server_keeps_the_connection_only_when_it_says_so() {
    for (line, keeps_open) in [("", false), ("Connection: Keep-Alive\r\n", true), ("Connection: x, close\r\n", false)] {
        let bytes = format!("HTTP/1.0 200 OK\r\n{line}Content-Length: 0\r\n\r\n");
        assert_eq!(read(bytes.as_bytes(), &Method::GET, 99).unwrap().4, keeps_open, "{line:?}");
    }
}

#[test]
fn interim_responses_are_dropped_and_a_switch_is_not() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    let bytes = format!("{interim}HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n");
    let got = read(bytes.as_bytes(), &Method::POST, 1).unwrap();
    assert_eq!((got.0, got.1.len(), got.3.len()), (204, 0, 0));
    let bytes = format!("{interim}HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nbytes");
    assert_eq!(read(bytes.as_bytes(), &Method::GET, 5).unwrap().0, 101);
}

#[test]
fn bytes_that_are_not_clearly_one_response_are_an_error() {
    let cases = [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\nx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n 1\r\nx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1 1\r\nx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1 \nx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 1\r\n\r\n",
    ];
    for bytes in cases {
        for size in [1, bytes.len()] {
            let error = read(bytes.as_bytes(), &Method::GET, size).unwrap_err();
            assert!(error.is_malformed(), "{bytes:?}: {error:?}");
        }
    }
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(HEAD_BYTES));
    for size in [4096, long.len()] {
        assert!(matches!(read(long.as_bytes(), &Method::GET, size), Err(ResponseError::HeadTooLong)), "{size}");
    }
}

#[test]
fn a_response_that_ends_early_is_never_complete() {
    let whole = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
    ];
    for bytes in whole {
        for length in 0..bytes.len() {
            let error = read(&bytes.as_bytes()[..length], &Method::GET, 64).unwrap_err();
            assert!(matches!(error, ResponseError::Ended), "{:?}: {error:?}", &bytes[..length]);
        }
    }
}

proptest::proptest! {
    #[test]
    fn the_fast_path_reads_a_head_as_the_complete_parser_does(
        head in "HTTP/1\\.[0-2] ([0-9]{3}|[0-9]{2}) ?[ -~\\t\u{e9}]{0,6}\r?\n(([A-Za-z_-]{1,9}|[ -~]{0,3})(:|: | :|:\t)[ -~\\t\u{e9}]{0,9}\r?\n){0,4}\r?\n?.{0,3}",
    ) {
        let head = head.into_bytes();
        let plain = fast_path::response_head(&head, HEADER_LINES);
        if let Some(plain) = plain {
            let careful = careful(&head).unwrap().unwrap();
            let told = |parts: &ResponseParts| {
                let line = |place: &FieldPlace| (place.name(&head).to_vec(), place.value(&head).to_vec(), place.known);
                let lines = parts.places.lines().iter().map(line).collect::<Vec<_>>();
                (parts.length, parts.status, parts.is_http10, lines)
            };
            proptest::prop_assert_eq!(told(&plain), told(&careful));
        }
    }
}
