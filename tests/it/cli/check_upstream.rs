//! `check --upstream`: the stand-in UCS, and one in each bad form. Each line says what to do, and nothing is changed.

use std::net::SocketAddr;

use ucs_gateway::demo::StandInOptions;
use ucs_gateway::policy::mode::Mode;

use crate::support::tool::{Run, command, run};
use crate::support::{Scripted, TempDir, Ucs, nobody_listens};

fn check(address: SocketAddr, more: &[&str]) -> Run {
    let url = format!("http://{address}");
    run(&[&["check", "--upstream", &url], more].concat())
}

/// Its exit code, and that these texts are in its output, in this order.
#[track_caller]
fn says(checked: &Run, code: i32, texts: &[&str]) {
    assert_eq!(checked.code, Some(code), "{checked:?}");
    let words = checked.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut rest = &*words;
    for text in texts {
        let at = rest.find(text).unwrap_or_else(|| panic!("{text:?} is not in order in {words}"));
        rest = &rest[at + text.len()..];
    }
}

/// Only reads: GET, and the mode stays.
#[track_caller]
fn was_only_read(ucs: &Ucs, mode: Mode) {
    let record = ucs.record();
    assert!(!record.is_empty() && record.iter().all(|exchange| exchange.method == "GET"), "{record:#?}");
    assert_eq!(ucs.control().mode(), mode);
}

#[test]
fn a_ucs_that_fits_has_no_fault() {
    let ucs = Ucs::usual();
    let checked = check(ucs.address, &[]);
    let lines = ["ok reachable", "ok mode", "reports production", "ok run", "ok login", "none needed", "ok base path"];
    says(&checked, 0, &[&lines[..], &["ok schema", "ok links", "need a parameter"]].concat());
    was_only_read(&ucs, Mode::Production);
    let closed = Ucs::start(StandInOptions { initial_mode: Mode::Maintenance, ..StandInOptions::new() });
    says(&check(closed.address, &[]), 0, &["reports maintenance", "ok schema"]);
    was_only_read(&closed, Mode::Maintenance);
}

#[test]
fn a_login_that_is_missing_or_wrong_is_told() {
    let login = Some(("ada".to_owned(), "secret".to_owned()));
    let ucs = Ucs::start(StandInOptions { login, ..StandInOptions::new() });
    says(&check(ucs.address, &[]), 1, &["fault login", "401", "→ give --upstream-credentials FILE"]);
    let dir = TempDir::new();
    let (right, wrong) = (dir.secret("right", "ada:secret\n"), dir.secret("wrong", "ada:guess\n"));
    let with = |file: &std::path::Path| check(ucs.address, &["--upstream-credentials", file.to_str().unwrap()]);
    says(&with(&wrong), 1, &["fault login", "refused", "→ correct the file"]);
    says(&with(&right), 0, &["ok mode", "ok login", "accepted", "ok schema"]);
    let open = dir.file("open", "ada:secret\n");
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let refused = with(&open);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("chmod 600"), "{refused:?}");
    was_only_read(&ucs, Mode::Production);
}

#[test]
fn a_base_path_that_does_not_fit_is_told_with_the_right_one() {
    let ucs = Ucs::start(StandInOptions { base_path: "/genesys/1/cs".to_owned(), ..StandInOptions::new() });
    let told = ["warning mode", "fault base path", "→ write base_path: /genesys/1/cs"];
    says(&check(ucs.address, &[]), 1, &told);
    let fits = run(&["check", "deploy/routes/8.5-split.yaml", "--upstream", &format!("http://{}", ucs.address)]);
    says(&fits, 0, &["ok mode", "ok base path", "/genesys/1/cs"]);
    let own = Ucs::start(StandInOptions { base_path: "/own".to_owned(), ..StandInOptions::new() });
    says(&check(own.address, &[]), 1, &["fault base path", "not proven", "cview/base_url"]);
}

#[test]
fn a_missing_schema_is_told_as_far_as_it_can_be_told() {
    let none = StandInOptions { profile_schema: false, auto_maintenance: false, ..StandInOptions::new() };
    let empty = Ucs::start(StandInOptions { empty_schema_list: true, ..none.clone() });
    says(&check(empty.address, &[]), 0, &["warning schema", "an empty list", "→ create one"]);
    let missing = Ucs::start(none);
    says(&check(missing.address, &[]), 0, &["warning schema", "404", "→ if there is a schema", "--schema-probe"]);
    let odd = check(Ucs::usual().address, &["--schema-probe", "/no/such/path"]);
    says(&odd, 0, &["warning schema", "/no/such/path is 404"]);
}

#[test]
fn a_ucs_without_server_mode_works_and_is_told() {
    let ucs = Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() });
    says(&check(ucs.address, &[]), 0, &["warning mode", "has no mode", "→ UCS may be of a version", "ok base path"]);
}

