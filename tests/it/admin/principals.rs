//! access.yaml over time, limits of guesses, and the files that hold secrets.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use serde_json::{Value, json};

use super::{bearer, plain};
use crate::machine::shim::Machine;
use crate::support::http::{self, Connection};
use crate::support::{Events, Gateway, PATIENCE, Reply, TempDir, Ucs, admin, eventually, request};

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn basic(pair: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

/// A password principal "console" with every right on the mode, and further lines.
fn with_console(more: &str) -> String {
    let stanza = ["token", "password", "--name", "ucs-console", "--user", "console"];
    let stanza = crate::support::tool::run_with_input(&stanza, "correct horse battery\n").stdout;
    format!("version: 1\nprincipals:\n{stanza}{more}")
}

/// One call from an address of this machine.
fn from(source: [u8; 4], address: SocketAddr, line: &str, credential: &str) -> Reply {
    let mut connection = Connection::open_from(source, address);
    let headers = [("Authorization", credential), JSON, ("Connection", "close")];
    let body: &[u8] = if line.starts_with("POST") { br#"{"mode":"production"}"# } else { b"" };
    connection.send(http::compose(address, line, &headers, body));
    connection.read_reply()
}

#[test]
fn noise_on_one_port_or_from_one_source_locks_out_no_one_else() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let access = dir.file("access.yaml", &with_console(""));
    let gateway = Gateway::bare(ucs.address, &["--access", access.to_str().unwrap()]);
    let right = basic("console:correct horse battery");
    let (noisy, quiet) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    let (data, port) = (gateway.data, gateway.admin);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let noise = scope.spawn(|| {
            let mut refused = 0;
            while !stop.load(Ordering::Relaxed) {
                refused += usize::from(from(noisy, data, "POST /server/mode", "Bearer wrong").status == 429);
            }
            refused
        });
        eventually("the limit is in force", || from(noisy, data, "POST /server/mode", "Bearer wrong").status == 429);
        let statuses = [
            from(noisy, port, "GET /mode", &right).status,
            from(quiet, data, "POST /server/mode", &right).status,
            from(noisy, data, "POST /server/mode", &right).status,
        ];
        stop.store(true, Ordering::Relaxed);
        assert!(noise.join().unwrap() > 0);
        assert_eq!(statuses, [200; 3], "on the other port; from another source; a password among tokens");
    });
    // So many passwords of one name at once, and one of another name.
    let ask = |credential: &str| {
        let mut connection = Connection::open_from(noisy, port);
        let headers = [("Authorization", credential), ("Connection", "close")];
        connection.send(http::compose(port, "GET /mode", &headers, b""));
        connection
    };
    let guesses: Vec<_> = (0..13).map(|_| ask(&basic("eve:wrong"))).collect();
    let other = ask(&basic("mallory:wrong"));
    let statuses: Vec<_> = guesses.into_iter().map(|mut guess| guess.read_reply().status).collect();
    assert!(statuses.contains(&429) && statuses.contains(&401), "{statuses:?}");
    assert_eq!({ other }.read_reply().status, 401);
}

#[test]
fn what_is_written_twice_or_misspelt_is_told_with_its_line() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let text = "version: 1
roles:
  operator: [mode:read]
  operator: [mode:read, mode:set]
principals:
  - name: one
    unix_uid: 1
    unix_uid: 2
    roles: [operater]
";
    let access = dir.file("access.yaml", text);
    let state = dir.path().join("state");
    let started = Gateway::try_start_in(&state, ucs.address, &["--access", access.to_str().unwrap()]);
    let (status, log) = started.err().expect("it does not start");
    let log = log.join("\n");
    assert_eq!(status.code(), Some(2), "{log}");
    let file = access.display();
    for told in [
        format!("{file}:4: duplicate key \"operator\" in roles, first in line 3: remove one of them"),
        format!("{file}:8: duplicate key \"unix_uid\" in a principal, first in line 7: "),
        format!("{file}:9: role \"operater\" is not defined: "),
        "3 faults".to_owned(),
    ] {
        assert!(log.contains(&told), "{told} is not in {log}");
    }
}

/// The file and a gateway that reads it: "viewer-token" may look, "operator-token" may look and reload.
fn with_file(ucs: &Ucs) -> (TempDir, Gateway) {
    let dir = TempDir::new();
    let access = dir.file("access.yaml", &principals("viewer-token", "mode:read"));
    // No test waits for it: a stop that waits for anything is seen.
    let gateway = Gateway::bare(ucs.address, &["--access", access.to_str().unwrap(), "--stop-timeout", "1h"]);
    (dir, gateway)
}

fn principals(token: &str, permission: &str) -> String {
    let hash = ucs_gateway::access::token_hash_hex;
    let entry = |name: &str, token: &str, permission: &str| {
        format!("  - {{name: {name}, token_sha256: {}, permissions: [{permission}]}}\n", hash(token))
    };
    let operator = entry("operator", "operator-token", "'mode:read', 'routes:reload'");
    with_console(&format!("{}{operator}", entry("viewer", token, &format!("'{permission}'"))))
}

