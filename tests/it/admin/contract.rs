//! That what describes the admin API is true: every path of `GET /openapi.json` answers as it says there, and the page
//! for people (docs/admin-api.md) names the same calls and the same reasons.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

use super::plain;
use crate::support::{Connection, Gateway, Reply, TempDir, Ucs, Upload, admin, json_schema};

const PAGE: &str = include_str!("../../../docs/admin-api.md");

fn document(gateway: &Gateway) -> Value {
    let reply = admin::call(gateway, "GET /openapi.json", None);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// Panics unless the document lists this answer for this call, with its content type and its members.
#[track_caller]
fn is_documented(document: &Value, line: &str, reply: &Reply) {
    let (method, target) = line.split_once(' ').unwrap();
    let path = target.split('?').next().unwrap();
    let call = &document["paths"][path][method.to_ascii_lowercase()];
    assert!(call.is_object(), "{line} is not documented");
    let mut answer = &call["responses"][reply.status.to_string()];
    if let Some(reference) = answer["$ref"].as_str() {
        answer = document.pointer(&reference[1..]).unwrap_or_else(|| panic!("{reference} leads nowhere"));
    }
    assert!(answer.is_object(), "{line}: {} is not documented", reply.status);
    let sent = reply.header("content-type").unwrap().split(';').next().unwrap();
    let content = &answer["content"][sent];
    assert!(content.is_object(), "{line}: {} as {sent} is not documented", reply.status);
    if sent.ends_with("json") {
        assert_eq!(json_schema::faults(document, &content["schema"], &reply.json()), [""; 0], "{line}");
    }
}

#[test]
fn every_documented_path_answers_as_documented() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &[]);
    let document = document(&gateway);
    let paths = document["paths"].as_object().unwrap();
    for (path, calls) in paths {
        for (method, call) in calls.as_object().unwrap() {
            if (path.as_str(), method.as_str()) == ("/mode/events", "get") {
                continue;
            }
            let target = match path.as_str() {
                "/mode/preview" => "/mode/preview?mode=maintenance",
                "/explain" => "/explain?path=/profiles/7",
                other => other,
            };
            let line = format!("{} {target}", method.to_uppercase());
            let wanted = if path == "/local" { json!({"closed": false}) } else { json!({"mode": "maintenance"}) };
            let body = (method == "put").then_some(wanted);
            let good = admin::call(&gateway, &line, body.as_ref());
            // Members of a fleet have that call: see fleet::view.
            assert_eq!(good.status, if path == "/fleet" { 404 } else { 200 }, "{line}: {}", good.text());
            is_documented(&document, &line, &good);
            let stranger = plain(&gateway, &line, &[]);
            let open = call["security"].as_array().is_some_and(Vec::is_empty);
            assert_eq!(stranger.status, if open { 200 } else { 401 }, "{line}");
            is_documented(&document, &line, &stranger);
            if !path.ends_with("z") {
                let misdirected = plain(&gateway, &line, &[("Host", "evil.example")]);
                assert_eq!(misdirected.status, 421, "{line}");
                is_documented(&document, &line, &misdirected);
            }
        }
    }
    for unknown in ["GET /mode/", "GET /favicon.ico"] {
        assert_eq!(admin::call(&gateway, unknown, None).status, 404, "{unknown}");
    }
}

#[test]
fn what_goes_wrong_is_documented_too() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &[]);
    let document = document(&gateway);
    let put = |change: Value| admin::set_mode(&gateway, &change);
    let held = Upload::begin_held(&gateway, &ucs);
    let late = put(json!({"mode": "maintenance", "drain_timeout": "1ms"}));
    assert_eq!(late.status, 504, "{}", late.text());
    assert_eq!(held.finish_held(&ucs).status, 201);
    let upload = Upload::begin(&gateway, &ucs);
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&json!({"mode": "maintenance"})));
    crate::support::eventually("the flip began", || admin::mode(&gateway)["phase"] == "switching");
    is_documented(&document, "GET /mode", &admin::call(&gateway, "GET /mode", None));
    let preview = "GET /mode/preview?mode=maintenance";
    is_documented(&document, preview, &admin::call(&gateway, preview, None));
    let busy_reload = admin::call(&gateway, "POST /routes/reload", None);
    assert_eq!(busy_reload.status, 409);
    is_documented(&document, "POST /routes/reload", &busy_reload);
    let busy = put(json!({"mode": "maintenance", "at": "2099-01-01T00:00:00Z"}));
    assert_eq!(busy.status, 409, "{}", busy.text());
    assert_eq!(upload.finish().status, 201);
    is_documented(&document, "PUT /mode", &asker.read_reply());
    for reply in [late, busy, put(json!({"mode": "x"})), put(json!({"mode": "production", "if_revision": 1}))] {
        is_documented(&document, "PUT /mode", &reply);
    }
    let form = plain(&gateway, "PUT /mode", &[("Authorization", &super::bearer(&gateway.token()))]);
    assert_eq!(form.status, 415);
    is_documented(&document, "PUT /mode", &form);
}

