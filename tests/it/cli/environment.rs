//! Variables, files and addresses as people write them, and how a start or a command ends that cannot go on.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use crate::machine::shim::Machine;
use crate::support::tool::{Run, Running, command, run};
use crate::support::{Gateway, TempDir, Ucs, admin, eventually, nobody_listens, request};

/// A command with these variables.
fn with(variables: &[(&str, &str)], arguments: &[&str]) -> Run {
    let output = command(arguments).envs(variables.iter().copied()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn a_flag_wins_over_a_variable_and_an_empty_one_is_unset() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let (address, state) = (gateway.admin.to_string(), gateway.state_dir().to_str().unwrap());
    let (file, token) = (gateway.state_dir().join("admin.token"), gateway.token());
    let file = file.to_str().unwrap();
    let get = |variables: &[(&str, &str)], flags: &[&str]| {
        let told = with(variables, &[&["mode", "--admin", &address], flags, &["get"]].concat());
        (told.code, told.stdout.lines().next().unwrap_or_default().to_owned(), told.stderr)
    };
    let production = (Some(0), "production".to_owned(), String::new());
    assert_eq!(get(&[("UCS_GATEWAY_TOKEN", "wrong")], &["--token-file", file]), production);
    assert_eq!(get(&[("UCS_GATEWAY_TOKEN", "")], &["--state-dir", state]), production);
    assert_eq!(get(&[("UCS_GATEWAY_TOKEN", ""), ("UCS_GATEWAY_TOKEN_FILE", file)], &[]), production);
    assert_eq!(get(&[("UCS_GATEWAY_TOKEN_FILE", "/nowhere")], &["--token", &token]), production);
    assert_eq!(get(&[("UCS_GATEWAY_TOKEN", &token), ("UCS_GATEWAY_TOKEN_FILE", "/nowhere")], &[]), production);
    assert_eq!(get(&[("UCS_GATEWAY_TOKEN", "wrong")], &["--state-dir", state]).0, Some(1), "a variable counts");
    assert_eq!(get(&[], &["--token", "a", "--token-file", file]).0, Some(2), "two flags contradict each other");
    // Another gateway of this machine may listen there, and refuses the token.
    let of_default = with(&[("UCS_GATEWAY_ADMIN", "")], &["mode", "--token", "x", "get"]);
    assert!(matches!(of_default.code, Some(5 | 1)), "the default address: {of_default:?}");
    let marked = gateway.state_dir().join("marked");
    std::fs::write(&marked, format!("\u{feff}{token}\r\n")).unwrap();
    assert_eq!(get(&[], &["--token-file", marked.to_str().unwrap()]), production, "a byte order mark is no part of it");
}

#[test]
fn switches_are_turned_by_every_usual_word() {
    let explain = ["explain", "GET", "/profiles/1"];
    let is_json = |value: &str| {
        let told = with(&[("UCS_GATEWAY_JSON", value)], &explain);
        assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""), "{value:?}: {told:?}");
        told.stdout.starts_with('{')
    };
    for yes in ["1", "true", "TRUE", "yes", "on"] {
        assert!(is_json(yes), "{yes}");
    }
    for no in ["0", "false", "no", "off", "Off", ""] {
        assert!(!is_json(no), "{no:?}");
    }
    let ucs = Ucs::usual();
    let dir = TempDir::new();
    let gateway = Gateway::start_after("export UCS_GATEWAY_ACCESS_LOG=yes", dir.path(), ucs.address, &[]).unwrap();
    request(gateway.data, "GET /profiles/1", &[], b"");
    eventually("there is an access log", || !gateway.access_lines().is_empty());
}

#[test]
fn a_wrong_value_of_a_variable_is_told_with_its_name() {
    for (variable, value, arguments) in [
        ("UCS_GATEWAY_ACCESS_LOG", "perhaps", &["serve", "--upstream", "http://127.0.0.1:1"][..]),
        ("UCS_GATEWAY_LISTEN", "here", &["serve", "--upstream", "http://127.0.0.1:1"]),
        ("UCS_GATEWAY_UPSTREAM", "ftp://ucs", &["serve"]),
        ("UCS_GATEWAY_ON_TIMEOUT", "wait", &["mode", "set", "maintenance"]),
    ] {
        let told = with(&[(variable, value)], arguments);
        assert_eq!((told.code, told.stdout.as_str()), (Some(2), ""), "{variable}: {told:?}");
        assert!(told.stderr.contains(&format!("environment variable {variable}")), "{variable}: {}", told.stderr);
    }
    let by_flag = run(&["serve", "--upstream", "http://127.0.0.1:1", "--listen", "here"]);
    assert!(!by_flag.stderr.contains("environment variable"), "{}", by_flag.stderr);
}

