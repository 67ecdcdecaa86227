//! Tests of the input: heads, bodies, errors, and the memory that is reused between requests.

#![allow(clippy::unwrap_used)]

use std::future::poll_fn;
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

use super::cases::{LIMITS, Said, read};
use super::*;
use crate::proxy::client::DiscardLimits;

fn input(reader: DuplexStream) -> (Rc<RefCell<ClientInput<DuplexStream>>>, Rc<ConnectionState>) {
    let state = Rc::new(ConnectionState::default());
    let input = ClientInput::new(reader, Rc::clone(&state), Scratch::new(LIMITS));
    (Rc::new(RefCell::new(input)), state)
}

#[test]
fn good_requests_before_a_bad_one_are_read_first() {
    let stream = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nPOST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\
        GET /c HTTP/1.1\nHost: a\r\n\r\nGET /d HTTP/1.1\r\nHost: a\r\n\r\n";
    let first = Said::Request("GET /a".to_owned(), Vec::new());
    let said = [first, Said::Request("POST /b".to_owned(), b"hi".to_vec()), Said::Fault("bare_lf")];
    for step in [stream.len(), 1, 30, 31, 32] {
        assert_eq!(read(stream.chunks(step)), said, "{step}");
    }
}

#[test]
fn an_end_inside_a_head_is_silent_and_inside_a_body_an_error() {
    assert!(read([&b"GET / HTTP/1.1\r\nHo"[..]]).is_empty());
    let stream = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf";
    assert_eq!(read([&stream[..]]), [Said::Body("body_truncated")]);
}

#[tokio::test]
async fn a_head_is_what_was_sent() {
    let (mut client, server) = duplex(1024);
    let (input, _) = input(server);
    client
        .write_all(b"\r\nPUT /a?b=%20 HTTP/1.0\r\nX-One: \t two words \r\nx-one:\r\nX-Two:\xe9\r\nConnection: x, Close\r\nExpect: 100-continue\r\n\r\n")
        .await
        .unwrap();
    let next = poll_fn(|context| input.borrow_mut().poll_next(context)).await;
    let Some(Next::Request(head)) = next else { panic!() };
    let asks = (head.asks.close, head.asks.keep_alive, head.asks.trailers, head.asks.continues);
    assert_eq!(asks, (true, false, false, false), "HTTP/1.0 knows no Expect");
    assert_eq!(
        (head.method.as_str(), head.path(), head.query(), head.is_http10),
        ("PUT", &b"/a"[..], &b"?b=%20"[..], true)
    );
    assert_eq!(head.fields.values("x-one").collect::<Vec<_>>(), [&b"two words"[..], b""]);
    assert_eq!(head.fields.get("x-two"), Some(&b"\xe9"[..]));
}

#[tokio::test]
async fn a_request_that_is_over_leaves_its_memory_and_nothing_else_to_the_next_one() {
    let (mut client, server) = duplex(1024);
    let (input, _) = input(server);
    let mut places = Vec::new();
    for (sent, host) in [
        ("GET http://a/x?y HTTP/1.0\r\nConnection: keep-alive\r\nTE: trailers\r\nX-Only-Here: 1\r\n\r\n", None),
        ("POST /b HTTP/1.1\r\nHost: b\r\n\r\n", Some(&b"b"[..])),
        ("GET /c HTTP/1.1\r\nHost: c\r\n\r\n", Some(b"c")),
    ] {
        client.write_all(sent.as_bytes()).await.unwrap();
        let next = poll_fn(|context| input.borrow_mut().poll_next(context)).await;
        let Some(Next::Request(head)) = next else { panic!("{sent}") };
        assert_eq!((head.host(), head.is_http10, head.asks.trailers), (host, host.is_none(), host.is_none()));
        assert_eq!(head.authority().is_some(), host.is_none());
        assert_eq!(head.fields.contains("x-only-here"), host.is_none());
        assert!(sent.starts_with(head.method.as_str()));
        places.push(std::ptr::from_ref(&*head));
        input.borrow_mut().take_back(head);
        assert!(input.borrow().unread.capacity() > 0);
    }
    assert!(places.iter().all(|place| *place == places[0]), "the same box");
    input.borrow_mut().shrink();
    assert!(input.borrow().unread.capacity() == 0 && input.borrow().head.is_none());
}

#[tokio::test]
async fn what_has_come_of_the_next_request_outlives_the_last_one() {
    let (mut client, server) = duplex(1024);
    let (input, _) = input(server);
    client.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HT").await.unwrap();
    let next = poll_fn(|context| input.borrow_mut().poll_next(context)).await;
    let Some(Next::Request(head)) = next else { panic!() };
    input.borrow_mut().take_back(head);
    input.borrow_mut().shrink();
    client.write_all(b"TP/1.1\r\nHost: b\r\n\r\n").await.unwrap();
    let next = poll_fn(|context| input.borrow_mut().poll_next(context)).await;
    let Some(Next::Request(head)) = next else { panic!() };
    assert_eq!((head.path(), head.host()), (&b"/b"[..], Some(&b"b"[..])));
}