#[test]
fn the_page_and_the_document_name_the_same_calls() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let document = document(&gateway);
    let described: BTreeSet<_> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, calls)| {
            calls.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    // The table of permissions: each row has a method, then paths.
    let table = PAGE.split("| call | permission |").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut named = BTreeSet::new();
    for row in table.lines().filter(|row| row.starts_with("| `")) {
        let mut method = "";
        for word in row.split(" | ").next().unwrap().split('`').filter(|word| word.contains('/')) {
            let path = word.split_once(' ').map_or(word, |(first, path)| {
                method = first;
                path
            });
            named.insert(format!("{method} {path}"));
        }
    }
    assert_eq!(named, described);
}

#[test]
fn the_page_and_the_document_name_the_same_reasons() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let document = document(&gateway);
    let described: BTreeSet<_> = document["components"]["schemas"]["Problem"]["properties"]["reason"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reason| reason.as_str().unwrap())
        .collect();
    let table = PAGE.split("## Reasons of problems").nth(1).unwrap();
    let named: BTreeSet<_> =
        table.lines().filter(|row| row.starts_with("| ")).filter_map(|row| row.split('`').nth(1)).collect();
    assert_eq!(named, described);
}

#[test]
fn the_page_names_the_members_of_a_change() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let document = document(&gateway);
    let members = document["components"]["schemas"]["ModeWanted"]["properties"].as_object().unwrap();
    let table = PAGE.split("| member | meaning |").nth(1).unwrap().split("\n\n").next().unwrap();
    let named: BTreeSet<_> =
        table.lines().filter(|row| row.starts_with("| `")).filter_map(|row| row.split('`').nth(1)).collect();
    assert_eq!(named, members.keys().map(String::as_str).collect());
    // And the gateway takes each of them.
    let whole = json!({"mode": "maintenance", "reason": "r", "if_revision": 1, "drain_timeout": "5s",
        "on_timeout": "cut", "expires_in": "2h", "back_at": "9999-01-01T00:00:00Z", "message": "m", "force": true,
        "at": "9999-01-01T00:00:00Z", "wait": true, "rehearse": false});
    assert_eq!(whole.as_object().unwrap().len(), members.len());
    assert_eq!(json_schema::faults(&document, &document["components"]["schemas"]["ModeWanted"], &whole), [""; 0]);
    let taken = admin::set_mode(&gateway, &whole);
    assert_eq!(taken.status, 202, "{}", taken.text());
}

#[test]
fn every_command_of_the_page_works() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let gateway = Gateway::bare(ucs.address, &[]);
    let socket = format!("unix:{}/admin.sock", dir.path().display());
    let over_unix = Gateway::bare(ucs.address, &["--admin-listen", &socket]);
    let token = |gateway: &Gateway| format!("TOKEN=$(cat {}/admin.token)\n", gateway.state_dir().display());
    let mut tried = 0;
    for block in PAGE.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap()) {
        // A command may go on in the next line.
        for line in block.replace("\\\n", " ").lines().filter(|line| line.starts_with("curl ")) {
            let line = line
                .replace("127.0.0.1:8081", &gateway.admin.to_string())
                .replace("/run/ucs-gateway", dir.path().to_str().unwrap());
            let line = line.replacen("curl ", "curl -sSi ", 1);
            // Events go on for ever: the shell reads the head and a first line, and goes.
            let line = if line.contains(" -N ") { format!("head -n 10 < <({line} 2>/dev/null)") } else { line };
            let asked = if line.contains("--unix-socket") { &over_unix } else { &gateway };
            let shell = Command::new("bash").args(["-c", &format!("{}{line}", token(asked))]).output().unwrap();
            let printed = String::from_utf8_lossy(&shell.stdout);
            assert!(shell.status.success() && printed.starts_with("HTTP/1.1 200 "), "{line}: {shell:?}");
            tried += 1;
        }
    }
    assert_eq!(tried, PAGE.matches("\ncurl ").count(), "every one was tried");
    assert_eq!(admin::mode(&gateway)["reason"], "new extension");
}
