//! `check`: its reports with the lines of the file, as text and as JSON, and what no route takes of a log or of OpenAPI.

use serde_json::{Value, json};

use crate::support::TempDir;
use crate::support::tool::{Run, run, run_with_input};

const HEAD: &str = "version: 1
base_path: /cs
routes:
  - {operation: Set Server Mode, method: POST, path: /server/mode, class: server, answer: set_mode}
";

/// `check` of a table with these routes after Set Server Mode.
fn check(dir: &TempDir, routes: &str, more: &[&str]) -> Run {
    let file = dir.file("routes.yaml", &format!("{HEAD}{routes}"));
    run(&[&["check", file.to_str().unwrap()], more].concat())
}

#[test]
fn a_fault_is_shown_where_it_stands_with_what_to_write() {
    let dir = TempDir::new();
    let routes = "  - operation: Read
    method: get   # as written elsewhere
    path: /a
    class: 'profil'
";
    let checked = check(&dir, routes, &[]);
    assert_eq!((checked.code, checked.stdout.as_str()), (Some(2), ""), "{checked:?}");
    let file = dir.path().join("routes.yaml");
    let file = file.display();
    let expected = format!(
        "error: unknown method \"get\"
 --> {file}:6:13
  |
6 |     method: get   # as written elsewhere
  |             ^^^
  |
  = help: write GET

error: unknown class \"profil\"
 --> {file}:8:12
  |
8 |     class: 'profil'
  |            ^^^^^^^^
  |
  = help: write one of schema, profile, service, server

ucs-gateway: {file} has 2 faults and is not used
"
    );
    assert_eq!(checked.stderr, expected);
    let told: Value = serde_json::from_str(&check(&dir, routes, &["--json"]).stdout).unwrap();
    let places: Vec<_> =
        told["faults"].as_array().unwrap().iter().map(|fault| (&fault["line"], &fault["column"])).collect();
    assert_eq!(places, [(&json!(6), &json!(13)), (&json!(8), &json!(12))], "{told:#}");
    assert_eq!(told["faults"][0]["help"], "write GET");
}

#[test]
fn a_dead_route_is_shown_beside_the_routes_that_take_its_requests() {
    let dir = TempDir::new();
    let routes = "  - {operation: All, method: ANY, path: '/a/{id}', class: profile}
  - {operation: Dead, method: GET, path: /a/b, class: service}
";
    let checked = check(&dir, routes, &[]);
    assert_eq!(checked.code, Some(2), "{checked:?}");
    for words in [
        "error: GET /a/b can never match: \"All\" (line 5)",
        "for example GET /cs/a/b",
        "5 |   - {operation: All",
        "takes its requests",
    ] {
        assert!(checked.stderr.contains(words), "{words:?} is not in {}", checked.stderr);
    }
}

#[test]
fn reads_in_a_class_of_writes_and_writes_in_both_modes_are_warned_of() {
    let dir = TempDir::new();
    let routes = "  - {operation: Read, method: GET, path: /a, class: schema}
  - {operation: Open, method: GET, path: /b, class: schema, modes: [maintenance, production]}
  - {operation: Write, method: POST, path: /a, class: schema}
  - {operation: Purge, method: DELETE, path: /a, class: server}
  - {operation: Any, method: ANY, path: /c, class: profile, modes: [production, maintenance]}
";
    let checked = check(&dir, routes, &[]);
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{checked:?}");
    let warned: Vec<_> = checked.stdout.lines().filter(|line| line.starts_with("warning: ")).collect();
    let about = |warning: &&str| warning.split(' ').skip(1).take(2).collect::<Vec<_>>().join(" ");
    assert_eq!(warned.iter().map(about).collect::<Vec<_>>(), ["GET /a", "DELETE /a", "ANY /c"], "{}", checked.stdout);
    let told: Value = serde_json::from_str(&check(&dir, routes, &["--json"]).stdout).unwrap();
    let lines: Vec<_> = told["warnings"].as_array().unwrap().iter().map(|warning| &warning["line"]).collect();
    assert_eq!((lines, &told["routes"]), (vec![&json!(5), &json!(8), &json!(9)], &json!(6)), "{told:#}");
    for file in ["routes.yaml", "deploy/routes/8.5-split.yaml"] {
        assert!(!run(&["check", file]).stdout.contains("warning"), "{file}");
    }
}

