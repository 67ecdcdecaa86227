//! The commit that `--version` and `ucs_gateway_build_info` name: `deploy/build.rs`, compiled alone and run where sources may lie.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::TempDir;

/// A commit as `git archive` writes it.
const ARCHIVED: &str = "0123456789abcdef0123456789abcdef01234567\n";

#[test]
fn a_build_names_the_commit_of_the_variable_the_archive_or_the_repository() {
    let folder = TempDir::new();
    let script = compile(&folder);
    let named = |place: &str, given: &str, profile: &str| commit(&script, &folder.path().join(place), given, profile);

    std::fs::create_dir(folder.path().join("bare")).unwrap();
    assert_eq!(named("bare", "", "release"), "unknown");
    assert_eq!(named("bare", "given", "release"), "given");
    assert_eq!(named("bare", "", "debug"), "development");
    assert_eq!(named("bare", "given", "debug"), "given");

    std::fs::create_dir(folder.path().join("archive")).unwrap();
    folder.file("archive/.commit", ARCHIVED);
    assert_eq!(named("archive", "", "release"), "0123456789ab");

    let repository = folder.path().join("repository");
    std::fs::create_dir_all(repository.join("vendor")).unwrap();
    folder.file("repository/.commit", "$Format:%H$\n");
    let head = commit_all(&repository);
    assert_eq!(named("repository", "", "release"), head[..12]);
    assert_eq!(named("repository/vendor", "", "release"), "unknown", "below a repository of others");
    folder.file("repository/.commit", "$Format:%H$\n\n");
    assert_eq!(named("repository", "", "release"), format!("{}-modified", &head[..12]));
}

fn compile(folder: &TempDir) -> PathBuf {
    let script = folder.path().join("build");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["--edition", "2024", "deploy/build.rs", "-o"]).arg(&script);
    assert!(command.status().unwrap().success());
    script
}

/// The value that the script gives the variable.
fn commit(script: &Path, folder: &Path, given: &str, profile: &str) -> String {
    let mut command = Command::new(script);
    command.current_dir(folder).env("UCS_GATEWAY_COMMIT", given).env("PROFILE", profile);
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let line = output.lines().find_map(|line| line.strip_prefix("cargo:rustc-env=UCS_GATEWAY_COMMIT="));
    line.unwrap_or_else(|| panic!("no commit in {output}")).to_owned()
}

/// A new repository with all files of the folder in its one commit, which it returns.
fn commit_all(folder: &Path) -> String {
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false"];
        let output = Command::new("git").current_dir(folder).args(identity).args(arguments).output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "--quiet"]);
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "--message", "one"]);
    git(&["rev-parse", "HEAD"])
}
