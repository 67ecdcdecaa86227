//! The shape of `src/`: the arrows between its rooms, and no circle of files anywhere. Read from the sources' own imports and
//! paths, so it sees names only: a method call through a value is no arrow.

mod graph;
mod shape;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use graph::{Graph, code_of};
use shape::{implemented_types, parameters};

/// Every room of `src/` with the rooms that it may use. A room that is not listed fails the test, and so does an arrow that is
/// not.
const ARROWS: &[(&str, &[&str])] = &[
    ("policy", &[]),
    ("faults", &[]),
    ("telemetry", &["faults"]),
    ("http1", &[]),
    ("transport", &[]),
    ("http_client", &["transport"]),
    ("hex", &[]),
    // policy: access.yaml is read by the strict reader of routes.yaml.
    ("files", &["hex"]),
    ("reloads", &["control_handle", "files"]),
    ("liveness", &["control_handle", "telemetry"]),
    ("access", &["hex", "policy", "transport", "files"]),
    ("demo", &["policy", "transport"]),
    ("gate", &["policy"]),
    ("control_handle", &["policy"]),
    ("fleet_view", &["policy"]),
    (
        "control",
        &["policy", "fleet_view", "gate", "control_handle", "telemetry", "transport", "http_client", "hex", "files"],
    ),
    ("proxy", &["policy", "gate", "control_handle", "access", "telemetry", "transport", "http1", "faults"]),
    (
        "admin",
        &["policy", "fleet_view", "gate", "control_handle", "access", "telemetry", "transport", "reloads", "liveness"],
    ),
    ("config", &["policy", "telemetry", "transport", "http1", "control", "proxy"]),
    ("route_file", &["policy", "files"]),
    (
        "launch",
        &[
            "policy",
            "fleet_view",
            "gate",
            "control_handle",
            "access",
            "telemetry",
            "transport",
            "control",
            "proxy",
            "admin",
            "config",
            "route_file",
            "hex",
            "files",
            "reloads",
            "liveness",
            "faults",
        ],
    ),
    // control_handle: a client of PUT /mode waits for longer than the slack that the gateway gives a flip.
    (
        "cli",
        &[
            "policy",
            "fleet_view",
            "control_handle",
            "access",
            "telemetry",
            "transport",
            "http_client",
            "control",
            "config",
            "route_file",
            "launch",
            "demo",
            "files",
        ],
    ),
    ("main", &["cli"]),
];

/// Words that only the named files may hold, each with the reason.
const CONFINED: &[(&str, &[&str], &str)] = &[
    ("tokio::net", &["transport/"], "sockets and their options belong to transport"),
    ("socket2", &["transport/"], "sockets and their options belong to transport"),
    ("serde_yaml::", &["policy/strict_yaml", "policy/routes_yaml"], "YAML is read in one place"),
    ("saphyr_parser::", &["policy/strict_yaml"], "YAML is read in one place"),
    (
        "clap::",
        &["cli/", "config/args.rs", "config/named.rs", "config/store_args.rs", "config/tls_args.rs", "main.rs"],
        "the rest takes checked values",
    ),
    ("print!(", &[], "it panics on a closed stream"),
    ("println!(", &[], "it panics on a closed stream"),
    ("gate.publish(", &["control/in_force.rs", "admin/tests.rs"], "a record is published once it is saved, or by name"),
    ("io::stdout()", &["cli/", "launch/workers"], "writing waits for a full stream: commands may, the gateway may not"),
    ("io::stderr()", &["cli/", "telemetry/"], "writing waits for a full stream: commands may, the gateway may not"),
];

