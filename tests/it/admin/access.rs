//! Who may: the one token, the principals of access.yaml, the names and sites by which the admin API may be called, and
//! what happens to those who guess.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use super::{bearer, plain};
use crate::support::tool::{run, run_with_input};
use crate::support::{Connection, Gateway, PATIENCE, Reply, TempDir, Ucs, admin, eventually, http, request};

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[test]
fn the_token_is_made_once_and_is_its_owners_alone() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let state = dir.path().join("state");
    let file = state.join("admin.token");
    let gateway = Gateway::start_in(&state, ucs.address, &[]);
    let (token, made) = (gateway.token(), std::fs::metadata(&file).unwrap());
    assert_eq!(made.permissions().mode() & 0o7777, 0o600);
    assert_eq!(std::fs::metadata(&state).unwrap().permissions().mode() & 0o077, 0, "nor is the folder anybody else's");
    assert!(token.len() >= 43, "256 bits take 43 letters: {token}");
    gateway.terminate(PATIENCE);
    let again = Gateway::start_in(&state, ucs.address, &[]);
    assert_eq!(again.token(), token);
    assert_eq!(std::fs::metadata(&file).unwrap().ino(), made.ino(), "it is not even written again");
    assert_eq!(plain(&again, "GET /mode", &[("Authorization", &bearer(&token))]).status, 200);
    assert_ne!(Gateway::bare(ucs.address, &[]).token(), token, "each gateway makes its own");
}

#[test]
fn a_token_that_others_may_read_is_not_used() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let file = dir.file("admin.token", &"x".repeat(43));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (status, log) = Gateway::try_start_in(dir.path(), ucs.address, &[]).err().expect("it does not start");
    let log = log.join("\n");
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("admin.token") && log.contains("chmod 600"), "{log}");
}

#[test]
fn without_the_right_credential_nothing_is_told_or_changed() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let before = admin::mode(&gateway);
    let change = br#"{"mode":"maintenance"}"#;
    // Few enough not to be slowed down.
    for credential in ["Bearer wrong", "Basic d3Jvbmc6d3Jvbmc=", "Basic !", "Digest x"] {
        let headers = [("Authorization", credential), JSON];
        let reply = request(gateway.admin, "PUT /mode", &headers, change);
        assert_eq!((reply.status, &reply.json()["reason"]), (401, &json!("unauthorized")), "{credential}");
        let challenges: Vec<_> = reply.headers.iter().filter(|(name, _)| name == "www-authenticate").collect();
        assert!(challenges.iter().any(|(_, value)| value.starts_with("Bearer ")), "{challenges:?}");
    }
    let bare = request(gateway.admin, "PUT /mode", &[JSON], change);
    assert_eq!(bare.status, 401);
    assert!(bare.text().contains("Authorization: Bearer TOKEN"), "{}", bare.text());
    let reload = request(gateway.admin, "POST /routes/reload", &[JSON], b"");
    assert_eq!(reload.status, 401);
    assert_eq!(admin::mode(&gateway), before);
}

#[test]
fn the_token_also_works_as_the_password_of_admin() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let basic = |user: &str| {
        use base64::Engine;
        let pair = format!("{user}:{}", gateway.token());
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    };
    assert_eq!(plain(&gateway, "GET /mode", &[("Authorization", &basic("admin"))]).status, 200);
    assert_eq!(plain(&gateway, "GET /mode", &[("Authorization", &basic("root"))]).status, 401);
}

#[test]
fn guesses_are_slowed_down_and_the_right_token_is_not() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let guess = |turn: usize| plain(&gateway, "GET /mode", &[("Authorization", &bearer(&format!("guess-{turn}")))]);
    let answers: Vec<Reply> = (0..40).map(guess).collect();
    assert!(answers[..10].iter().all(|reply| reply.status == 401), "ten within ten seconds are let through");
    // One more a second at most, so on a slow machine some of the later ones are 401 as well.
    let slowed: Vec<_> = answers.iter().filter(|reply| reply.status == 429).collect();
    assert!(!slowed.is_empty(), "forty guesses were let through");
    for reply in slowed {
        let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=10).contains(&seconds), "{reply:?}");
        assert_eq!(reply.json()["reason"], "too_many_attempts");
    }
    assert_eq!(admin::call(&gateway, "GET /mode", None).status, 200);
}