#[tokio::test]
async fn a_target_has_its_parts_in_every_form() {
    let cases: [(&str, Option<&str>, &str, &str); 7] = [
        ("/", None, "/", ""),
        ("/a?b?c", None, "/a", "?b?c"),
        ("/?", None, "/", "?"),
        ("http://ucs:80/a://b?c", Some("ucs:80"), "/a://b", "?c"),
        ("HTTPS://[::1]:8080?c/d", Some("[::1]:8080"), "/", "?c/d"),
        ("http://ucs", Some("ucs"), "/", ""),
        ("*", None, "*", ""),
    ];
    for (target, authority, path, query) in cases {
        let (mut client, server) = duplex(1024);
        let (input, _) = input(server);
        client.write_all(format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        let next = poll_fn(|context| input.borrow_mut().poll_next(context)).await;
        let Some(Next::Request(head)) = next else { panic!("{target}") };
        let parts = (head.authority(), head.path(), head.query());
        assert_eq!(parts, (authority.map(str::as_bytes), path.as_bytes(), query.as_bytes()), "{target}");
    }
}

#[tokio::test]
async fn an_expired_head_is_an_error_and_an_idle_connection_is_not_touched() {
    let (mut client, server) = duplex(1024);
    let (input, state) = input(server);
    let mut next = std::pin::pin!(poll_fn(|context| input.borrow_mut().poll_next(context)));
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(next.as_mut().poll(&mut context).is_pending());
    assert!(state.idle_since().is_some());
    state.expire(RequestError::HeaderTimeout);
    assert!(next.as_mut().poll(&mut context).is_pending(), "nothing had begun");
    client.write_all(b"GET /slow").await.unwrap();
    assert!(next.as_mut().poll(&mut context).is_pending());
    assert!(state.head_started().is_some() && state.idle_since().is_none());
    state.expire(RequestError::HeaderTimeout);
    assert!(matches!(
        next.as_mut().poll(&mut context),
        Poll::Ready(Some(Next::Malformed(RequestError::HeaderTimeout)))
    ));
}

#[tokio::test]
async fn a_body_that_nobody_needs_any_more_ends() {
    let (mut client, server) = duplex(1024);
    let (input, _) = input(server);
    client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").await.unwrap();
    assert!(matches!(poll_fn(|context| input.borrow_mut().poll_next(context)).await, Some(Next::Request(_))));
    let mut body = ClientBody::new(Rc::clone(&input));
    assert!(body.frame().await.unwrap().is_ok());
    input.borrow_mut().close();
    assert!(body.frame().await.unwrap().is_err());
    assert!(!input.borrow().can_keep_alive());
}

#[tokio::test]
async fn a_body_that_nobody_takes_is_passed_over_wherever_reads_end() {
    let length = "Content-Length: 11\r\n\r\nGET / HTTP/1";
    let chunks =
        "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nGET /\r\n0b\r\n HTTP/1.1\r\n\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n";
    for body in [length, &length.replace("11", "12"), chunks] {
        let first = format!("POST /a HTTP/1.1\r\nHost: a\r\n{body}");
        let stream = format!("{first}GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
        for step in (1..40).chain([stream.len()]) {
            let (mut client, server) = duplex(1024);
            let (input, state) = input(server);
            for piece in stream.as_bytes().chunks(step) {
                client.write_all(piece).await.unwrap();
            }
            let mut seen = Vec::new();
            while seen.len() < 2 {
                match poll_fn(|context| input.borrow_mut().poll_next(context)).await {
                    Some(Next::Request(head)) => seen.push(format!("{} {}", head.method, head.path_text())),
                    other => seen.push(format!("{other:?}")),
                }
                input.borrow_mut().discard_body();
            }
            // One byte less than there is: the rest of the body begins the next request.
            let second = if body == length { "1GET /b" } else { "GET /b" };
            assert_eq!(seen, ["POST /a", second], "{body:?}, {step}");
            assert!(!state.discards_too_long(&DiscardLimits {
                time: Duration::ZERO,
                silence: Duration::ZERO,
                min_rate: 0
            }));
        }
    }
}

#[test]
fn what_is_dropped_has_limits_of_time_of_silence_and_of_pace() {
    const LONG: Duration = Duration::from_secs(3600);
    let none = DiscardLimits { time: LONG, silence: LONG, min_rate: 0 };
    let state = ConnectionState::default();
    let over = |limits: DiscardLimits| state.discards_too_long(&limits);
    assert!(!over(DiscardLimits { time: Duration::ZERO, ..none }), "nothing is dropped");
    state.begin_discard();
    std::thread::sleep(Duration::from_millis(2));
    state.discarded(1000);
    assert!(!over(none));
    assert!(over(DiscardLimits { time: Duration::ZERO, ..none }));
    assert!(over(DiscardLimits { silence: Duration::ZERO, ..none }));
    assert!(!over(DiscardLimits { min_rate: u64::MAX, ..none }), "not before a silence's time is over");
    assert!(over(DiscardLimits { silence: Duration::from_millis(1), min_rate: u64::MAX, ..none }));
    state.end_discard();
    assert!(!over(DiscardLimits { time: Duration::ZERO, ..none }));
}