#[test]
fn rooms_use_only_the_rooms_below_them() {
    let graph = Graph::read(&sources());
    let mut faults = Vec::new();
    for (from, to) in graph.arrows() {
        let (room, other) = (room_of(from), room_of(to));
        if room == other || room == "lib" {
            continue;
        }
        match ARROWS.iter().find(|(name, _)| *name == room) {
            None => faults.push(format!("src/{from}: the room {room} is not listed in ARROWS")),
            Some((_, allowed)) if !allowed.contains(&other) => faults.push(format!("src/{from} uses src/{to}")),
            Some(_) => {}
        }
    }
    assert!(faults.is_empty(), "arrows that DESIGN does not have:\n{}", faults.join("\n"));
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let graph = Graph::read(&sources());
    let circles = graph.circles();
    let told: Vec<String> = circles.iter().map(|circle| circle.join(", ")).collect();
    assert!(circles.is_empty(), "{} circles of files:\n{}", circles.len(), told.join("\n"));
}

#[test]
fn confined_words_stay_where_they_belong() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        for (word, homes, why) in CONFINED {
            if code_of(&text).contains(word) && !homes.iter().any(|home| path.starts_with(home)) {
                faults.push(format!("src/{path} names {word} ({why})"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The most parameters of a function, `self` included.
const MOST_PARAMETERS: usize = 5;

/// The most files with an `impl` of one type.
const MOST_IMPL_FILES: usize = 3;

/// Types that are spread wider for now: their rework is under way.
const SPREAD: &[(&str, &str)] = &[("control", "Control")];

#[test]
fn no_function_has_many_parameters() {
    let mut most = 0;
    let mut faults = Vec::new();
    for (path, text) in sources() {
        for (function, count) in parameters(code_of(&text)) {
            most = most.max(count);
            if count > MOST_PARAMETERS {
                faults.push(format!("src/{path}: {function} has {count}"));
            }
        }
    }
    assert!(faults.is_empty(), "more than {MOST_PARAMETERS} parameters:\n{}", faults.join("\n"));
    assert_eq!(most, MOST_PARAMETERS, "the functions were read");
}

#[test]
fn no_type_is_implemented_in_many_files() {
    let mut files: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for (path, text) in sources() {
        for implemented in implemented_types(code_of(&text)) {
            files.entry((room_of(&path).to_owned(), implemented)).or_default().insert(path.clone());
        }
    }
    assert!(files.len() > 150, "only {} types were found", files.len());
    let wide = files.iter().filter(|(_, files)| files.len() > MOST_IMPL_FILES);
    let wide: Vec<_> = wide.map(|((room, name), _)| (room.as_str(), name.as_str())).collect();
    assert_eq!(wide, SPREAD, "implemented in more than {MOST_IMPL_FILES} files: {files:#?}");
}

/// Words of the product that `src/http1` must do without, in code and comments: it knows HTTP/1.1 alone.
const NOT_IN_HTTP1: [&str; 3] = ["ucs", "gateway", "mode"];

#[test]
fn http1_knows_no_word_of_the_product() {
    let mut found = Vec::new();
    let files = sources_below("src/http1");
    assert!(files.len() > 10, "only {} files of http1 were found", files.len());
    for (path, text) in files {
        for (number, line) in text.lines().enumerate() {
            let words = line.split(|letter: char| !letter.is_ascii_alphanumeric()).map(str::to_ascii_lowercase);
            let banned = words.filter(|word| NOT_IN_HTTP1.contains(&word.as_str()));
            found.extend(banned.map(|word| format!("src/http1/{path}:{}: {word}", number + 1)));
            for used in line.split("crate::").skip(1).filter(|used| !used.starts_with("http1")) {
                found.push(format!("src/http1/{path}:{}: crate::{used}", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "http1 names what is not HTTP:\n{}", found.join("\n"));
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

/// The first folder or file below `src/`.
fn room_of(path: &str) -> &str {
    path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
}

/// The product's own sources, without its tests.
fn sources() -> Vec<(String, String)> {
    let all = sources_below("src");
    assert!(all.len() > 50, "the sources were found");
    all.into_iter().filter(|(path, _)| !path.ends_with("tests.rs") && !path.contains("/tests/")).collect()
}

/// Name and text of every source below a folder of the repository.
pub(crate) fn sources_below(folder: &str) -> Vec<(String, String)> {
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