#[test]
fn every_flag_of_every_command_has_a_variable() {
    let commands: [&[&str]; 11] = [
        &["check"],
        &["serve"],
        &["demo"],
        &["explain"],
        &["mode", "get"],
        &["mode", "set"],
        &["mode", "watch"],
        &["mode", "history"],
        &["mode", "preview"],
        &["token", "new"],
        &["token", "password"],
    ];
    for words in commands {
        let help = run(&[words, &["--help"]].concat()).stdout;
        let flags: Vec<&str> = help.split("\n      --").skip(1).collect();
        assert!(!flags.is_empty(), "{words:?}: {help}");
        for flag in flags {
            let name = flag.split([' ', '\n', '=', '[']).next().unwrap();
            let flag = flag.split_whitespace().collect::<Vec<_>>().join(" ");
            // A secret is shown without its value.
            // Beside a unit's variables for serve, check must not depend on UCS.
            let own = if words == ["check"] { "CHECK_" } else { "" };
            let variable = format!("[env: UCS_GATEWAY_{own}{}", name.to_uppercase().replace('-', "_"));
            let is_shown = ["]", "=]"].iter().any(|end| flag.contains(&format!("{variable}{end}")));
            assert!(is_shown, "{words:?} --{name}: {variable} is not in {flag}");
        }
    }
}

#[test]
fn a_full_disk_is_a_failure() {
    for arguments in [&["schema"][..], &["completions", "bash"], &["explain", "GET", "/"], &["check"], &["--help"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command(arguments).stdout(Stdio::from(full)).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    }
}

#[test]
fn the_first_of_several_state_directories_is_the_gateways() {
    let address = nobody_listens().to_string();
    let get =
        |directories: &str| with(&[("STATE_DIRECTORY", directories)], &["mode", "--admin", &address, "get"]).stderr;
    assert!(get("/nowhere/a:/nowhere/b").contains(" /nowhere/a/admin.token:"), "{}", get("/nowhere/a:/nowhere/b"));
    assert!(get("").contains(" ucs-gateway.state/admin.token:"), "{}", get(""));
}

#[test]
fn addresses_to_listen_on_are_taken_as_people_write_them() {
    for (written, shown) in [("localhost:0", "http://127.0.0.1:"), (":0", "http://0.0.0.0:")] {
        let mut demo = Running::start(&["demo", "--listen", written, "--admin-listen", "localhost:0"]);
        assert!(demo.line_with("clients of UCS").contains(shown), "{written}");
        assert!(demo.line_with("operators").contains("http://127.0.0.1:"), "{written}");
    }
}

#[test]
fn a_mode_is_taken_in_any_case() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let set = super::mode(&gateway, &["set", "MAINTENANCE"]);
    assert_eq!(set.code, Some(0), "{set:?}");
    assert_eq!(super::mode(&gateway, &["preview", "Production"]).code, Some(0));
    let put = request(
        gateway.admin,
        "PUT /mode",
        &[("Authorization", &*format!("Bearer {}", gateway.token())), ("Content-Type", "application/json")],
        "\u{feff}{\"mode\":\"production\"}".as_bytes(),
    );
    assert_eq!(put.status, 200, "a byte order mark before JSON: {}", put.text());
    let login = format!("Bearer {}", gateway.token());
    let headers = [("Authorization", &*login), ("Content-Type", "application/json")];
    let post = request(gateway.data, "POST /server/mode", &headers, "\u{feff}{\"mode\":\"maintenance\"}".as_bytes());
    assert_eq!(post.status, 200, "{}", post.text());
    assert_eq!(admin::mode(&gateway)["mode"], "maintenance");
}

#[test]
fn the_user_of_a_socket_needs_no_token() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let address = format!("unix:{}", dir.path().join("admin.sock").display());
    let uid = std::fs::metadata(dir.path()).unwrap().uid();
    let me = format!("  - {{name: me, unix_uid: {uid}, permissions: ['mode:read', 'mode:set']}}\n");
    let access = dir.file("access.yaml", &format!("version: 1\nprincipals:\n{me}"));
    let flags = ["--admin-listen", &address, "--access", access.to_str().unwrap()];
    let gateway = Gateway::bare(ucs.address, &flags);
    let by_socket = |words: &[&str]| {
        let state = gateway.state_dir().to_str().unwrap();
        run(&[&["mode", "--admin", &address, "--state-dir", state], words].concat())
    };
    let set = by_socket(&["set", "maintenance"]);
    assert_eq!(set.code, Some(0), "{set:?}");
    assert!(by_socket(&["get"]).stdout.contains("by me (operator)"), "{:?}", by_socket(&["get"]));
    let missing = run(&["mode", "--admin", &address, "--token-file", "/nowhere", "get"]);
    assert_eq!(missing.code, Some(2), "a file that was named must be there: {missing:?}");
}

