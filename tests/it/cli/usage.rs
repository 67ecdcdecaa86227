//! What is typed wrongly, `--help`, completions, and that the page of flags tells what the program takes.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use crate::support::tool::{command, run};

const COMMANDS: [&str; 13] = [
    "serve",
    "demo",
    "check",
    "explain",
    "diff",
    "mode",
    "routes",
    "journal",
    "token",
    "certificate",
    "schema",
    "completions",
    "man",
];

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_wrong() {
    for (arguments, says) in [
        (&[][..], "Usage: ucs-gateway"),
        (&["flip"], "'flip'"),
        (&["serve"], "--upstream"),
        (&["serve", "--upstream", "ftp://ucs"], "http://"),
        (&["serve", "--upstream", "http://127.0.0.1:1", "--listen", "here"], "'here'"),
        (&["serve", "--upstream", "http://127.0.0.1:1", "--drain-timeout", "5"], "500ms, 5s"),
        (&["serve", "--upstream", "http://127.0.0.1:1", "--admin-listen", "unix:"], "unix:/run"),
        (&["serve", "--upstream", "http://127.0.0.1:1", "--max-body", "4GB"], "KiB, MiB or GiB"),
        (&["serve", "--upstream", "http://127.0.0.1:1", "--workers", "0"], "1..=256"),
        (&["serve", "--upstream", "http://127.0.0.1:1", "--upstream-poll", "0s"], "at least 10ms"),
        (&["serve", "--upstream", "http://127.0.0.1:1", "--schema-probe-interval", "0s"], "at least 10ms"),
        (&["serve", "--upstream", "http://127.0.0.1:1", "--admin-host", "http://gw"], "host name"),
        (
            &["serve", "--upstream", "http://127.0.0.1:1", "--store", "etcd://127.0.0.1:2379"],
            "name of the fleet is missing",
        ),
        (&["explain", "GET"], "<PATH>"),
        (&["diff", "routes.yaml"], "<NEW>"),
        (&["mode"], "Usage: ucs-gateway mode"),
        (&["mode", "set"], "<MODE>"),
        (&["mode", "set", "off"], "production, maintenance"),
        (&["mode", "set", "maintenance", "--expires-in", "2 h"], "500ms, 5s"),
        (&["mode", "set", "maintenance", "--on-timeout", "wait"], "revert, cut, commit"),
        (&["mode", "history", "--limit", "0"], "1..=1000"),
        (&["mode", "--admin", "http://127.0.0.1:8081/mode", "get"], "HOST:PORT or unix:PATH"),
        (&["mode", "--admin", "https://127.0.0.1:8081", "get"], "--admin-ca FILE"),
        (&["mode", "--admin", "http://127.0.0.1:8081", "--admin-ca", "ca.pem", "get"], "write https://"),
        (&["token", "new"], "--name"),
        (&["certificate", "new", "--days", "0"], "1..=3650"),
        (&["completions", "csh"], "bash"),
    ] {
        let run = run(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{arguments:?}: {run:?}");
        assert!(run.stderr.contains(says), "{arguments:?}: {says:?} is not in {}", run.stderr);
    }
}

#[test]
fn help_is_no_failure() {
    let top = run(&["--help"]);
    assert_eq!((top.code, top.stderr.as_str()), (Some(0), ""));
    for name in COMMANDS {
        assert!(top.stdout.lines().any(|line| line.trim_start().starts_with(&format!("{name} "))), "{}", top.stdout);
        let help = run(&[name, "--help"]);
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{name}");
        assert!(help.stdout.contains(&format!("Usage: ucs-gateway {name}")), "{}", help.stdout);
    }
    let version = run(&["--version"]);
    let commit = env!("UCS_GATEWAY_COMMIT");
    assert_eq!(version.stdout, format!("ucs-gateway {} ({commit})\n", env!("CARGO_PKG_VERSION")));
}

/// Flags of `serve` with their variable and default.
fn flags_of_serve() -> BTreeMap<String, (String, Option<String>)> {
    let help = run(&["serve", "--help"]).stdout;
    let mut flags = BTreeMap::new();
    let mut name = String::new();
    let note = |line: &str, opens: &str| {
        let rest = line.split(opens).nth(1)?;
        Some(rest.split(']').next().unwrap_or_default().trim().trim_end_matches('=').to_owned())
    };
    for line in help.lines() {
        if let Some(flag) = line.trim_start().strip_prefix("--") {
            name = flag.split([' ', '=']).next().unwrap_or_default().to_owned();
        }
        if let Some(variable) = note(line, "[env: ") {
            flags.insert(name.clone(), (variable, None));
        }
        if let (Some(default), Some((_, kept))) = (note(line, "[default: "), flags.get_mut(&name)) {
            *kept = Some(default);
        }
    }
    flags
}

#[test]
fn the_page_of_flags_is_true() {
    let flags = flags_of_serve();
    let page = include_str!("../../../docs/operations.md");
    let table = page.split("| flag | default | meaning |").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut documented = BTreeMap::new();
    for row in table.lines().filter(|row| row.starts_with("| `--")) {
        let cells: Vec<_> = row.split(" | ").collect();
        let flag = cells[0].trim_matches(['|', ' ', '`']).trim_start_matches("--").to_owned();
        let earlier = documented.insert(flag, cells[1].to_owned());
        assert_eq!(earlier, None, "a second row: {row}");
    }
    assert_eq!(documented.keys().collect::<Vec<_>>(), flags.keys().collect::<Vec<_>>());
    for (flag, (variable, default)) in &flags {
        let expected = format!("UCS_GATEWAY_{}", flag.to_uppercase().replace('-', "_"));
        assert_eq!(variable, &expected, "--{flag}");
        match default {
            Some(default) => assert_eq!(documented[flag], format!("`{default}`"), "--{flag}"),
            None => assert!(
                ["none", "off", "one per core"].contains(&&*documented[flag])
                    || ["state-dir", "node"].contains(&flag.as_str()),
                "--{flag}"
            ),
        }
    }
}

#[test]
fn a_flag_wins_over_its_variable_and_the_variable_over_the_default() {
    let explain = |variable: Option<&str>, flags: &[&str]| {
        let mut command = command(&[&["explain", "GET", "/profiles/1"], flags].concat());
        if let Some(file) = variable {
            command.env("UCS_GATEWAY_ROUTES", file);
        }
        command.output().unwrap()
    };
    assert_eq!(explain(None, &[]).status.code(), Some(0));
    let missing = explain(Some("/nowhere/routes.yaml"), &[]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nowhere/routes.yaml"));
    assert_eq!(explain(Some("/nowhere/routes.yaml"), &["--routes", "routes.yaml"]).status.code(), Some(0));
}

#[test]
fn completions_are_scripts_that_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]);
        assert_eq!((script.code, script.stderr.as_str()), (Some(0), ""), "{shell}");
        for name in COMMANDS {
            assert!(script.stdout.contains(name), "{shell} does not know {name}");
        }
    }
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let script = run(&["completions", "bash"]).stdout;
    std::io::Write::write_all(&mut bash.stdin.take().unwrap(), script.as_bytes()).unwrap();
    let read = bash.wait_with_output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
}

#[test]
fn manual_pages_are_those_of_help() {
    let dir = crate::support::TempDir::new();
    let written = run(&["man", dir.path().to_str().unwrap()]);
    assert_eq!((written.code, written.stdout.as_str(), written.stderr.as_str()), (Some(0), "", ""), "{written:?}");
    let page =
        |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    for name in COMMANDS {
        assert!(page(&format!("ucs-gateway-{name}.1")).contains(".SH SYNOPSIS"), "{name}");
    }
    let set = page("ucs-gateway-mode-set.1");
    for words in ["\\-\\-back\\-at", "Exit codes", "UCS_GATEWAY_DRAIN_TIMEOUT"] {
        assert!(set.contains(words), "{words} is not in {set}");
    }
    assert!(run(&["man"]).stdout.contains(".TH ucs-gateway 1"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let line = format!("{} schema | head -n 1", env!("CARGO_BIN_EXE_ucs-gateway"));
    let piped = Command::new("bash").args(["-o", "pipefail", "-c", &line]).output().unwrap();
    assert!(piped.status.success(), "{piped:?}");
    assert_eq!(String::from_utf8_lossy(&piped.stdout), "{\n");
}
