//! `mode get|set|watch|history|preview` against a running gateway.

use std::os::unix::fs::OpenOptionsExt;

use serde_json::{Value, json};

use super::mode;
use crate::support::tool::{Running, run};
use crate::support::{Gateway, TempDir, Ucs, Upload, admin, eventually, nobody_listens, request};

#[test]
fn get_set_history_and_preview() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let shown = mode(&gateway, &["get"]);
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""), "{shown:?}");
    assert_eq!(shown.stdout.lines().next(), Some("production"));

    let set = mode(&gateway, &["set", "maintenance", "--reason", "new extension", "--expires-in", "2h"]);
    assert_eq!(set.code, Some(0), "{set:?}");
    for words in ["settled after a drain of", "maintenance\n", "by admin (operator)", "reason: new extension"] {
        assert!(set.stdout.contains(words), "{words:?} is not in {}", set.stdout);
    }
    let record = admin::mode(&gateway);
    assert!(set.stdout.contains(&format!("expires: {}", record["expires"].as_str().unwrap())), "{set:?}");
    assert_eq!((&record["mode"], &record["reason"]), (&json!("maintenance"), &json!("new extension")));

    let as_json = mode(&gateway, &["get", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&as_json.stdout).unwrap(), admin::mode(&gateway));

    let history = mode(&gateway, &["history", "--limit", "2"]);
    let lines: Vec<_> = history.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    let newest = record["revision"].as_u64().unwrap();
    assert_eq!(lines.len(), 2, "{history:?}");
    assert_eq!((lines[0][0], lines[1][0]), (&*newest.to_string(), &*(newest - 1).to_string()));
    assert_eq!((lines[0][3], lines[1][3]), ("settled", "switching"));
    assert!(history.stdout.lines().next().unwrap().ends_with("new extension"));

    let preview = mode(&gateway, &["preview", "production"]);
    assert_eq!(preview.code, Some(0), "{preview:?}");
    assert!(
        preview.stdout.starts_with("a change to production would wait for 0 requests in flight"),
        "{}",
        preview.stdout
    );

    let again = mode(&gateway, &["set", "maintenance"]);
    assert_eq!(again.code, Some(0), "{again:?}");
}

#[test]
fn a_set_tells_what_it_waits_for() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &["--orphan-grace", "1ms"]);
    let upload = Upload::begin(&gateway, &ucs);
    let (address, state) = (gateway.admin.to_string(), gateway.state_dir().to_str().unwrap());
    let set = Running::start(&["mode", "--admin", &address, "--state-dir", state, "set", "maintenance"]);
    eventually("the flip began", || admin::mode(&gateway)["phase"] == "switching");
    // Its own stream of events must have begun before the drain is over: a refusal is told to every follower.
    assert_eq!(request(gateway.data, "GET /profiles/1", &[], b"").refusal(), Some("switching"));
    eventually("it follows the drain", || gateway_has_streams(&gateway, 2));
    assert_eq!(upload.finish().status, 201);
    let set = set.ended();
    assert_eq!(set.code, Some(0), "{set:?}");
    assert!(set.stdout.contains("waited for: 1 Create Customer Profile"), "{}", set.stdout);
    assert!(
        set.stderr.contains("switching to maintenance: waiting for 1: 1 Create Customer Profile"),
        "{}",
        set.stderr
    );
}

/// Connections that the process has accepted on its admin port, as the system counts them: the flip and its events.
fn gateway_has_streams(gateway: &Gateway, count: usize) -> bool {
    let port = format!("{:04X}", gateway.admin.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let established = table.lines().filter(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields[1].ends_with(&format!(":{port}")) && fields[3] == "01"
    });
    established.count() >= count
}