const PROFILES: &str = "  - {operation: Query, method: GET, path: '/profiles/{id}', class: profile}\n";

#[test]
fn the_requests_of_a_log_that_no_route_takes_are_counted_by_kind() {
    let dir = TempDir::new();
    let log = "\
10.0.0.1 - - [29/Nov/2026:10:00:00 +0000] \"GET /cs/profiles/17?x=1 HTTP/1.1\" 200 5
10.0.0.1 - - [29/Nov/2026:10:00:01 +0000] \"GET /cs/notes/17001 HTTP/1.1\" 200 5
10.0.0.1 - - [29/Nov/2026:10:00:02 +0000] \"GET /cs/notes/17002 HTTP/1.1\" 200 5
{\"method\":\"PUT\",\"path\":\"/cs/profiles/17\",\"status\":200}
10.0.0.1 - - [29/Nov/2026:10:00:03 +0000] \"GET /cs//profiles/1 HTTP/1.1\" 200 5
a line of another kind
";
    let file = dir.file("access.log", log);
    let told = check(&dir, PROFILES, &["--against", file.to_str().unwrap()]);
    assert_eq!((told.code, told.stderr.as_str()), (Some(1), ""), "{told:?}");
    for words in [
        "no route takes 4 of 5 requests",
        "       2  GET /cs/notes/{…}\n          for example /cs/notes/17001: refused with 404",
        "       1  PUT /cs/profiles/{…}\n          for example /cs/profiles/17: refused with 405",
        "       1  GET /cs//profiles/{…}\n          for example /cs//profiles/1: refused with 400",
        "1 lines name no request, for example: \"a line of another kind\"",
    ] {
        assert!(told.stdout.contains(words), "{words:?} is not in {}", told.stdout);
    }
    let table = dir.path().join("routes.yaml");
    // The second name is what a shell makes of `<(…)`.
    for input in ["-", "/dev/stdin"] {
        let piped = run_with_input(&["check", table.to_str().unwrap(), "--against", input, "--json"], log);
        let piped: Value = serde_json::from_str(&piped.stdout).unwrap();
        let against = &piped["against"];
        assert_eq!((&against["requests"], &against["unread"]["lines"]), (&json!(5), &json!(1)), "{against:#}");
        assert_eq!(
            (&against["unclassified"][0]["shape"], &against["unclassified"][0]["count"]),
            (&json!("/cs/notes/{…}"), &json!(2))
        );
    }
    let known = dir.file("known.log", "\"GET /cs/profiles/1 HTTP/1.1\"\n");
    let told = check(&dir, PROFILES, &["--against", known.to_str().unwrap()]);
    assert_eq!((told.code, told.stdout.contains("a route takes each of 1 requests")), (Some(0), true), "{told:?}");
    for (name, text, says) in
        [("empty", "", "no request"), ("api.yaml", "openapi: 3.1.0\npaths: {}\n", "convert it to JSON")]
    {
        let file = dir.file(name, text);
        let told = check(&dir, PROFILES, &["--against", file.to_str().unwrap()]);
        assert_eq!((told.code, told.stderr.contains(says)), (Some(2), true), "{told:?}");
    }
}

#[test]
fn a_long_log_with_endless_lines_and_foreign_bytes_is_read_in_little_memory() {
    let dir = TempDir::new();
    let mut log = vec![b'x'; 8 << 20];
    log.extend_from_slice(b"\n\xff\xfe \"GET /cs/profiles/1 HTTP/1.1\"\n");
    for n in 0..20_000 {
        log.extend_from_slice(
            format!("\"GET /cs/k{}/x HTTP/1.1\"\n", "a".repeat(n % 20) + &"b".repeat(n / 20 % 20)).as_bytes(),
        );
    }
    let file = dir.path().join("long.log");
    std::fs::write(&file, log).unwrap();
    let told = check(&dir, PROFILES, &["--against", file.to_str().unwrap(), "--json"]);
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    let against = &told["against"];
    assert_eq!(
        (&against["requests"], &against["unread"]["lines"]),
        (&json!(20_001), &json!(1)),
        "{}",
        against["requests"]
    );
    let counts = against["unclassified"].as_array().unwrap().iter().map(|kind| kind["count"].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), 20_000);
}

