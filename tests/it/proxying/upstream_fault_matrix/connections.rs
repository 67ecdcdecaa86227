//! Connections to UCS that cannot be made, go bad between two requests, close as they are used again, or take no more of an
//! upload.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, mpsc};

use super::rig::{Asked, Counts, Expected, Got, Play, Rig, begin, connect, finish, play_all, read_to_end};
use super::{BEFORE_THE_ANSWER, ENDS, End, Reads, Stage, with_ends};
use crate::support::{Conn, Gateway, PATIENCE, Scripted, admin, request};

#[test]
fn a_ucs_that_refuses_connections_is_unreachable_until_it_listens() {
    let ucs = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    ucs.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = ucs.local_addr().unwrap().as_socket().unwrap();
    let gateway = Gateway::bare(address, &["--workers", "1"]);
    let expected = (Got::refused(502, "upstream_unreachable"), "connect");
    cannot_connect(
        &gateway,
        expected,
        || ucs.listen(16).unwrap(),
        |client| {
            let (mut stream, _) = ucs.accept().map(|(socket, from)| (TcpStream::from(socket), from)).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").unwrap();
            finish(client)
        },
    );
}

#[test]
fn a_ucs_whose_backlog_is_full_is_late() {
    let ucs = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    ucs.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    ucs.listen(0).unwrap();
    let address = ucs.local_addr().unwrap().as_socket().unwrap();
    // A backlog of 0 holds one connection; what comes then is not answered at all.
    let filling = connect(address);
    let gateway = Gateway::bare(address, &["--workers", "1", "--connect-timeout", "500ms"]);
    let expected = (Got::refused(504, "upstream_connect_timeout"), "connect_timeout");
    cannot_connect(
        &gateway,
        expected,
        || drop(ucs.accept().unwrap()),
        |client| {
            let (mut stream, _) = ucs.accept().map(|(socket, from)| (TcpStream::from(socket), from)).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").unwrap();
            finish(client)
        },
    );
    drop(filling);
}