#[test]
fn no_credential_and_no_query_reaches_a_log_a_metric_or_a_file() {
    use base64::Engine;
    let dir = TempDir::new();
    let login = dir.file("ucs", "ada:sesame-upstream\n");
    std::fs::set_permissions(&login, std::fs::Permissions::from_mode(0o600)).unwrap();
    let upstream = Ucs::start(ucs_gateway::demo::StandInOptions {
        login: Some(("ada".to_owned(), "sesame-upstream".to_owned())),
        ..ucs_gateway::demo::StandInOptions::new()
    });
    let state = dir.path().join("state");
    let flags = ["--log-level", "trace", "--access-log", "--upstream-credentials", login.to_str().unwrap()];
    let gateway = Gateway::start_in(&state, upstream.address, &flags);
    let basic = |pair: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
    let credentials = [
        bearer(&gateway.token()),
        basic(&format!("admin:{}", gateway.token())),
        bearer("sesame-guess"),
        basic("eve:sesame-guess"),
        basic("ada:sesame-upstream"),
    ];
    for credential in &credentials {
        let headers = [("Authorization", &**credential), JSON];
        request(gateway.admin, "PUT /mode?sesame-query", &headers, br#"{"mode":"maintenance"}"#);
        request(gateway.data, "POST /server/mode?sesame-query", &headers, br#"{"mode":"production"}"#);
        request(gateway.data, "GET /profiles/1?sesame-query", &headers, b"");
        request(gateway.data, "GET /nowhere?sesame-query", &headers, b"");
    }
    let all = 3 * credentials.len();
    crate::support::eventually("all was logged", || gateway.access_lines().len() >= all);
    let metrics = admin::call(&gateway, "GET /metrics", None).text();
    let files = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.file_name().is_some_and(|name| name != "admin.token"));
    let kept: Vec<String> =
        files.map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()).collect();
    assert!(kept.iter().any(|text| text.contains("maintenance")), "the journal was looked at");
    let told = [gateway.log(), gateway.access_lines().join("\n"), metrics, kept.join("\n")].join("\n");
    assert!(told.contains("/profiles/1") && told.contains("unauthorized"), "the logs were looked at");
    let encoded = credentials.iter().filter_map(|credential| credential.split(' ').nth(1));
    for secret in encoded.chain([&*gateway.token(), "sesame"]) {
        assert!(!told.contains(secret), "{secret} was told");
    }
}

#[test]
fn foreign_names_and_foreign_pages_are_refused() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &["--admin-host", "gw.example"]);
    let token = bearer(&gateway.token());
    let port = gateway.admin.port();
    let (own, local) = (format!("http://{}", gateway.admin), format!("localhost:{port}"));
    let other_port = format!("http://127.0.0.1:{}", port ^ 1);
    let get = |headers: &[(&str, &str)]| {
        let credential: &[(&str, &str)] = &[("Authorization", &token)];
        let reply = plain(&gateway, "GET /mode", &[headers, credential].concat());
        (reply.status, reply.json()["reason"].as_str().unwrap_or_default().to_owned())
    };
    let answer = |status: u16, reason: &str| (status, reason.to_owned());
    assert_eq!(get(&[]).0, 200);
    assert_eq!(get(&[("Host", &local)]).0, 200);
    assert_eq!(get(&[("Host", "GW.example")]).0, 200);
    assert_eq!(get(&[("Origin", &own)]).0, 200);
    for host in ["evil.example", "gw.example.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "x@localhost"] {
        assert_eq!(get(&[("Host", host)]), answer(421, "host"), "{host}");
    }
    for origin in ["http://evil.example", "null", &other_port, "http://gw.example", ""] {
        assert_eq!(get(&[("Origin", origin)]), answer(403, "cross_site"), "{origin}");
    }
    // A page of another site can send a form, but no JSON without asking first.
    let form = [("Authorization", &*token), ("Content-Type", "text/plain")];
    assert_eq!(request(gateway.admin, "PUT /mode", &form, b"{\"mode\":\"maintenance\"}").status, 415);
    let asked_first = plain(&gateway, "OPTIONS /mode", &[("Origin", "http://evil.example")]);
    assert_ne!(asked_first.status, 200);
    assert_eq!(asked_first.header("access-control-allow-origin"), None);
    assert_eq!(admin::mode(&gateway)["mode"], "production");
    assert_eq!(plain(&gateway, "GET /readyz", &[("Host", "evil.example")]).status, 200, "probes know no names");
}

