//! Whole messages that are wrong: no head, a head without sense, chunks without sense, endless parts, and more than was asked
//! for.

use super::SHORT;
use super::rig::{Asked, Expected, Got, Rig, play_all};
use crate::support::{Conn, Connection, Gateway, Scripted, http};

/// What UCS says: a beginning, and what follows it for ever.
struct Said {
    name: &'static str,
    begins: Vec<u8>,
    goes_on: &'static str,
    expected: Expected,
}

fn said(name: &'static str, begins: impl Into<Vec<u8>>, got: Got, kind: Option<&'static str>) -> Said {
    let expected = Expected { got, kind, seen: 1, abandoned: kind.is_some() };
    Said { name, begins: begins.into(), goes_on: "", expected }
}

/// No answer at all.
fn nonsense(name: &'static str, begins: impl Into<Vec<u8>>) -> Said {
    said(name, begins, Got::refused(502, "upstream_broken"), Some("malformed"))
}

/// A head that a client can be given, and a body that cannot be read to its end.
fn bad_body(name: &'static str, body: impl AsRef<str>) -> Said {
    let bytes = ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", body.as_ref()].concat();
    said(name, bytes, Got::Cut(200), Some("malformed"))
}

/// More than was asked for.
fn too_much(name: &'static str, begins: &str, status: u16, body: &str) -> Said {
    said(name, begins, Got::whole(status, body), None)
}

impl Said {
    fn for_ever(self, goes_on: &'static str) -> Said {
        Said { goes_on, ..self }
    }

    fn run(&self, flags: &[&str]) {
        let (begins, goes_on) = (self.begins.clone(), self.goes_on.repeat(100));
        let fault = move |conn: &mut Conn| {
            if conn.read_request().is_some() {
                conn.write(&begins);
                while !goes_on.is_empty() && conn.try_write(&goes_on) {}
                conn.is_closed();
            }
        };
        let rig = Rig::start(fault, false, flags);
        for asked in Asked::ALL {
            for reused in [false, true] {
                rig.case(self.name, asked, reused, false, &self.expected);
            }
        }
    }
}

