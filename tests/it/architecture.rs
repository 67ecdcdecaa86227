//! The arrows between modules: who may use whom. Read from the sources' own `crate::` paths.

use std::path::{Path, PathBuf};

/// Module, and what it must not use.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "policy",
        &[
            "gate",
            "control_handle",
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
        &[
            "control_handle",
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
        "control_handle",
        &["gate", "access", "upstream", "control", "proxy", "telemetry", "admin", "config", "gateway", "cli", "demo"],
    ),
    ("access", &["gate", "control_handle", "control", "proxy", "admin", "config", "gateway", "cli", "demo"]),
    ("control", &["proxy", "admin", "access", "config", "gateway", "cli", "demo"]),
    ("proxy", &["control", "admin", "config", "gateway", "cli", "demo"]),
    ("telemetry", &["proxy", "admin", "config", "gateway", "cli", "demo"]),
    ("admin", &["proxy", "config", "gateway", "cli", "demo"]),
    (
        "demo",
        &["gate", "control_handle", "access", "control", "proxy", "telemetry", "admin", "config", "gateway", "cli"],
    ),
];

/// Words that only the named files may hold. Printing panics on a closed stream and waits for a full one: commands may, what
/// runs for long may not.
const CONFINED: &[(&str, &[&str])] = &[
    ("serde_yaml::", &["policy/routes_yaml", "access/access_yaml"]),
    ("saphyr_parser::", &["policy/routes_yaml"]),
    ("print!(", &[]),
    ("println!(", &[]),
    ("io::stdout()", &["cli/", "gateway/workers"]),
    ("io::stderr()", &["cli/", "telemetry.rs"]),
];

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
fn every_test_that_the_documents_name_is_there() {
    let folders = ["tests/it", "tests/loom/src", "src"];
    let all = folders.into_iter().flat_map(sources_below);
    let tests = all.map(|(_, text)| text).collect::<String>();
    let mut named = 0;
    for document in ["docs/promises.md", "docs/security.md"] {
        let Ok(text) = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)) else { continue };
        // By module and name, or by a name that only a test can have.
        let is_sentence = |word: &str| {
            let is_name = word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            is_name && word.matches('_').count() > 2
        };
        let names_test = |word: &&str| (word.contains("::") && !word.contains(' ')) || is_sentence(word);
        for word in text.split('`').skip(1).step_by(2).filter(names_test) {
            let name = word.rsplit("::").next().unwrap_or_default();
            let is_there = tests.contains(&format!("fn {name}(")) || tests.contains(&format!("mod {name};"));
            assert!(is_there || tests.contains(&format!("mod {name} ")), "{document} names {word}, which is not there");
            named += 1;
        }
    }
    assert!(named > 90, "only {named} tests were found in the documents");
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

/// The product's own sources, without its tests.
fn sources() -> Vec<(String, String)> {
    let all = sources_below("src");
    assert!(all.len() > 50, "the sources were found");
    all.into_iter().filter(|(path, _)| !path.ends_with("tests.rs") && !path.contains("/tests/")).collect()
}

/// Name and text of every source below a folder of the repository.
fn sources_below(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the folder can be read") {
            let path: PathBuf = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source can be read");
                let name = path.strip_prefix(&root).expect("below the root").display().to_string();
                found.push((name, text));
            }
        }
    }
    found
}
