//! `--allow-origin`: pages of other origins tell maintenance from an outage, and their preflights succeed in either mode.

use serde_json::json;

use super::GET;
use crate::support::{Gateway, Reply, Scripted, TempDir, admin, request};

const APP: &str = "https://app.example";
const ORIGINS: [&str; 2] = ["--allow-origin", "https://app.example,http://localhost:3000"];

fn maintenance(flags: &[&str]) -> (Scripted, Gateway) {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, flags);
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance"})).status, 200);
    (upstream, gateway)
}

fn ask(gateway: &Gateway, line: &str, origin: &str, more: &[(&str, &str)]) -> Reply {
    request(gateway.data, line, &[&[("Origin", origin)], more].concat(), b"")
}

fn access(reply: &Reply) -> [Option<&str>; 4] {
    let names =
        ["access-control-allow-origin", "access-control-allow-credentials", "access-control-expose-headers", "vary"];
    names.map(|name| reply.header(name))
}

const EXPOSED: Option<&str> = Some("UCS-Gateway, Retry-After, Allow");

#[test]
fn a_page_of_an_allowed_origin_reads_refusals() {
    let (_upstream, gateway) = maintenance(&ORIGINS);
    for (line, status) in [(GET, 503), ("GET /nowhere", 404), ("PATCH /profiles/1", 405), ("GET /a//b", 400)] {
        for origin in [APP, "http://localhost:3000"] {
            let reply = ask(&gateway, line, origin, &[]);
            assert_eq!(reply.status, status, "{line}");
            assert_eq!(access(&reply), [Some(origin), Some("true"), EXPOSED, Some("Origin")], "{line}");
        }
        for other in ["https://evil.example", "https://app.example:8443", "http://app.example", "null", ""] {
            assert_eq!(access(&ask(&gateway, line, other, &[])), [None, None, None, Some("Origin")], "{other}");
        }
        let two = ask(&gateway, line, APP, &[("Origin", APP)]);
        assert_eq!(access(&two), [None, None, None, Some("Origin")], "two origins are none");
        assert_eq!(access(&request(gateway.data, line, &[], b"")), [None, None, None, Some("Origin")]);
    }
}

#[test]
fn any_origin_gets_no_credentials() {
    let (_upstream, gateway) = maintenance(&["--allow-origin", "*"]);
    assert_eq!(access(&ask(&gateway, GET, APP, &[])), [Some("*"), None, EXPOSED, None]);
    assert_eq!(access(&request(gateway.data, GET, &[], b"")), [None, None, None, None]);
    let (_upstream, gateway) = maintenance(&["--allow-origin", "*", "--allow-origin", APP]);
    assert_eq!(access(&ask(&gateway, GET, APP, &[])), [Some(APP), Some("true"), EXPOSED, Some("Origin")]);
    assert_eq!(access(&ask(&gateway, GET, "http://b", &[])), [Some("*"), None, EXPOSED, Some("Origin")]);
}

#[test]
fn without_the_flag_nothing_is_said() {
    let (_upstream, gateway) = maintenance(&[]);
    let asked = [("Access-Control-Request-Method", "PUT")];
    assert_eq!(access(&ask(&gateway, GET, APP, &[])), [None, None, None, None]);
    assert_eq!(ask(&gateway, "OPTIONS /profiles/1", APP, &asked).refusal(), Some("mode"));
}

#[test]
fn preflights_of_refused_routes_are_answered_and_those_of_open_ones_reach_ucs() {
    let (upstream, gateway) = maintenance(&ORIGINS);
    let asked = [("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", "content-type, x-a")];
    for path in ["/profiles/1", "/nowhere"] {
        let reply = ask(&gateway, &format!("OPTIONS {path}"), APP, &asked);
        assert_eq!((reply.status, reply.header("ucs-gateway")), (204, Some("answered")), "{reply:?}");
        assert_eq!(access(&reply), [Some(APP), Some("true"), EXPOSED, Some("Origin")]);
        assert_eq!(reply.header("access-control-allow-methods"), Some("PUT"));
        assert_eq!(reply.header("access-control-allow-headers"), Some("content-type, x-a"));
        assert_eq!(reply.header("access-control-max-age"), Some("0"));
    }
    assert_eq!(ask(&gateway, "OPTIONS /profiles/1", "http://b", &asked).refusal(), Some("mode"));
    assert_eq!(ask(&gateway, "OPTIONS /profiles/1", APP, &[]).refusal(), Some("mode"), "it is no preflight");
    assert_eq!(upstream.received(), b"");
    let open = ask(&gateway, "OPTIONS /metadata/profiles", APP, &asked);
    assert_eq!((open.status, open.text()), (200, "ok".to_owned()));
    assert_eq!(access(&open), [None, None, None, None], "UCS has its own rules");
    let set_mode = request(
        gateway.data,
        "POST /server/mode",
        &[("Origin", APP), ("Content-Type", "application/json")],
        b"{\"mode\":\"production\"}",
    );
    assert_eq!(set_mode.refusal(), Some("cross_site"), "an allowed origin may read, not switch");
}

#[test]
fn an_answer_has_the_header_lines_of_the_table() {
    let dir = TempDir::new();
    let table = include_str!("../../../routes.yaml").replace(
        "\nroutes:",
        "\nanswers:\n  mode:\n    content_type: text/plain\n    body: later\n    headers: {X-Reason: maintenance, X-Two: '2'}\nroutes:",
    );
    let routes = dir.file("routes.yaml", &table);
    let (_upstream, gateway) = maintenance(&["--routes", routes.to_str().unwrap()]);
    for _ in 0..2 {
        let reply = request(gateway.data, GET, &[], b"");
        assert_eq!((reply.status, reply.text(), reply.header("x-two")), (503, "later".to_owned(), Some("2")));
        assert_eq!((reply.header("x-reason"), reply.refusal()), (Some("maintenance"), Some("mode")));
    }
}