#[test]
fn a_start_that_a_file_holds_up_says_so_and_ends_on_sigterm() {
    let ucs = Ucs::usual();
    for hanging in ["state", "routes.yaml"] {
        let (dir, machine) = (TempDir::new(), Machine::new());
        machine.opening_hangs(&dir.path().join(hanging));
        let routes = dir.file("routes.yaml", include_str!("../../../routes.yaml"));
        let log = dir.path().join("log");
        let (upstream, state) = (format!("http://{}", ucs.address), dir.path().join("state"));
        let ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--upstream", &upstream];
        let files = ["--routes", routes.to_str().unwrap(), "--state-dir", state.to_str().unwrap()];
        let mut started = command(&[&["serve"][..], &ports, &files].concat());
        started.envs(machine.variables());
        let mut child = started.stderr(File::create(&log).unwrap()).spawn().unwrap();
        let told = || std::fs::read_to_string(&log).unwrap();
        eventually("it says what it waits for", || {
            told().contains("still ") && told().contains(dir.path().to_str().unwrap())
        });
        let sent = std::process::Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        eventually("it ends", || child.try_wait().unwrap().is_some());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{hanging}: {}", told());
    }
}

#[test]
fn without_a_table_the_running_gateway_is_asked() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let gateway = Gateway::bare(ucs.address, &[]);
    let (address, token) = (gateway.admin.to_string(), gateway.token());
    let explain = |more: &[&str], address: &str| {
        let words = ["explain", "GET", "/profiles/a%20b?x=1", "--admin", address, "--token", &token];
        let output = command(&[&words, more].concat()).current_dir(dir.path()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    };
    let told = explain(&[], &address);
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""), "{told:?}");
    for words in
        [&*format!("in force in the gateway at {address}"), "GET /profiles/a%20b", "Query Customer Profile", "line "]
    {
        assert!(told.stdout.contains(words), "{words} is not in {}", told.stdout);
    }
    let as_json = explain(&["--json"], &address);
    let document: serde_json::Value = serde_json::from_str(&as_json.stdout).unwrap();
    assert_eq!(document, admin::call(&gateway, "GET /explain?method=GET&path=/profiles/a%2520b", None).json());
    assert!(as_json.stderr.contains(&address), "{as_json:?}");
    let alone = explain(&[], &nobody_listens().to_string());
    assert_eq!((alone.code, alone.stdout.as_str()), (Some(2), ""), "{alone:?}");
    assert!(alone.stderr.contains("no routes.yaml in this folder") && alone.stderr.contains("--routes"), "{alone:?}");
    dir.file("routes.yaml", include_str!("../../../routes.yaml"));
    let by_file = explain(&[], &nobody_listens().to_string());
    assert_eq!(by_file.code, Some(0), "{by_file:?}");
    assert!(by_file.stdout.contains("  table        routes.yaml\n"), "{by_file:?}");
}

#[test]
fn a_load_balancer_asks_the_data_port() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &["--data-livez"]);
    let asked = ucs.record().len();
    for mode in ["maintenance", "production"] {
        assert_eq!(admin::set_mode(&gateway, &serde_json::json!({"mode": mode})).status, 200);
        let live = request(gateway.data, "GET /livez", &[], b"");
        assert_eq!((live.status, live.text().as_str()), (200, "{\"live\":true}"), "{mode}");
        let head = request(gateway.data, "HEAD /livez", &[], b"");
        assert_eq!((head.status, head.body.len()), (200, 0), "{mode}");
    }
    assert_eq!(request(gateway.data, "POST /livez", &[], b"{}").refusal(), Some("unmatched"));
    assert_eq!(ucs.record().len(), asked, "UCS was left alone");
    let plain = Gateway::bare(ucs.address, &[]);
    assert_eq!(request(plain.data, "GET /livez", &[], b"").refusal(), Some("unmatched"));
}

#[test]
fn no_client_is_told_to_wait_for_long() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let end = admin::set_mode(&gateway, &serde_json::json!({"mode": "maintenance", "expires_in": "30d"}));
    let refused = request(gateway.data, "GET /profiles/1", &[], b"");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("30")), "{refused:?}");
    assert_eq!(refused.json()["expires"], end.json()["expires"], "the true end is in the body");
    assert_eq!(admin::set_mode(&gateway, &serde_json::json!({"mode": "production"})).status, 200);
    let upload = crate::support::Upload::begin(&gateway, &ucs);
    let mut asker = crate::support::Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&serde_json::json!({"mode": "maintenance"})));
    eventually("the flip began", || admin::mode(&gateway)["phase"] == "switching");
    let refused = request(gateway.data, "GET /profiles/1", &[], b"");
    assert_eq!((refused.refusal(), refused.header("retry-after")), (Some("switching"), Some("5")), "{refused:?}");
    assert_eq!(upload.finish().status, 201);
    assert_eq!(asker.read_reply().status, 200);
    let patient = Gateway::bare(ucs.address, &["--max-retry-after", "2m"]);
    admin::set_mode(&patient, &serde_json::json!({"mode": "maintenance"}));
    assert_eq!(request(patient.data, "GET /profiles/1", &[], b"").header("retry-after"), Some("120"));
}
