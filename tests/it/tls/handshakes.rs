//! Handshakes that do not end: they are bounded in time and number, and keep no one out.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustls::{ClientConnection, Connection as Session};

use super::start;
use crate::support::tls::{Authority, tunnel};
use crate::support::{Connection, PATIENCE, Scripted, admin, eventually, request};

/// The first flight of a client.
fn client_hello(authority: &Authority) -> Vec<u8> {
    let mut session =
        Session::from(ClientConnection::new(authority.client(None), "localhost".try_into().unwrap()).unwrap());
    let mut bytes = Vec::new();
    session.write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn half_a_handshake_is_given_up_after_the_header_timeout() {
    let (authority, upstream) = (Authority::new("one"), Scripted::ok());
    let gateway = start(upstream.address, &authority.issue("server"), &["--header-timeout", "1s"]);
    let hello = client_hello(&authority);
    // Nothing, a part of the first flight, and all of it without what must follow.
    for bytes in [&[][..], &hello[..1], &hello[..hello.len() / 2], &hello] {
        let mut client = Connection::open(gateway.data);
        client.send(bytes);
        client.read_to_end();
    }
    let late = || admin::metric(&gateway, r#"ucs_gateway_tls_handshakes_total{outcome="timeout"}"#);
    eventually("all are counted", || late() == 4.0);
    eventually("none is open", || admin::metric(&gateway, "ucs_gateway_client_connections_open") == 0.0);
}

#[test]
fn a_client_that_sends_a_byte_now_and_then_gets_no_more_time() {
    let (authority, upstream) = (Authority::new("one"), Scripted::ok());
    let gateway = start(upstream.address, &authority.issue("server"), &["--header-timeout", "1s"]);
    let hello = client_hello(&authority);
    let mut client = Connection::open(gateway.data);
    let began = std::time::Instant::now();
    // It would take two minutes for the whole flight.
    let ended = hello.iter().any(|byte| {
        std::thread::sleep(std::time::Duration::from_millis(500));
        client.try_send([*byte]).is_err()
    });
    assert!(ended && began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

#[test]
fn half_handshakes_count_as_connections_and_keep_no_one_out_for_long() {
    let (authority, upstream) = (Authority::new("one"), Scripted::ok());
    let limits = ["--header-timeout", "2s", "--max-connections", "50"];
    let gateway = start(upstream.address, &authority.issue("server"), &limits);
    let address = tunnel(gateway.data, authority.client(None));
    let hello = client_hello(&authority);
    // Ten times as many as there is room for.
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..500 {
        // One that was turned away may be gone before a word is said.
        let Ok(mut client) = TcpStream::connect(gateway.data) else { continue };
        let _ = client.write_all(&hello);
        held.push(client);
    }
    let refused = || admin::metric(&gateway, "ucs_gateway_client_connections_refused_total");
    eventually("those above the limit were turned away", || refused() > 0.0);
    assert!(admin::metric(&gateway, "ucs_gateway_client_connections_open") <= 50.0);
    eventually("an ordinary client is served", || response_through(address).is_ok_and(|bytes| bytes.ends_with(b"ok")));
    // Each has been closed by the gateway.
    for mut client in held {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = Vec::new();
        if let Err(error) = client.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
    }
    assert_eq!(request(gateway.admin, "GET /readyz", &[], b"").status, 200);
}

/// One that is turned away may be reset at any step.
fn response_through(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut client = TcpStream::connect(address)?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.write_all(b"GET /profiles HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn records_that_are_no_tls_after_the_handshake_end_the_connection() {
    let (authority, upstream) = (Authority::new("one"), Scripted::ok());
    let gateway = start(upstream.address, &authority.issue("server"), &[]);
    let socket = TcpStream::connect(gateway.data).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let session = ClientConnection::new(authority.client(None), "localhost".try_into().unwrap()).unwrap();
    let mut stream = rustls::StreamOwned::new(session, socket);
    stream.write_all(b"GET /profiles HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut response = [0; 15];
    stream.read_exact(&mut response).unwrap();
    assert_eq!(&response, b"HTTP/1.1 200 OK");
    // A record that claims more than is allowed, one that cannot be decrypted, and a request in clear text.
    for bytes in [&[23, 3, 3, 255, 255][..], &[23, 3, 3, 0, 1, 0], b"GET /profiles HTTP/1.1\r\n\r\n"] {
        let socket = TcpStream::connect(gateway.data).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let session = ClientConnection::new(authority.client(None), "localhost".try_into().unwrap()).unwrap();
        let mut stream = rustls::StreamOwned::new(session, socket);
        stream.conn.complete_io(&mut stream.sock).unwrap();
        stream.sock.write_all(bytes).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert_eq!(String::from_utf8_lossy(&rest), "", "{bytes:?}");
    }
    assert_eq!(upstream.received_text().matches("GET ").count(), 1);
}

/// In TLS 1.3 a client sends its request before it can know that its certificate was required.
#[test]
fn a_client_without_a_certificate_is_told_although_it_has_sent_its_request() {
    let (authority, upstream) = (Authority::new("one"), Scripted::ok());
    let ca = authority.certificate();
    let gateway = start(upstream.address, &authority.issue("server"), &["--tls-client-ca", ca.to_str().unwrap()]);
    let socket = TcpStream::connect(gateway.data).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut session = ClientConnection::new(authority.client(None), "localhost".try_into().unwrap()).unwrap();
    // More than the gateway reads at once.
    session.writer().write_all(&[b'x'; 32 * 1024]).unwrap();
    let mut stream = rustls::StreamOwned::new(session, socket);
    let error = stream.read(&mut [0]).unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
    // The end is no reset: that can destroy the alert.
    assert_eq!(stream.sock.read_to_end(&mut Vec::new()).unwrap(), 0);
    assert!(stream.sock.peer_addr().is_ok());
}
