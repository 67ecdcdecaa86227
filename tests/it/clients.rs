//! The programs of docs/clients.md, run as they stand there: they wait while the gateway says 503, and stop at what will not
//! change.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::json;

use crate::support::{Gateway, TempDir, Ucs, admin};

const PAGE: &str = include_str!("../../docs/clients.md");

/// The program in a language of the page, in a file of this name.
fn program(language: &str, dir: &TempDir, file: &str) -> PathBuf {
    let opening = format!("```{language}\n");
    let text = PAGE.split(&opening).nth(1).unwrap_or_else(|| panic!("no program in {language}"));
    let path = dir.path().join(file);
    std::fs::write(&path, text.split("\n```").next().unwrap()).unwrap();
    path
}

/// Whether a program can be run here; in CI it must be.
fn is_there(name: &str, version: &str) -> bool {
    let there = Command::new(name).arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    assert!(there || std::env::var("CI").as_deref() != Ok("true"), "{name} is needed");
    if !there {
        eprintln!("skipped, as it needs {name}");
    }
    there
}

/// Runs a client that is started by these words, to which a URL is added.
fn check(command: &[&str], dir: &Path) {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &["--max-retry-after", "1s"]);
    let begin = |path: &str| {
        let mut client = Command::new(command[0]);
        client.args(&command[1..]).arg(format!("http://{}{path}", gateway.data)).current_dir(dir);
        let mut child = client.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        (child, output)
    };
    let rest = |(mut child, output): (Child, BufReader<ChildStdout>)| {
        let lines: Vec<String> = output.lines().map(Result::unwrap).collect();
        assert!(child.wait().unwrap().success());
        lines
    };
    assert_eq!(rest(begin("/nowhere")), ["the gateway refused: 404 unmatched"]);
    assert_eq!(rest(begin("/profiles/a%2Fb")), ["the gateway refused: 400 encoded_slash"]);
    assert_eq!(rest(begin("/profiles/1")), ["UCS responded: 404"]);

    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance"})).status, 200);
    let (child, mut output) = begin("/profiles/1");
    let mut first = String::new();
    output.read_line(&mut first).unwrap();
    assert_eq!(first, "the gateway refused: 503 mode\n");
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "production"})).status, 200);
    assert_eq!(rest((child, output)).last().unwrap(), "UCS responded: 404", "it waited, and asked again");
}

#[test]
fn the_program_in_python_does_what_the_page_says() {
    let dir = TempDir::new();
    let file = program("python", &dir, "client.py");
    if is_there("python3", "--version") {
        check(&["python3", file.to_str().unwrap()], dir.path());
    }
}

#[test]
fn the_program_in_java_does_what_the_page_says() {
    let dir = TempDir::new();
    let file = program("java", &dir, "Client.java");
    if is_there("javac", "-version") {
        let compiled = Command::new("javac").arg(&file).status().unwrap();
        assert!(compiled.success());
        check(&["java", "-Xshare:auto", "-cp", dir.path().to_str().unwrap(), "Client"], dir.path());
    }
}

#[test]
fn the_program_in_javascript_does_what_the_page_says() {
    let dir = TempDir::new();
    let file = program("javascript", &dir, "client.mjs");
    if is_there("node", "--version") {
        check(&["node", file.to_str().unwrap()], dir.path());
    }
}

#[test]
fn the_program_in_go_does_what_the_page_says() {
    let dir = TempDir::new();
    let file = program("go", &dir, "client.go");
    if is_there("go", "version") {
        let binary = dir.path().join("client");
        let binary = binary.to_str().unwrap();
        // Go compiles its own library into this cache the first time.
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
        let mut build = Command::new("go");
        build.args(["build", "-o", binary, file.to_str().unwrap()]).env("GOCACHE", &cache).env("GOFLAGS", "-mod=mod");
        assert!(build.env("GOTOOLCHAIN", "local").status().unwrap().success());
        check(&[binary], dir.path());
    }
}

#[test]
fn the_program_in_shell_does_what_the_page_says() {
    let dir = TempDir::new();
    let file = program("bash", &dir, "client.sh");
    if is_there("curl", "--version") {
        check(&["bash", file.to_str().unwrap()], dir.path());
    }
}