#[test]
fn an_address_that_others_reach_needs_named_principals() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let state = dir.path().join("state");
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8081"] {
        let started = Gateway::try_start_in(&state, ucs.address, &["--admin-listen", address]);
        let (status, log) = started.err().expect("it does not start");
        let log = log.join("\n");
        assert_eq!(status.code(), Some(2), "{log}");
        for word in [address, "--access", "127.0.0.1", "unix:PATH"] {
            assert!(log.contains(word), "{word} is not in {log}");
        }
        assert!(!state.exists(), "nothing was touched");
    }
    let access = viewer_and_operator(&dir);
    let flags = ["--admin-listen", "0.0.0.0:0", "--access", access.to_str().unwrap()];
    Gateway::start_in(&state, ucs.address, &flags);
    assert!(!state.join("admin.token").exists(), "with --access there is no token for everything");
}

/// A token of each of two principals: "viewer-token" may look, "operator-token" may look and flip.
pub(super) fn viewer_and_operator(dir: &TempDir) -> std::path::PathBuf {
    let (viewer, operator) =
        (ucs_gateway::access::token_hash_hex("viewer-token"), ucs_gateway::access::token_hash_hex("operator-token"));
    let text = format!(
        "version: 1
roles:
  viewer: [mode:read]
  operator: [mode:read, mode:set]
principals:
  - name: the screen
    token_sha256: {viewer}
    roles: [viewer]
  - name: night-shift
    token_sha256: {operator}
    roles: [operator]
"
    );
    dir.file("access.yaml", &text)
}

#[test]
fn roles_open_what_they_grant_and_nothing_else() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let access = viewer_and_operator(&dir);
    let gateway = Gateway::bare(ucs.address, &["--access", access.to_str().unwrap()]);
    let ask = |token: &str, line: &str, body: &[u8]| {
        request(gateway.admin, line, &[("Authorization", &*bearer(token)), JSON], body)
    };
    for line in ["GET /mode", "GET /routes", "GET /metrics", "GET /mode/history", "GET /openapi.json"] {
        assert_eq!(ask("viewer-token", line, b"").status, 200, "{line}");
    }
    let change = br#"{"mode":"maintenance","reason":"index"}"#;
    let refused = ask("viewer-token", "PUT /mode", change);
    assert_eq!((refused.status, &refused.json()["permission"]), (403, &json!("mode:set")), "{}", refused.text());
    assert!(refused.json()["detail"].as_str().unwrap().contains("the screen"), "{}", refused.text());
    let refused = ask("operator-token", "POST /routes/reload", b"");
    assert_eq!((refused.status, &refused.json()["permission"]), (403, &json!("routes:reload")));

    let settled = ask("operator-token", "PUT /mode", change);
    assert_eq!(settled.status, 200, "{}", settled.text());
    assert_eq!(settled.json()["actor"], json!({"kind": "operator", "name": "night-shift"}));
    let newest = ask("viewer-token", "GET /mode/history?limit=1", b"").json();
    assert_eq!(newest["entries"][0]["record"]["actor"]["name"], "night-shift", "{newest}");
    assert!(!gateway.log().contains("viewer-token") && !gateway.log().contains("operator-token"));
}