#[test]
fn nonsense_instead_of_a_head_is_never_passed_on() {
    let ok = |rest: &str| format!("HTTP/1.1 200 OK\r\n{rest}\r\n\r\nhello");
    let rows = [
        nonsense("another protocol", "SSH-2.0-OpenSSH_9.6\r\n"),
        nonsense("a TLS alert", *b"\x15\x03\x03\x00\x02\x02\x46"),
        nonsense("zeros", [0; 64]),
        nonsense("HTTP/0.9", "<html>hello</html>"),
        nonsense("HTTP/2", "HTTP/2 200 OK\r\n\r\n"),
        nonsense("HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n"),
        nonsense("a request", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        nonsense("no status", "HTTP/1.1 \r\n\r\n"),
        nonsense("a status of letters", "HTTP/1.1 2x0 OK\r\n\r\n"),
        nonsense("a status below 100", "HTTP/1.1 099 Low\r\n\r\n"),
        nonsense("a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n"),
        nonsense("a line without a colon", ok("no colon")),
        nonsense("a space before the colon", ok("A : b")),
        nonsense("a folded line", ok("A: b\r\n folded")),
        nonsense("NUL in a value", ok("A: \0")),
        nonsense("a CR in a value", ok("A: b\rC: d")),
        nonsense("a name that is none", ok("A(b): c")),
        nonsense("two lengths", ok("Content-Length: 5\r\nContent-Length: 6")),
        nonsense("a length of letters", ok("Content-Length: five")),
        nonsense("a negative length", ok("Content-Length: -5")),
        nonsense("a signed length", ok("Content-Length: +5")),
        nonsense("a length beyond 64 bits", ok("Content-Length: 18446744073709551616")),
        nonsense("a list of lengths", ok("Content-Length: 5, 5")),
        nonsense("an empty length", ok("Content-Length:")),
        nonsense("a coding that nobody asked for", ok("Transfer-Encoding: gzip, chunked")),
        nonsense("identity", ok("Transfer-Encoding: identity")),
        nonsense("chunked twice", ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")),
        nonsense("chunks of HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        nonsense(
            "a switch of protocols",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        ),
        nonsense("a head that is too long", ok(&format!("A: {}", "x".repeat(256 * 1024)))),
        nonsense("too many lines", ok(&vec!["A: b"; 129].join("\r\n"))),
        nonsense("an endless header", "HTTP/1.1 200 OK\r\nA: ").for_ever("x"),
        nonsense("an endless name", "HTTP/1.1 200 OK\r\n").for_ever("x"),
        nonsense("endless headers", "HTTP/1.1 200 OK\r\n").for_ever("A: b\r\n"),
        nonsense("an endless reason", "HTTP/1.1 200 ").for_ever("x"),
        nonsense("endless empty lines", "").for_ever("\r\n"),
        nonsense("a storm of 100", "").for_ever("HTTP/1.1 100 Continue\r\n\r\n"),
        nonsense("a storm of 103", "").for_ever("HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"),
    ];
    play_all(&rows, |row| row.name.to_owned(), |row| row.run(&[]));
}

#[test]
fn a_body_that_cannot_be_read_never_looks_whole() {
    let rows = [
        bad_body("a size of letters", "4\r\nhalf\r\nz\r\n"),
        bad_body("a first size of letters", "z\r\n"),
        bad_body("an empty size", "\r\nhalf\r\n"),
        bad_body("a negative size", "-4\r\nhalf\r\n"),
        bad_body("a size with 0x", "0x4\r\nhalf\r\n"),
        bad_body("a space before the size", " 4\r\nhalf\r\n"),
        bad_body("a size of 17 digits", "10000000000000000\r\n"),
        bad_body("digits behind a blank", "4 4\r\nhalf\r\n"),
        bad_body("a blank and LF", "4 \nhalf\r\n"),
        bad_body("blanks without an end", "4").for_ever(" "),
        bad_body("zeros without an end", "4\r\nhalf\r\n").for_ever("0"),
        bad_body("a size that ends by LF", "4\nhalf\r\n"),
        bad_body("more than the size", "4\r\nhalf of it\r\n0\r\n\r\n"),
        bad_body("less than the size", "4\r\nhal\r\n0\r\n\r\n"),
        bad_body("an endless extension", "4;a=").for_ever("x"),
        bad_body("an endless trailer", "4\r\nhalf\r\n0\r\nX: ").for_ever("x"),
        bad_body("endless trailers", "4\r\nhalf\r\n0\r\n").for_ever("X: y\r\n"),
        bad_body("a length as a trailer", "4\r\nhalf\r\n0\r\nContent-Length: 4\r\n\r\n"),
        bad_body("a trailer without a colon", "4\r\nhalf\r\n0\r\nno colon\r\n\r\n"),
    ];
    play_all(&rows, |row| row.name.to_owned(), |row| row.run(&[]));
}

/// Right as far as it goes: so it is waited for, and UCS's silence ends it.
#[test]
fn a_chunk_of_a_giant_size_ends_when_no_more_comes() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let giant = format!("{head}ffffffffffffffff\r\n{}", "x".repeat(1000));
    said("a giant size", giant, Got::Cut(200), Some("idle_body_timeout")).run(&SHORT);
}

#[test]
fn what_ucs_says_too_much_meets_nobody() {
    let second = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let rows = [
        too_much("bytes behind a length", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngoodevil", 200, "good"),
        too_much("two answers", &format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood{second}"), 200, "good"),
        too_much(
            "two answers, chunks",
            &format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n{second}"),
            200,
            "good",
        ),
        too_much(
            "two framings",
            "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n",
            200,
            "good",
        ),
        too_much(
            "an answer behind a refusal",
            &format!("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno{second}"),
            404,
            "no",
        ),
        too_much("a body of 204", "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil", 204, ""),
        too_much(
            "chunks of 204",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
            204,
            "",
        ),
        too_much("an answer behind 204", &format!("HTTP/1.1 204 No Content\r\n\r\n{second}"), 204, ""),
        too_much(
            "chunks of 304",
            "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
            304,
            "",
        ),
        too_much("an answer behind 304", &format!("HTTP/1.1 304 Not Modified\r\n\r\n{second}"), 304, ""),
        too_much(
            "interim answers before it",
            &format!("{}{second}HTTP", "HTTP/1.1 102 Processing\r\n\r\n".repeat(50)),
            200,
            "evil",
        ),
    ];
    play_all(&rows, |row| row.name.to_owned(), |row| row.run(&[]));
}

#[test]
fn a_body_in_the_answer_to_head_meets_nobody() {
    for framing in ["Content-Length: 4\r\n\r\nevil", "Transfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"] {
        let upstream = Scripted::answering(format!("HTTP/1.1 200 OK\r\n{framing}"));
        let gateway = Gateway::bare(upstream.address, &["--workers", "1"]);
        for round in 1..4 {
            let mut client = Connection::open(gateway.data);
            client.send(http::compose(gateway.data, "HEAD /profiles/1", &[("Connection", "close")], b""));
            let reply = client.read_reply_to_head();
            assert_eq!((reply.status, reply.refusal()), (200, None), "{framing:?}");
            assert!(client.is_closed(), "{framing:?}: something came behind it");
            assert_eq!(upstream.connections(), round, "{framing:?}: out of step and used again");
        }
    }
}
