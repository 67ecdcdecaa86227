//! The arrows between modules: who may use whom. Read from the sources' own `crate::` paths.

use std::path::{Path, PathBuf};

/// Module, and what it must not use.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "policy",
        &[
            "gate",
            "desk",
            "access",
            "upstream",
            "control",
            "proxy",
            "telemetry",
            "admin",
            "config",
            "gateway",
            "cli",
            "demo",
        ],
    ),
    (
        "gate",
        &["desk", "access", "upstream", "control", "proxy", "telemetry", "admin", "config", "gateway", "cli", "demo"],
    ),
    (
        "desk",
        &["gate", "access", "upstream", "control", "proxy", "telemetry", "admin", "config", "gateway", "cli", "demo"],
    ),
    ("access", &["gate", "desk", "control", "proxy", "admin", "config", "gateway", "cli", "demo"]),
    ("control", &["proxy", "admin", "access", "config", "gateway", "cli", "demo"]),
    ("proxy", &["control", "admin", "config", "gateway", "cli", "demo"]),
    ("telemetry", &["proxy", "admin", "config", "gateway", "cli", "demo"]),
    ("admin", &["proxy", "config", "gateway", "cli", "demo"]),
    ("demo", &["gate", "desk", "access", "control", "proxy", "telemetry", "admin", "config", "gateway", "cli"]),
];

/// Words that only the named files may hold.
const CONFINED: &[(&str, &[&str])] =
    &[("serde_yaml::", &["policy/routes_yaml", "access/access_yaml"]), ("saphyr_parser::", &["policy/routes_yaml"])];

#[test]
fn modules_only_use_what_lies_below_them() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        for (module, forbidden) in FORBIDDEN {
            let own = path == format!("{module}.rs") || path.starts_with(&format!("{module}/"));
            for other in forbidden.iter().filter(|_| own) {
                if code_of(&text).contains(&format!("crate::{other}")) {
                    faults.push(format!("src/{path} uses {other}"));
                }
            }
        }
        for (word, homes) in CONFINED {
            if code_of(&text).contains(word) && !homes.iter().any(|home| path.starts_with(home)) {
                faults.push(format!("src/{path} uses {word}"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<String> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "files without a //! line: {silent:#?}");
}

/// Without its inline tests, which may use what they like.
fn code_of(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("src can be read") {
            let path: PathBuf = entry.expect("src can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source can be read");
                let name = path.strip_prefix(&root).expect("below src").display().to_string();
                found.push((name, text));
            }
        }
    }
    assert!(found.len() > 50, "the sources were found");
    found.into_iter().filter(|(path, _)| !path.ends_with("tests.rs") && !path.contains("/tests/")).collect()
}