#[test]
fn the_events_of_a_call_carry_the_ids_of_its_trace() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let access = viewer_and_operator(&dir);
    let gateway = Gateway::bare(ucs.address, &["--access", access.to_str().unwrap()]);
    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let (valid, invalid) = (format!("00-{trace}-{span}-01"), format!("00-{trace}-{span}"));
    let calls: [(&str, &str, &[u8]); 3] = [
        ("viewer-token", "POST /routes/reload", b""),
        ("operator-token", "PUT /mode", br#"{"mode":"maintenance"}"#),
        ("operator-token", "PUT /local", br#"{"closed":true}"#),
    ];
    for parent in [&valid, &invalid] {
        for (token, line, body) in calls {
            request(gateway.admin, line, &[("Authorization", &*bearer(token)), JSON, ("traceparent", parent)], body);
        }
    }
    for event in ["missing permission", "mode change requested", "local close requested"] {
        let lines = || gateway.log().lines().filter(|line| line.contains(event)).map(str::to_owned).collect::<Vec<_>>();
        eventually("both calls are logged", || lines().len() == 2);
        let events: Vec<Value> = lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!([&events[0]["trace_id"], &events[0]["span_id"]], [trace, span], "{events:?}");
        assert!(events[1].get("trace_id").is_none() && events[1].get("span_id").is_none(), "{events:?}");
    }
}

#[test]
fn the_same_principals_set_the_mode_on_the_data_port() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let access = viewer_and_operator(&dir);
    let gateway = Gateway::bare(ucs.address, &["--access", access.to_str().unwrap()]);
    let ask = |token: &str| {
        let headers = [("Authorization", &*bearer(token)), JSON];
        request(gateway.data, "POST /server/mode", &headers, br#"{"mode":"maintenance"}"#).status
    };
    assert_eq!(ask("viewer-token"), 403);
    assert_eq!(ask("somebody"), 401);
    assert_eq!(ask("operator-token"), 200);
}

#[test]
fn a_password_that_the_tool_hashed_opens() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let flags = ["token", "password", "--name", "ucs-console", "--user", "console", "--permissions", "mode:read"];
    let stanza = run_with_input(&flags, "correct horse battery\n");
    assert_eq!(stanza.code, Some(0), "{stanza:?}");
    let access = dir.file("access.yaml", &format!("version: 1\nprincipals:\n{}", stanza.stdout));
    let gateway = Gateway::bare(ucs.address, &["--access", access.to_str().unwrap()]);
    let ask = |pair: &str| {
        use base64::Engine;
        let credential = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
        plain(&gateway, "GET /mode", &[("Authorization", &credential)]).status
    };
    assert_eq!(ask("console:correct horse battery"), 200);
    assert_eq!(ask("console:correct horse"), 401);
    assert_eq!(ask("other:correct horse battery"), 401);
}

#[test]
fn faults_in_access_yaml_are_all_told_and_nothing_starts() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let state = dir.path().join("state");
    let text = "version: 1
roles:
  viewer: [mode:look]
principals:
  - name: one
    token_sha256: abc
    roles: [viewer]
  - name: two
    unix_uid: 1
    roles: [boss]
  - name: three
    permissions: [mode:read]
";
    let access = dir.file("access.yaml", text);
    let started = Gateway::try_start_in(&state, ucs.address, &["--access", access.to_str().unwrap()]);
    let (status, log) = started.err().expect("it does not start");
    let log = log.join("\n");
    assert_eq!(status.code(), Some(2), "{log}");
    let file = access.to_str().unwrap();
    for word in [file, "mode:look", "mode:read, mode:set", "64 hex digits", "\"boss\"", "has no credential"] {
        assert!(log.contains(word), "{word} is not in {log}");
    }
    assert_eq!(ucs.record().len(), 0, "UCS was left alone");
    assert!(!state.join("mode.json").exists(), "no record was made");
}

/// One call over a unix socket, without a credential.
pub(super) fn over_unix(socket: &Path, line: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{line} HTTP/1.1\r\nHost: any.name\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
}