/// No connection: nothing was sent, so nothing is abandoned. Then UCS is mended, and serves.
fn cannot_connect(
    gateway: &Gateway,
    (got, kind): (Got, &'static str),
    mend: impl FnOnce(),
    serve: impl FnOnce(&mut TcpStream) -> Got,
) {
    let errors = format!("ucs_gateway_upstream_errors_total{{kind=\"{kind}\"}}");
    for (count, asked) in (1..).zip(Asked::ALL) {
        assert_eq!(finish(&mut begin(gateway.data, asked, false).0), got, "{asked:?}");
        assert_eq!(admin::metric(gateway, &errors), f64::from(count), "{asked:?}");
        assert_eq!(admin::metric(gateway, "ucs_gateway_in_flight{set=\"production\"}"), 0.0, "{asked:?}");
        assert_eq!(admin::metric(gateway, "ucs_gateway_abandoned{class=\"profile\"}"), 0.0, "{asked:?}");
    }
    mend();
    let (mut client, _) = begin(gateway.data, Asked::PostLength, false);
    assert_eq!(serve(&mut client), Got::whole(200, "ok"));
}

/// How UCS leaves a connection between two requests.
const WHILE_IDLE: [(&str, &str, End); 6] = [
    ("FIN", "", End::Fin),
    ("RST", "", End::Reset),
    ("408 and FIN", "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", End::Fin),
    ("an answer that nobody asked for", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", End::Stall),
    ("half an answer", "HTTP/1.1 200 OK\r\nContent-Le", End::Stall),
    ("one byte", "x", End::Stall),
];

#[test]
fn a_connection_that_went_bad_while_idle_is_not_used() {
    play_all(
        &WHILE_IDLE,
        |(name, ..)| (*name).to_owned(),
        |&(name, says, end)| {
            let (go_on, told) = mpsc::channel::<()>();
            let (done, was_done) = mpsc::channel::<()>();
            let told = Mutex::new(told);
            let rig = Rig::start(
                move |conn| {
                    conn.read_request();
                    conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                    told.lock().unwrap().recv_timeout(PATIENCE).unwrap();
                    conn.write(says);
                    match end {
                        End::Fin => conn.close(),
                        End::Reset => conn.reset_now(),
                        End::Stall => {}
                    }
                    done.send(()).unwrap();
                    conn.is_closed();
                },
                false,
                &[],
            );
            for asked in Asked::ALL {
                rig.set(Play::Fault);
                assert_eq!(rig.ask(Asked::Get, false).0, Got::whole(200, "ok"), "{name}");
                rig.set(Play::ServeAndClose);
                let before = Counts::of(&rig.gateway);
                go_on.send(()).unwrap();
                was_done.recv_timeout(PATIENCE).unwrap();
                let (got, mark) = rig.ask(asked, false);
                assert_eq!(got, Got::whole(200, "ok"), "{name}, {asked:?}");
                let sent = rig.upstream.received_text().matches(&format!("X-Case: {mark}\r\n")).count();
                assert_eq!(sent, 1, "{name}, {asked:?}");
                let expected = Expected { got, kind: None, seen: 1, abandoned: false };
                rig.settles_at(&format!("{name}, {asked:?}"), &before, &expected);
            }
        },
    );
}

#[test]
fn a_connection_that_closes_as_it_is_used_again_is_tried_once_more_for_safe_requests_only() {
    let rows: Vec<(&Stage, End)> = with_ends(BEFORE_THE_ANSWER)
        .into_iter()
        .filter(|(stage, end)| stage.reads == Reads::All && stage.may_be_stale() && *end != End::Stall)
        .collect();
    play_all(
        &rows,
        |(stage, end)| format!("{}, {end:?}", stage.name),
        |&(stage, end)| {
            let upstream = Scripted::start(move |conn| {
                // The first connection of each pair serves once, the second always.
                let is_first = conn.read_request().is_some_and(|request| request.head.contains("/profiles/first"));
                conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                if is_first && conn.is_asked() {
                    stage.play(conn, |conn| end.play(conn));
                }
            });
            for asked in Asked::ALL {
                let gateway = Gateway::bare(upstream.address, &["--workers", "1"]);
                let first = request(gateway.data, "GET /profiles/first", &[], b"");
                assert_eq!(first.text(), "ok");
                let (mut client, mark) = begin(gateway.data, asked, false);
                let (got, seen) = match asked {
                    Asked::Get => (Got::whole(200, "ok"), 2),
                    Asked::PostLength | Asked::PostChunked => (Got::refused(502, "upstream_broken"), 1),
                };
                assert_eq!(finish(&mut client), got, "{}, {end:?}, {asked:?}", stage.name);
                let sent = upstream.received_text().matches(&format!("X-Case: {mark}\r\n")).count();
                assert_eq!(sent, seen, "{}, {end:?}, {asked:?}", stage.name);
                let retries = admin::metric(&gateway, "ucs_gateway_upstream_retries_total");
                assert_eq!(retries, (seen - 1) as f64, "{}, {end:?}, {asked:?}", stage.name);
            }
        },
    );
}

#[test]
fn an_upload_that_was_answered_early_may_stall_no_longer_than_any_answer() {
    const LENGTH: usize = 64 << 20;
    let (was_cut, over) = mpsc::channel::<()>();
    let over = Mutex::new(over);
    let fault = move |conn: &mut Conn| {
        conn.read_head();
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
        let _ = over.lock().unwrap().recv_timeout(PATIENCE);
    };
    // Waiting for the first byte would take longer than the test's patience.
    let rig = Rig::start(fault, false, &["--first-byte-timeout", "60s", "--idle-body-timeout", "1s"]);
    let before = Counts::of(&rig.gateway);
    rig.set(Play::Fault);
    let mut client = connect(rig.gateway.data);
    let mut writer = client.try_clone().unwrap();
    let head = format!("POST /profiles HTTP/1.1\r\nHost: ucs\r\nContent-Length: {LENGTH}\r\n\r\n");
    let body = vec![b'x'; LENGTH];
    let writing = std::thread::spawn(move || {
        let _ = writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(&body));
    });
    // The reset that ends it may take away what was not read yet: so no word on what came.
    read_to_end(&mut client);
    was_cut.send(()).unwrap();
    drop(client);
    writing.join().unwrap();
    let expected = Expected { got: Got::Cut(200), kind: Some("idle_body_timeout"), seen: 1, abandoned: true };
    rig.settles_at("afterwards", &before, &expected);
    rig.serves("afterwards");
}

#[test]
fn an_upload_that_ucs_takes_no_more_of_ends_with_its_answer() {
    const LENGTH: usize = 64 << 20;
    let rows: Vec<(End, bool)> = ENDS.into_iter().flat_map(|end| [(end, false), (end, true)]).collect();
    play_all(
        &rows,
        |row| format!("{row:?}"),
        |&(end, chunked)| {
            let (was_answered, over) = mpsc::channel();
            let over = Mutex::new(over);
            let rig = Rig::start(
                move |conn| {
                    conn.read_head();
                    conn.read_exact(100_000);
                    match end {
                        // Not by reading on, as other stalls do: the gateway must have no room.
                        End::Stall => drop(over.lock().unwrap().recv_timeout(PATIENCE)),
                        End::Fin | End::Reset => end.play(conn),
                    }
                },
                false,
                end.flags(),
            );
            let before = Counts::of(&rig.gateway);
            rig.set(Play::Fault);
            let mut client = connect(rig.gateway.data);
            let framing = if chunked {
                format!("Transfer-Encoding: chunked\r\n\r\n{LENGTH:x}\r\n")
            } else {
                format!("Content-Length: {LENGTH}\r\n\r\n")
            };
            let head =
                format!("POST /profiles HTTP/1.1\r\nHost: ucs\r\nX-Case: upload\r\nConnection: close\r\n{framing}");
            let mut writer = client.try_clone().unwrap();
            // Made before the head is sent: on a busy machine the client would be the one that is waited for.
            let body = vec![b'x'; LENGTH];
            let writing = std::thread::spawn(move || {
                let _ = writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(&body));
            });
            let (got, kind) = match end {
                End::Stall => (Got::refused(504, "upstream_timeout"), "first_byte_timeout"),
                End::Fin | End::Reset => (Got::refused(502, "upstream_broken"), "closed"),
            };
            let expected = Expected { got, kind: Some(kind), seen: 1, abandoned: true };
            assert_eq!(finish(&mut client), expected.got, "{end:?}, chunked: {chunked}");
            let _ = was_answered.send(());
            drop(client);
            writing.join().unwrap();
            assert_eq!(rig.upstream.received_text().matches("X-Case: upload\r\n").count(), 1, "{end:?}");
            rig.settles_at(&format!("{end:?}, chunked: {chunked}"), &before, &expected);
            rig.serves("afterwards");
        },
    );
}
