//! Sessions that are resumed: over reloads where clients need no certificate, and never where they do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};

use super::start;
use crate::support::tls::Authority;
use crate::support::{Gateway, PATIENCE, Scripted, admin, eventually};

/// Sends one request on a connection of its own; how the handshake went, or that it was refused.
fn visit(address: SocketAddr, config: &Arc<ClientConfig>) -> Option<HandshakeKind> {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let session = ClientConnection::new(Arc::clone(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(session, socket);
    let request = b"GET /profiles HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).ok()?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response).ok()?;
    assert!(response.ends_with(b"ok"), "{}", String::from_utf8_lossy(&response));
    stream.conn.handshake_kind()
}

/// How often the files have been put in force.
fn reloads(gateway: &Gateway) -> usize {
    gateway.log().matches("\"reloaded\"").count()
}

#[test]
fn a_session_is_resumed_also_after_the_certificate_was_replaced() {
    let (authority, upstream) = (Authority::new("one"), Scripted::ok());
    let server = authority.issue("server");
    let gateway = start(upstream.address, &server, &["--workers", "2"]);
    let config = authority.client(None);
    assert_eq!(visit(gateway.data, &config), Some(HandshakeKind::Full));
    assert_eq!(visit(gateway.data, &config), Some(HandshakeKind::Resumed));
    let next = authority.issue("server");
    std::fs::copy(&next.key, &server.key).unwrap();
    std::fs::copy(&next.certificate, &server.certificate).unwrap();
    eventually("the new one is in force", || reloads(&gateway) == 1);
    assert_eq!(visit(gateway.data, &config), Some(HandshakeKind::Resumed));
    assert_eq!(visit(gateway.data, &authority.client(None)), Some(HandshakeKind::Full));
}

#[test]
fn a_client_whose_certificate_is_revoked_cannot_resume() {
    let (authority, upstream) = (Authority::new("one"), Scripted::ok());
    let (server, client) = (authority.issue("server"), authority.issue("client"));
    let (ca, list) = (authority.certificate(), authority.revokes("crl.pem", &[]));
    let extra = ["--tls-client-ca", ca.to_str().unwrap(), "--tls-client-crl", list.to_str().unwrap()];
    let gateway = start(upstream.address, &server, &extra);
    let config = authority.client(Some(&client));
    for _ in 0..3 {
        assert_eq!(visit(gateway.data, &config), Some(HandshakeKind::Full), "its certificate is verified each time");
    }
    authority.revokes("crl.pem", &[client.serial]);
    eventually("the list is in force", || reloads(&gateway) == 1);
    assert_eq!(visit(gateway.data, &config), None);
    // The CA itself is replaced: what it signed is unknown.
    authority.revokes("crl.pem", &[]);
    eventually("the list is in force", || reloads(&gateway) == 2);
    assert!(visit(gateway.data, &config).is_some());
    let other = Authority::new("other");
    std::fs::copy(other.certificate(), &ca).unwrap();
    other.revokes("crl.pem", &[]);
    std::fs::copy(other.dir().path().join("crl.pem"), &list).unwrap();
    eventually("the CA is in force", || visit(gateway.data, &config).is_none());
    assert_eq!(admin::metric(&gateway, r#"ucs_gateway_file_fault{file="data_certificate"}"#), 0.0);
}