#[test]
fn a_unix_socket_answers_and_knows_its_peers() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let socket = dir.path().join("admin.sock");
    let address = format!("unix:{}", socket.display());
    let uid = std::fs::metadata(dir.path()).unwrap().uid();
    let access = format!("version: 1\nprincipals:\n  - {{name: me, unix_uid: {uid}, permissions: ['mode:read']}}\n");
    let access = dir.file("access.yaml", &access);

    let gateway = Gateway::bare(ucs.address, &["--admin-listen", &address]);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o007, 0, "not for everybody");
    assert_eq!(over_unix(&socket, "GET /livez").0, 200);
    assert_eq!(over_unix(&socket, "GET /mode").0, 401, "without access.yaml the token is wanted here too");
    let token_file = gateway.state_dir().join("admin.token");
    let told = run(&["mode", "--admin", &address, "--token-file", token_file.to_str().unwrap(), "get"]);
    assert_eq!((told.code, told.stdout.lines().next()), (Some(0), Some("production")), "{told:?}");
    let other = TempDir::new();
    let taken = Gateway::try_start_in(other.path(), ucs.address, &["--admin-listen", &address]);
    let (status, log) = taken.err().expect("a socket that is in use is not replaced");
    assert!(status.code() == Some(1) && log.join("\n").contains(&address), "{log:?}");
    assert_eq!(over_unix(&socket, "GET /livez").0, 200);
    // Killed, so that the socket is left behind: the next one takes its place.
    gateway.kill();
    assert!(socket.exists());

    let flags = ["--admin-listen", &address, "--access", access.to_str().unwrap()];
    let _gateway = Gateway::bare(ucs.address, &flags);
    let (status, mode) = over_unix(&socket, "GET /mode");
    assert_eq!((status, &mode["mode"]), (200, &json!("production")), "by the kernel's word");
    let (status, refused) = over_unix(&socket, "PUT /mode");
    assert_eq!((status, &refused["permission"]), (403, &json!("mode:set")));
}

/// Whoever is connected and says nothing, or too little, is sent away; ordinary requests do not notice, operators once it is over.
#[test]
fn slow_clients_of_the_admin_port_go_and_hurt_nobody() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let credential = bearer(&gateway.token());
    let headers = [("Authorization", &*credential), JSON, ("Content-Length", "20")];
    let mut half_a_body = Connection::open(gateway.admin);
    half_a_body.send(http::compose(gateway.admin, "PUT /mode", &headers, b""));
    half_a_body.send("{\"mode\":");
    // As many as it takes at once.
    let half_heads: Vec<Connection> = (0..255)
        .map(|_| {
            let mut client = Connection::open(gateway.admin);
            client.send("GET /mode HTTP/1.1\r\nHost:");
            client
        })
        .collect();
    assert_eq!(request(gateway.data, "GET /profiles/absent", &[], b"").status, 404);
    let late = half_a_body.read_reply();
    assert_eq!((late.status, late.json()["reason"].as_str()), (408, Some("body_timeout")), "{}", late.text());
    for mut client in half_heads {
        client.read_to_end();
    }
    assert_eq!(admin::mode(&gateway)["mode"], "production");
}

/// Neither `--help`, which shows the variables that are set, nor a complaint tells what must stay secret.
#[test]
fn no_secret_is_in_help_or_in_a_complaint() {
    let secrets =
        [("UCS_GATEWAY_TOKEN", "sesame-token"), ("UCS_GATEWAY_UPSTREAM", "http://ada:sesame-login@ucs.test:80")];
    let told = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ucs-gateway"));
        let output = command.args(arguments).envs(secrets).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    for arguments in [
        &["serve", "--help"][..],
        &["serve", "-h"],
        &["mode", "--help"],
        &["mode", "get", "--help"],
        &["mode", "get", "--admin", "127.0.0.1:1"],
        &["mode", "get", "--admin", "no address"],
        &["serve"],
    ] {
        let said = told(arguments);
        assert!(said.len() > 20 && !said.contains("sesame"), "{arguments:?}: {said}");
    }
}
