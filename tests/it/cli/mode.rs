//! `mode get|set|watch|history|preview` against a running gateway.

use std::os::unix::fs::OpenOptionsExt;

use serde_json::{Value, json};

use super::{mode, mode_arguments};
use crate::support::tool::{Running, command, run};
use crate::support::{Gateway, TempDir, Ucs, Upload, admin, eventually, nobody_listens, request};

#[test]
fn get_set_history_and_preview() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let shown = mode(&gateway, &["get"]);
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""), "{shown:?}");
    assert_eq!(shown.stdout.lines().next(), Some("production"));
    assert!(
        shown.stdout.contains("  cause         the first start with this state directory (first_start)\n"),
        "{shown:?}"
    );
    let quiet = mode(&gateway, &["set", "maintenance", "--rehearse"]).stdout;
    assert!(quiet.contains("would drain at once\n") && !quiet.contains("0.0"), "{quiet}");
    let later = mode(&gateway, &["set", "maintenance", "--at", "2100-01-01T00:00:00Z"]).stdout;
    assert!(later.starts_with("scheduled: a change to maintenance; until then\nproduction\n"), "{later}");
    let never = mode(&gateway, &["set", "maintenance", "--at", "never"]).stdout;
    assert!(never.starts_with("nothing is scheduled\nproduction\n"), "{never}");
    let data = gateway.data.to_string();
    let wrong_port = run(&["mode", "get", "--admin", &data, "--token", "any"]);
    assert!(wrong_port.code == Some(1) && wrong_port.stderr.contains("this is the data port"), "{wrong_port:?}");

    let set = mode(&gateway, &["set", "maintenance", "--reason", "new extension", "--expires-in", "2h"]);
    assert_eq!(set.code, Some(0), "{set:?}");
    for words in [
        "settled: maintenance is in force, after a drain of 0.",
        "\nmaintenance\n",
        "by admin (operator)",
        "reason        new extension",
        "(in 1 h 59 min); production follows",
        "in flight     no request",
    ] {
        assert!(set.stdout.contains(words), "{words:?} is not in {}", set.stdout);
    }
    let record = admin::mode(&gateway);
    // To the second, in the zone of the reader.
    let fraction = |time: &str| time.split_once('.').map(|(_, fraction)| fraction.to_owned()).unwrap();
    assert!(!set.stdout.contains(&fraction(record["since"].as_str().unwrap())), "{}", set.stdout);
    let elsewhere = command(&mode_arguments(&gateway)).env("TZ", "Asia/Tokyo").arg("get").output().unwrap();
    let elsewhere = String::from_utf8(elsewhere.stdout).unwrap();
    assert!(elsewhere.contains(" JST ("), "{elsewhere}");
    assert_eq!((&record["mode"], &record["reason"]), (&json!("maintenance"), &json!("new extension")));

    let url = format!("http://{}/", gateway.admin);
    let by_url = run(&["mode", "get", "--admin", &url, "--state-dir", gateway.state_dir().to_str().unwrap()]);
    assert_eq!((by_url.code, by_url.stdout.lines().next()), (Some(0), Some("maintenance")), "{by_url:?}");

    let as_json = mode(&gateway, &["get", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&as_json.stdout).unwrap(), admin::mode(&gateway));

    let history = mode(&gateway, &["history", "--limit", "2"]);
    let first_lines = history.stdout.lines().filter(|line| !line.starts_with("        "));
    let lines: Vec<_> = first_lines.map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    let newest = record["revision"].as_u64().unwrap();
    assert_eq!(lines.len(), 2, "{history:?}");
    assert_eq!((lines[0][0], lines[1][0]), (&*newest.to_string(), &*(newest - 1).to_string()));
    assert_eq!(
        (&lines[0][4..6], &lines[1][4..7]),
        (&["maintenance", "settled"][..], &["switching", "to", "maintenance"][..])
    );
    for words in ["        drained for 0.", "        drain complete: ", "        ends 20"] {
        assert!(history.stdout.contains(words), "{words:?} is not in {}", history.stdout);
    }
    assert!(history.stdout.lines().next().unwrap().ends_with("new extension"));

    let preview = mode(&gateway, &["preview", "production"]);
    assert_eq!(preview.code, Some(0), "{preview:?}");
    assert!(preview.stdout.starts_with("a change to production would wait for no request now"), "{}", preview.stdout);

    let again = mode(&gateway, &["set", "maintenance"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.stdout.starts_with("no change: maintenance is in force already\n"), "{again:?}");
    let rehearsed = mode(&gateway, &["set", "production", "--rehearse"]);
    assert_eq!(rehearsed.code, Some(0), "{rehearsed:?}");
    assert!(rehearsed.stdout.starts_with("rehearsed: a change to production would drain at once\n"), "{rehearsed:?}");
    assert!(rehearsed.stdout.ends_with("nothing was changed: maintenance is in force\n"), "{rehearsed:?}");
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
    assert!(set.stdout.contains("waited for    1 × Create Customer Profile"), "{}", set.stdout);
    assert!(
        set.stderr
            .contains("switching to maintenance: waiting for 1 request: 1 × Create Customer Profile; deadline in "),
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
fn what_the_gateway_refuses_is_told_with_its_exit_code_and_the_next_step() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let stale = mode(&gateway, &["set", "maintenance", "--if-revision", "99"]);
    assert_eq!((stale.code, stale.stdout.as_str()), (Some(4), ""), "{stale:?}");
    assert!(stale.stderr.contains("next: `ucs-gateway mode get` shows the record as it is now"), "{}", stale.stderr);
    let upload = Upload::begin_held(&gateway, &ucs);
    let late = mode(&gateway, &["set", "maintenance", "--drain-timeout", "50ms", "--json"]);
    assert_eq!(late.code, Some(3), "{late:?}");
    assert!(late.stderr.contains("still running: 1 × Create Customer Profile"), "{}", late.stderr);
    assert_eq!(serde_json::from_str::<Value>(&late.stdout).unwrap()["reason"], "drain_timeout");
    assert_eq!(upload.finish_held(&ucs).status, 201);
    let address = gateway.admin.to_string();
    let stranger = run(&["mode", "--admin", &address, "--token", "wrong", "get"]);
    assert_eq!(stranger.code, Some(1), "{stranger:?}");
    for words in ["the credential is not accepted", "next: name the right token: --token-file"] {
        assert!(stranger.stderr.contains(words), "{}", stranger.stderr);
    }
    assert_eq!(admin::mode(&gateway)["mode"], "production");
}

#[test]
fn no_gateway_and_no_token_are_told_apart() {
    let address = nobody_listens().to_string();
    let nobody = run(&["mode", "--admin", &address, "--token", "x", "get"]);
    assert_eq!(nobody.code, Some(5), "{nobody:?}");
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
    words.line_with("  production by gateway (automatic), revision 1");
    let event = |line: String| serde_json::from_str::<Value>(&line).unwrap();
    assert_eq!(event(lines.next_line().unwrap())["event"], "record");
    let upload = Upload::begin(&gateway, &ucs);
    let flip = Running::start(&["mode", "--admin", &address, "--state-dir", &state, "set", "maintenance"]);
    words.line_with("switching from production to maintenance");
    words.line_with("switching to maintenance: waiting for 1 request: 1 × Create Customer Profile");
    assert_eq!(event(lines.line_with("\"switching\""))["data"]["mode"], "maintenance");
    assert_eq!(upload.finish().status, 201);
    words.line_with("  maintenance by admin (operator)");
    assert_eq!(flip.ended().code, Some(0));
    assert_eq!(request(gateway.data, "GET /profiles/1", &[], b"").status, 503);
    words.line_with("refused 1 request more, 1 in all");
    gateway.terminate(crate::support::PATIENCE);
    for watch in [words, lines] {
        let ended = watch.ended();
        assert_eq!(ended.code, Some(1), "it was not interrupted: {ended:?}");
        assert!(ended.stderr.contains("the gateway ended the event stream"), "{ended:?}");
    }
}

#[test]
fn without_a_terminal_an_interrupt_leaves_and_the_flip_continues() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &["--orphan-grace", "1ms"]);
    let upload = Upload::begin(&gateway, &ucs);
    let arguments = mode_arguments(&gateway);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["set", "maintenance"]).collect();
    let set = Running::start(&arguments);
    eventually("the flip began", || admin::mode(&gateway)["phase"] == "switching");
    set.signal("INT");
    let set = set.ended();
    assert_eq!(set.code, Some(130), "{set:?}");
    assert!(set.stderr.contains("the change continues without this command"), "{}", set.stderr);
    assert_eq!(upload.finish().status, 201);
    eventually("the flip settled", || admin::mode(&gateway)["phase"] == "settled");
    assert_eq!(admin::mode(&gateway)["mode"], "maintenance");
}
