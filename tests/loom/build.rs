//! Prepares the gateway's in-flight counter for the models: the true file under `cfg(gate_model)`, and mutants of it, each with
//! one ordering broken. It fails if a mutation no longer applies, so that no mutant equals the true file.

use std::path::{Path, PathBuf};
use std::{env, fs};

const SOURCE: &str = "../../src/gate/in_flight_counter.rs";

/// Name, text to break, replacement, and the expected number of occurrences.
const MUTATIONS: [(&str, &str, &str, usize); 6] = [
    ("enter_without_fence", "fence(Ordering::SeqCst);\n        AdmissionState(", "AdmissionState(", 1),
    (
        "publish_without_fence",
        "self.state.0.store(state.0, Ordering::Release);\n        fence(Ordering::SeqCst);",
        "self.state.0.store(state.0, Ordering::Release);",
        1,
    ),
    ("leave_without_release", "- 1, Ordering::Release)", "- 1, Ordering::Relaxed)", 1),
    (
        "count_without_acquire",
        "shard.in_flight[set].load(Ordering::Acquire)",
        "shard.in_flight[set].load(Ordering::Relaxed)",
        1,
    ),
    ("state_without_acquire", "self.state.0.load(Ordering::Acquire)", "self.state.0.load(Ordering::Relaxed)", 2),
    ("publish_without_release", "store(state.0, Ordering::Release)", "store(state.0, Ordering::Relaxed)", 1),
];

fn main() {
    println!("cargo:rustc-check-cfg=cfg(gate_model)");
    println!("cargo:rustc-cfg=gate_model");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={SOURCE}");
    let source = fs::read_to_string(SOURCE).expect("the counter's source is in the repository");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for (name, from, to, times) in MUTATIONS {
        write_mutant(&source, &out, name, from, to, times);
    }
}

fn write_mutant(source: &str, out: &Path, name: &str, from: &str, to: &str, times: usize) {
    let found = source.matches(from).count();
    assert_eq!(found, times, "mutation {name}: {from:?} must be in {SOURCE} {times} times; adjust tests/loom/build.rs");
    // An included file cannot begin with inner documentation.
    let mutant: String = source
        .replace(from, to)
        .lines()
        .filter(|line| !line.starts_with("//!"))
        .flat_map(|line| [line, "\n"])
        .collect();
    fs::write(out.join(format!("{name}.rs")), mutant).expect("OUT_DIR can be written");
}
