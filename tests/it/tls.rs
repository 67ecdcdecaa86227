//! TLS on the data port: what is encrypted, who is let in, and what a client learns that does not belong there.

mod admin;
mod handshakes;
mod renewal;
mod resumption;
mod upstream;

use crate::support::tls::{self, Authority, Identity};
use crate::support::{self, Connection, Gateway, Scripted, Ucs, eventually, request};

/// A gateway with TLS on its data port, in front of an upstream.
pub fn start(upstream: std::net::SocketAddr, identity: &Identity, extra: &[&str]) -> Gateway {
    let flags = identity.flags("--tls");
    Gateway::bare(upstream, &[&tls::words(&flags), extra].concat())
}

#[test]
fn requests_pass_over_tls_and_ucs_is_told_so() {
    let (authority, upstream) = (Authority::new("one"), Scripted::ok());
    let gateway = start(upstream.address, &authority.issue("server"), &[]);
    let address = tls::tunnel(gateway.data, authority.client(None));
    let mut client = Connection::open(address);
    for _ in 0..3 {
        client.send("GET /profiles HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(client.read_reply().text(), "ok");
    }
    let received = upstream.received_text();
    assert!(received.to_lowercase().contains("x-forwarded-proto: https"), "{received}");
    assert_eq!(support::admin::metric(&gateway, "ucs_gateway_client_connections_total"), 1.0);
    assert_eq!(support::admin::metric(&gateway, r#"ucs_gateway_tls_handshakes_total{outcome="completed"}"#), 1.0);
}

#[test]
fn a_request_in_plain_http_is_told_to_use_tls_and_reaches_nothing() {
    let (authority, upstream) = (Authority::new("one"), Scripted::ok());
    let gateway = start(upstream.address, &authority.issue("server"), &[]);
    let reply = request(gateway.data, "GET /profiles", &[], b"");
    assert_eq!((reply.status, reply.text().contains("https://")), (400, true), "{reply:?}");
    // A body that is still on its way must not destroy the response.
    let reply = request(gateway.data, "POST /profiles", &[], &[b'x'; 60_000]);
    assert_eq!(reply.status, 400);
    assert_eq!(upstream.connections(), 0);
    let counted = || support::admin::metric(&gateway, r#"ucs_gateway_tls_handshakes_total{outcome="plain_http"}"#);
    eventually("both are counted", || counted() == 2.0);
    // No HTTP and no TLS: an end without a word.
    let mut client = Connection::open(gateway.data);
    client.send("\0\0\0\0\0\0\0\0");
    assert_eq!(client.read_to_end(), b"");
}

#[test]
fn a_client_certificate_is_demanded_and_must_be_of_the_ca_and_not_revoked() {
    let (authority, strangers, upstream) = (Authority::new("one"), Authority::new("other"), Scripted::ok());
    let (server, known, revoked) = (authority.issue("server"), authority.issue("known"), authority.issue("revoked"));
    let ca = authority.certificate();
    let list = authority.revokes("crl.pem", &[revoked.serial]);
    let extra = ["--tls-client-ca", ca.to_str().unwrap(), "--tls-client-crl", list.to_str().unwrap()];
    let gateway = start(upstream.address, &server, &extra);
    let asks = |identity: Option<&Identity>| {
        let mut client = Connection::open(tls::tunnel(gateway.data, authority.client(identity)));
        let _ = client.try_send("GET /profiles HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        String::from_utf8(client.read_to_end()).unwrap()
    };
    assert!(asks(Some(&known)).ends_with("ok"));
    assert_eq!(asks(None), "");
    assert_eq!(asks(Some(&revoked)), "");
    assert_eq!(asks(Some(&strangers.issue("stranger"))), "");
    let refused = || support::admin::metric(&gateway, r#"ucs_gateway_tls_handshakes_total{outcome="certificate"}"#);
    eventually("all are counted", || refused() == 3.0);
    assert!(asks(Some(&known)).ends_with("ok"));
    assert_eq!(upstream.received_text().matches("GET ").count(), 2);
}

#[test]
fn a_response_that_breaks_off_lacks_its_close_notify() {
    let authority = Authority::new("one");
    // Its length is marked by the end of the connection, which never comes regularly.
    let upstream = Scripted::start(|conn| {
        conn.read_request();
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        conn.reset();
    });
    let gateway = start(upstream.address, &authority.issue("server"), &[]);
    let mut client = Connection::open(tls::tunnel(gateway.data, authority.client(None)));
    client.send("GET /profiles HTTP/1.0\r\nHost: x\r\n\r\n");
    assert!(client.is_cut(), "the tunnel turns a missing close_notify into a reset");
    // The end of a whole response is regular.
    let upstream = Ucs::usual();
    let gateway = start(upstream.address, &authority.issue("server"), &[]);
    let mut client = Connection::open(tls::tunnel(gateway.data, authority.client(None)));
    client.send("GET /profiles?x=y HTTP/1.0\r\nHost: x\r\n\r\n");
    assert!(!client.is_cut());
}