fn reload(gateway: &Gateway) -> Reply {
    let headers = [("Authorization", &*bearer("operator-token")), JSON];
    request(gateway.admin, "POST /routes/reload", &headers, b"")
}

fn status(gateway: &Gateway, credential: &str) -> u16 {
    plain(gateway, "GET /mode", &[("Authorization", credential)]).status
}

fn fault(gateway: &Gateway) -> Value {
    plain(gateway, "GET /readyz", &[]).json()["access_fault"].clone()
}

#[test]
fn what_a_reload_removes_stops_at_once() {
    let ucs = Ucs::usual();
    let (dir, gateway) = with_file(&ucs);
    let console = basic("console:correct horse battery");
    let mut stream = Events::open_as(&gateway, "viewer-token").unwrap();
    assert_eq!((status(&gateway, &bearer("viewer-token")), status(&gateway, &console)), (200, 200));
    assert_eq!(reload(&gateway).json()["changed"], false);
    assert_eq!(stream.next().map(|event| event.name).as_deref(), Some("record"), "nothing changed, so it goes on");

    dir.file("access.yaml", &principals("new-token", "mode:set"));
    assert_eq!(reload(&gateway).status, 200);
    assert_eq!(status(&gateway, &bearer("viewer-token")), 401);
    assert_eq!(status(&gateway, &bearer("new-token")), 403, "its permission is another one now");
    while stream.next().is_some() {}
    assert_eq!(status(&gateway, &console), 200);

    let text = principals("new-token", "mode:read");
    let removed = text.replace("\"console\"", "\"other\"");
    assert_ne!(removed, text);
    dir.file("access.yaml", &removed);
    gateway.signal("HUP");
    eventually("SIGHUP reads it", || status(&gateway, &bearer("new-token")) == 200);
    assert_eq!(status(&gateway, &console), 401, "a remembered password is forgotten");
}

#[test]
fn a_broken_file_changes_nothing_and_says_so() {
    let ucs = Ucs::usual();
    let (dir, gateway) = with_file(&ucs);
    assert_eq!(fault(&gateway), Value::Null);
    dir.file("access.yaml", "version: 1\nprincipals:\n  - {name: a, tokn: x}\n");
    let refused = reload(&gateway);
    assert_eq!((refused.status, &refused.json()["reason"]), (422, &json!("access_faults")), "{}", refused.text());
    for told in ["access.yaml:3: unknown key", "what else was read before stays in force"] {
        assert!(refused.text().contains(told), "{told} is not in {}", refused.text());
    }
    assert_eq!(status(&gateway, &bearer("viewer-token")), 200);
    assert!(fault(&gateway).as_str().is_some_and(|fault| fault.contains("access.yaml:3: ")), "{}", fault(&gateway));
    let metrics = plain(&gateway, "GET /metrics", &[("Authorization", &bearer("viewer-token"))]).text();
    assert!(metrics.contains("\nucs_gateway_access_fault 1\n"), "{metrics}");
    eventually("it is logged", || gateway.log().contains("access.yaml:3: "));

    dir.file("access.yaml", &principals("viewer-token", "mode:read"));
    assert_eq!(reload(&gateway).status, 200);
    assert_eq!(fault(&gateway), Value::Null);
}

/// How `serve` with a token file of these bytes and this mode ends, or the gateway.
fn with_token(dir: &Path, text: &str, mode: u32) -> Result<Gateway, (Option<i32>, String)> {
    let file = dir.join("admin.token");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    let ucs = Ucs::usual();
    let quiet = ["--upstream-mode", "off", "--schema-probe", "off", "--initial-mode", "production"];
    let started = Gateway::try_start_in(dir, ucs.address, &quiet);
    started.map_err(|(status, log)| (status.code(), log.join("\n")))
}

#[test]
fn the_token_file_is_read_as_people_leave_it_or_refused() {
    let (dir, token) = (TempDir::new(), "x".repeat(43));
    let gateway = with_token(dir.path(), &format!("\u{feff}{token}\r\n"), 0o600).unwrap();
    assert_eq!(status(&gateway, &bearer(&token)), 200, "a byte order mark is no part of it");
    drop(gateway);
    let gateway = with_token(dir.path(), &token, 0o660).unwrap();
    assert_eq!(status(&gateway, &bearer(&token)), 200, "the group's bits came with the volume");
    let mode = std::fs::metadata(dir.path().join("admin.token")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "they are taken back");
    assert!(gateway.log().contains("admin.token") && gateway.log().contains("660"), "{}", gateway.log());
    drop(gateway);
    for (text, mode, told) in [("x".repeat(4097), 0o600, "longer than 4096 bytes"), (token.clone(), 0o604, "chmod 600")]
    {
        let (code, log) = with_token(dir.path(), &text, mode).err().expect("it does not start");
        assert_eq!(code, Some(2), "{log}");
        assert!(log.contains(told), "{told} is not in {log}");
    }
}

