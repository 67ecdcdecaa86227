//! HTTP/2 with clients, as raw frames: the same requests, refusals, drains and limits as in HTTP/1.1, and what only HTTP/2 has.

mod attacks;
mod conformance;
mod flips;
mod interim;
mod messages;
mod records;
mod same;
mod streams;

use std::net::SocketAddr;

use crate::support::tls::{self, Authority};
use crate::support::{Connection, Gateway, H2, Scripted, admin, http};

/// A gateway that takes HTTP/2 without TLS, in production, and sends nothing of its own to UCS.
fn start(upstream: SocketAddr, extra: &[&str]) -> Gateway {
    Gateway::bare(upstream, &[&["--h2c"], extra].concat())
}

#[test]
fn clients_of_both_protocols_are_served_on_one_port_without_tls() {
    let upstream = Scripted::ok();
    let gateway = start(upstream.address, &[]);
    let mut h2 = H2::open(gateway.data);
    assert_eq!(h2.ask("GET /profiles/1", &[]).text(), "ok");
    for first in ["POST /profiles", "PUT /profiles/1", "GET /profiles/1"] {
        // The first byte is the one of the preface, too.
        let mut http1 = Connection::open(gateway.data);
        for byte in http::compose(gateway.data, first, &[], b"{}") {
            http1.send([byte]);
        }
        assert_eq!(http1.read_reply().text(), "ok", "{first}");
    }
    assert_eq!(h2.ask("GET /profiles/1", &[]).text(), "ok");
    assert_eq!(admin::metric(&gateway, "ucs_gateway_client_connections_total"), 4.0);
}

#[test]
fn prior_knowledge_is_refused_unless_it_is_asked_for() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let reply = client.read_reply();
    assert_eq!((reply.status, reply.refusal()), (400, Some("http2_preface")));
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn tls_offers_http2_and_http1_unless_it_is_turned_off() {
    let (authority, upstream) = (Authority::new("one"), Scripted::ok());
    let flags = authority.issue("server").flags("--tls");
    let agreed = |gateway: &Gateway, offer: &[&str]| tls::agreed_protocol(gateway.data, &authority, offer);
    let gateway = Gateway::bare(upstream.address, &tls::words(&flags));
    assert_eq!(agreed(&gateway, &["h2", "http/1.1"]).as_deref(), Some("h2"));
    assert_eq!(agreed(&gateway, &["http/1.1"]).as_deref(), Some("http/1.1"));
    assert_eq!(agreed(&gateway, &[]), None);
    let address = tls::tunnel_of(gateway.data, &authority, &["h2"]);
    let mut client = H2::open(address);
    for _ in 0..3 {
        assert_eq!(client.ask("GET /profiles", &[]).text(), "ok");
    }
    assert!(upstream.received_text().to_lowercase().contains("x-forwarded-proto: https"));
    // Without an agreement it is HTTP/1.1, whatever the client then says.
    let mut client = Connection::open(tls::tunnel_of(gateway.data, &authority, &[]));
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.read_reply().refusal(), Some("http2_preface"));
    let off = Gateway::bare(upstream.address, &[&tls::words(&flags)[..], &["--no-h2"]].concat());
    assert_eq!(agreed(&off, &["h2", "http/1.1"]).as_deref(), Some("http/1.1"));
}
