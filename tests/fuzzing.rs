//! The short run of the fuzz targets (`tests/fuzz`): all seeds, all that a fuzzer ever found, and some thousand mutations of
//! them, drawn by a fixed seed. It finds what is easy to find; `tests/fuzz/run` looks for the rest.

#![allow(clippy::unwrap_used)]

#[path = "fuzz/src/targets.rs"]
mod targets;

use std::path::Path;

#[test]
fn path() {
    run("path", targets::path, 200_000);
}

#[test]
fn routes_yaml() {
    run("routes_yaml", targets::routes_yaml, 1_000);
}

#[test]
fn client() {
    run("client", targets::client, 100_000);
}

#[test]
fn answer() {
    run("answer", targets::answer, 100_000);
}

#[test]
fn state_file() {
    run("state_file", targets::state_file, 2_000);
}

#[test]
fn connection() {
    run("connection", targets::connection, 5_000);
}

fn run(name: &str, target: impl Fn(&[u8]), mutations: usize) {
    let seeds = inputs(name);
    assert!(!seeds.is_empty(), "{name} has no seeds");
    seeds.iter().for_each(|seed| target(seed));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..mutations {
        let mutated = mutate(&seeds, &mut random);
        // Known if the target panics: the harness shows it.
        eprintln!("{name}: {}", mutated.escape_ascii());
        target(&mutated);
    }
}

/// Seeds and regressions. Some seeds are files that the tests have anyway.
fn inputs(name: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let folders = [root.join("seeds").join(name), root.join("regressions").join(name)];
    let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let mut paths: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// One to four changes of a seed: a byte set, some taken out, some said twice, or a piece of another seed put in.
fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(16)).min(bytes.len());
        match random.below(5) {
            0 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            3 => {
                const ODD: [&[u8]; 12] =
                    [b"\r\n", b"\r", b"\n", b" ", b"\t", b"\0", b"%2e", b"%2f", b"..", b";", b"\r\n\r\n", b":"];
                bytes.splice(at..at, ODD[random.below(ODD.len())].iter().copied());
            }
            _ => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                let to = (from + random.below(64)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
        }
    }
    bytes
}

/// xorshift64*: the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit.max(1)
    }
}