/// As the failure table advises where it has leaked.
#[test]
fn a_token_that_is_lost_is_made_anew_at_a_start() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let gateway = Gateway::start_in(dir.path(), ucs.address, &[]);
    let old = gateway.token();
    std::fs::remove_file(dir.path().join("admin.token")).unwrap();
    assert_eq!(status(&gateway, &bearer(&old)), 200, "the running gateway has read it");
    drop(gateway);
    let gateway = Gateway::start_in(dir.path(), ucs.address, &[]);
    let new = gateway.token();
    assert_ne!(new, old);
    assert_eq!((status(&gateway, &bearer(&old)), status(&gateway, &bearer(&new))), (401, 200));
}

#[test]
fn a_login_for_ucs_that_others_can_read_is_refused() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let login = dir.file("login", "\u{feff}ada:secret\n");
    let flags = ["--upstream-credentials", login.to_str().unwrap()];
    for mode in [0o666, 0o604, 0o620] {
        std::fs::set_permissions(&login, std::fs::Permissions::from_mode(mode)).unwrap();
        let ended = Gateway::try_start_in(&dir.path().join("state"), ucs.address, &flags);
        let (status, log) = ended.err().expect("it does not start");
        assert_eq!(status.code(), Some(2), "{log:?}");
        assert!(log.join("\n").contains("chmod 600"), "{log:?}");
    }
    for mode in [0o600, 0o440] {
        std::fs::set_permissions(&login, std::fs::Permissions::from_mode(mode)).unwrap();
        let _gateway = Gateway::bare(ucs.address, &flags);
    }
}

#[test]
fn further_hosts_are_taken_as_people_write_them() {
    let ucs = Ucs::usual();
    let hosts = "gw.example:8081,other.example.,10.0.0.7,[2001:db8::1]:8081";
    let gateway = Gateway::bare(ucs.address, &["--admin-host", hosts]);
    let token = bearer(&gateway.token());
    let ask = |host: &str| plain(&gateway, "GET /mode", &[("Authorization", &token), ("Host", host)]).status;
    for host in ["gw.example", "gw.example:8081", "other.example", "OTHER.example.:1", "10.0.0.7:8081", "[2001:db8::1]"]
    {
        assert_eq!(ask(host), 200, "{host}");
    }
    assert_eq!((ask("10.0.0.8"), ask("example")), (421, 421));
}

#[test]
fn a_reload_that_takes_away_a_limited_class_is_refused() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let shipped = include_str!("../../../routes.yaml");
    let own = shipped.replacen("  schema: [maintenance]\n", "  schema: [maintenance]\n  own: [production]\n", 1);
    assert_ne!(own, shipped);
    let file = dir.file("routes.yaml", &own);
    let flags = ["--routes", file.to_str().unwrap(), "--max-in-flight", "own=3"];
    let gateway = Gateway::bare(ucs.address, &flags);
    dir.file("routes.yaml", shipped);
    let refused = admin::call(&gateway, "POST /routes/reload", Some(&json!({})));
    assert_eq!((refused.status, &refused.json()["reason"]), (422, &json!("route_faults")), "{}", refused.text());
    assert!(refused.text().contains("--max-in-flight") && refused.text().contains("own"), "{}", refused.text());
}

#[test]
fn a_file_that_hangs_is_given_up_and_holds_up_nothing() {
    let ucs = Ucs::usual();
    let (dir, machine) = (TempDir::new(), Machine::new());
    let access = dir.file("access.yaml", &principals("viewer-token", "mode:read"));
    let flags = ["--access", access.to_str().unwrap(), "--stop-timeout", "1h"];
    let gateway = machine.start(ucs.address, &flags);
    machine.opening_hangs(&access);
    let headers = [("Authorization", &*bearer("operator-token")), JSON, ("Connection", "close")];
    let mut waiting: Vec<Connection> = (0..12).map(|_| Connection::open(gateway.admin)).collect();
    for connection in &mut waiting {
        connection.send(http::compose(gateway.admin, "POST /routes/reload", &headers, b""));
    }
    assert_eq!(status(&gateway, &bearer("viewer-token")), 200);
    let threads = || std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap().count();
    let before = threads();
    for connection in &mut waiting {
        let refused = connection.read_reply();
        assert_eq!((refused.status, &refused.json()["reason"]), (422, &json!("access_faults")), "{}", refused.text());
    }
    assert!(threads() < before + 6, "one of them hangs, not one for each call: {before}, {}", threads());
    assert_eq!(status(&gateway, &bearer("viewer-token")), 200);
    assert!(gateway.terminate(PATIENCE).success(), "a stop does not wait for it");
}