#[test]
fn whatever_else_responds_is_a_fault_with_what_to_do() {
    let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>";
    for (form, answer, told) in [
        ("a page", page, ["fault base path", "not proven"]),
        ("404", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", ["fault base path", "not proven"]),
        ("503", "HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n", ["fault mode", "→ wait until UCS"]),
        ("500", "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", ["fault mode", "fault base path"]),
        ("403", "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", ["fault login", "→ give --upstream-credentials"]),
        ("no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", ["fault mode", "fault base path"]),
        ("nothing", "", ["fault mode", "fault base path"]),
    ] {
        let ucs = Scripted::start(move |conn| {
            if conn.read_head().is_some() {
                conn.write(answer);
            }
        });
        let checked = check(ucs.address, &[]);
        assert_eq!(checked.code, Some(1), "{form}: {checked:?}");
        says(&checked, 1, &[&["ok reachable"], &told[..]].concat());
        let seen = ucs.received_text();
        assert!(seen.lines().all(|line| !line.starts_with("POST")), "{form}: {seen}");
    }
    says(&check(nobody_listens(), &[]), 1, &["fault reachable", "→ start UCS"]);
}

/// The status may be under another base path, at another address, or behind a login page.
#[test]
fn a_redirect_is_told_with_what_it_means() {
    for (to, advice) in [
        ("https://ucs.example:8443/server/status", "→ give --upstream https://ucs.example:8443 and --upstream-ca FILE"),
        ("http://ucs.example/server/status/", "→ give --upstream http://ucs.example, here and to serve"),
        ("/genesys/1/cs/server/status", "→ write base_path: /genesys/1/cs in the table"),
        ("/login?next=/server/status", "→ a login page or another server responds"),
        ("https://sso.example/login?to=https://ucs.example/server/status", "→ a login page or another server responds"),
    ] {
        let answer = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        let checked = check(Scripted::answering(answer).address, &[]);
        says(&checked, 1, &["ok reachable", "fault mode", "is redirected (302) to", to, advice]);
        assert!(!checked.stdout.contains("wait until"), "{checked:?}");
    }
    let ucs = Scripted::start(|conn| {
        let Some(head) = conn.read_head() else { return };
        let body = r#"{"mode":"production","started":"now"}"#;
        match head.split(' ').nth(1).unwrap() {
            "/server/status" => {
                conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
            }
            _ => conn.write("HTTP/1.1 301 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"),
        }
    });
    let told = ["ok mode", "fault schema", "is redirected (301) to /elsewhere", "→ give serve a path"];
    says(&check(ucs.address, &[]), 1, &told);
}

/// One call for its timeout of ten seconds, and none after it.
#[test]
fn a_server_that_never_responds_is_asked_once() {
    let ucs = Scripted::start(|conn| while conn.read_head().is_some() {});
    let began = std::time::Instant::now();
    says(&check(ucs.address, &[]), 1, &["ok reachable", "fault mode", "no response within", "→ UCS hangs"]);
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    assert_eq!(ucs.received_text().matches("GET ").count(), 1, "{}", ucs.received_text());
}

#[test]
fn links_to_ucs_itself_are_a_fault_and_others_a_warning() {
    let linked = |host: Option<&'static str>| {
        Scripted::start(move |conn| {
            let own = conn.local_address().to_string();
            let Some(head) = conn.read_head() else { return };
            let body = match head.split(' ').nth(1).unwrap() {
                "/server/status" => r#"{"mode":"production","started":"now"}"#.to_owned(),
                "/interactions/1" => format!(r#"{{"text":"http:\/\/{}\/interactions\/1"}}"#, host.unwrap_or(&own)),
                _ => r#"[{"name":"x"}]"#.to_owned(),
            };
            conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        })
    };
    let path = ["--upstream-path", "/interactions/1"];
    says(&check(linked(None).address, &path), 1, &["fault links", "past the gateway", "→ configure UCS"]);
    let other = linked(Some("gw.example:8080"));
    says(&check(other.address, &path), 0, &["warning links", "gw.example:8080", "→ right if that is the gateway's"]);
    says(&check(other.address, &[]), 0, &["ok links none", "see --upstream-path"]);
}

#[test]
fn links_in_responses_that_were_not_read_are_not_proven() {
    let ucs = Scripted::start(|conn| {
        let Some(head) = conn.read_head() else { return };
        let body = match head.split(' ').nth(1).unwrap() {
            "/server/status" => r#"{"mode":"production","started":"now"}"#,
            "/metadata/profiles" => r#"[{"name":"x"}]"#,
            _ => return conn.write("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        };
        conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    });
    says(&check(ucs.address, &[]), 0, &["ok schema", "ok links none in 1 of"]);
    let path = ["--upstream-path", "/interactions/1"];
    says(&check(ucs.address, &path), 1, &["fault links not proven: /interactions/1 has no 200", "→ give"]);
    let locked = Scripted::answering("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    says(&check(locked.address, &[]), 1, &["fault login", "fault links not proven: none in 0 of"]);
}

/// The search ends at the first response that does not come.
#[test]
fn links_are_not_proven_where_a_response_did_not_come_in_time() {
    let ucs = Scripted::start(|conn| {
        let Some(head) = conn.read_head() else { return };
        let body = match head.split(' ').nth(1).unwrap() {
            "/server/status" => r#"{"mode":"production","started":"now"}"#,
            "/metadata/profiles" => r#"[{"name":"x"}]"#,
            _ => return drop(conn.read_head()),
        };
        conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    });
    let late = ["ok schema", "fault links not proven: none in", "then none came in time", "→ UCS is slow"];
    says(&check(ucs.address, &["--upstream-path", "/metadata/profiles"]), 1, &late);
}

/// A unit that checks its table before a reload has the variables of serve.
#[test]
fn the_variables_of_serve_do_not_make_check_ask_ucs() {
    let output = command(&["check"]).env("UCS_GATEWAY_UPSTREAM", "http://127.0.0.1:1").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let own = command(&["check"]).env("UCS_GATEWAY_CHECK_UPSTREAM", format!("http://{}", nobody_listens())).output();
    assert_eq!(own.unwrap().status.code(), Some(1));
}
