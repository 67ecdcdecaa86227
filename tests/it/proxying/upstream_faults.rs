//! A UCS that is late or ambiguous; all other faults are in `upstream_fault_matrix`.

use super::{GET, POST};
use crate::support::{Connection, Gateway, Scripted, http};

#[test]
fn the_wait_for_an_answer_begins_with_the_last_byte_of_the_request() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &["--first-byte-timeout", "3s"]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, POST, &[("Content-Length", "5")], b""));
    for piece in ["hel", "l"] {
        client.send(piece);
        assert!(client.is_silent_for(std::time::Duration::from_secs(2)), "the client may take its time");
    }
    client.send("o");
    let sent = std::time::Instant::now();
    let reply = client.read_reply();
    // A machine that stands still for the whole timeout proves nothing.
    assert!(reply.status == 200 || sent.elapsed() > std::time::Duration::from_secs(3), "{}", reply.text());
}

#[test]
fn an_answer_with_two_framings_is_passed_on_with_one() {
    let upstream = Scripted::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    );
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, GET, &[], b""));
    let reply = client.read_reply();
    // RFC 9112 6.3: the encoding wins; a length beside it must not go on. Refusing such an answer is as good.
    match reply.status {
        502 => assert_eq!(reply.refusal(), Some("upstream_broken")),
        status => assert_eq!((status, reply.text(), reply.header("content-length")), (200, "ok".to_owned(), None)),
    }
}