#[test]
fn the_operations_of_an_open_api_document_that_no_route_takes_are_listed() {
    let dir = TempDir::new();
    let document = json!({
        "openapi": "3.1.0",
        "servers": [{"url": "https://ucs.example/cs"}],
        "paths": {
            "/profiles/{id}": {"parameters": [], "get": {}, "delete": {}},
            "/server/mode": {"post": {}},
            "/notes/{a}-{b}": {"get": {}}
        }
    });
    for document in [document.clone(), {
        let mut bare = document;
        bare["servers"] = json!([]);
        bare
    }] {
        let file = dir.file("openapi.json", &document.to_string());
        let told = check(&dir, PROFILES, &["--against", file.to_str().unwrap(), "--json"]);
        assert_eq!(told.code, Some(1), "{told:?}");
        let told: Value = serde_json::from_str(&told.stdout).unwrap();
        let kinds = told["against"]["unclassified"].as_array().unwrap();
        let mut listed: Vec<_> = kinds.iter().map(|kind| kind["method"].as_str().unwrap()).collect();
        listed.sort_unstable();
        assert_eq!((&told["against"]["requests"], listed), (&json!(4), vec!["DELETE", "GET"]), "{told:#}");
    }
}

#[test]
fn a_difference_is_told_as_json_too() {
    let dir = TempDir::new();
    let (old, new) = (dir.file("old.yaml", HEAD), dir.file("new.yaml", &format!("{HEAD}{PROFILES}")));
    let (old, new) = (old.to_str().unwrap(), new.to_str().unwrap());
    let told = run(&["diff", old, new, "--json"]);
    assert_eq!((told.code, told.stderr.as_str()), (Some(1), ""), "{told:?}");
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!((&told["settings"], &told["not_proven"]), (&json!([]), &json!(null)), "{told:#}");
    assert_eq!(told["requests"][0]["old"], "404, no route", "{told:#}");
    assert_eq!(run(&["diff", old, old, "--json"]).code, Some(0));
}

/// A command reads what a shell pipes into it, and waits for nothing else.
#[test]
fn a_pipe_of_the_shell_is_read_and_a_fifo_is_not() {
    let table = include_str!("../../../routes.yaml");
    assert_eq!(run_with_input(&["check", "/dev/stdin"], table).code, Some(0));
    assert_eq!(run_with_input(&["diff", "/dev/stdin", "routes.yaml"], table).code, Some(0));
    let dir = TempDir::new();
    let fifo = dir.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let fifo = fifo.to_str().unwrap();
    for words in [
        &["check", fifo][..],
        &["check", "routes.yaml", "--against", fifo],
        &["diff", "routes.yaml", fifo],
        &["explain", "GET", "/profiles", "--routes", fifo],
        &["journal", "verify", fifo],
        &["mode", "get", "--token-file", fifo],
    ] {
        let told = run_with_input(words, "");
        assert!(matches!(told.code, Some(1 | 2)), "{words:?}: {told:?}");
        assert!(told.stderr.contains(fifo) && told.stderr.contains("FIFO"), "{words:?}: {told:?}");
    }
}
