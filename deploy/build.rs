//! Names the commit that is built: `UCS_GATEWAY_COMMIT`, which the program reads at compile time. It does nothing else.
//!
//! In order: the variable of the same name; the file `.commit`, which `git archive` has filled; the repository. The tests'
//! profile takes only the first, so that a commit does not compile everything again.

use std::process::Command;

const VARIABLE: &str = "UCS_GATEWAY_COMMIT";

fn main() {
    println!("cargo:rerun-if-changed=deploy/build.rs");
    println!("cargo:rerun-if-changed=.commit");
    println!("cargo:rerun-if-env-changed={VARIABLE}");
    let given = std::env::var(VARIABLE).ok().filter(|commit| !commit.is_empty());
    let is_for_tests = std::env::var("PROFILE").is_ok_and(|profile| profile == "debug");
    let found = || if is_for_tests { Some("development".to_owned()) } else { archived().or_else(checked_out) };
    let commit = given.or_else(found).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env={VARIABLE}={commit}");
}

/// The commit of a source archive. In a repository the file holds the pattern that `git archive` replaces.
fn archived() -> Option<String> {
    let text = std::fs::read_to_string(".commit").ok()?;
    let commit = text.trim();
    commit.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| short(commit))
}

/// The commit of the repository, with `-modified` if a file that git knows differs from it.
fn checked_out() -> Option<String> {
    // A source archive below some other repository is not of its commit.
    let top = git(&["rev-parse", "--show-cdup"])?;
    if !top.is_empty() {
        return None;
    }
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    // Of the sources too, as the name says whether they are those of the commit.
    for path in [&log, "src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={path}");
    }
    let commit = short(&git(&["rev-parse", "HEAD"])?);
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() { commit } else { format!("{commit}-modified") })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn short(commit: &str) -> String {
    commit.chars().take(12).collect()
}