#[test]
fn what_the_gateway_refuses_is_told_and_ends_with_1() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let stale = mode(&gateway, &["set", "maintenance", "--if-revision", "99"]);
    assert_eq!((stale.code, stale.stdout.as_str()), (Some(1), ""), "{stale:?}");
    assert!(stale.stderr.contains("read GET /mode and decide again"), "{}", stale.stderr);
    let upload = Upload::begin_held(&gateway, &ucs);
    let late = mode(&gateway, &["set", "maintenance", "--drain-timeout", "50ms", "--json"]);
    assert_eq!(late.code, Some(1), "{late:?}");
    assert!(late.stderr.contains("still running: 1 Create Customer Profile"), "{}", late.stderr);
    assert_eq!(serde_json::from_str::<Value>(&late.stdout).unwrap()["reason"], "drain_timeout");
    assert_eq!(upload.finish_held(&ucs).status, 201);
    let address = gateway.admin.to_string();
    let stranger = run(&["mode", "--admin", &address, "--token", "wrong", "get"]);
    assert_eq!(stranger.code, Some(1), "{stranger:?}");
    assert!(stranger.stderr.contains("the credential is not accepted"), "{}", stranger.stderr);
    assert_eq!(admin::mode(&gateway)["mode"], "production");
}

#[test]
fn no_gateway_and_no_token_are_told_apart() {
    let address = nobody_listens().to_string();
    let nobody = run(&["mode", "--admin", &address, "--token", "x", "get"]);
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert!(nobody.stderr.contains(&address) && nobody.stderr.contains("is it running"), "{}", nobody.stderr);
    let dir = TempDir::new();
    let no_token = run(&["mode", "--admin", &address, "--state-dir", dir.path().to_str().unwrap(), "get"]);
    assert_eq!(no_token.code, Some(2), "{no_token:?}");
    for words in [dir.path().join("admin.token").to_str().unwrap(), "--token-file"] {
        assert!(no_token.stderr.contains(words), "{words} is not in {}", no_token.stderr);
    }
}

#[test]
fn a_token_that_begins_with_a_hyphen_can_be_given() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let token = format!("-{}", "x".repeat(42));
    let mut file = std::fs::OpenOptions::new();
    let mut file = file.write(true).create_new(true).mode(0o600).open(dir.path().join("admin.token")).unwrap();
    std::io::Write::write_all(&mut file, token.as_bytes()).unwrap();
    let gateway = Gateway::start_in(dir.path(), ucs.address, &[]);
    let shown = run(&["mode", "--admin", &gateway.admin.to_string(), "--token", &token, "get"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
}

#[test]
fn a_watch_follows_flips_until_the_gateway_stops() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &["--orphan-grace", "1ms"]);
    let (address, state) = (gateway.admin.to_string(), gateway.state_dir().to_str().unwrap().to_owned());
    let start = |extra: &[&str]| {
        Running::start(&[&["mode", "--admin", &address, "--state-dir", &state, "watch"], extra].concat())
    };
    let (mut words, mut lines) = (start(&[]), start(&["--json"]));
    assert!(words.next_line().unwrap().starts_with("production; since "));
    let event = |line: String| serde_json::from_str::<Value>(&line).unwrap();
    assert_eq!(event(lines.next_line().unwrap())["event"], "record");
    let upload = Upload::begin(&gateway, &ucs);
    let flip = Running::start(&["mode", "--admin", &address, "--state-dir", &state, "set", "maintenance"]);
    words.line_with("switching from production to maintenance");
    words.line_with("switching to maintenance: waiting for 1: 1 Create Customer Profile");
    assert_eq!(event(lines.line_with("\"switching\""))["data"]["mode"], "maintenance");
    assert_eq!(upload.finish().status, 201);
    words.line_with("maintenance; since ");
    assert_eq!(flip.ended().code, Some(0));
    assert_eq!(request(gateway.data, "GET /profiles/1", &[], b"").status, 503);
    words.line_with("refused 1 more, 1 in all");
    gateway.terminate(crate::support::PATIENCE);
    for watch in [words, lines] {
        let ended = watch.ended();
        assert_eq!(ended.code, Some(1), "it was not interrupted: {ended:?}");
        assert!(ended.stderr.contains("the gateway ended the event stream"), "{ended:?}");
    }
}
