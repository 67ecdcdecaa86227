//! TLS to UCS: the name and the CA of its certificate, the gateway's own certificate, and what an operator reads when one of
//! them is wrong.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::date_time_ymd;
use serde_json::json;

use crate::support::tls::{Authority, Identity, terminator, words};
use crate::support::{Connection, Gateway, PATIENCE, Scripted, Ucs, admin, eventually, request};

/// The flags of a UCS at this address.
fn flags(host: &str, address: SocketAddr, authority: &Authority, identity: Option<&Identity>) -> Vec<String> {
    let ca = authority.certificate().display().to_string();
    let mut flags = vec!["--upstream".into(), format!("https://{host}:{}", address.port()), "--upstream-ca".into(), ca];
    if let Some(identity) = identity {
        flags.extend(identity.flags("--upstream"));
    }
    flags
}

/// The gateway before the upstream that these flags name.
fn before(flags: &[String]) -> Gateway {
    Gateway::bare(([127, 0, 0, 1], 1).into(), &words(flags))
}

#[test]
fn requests_share_a_connection_to_ucs_although_tickets_arrive_on_it() {
    let (authority, upstream) = (Authority::new("one"), Scripted::ok());
    let address = terminator(upstream.address, Arc::new(authority.issue("ucs").server(None)));
    let gateway =
        before(&[flags("127.0.0.1", address, &authority, None), vec!["--workers".into(), "1".into()]].concat());
    let mut client = Connection::open(gateway.data);
    for _ in 0..20 {
        client.send("GET /profiles HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(client.read_reply().text(), "ok");
    }
    assert_eq!(upstream.connections(), 1);
    // A sweep finds the idle connection whole, too.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(request(gateway.data, "GET /profiles", &[], b"").text(), "ok");
    assert_eq!(admin::metric(&gateway, "ucs_gateway_upstream_connections_opened_total"), 1.0);
}

#[test]
fn the_gateways_own_calls_go_over_tls_too() {
    let (authority, ucs) = (Authority::new("one"), Ucs::usual());
    let address = terminator(ucs.address, Arc::new(authority.issue("ucs").server(None)));
    let gateway = Gateway::start(ucs.address, &words(&flags("localhost", address, &authority, None)));
    let set = admin::set_mode(&gateway, &json!({"mode": "maintenance"}));
    assert_eq!(set.status, 200, "{}", set.text());
    assert_eq!(admin::mode(&gateway)["upstream"]["state"], "in_step");
    assert_eq!(ucs.asked("POST", "/server/mode").len(), 1);
}

#[test]
fn a_client_certificate_is_shown_to_a_ucs_that_demands_one() {
    let (authority, upstream) = (Authority::new("one"), Scripted::ok());
    let address = terminator(upstream.address, Arc::new(authority.issue("ucs").server(Some(&authority))));
    let own = authority.issue("gateway");
    let gateway = before(&flags("127.0.0.1", address, &authority, Some(&own)));
    assert_eq!(request(gateway.data, "GET /profiles", &[], b"").text(), "ok");
    let without = before(&flags("127.0.0.1", address, &authority, None));
    assert_eq!(request(without.data, "GET /profiles", &[], b"").status, 502);
}

#[test]
fn the_name_in_the_certificate_can_be_another_than_the_host() {
    let (authority, upstream) = (Authority::new("one"), Scripted::ok());
    let named = authority.issue_with("ucs", |params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("ucs.example".try_into().unwrap())];
    });
    let address = terminator(upstream.address, Arc::new(named.server(None)));
    let mut flags = flags("127.0.0.1", address, &authority, None);
    assert_eq!(request(before(&flags).data, "GET /profiles", &[], b"").status, 502);
    flags.extend(["--upstream-server-name".to_owned(), "ucs.example".to_owned()]);
    assert_eq!(request(before(&flags).data, "GET /profiles", &[], b"").text(), "ok");
    // As before, it is the name that clients used.
    assert!(upstream.received_text().to_lowercase().contains("\r\nhost: 127.0.0.1"));
}

#[test]
fn each_fault_of_ucs_s_tls_is_a_502_and_says_what_to_do() {
    let (authority, strangers, ucs) = (Authority::new("one"), Authority::new("other"), Ucs::usual());
    let old = authority.issue_with("old", |params| params.not_after = date_time_ymd(2021, 1, 1));
    let named = authority.issue_with("named", |params| params.subject_alt_names.clear());
    let terminated = |server| terminator(ucs.address, Arc::new(server));
    let cases = [
        (terminated(strangers.issue("ucs").server(None)), "the CA that signed"),
        (terminated(old.server(None)), "has expired"),
        (terminated(named.server(None)), "is for another name"),
        (ucs.address, "does not speak TLS"),
        (terminated(authority.issue("ucs").server(Some(&authority))), "client's certificate"),
    ];
    for (address, advice) in cases {
        let gateway = Gateway::start(ucs.address, &words(&flags("127.0.0.1", address, &authority, None)));
        let reply = request(gateway.data, "GET /profiles?LastName=x", &[], b"");
        assert_eq!(reply.status, 502, "{advice}: {}", reply.text());
        let told = || admin::mode(&gateway)["upstream"]["detail"].to_string();
        eventually("the state of UCS says why", || told().contains(advice));
        eventually("the log says why", || advice.starts_with("client") || gateway.log().contains(advice));
        assert!(gateway.terminate(PATIENCE).success());
    }
}

#[test]
fn a_response_that_tls_cuts_off_is_never_passed_on_as_whole() {
    let authority = Authority::new("one");
    // Delimited by the end of the connection; the terminator makes a reset of it, as a cut is no regular end.
    let upstream = Scripted::start(|conn| {
        conn.read_request();
        conn.write("HTTP/1.1 200 OK\r\n\r\nhalf");
        conn.reset();
    });
    let address = terminator(upstream.address, Arc::new(authority.issue("ucs").server(None)));
    let gateway = before(&flags("127.0.0.1", address, &authority, None));
    let mut client = Connection::open(gateway.data);
    client.send("GET /profiles HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(!client.read_to_end().ends_with(b"0\r\n\r\n"));
}
